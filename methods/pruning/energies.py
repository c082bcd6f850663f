"""How much of a signal reaches a layer, and how much of what a layer gives is read, by the network's real data flow.

The graph is run on energies: nonnegative tensors in the shape of the activations of one image. The image is all ones.
A conv or linear layer gives, for each of its outputs, the sum of its squared weights, whatever reaches it; sums add the
energies of their terms, taking them as independent; concatenation, splitting and flattening move energies as they move
activations. So the energy at a layer's input is the factor of the layers that feed it, through shortcuts too. In turn,
each layer reads each of its inputs with the sum of its squared weights there, the network's output is read with 1, and
the gradient of the sum of all readings is the factor of the layers that read an output.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn
from torch.fx import GraphModule
from torch.nn.utils import parametrize

Role = Literal["layer", "norm", "activation", "resizing", "sum", "moving"]
_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_OF_MODULES: dict[type[nn.Module], Role] = {
    **dict.fromkeys(_LAYERS, "layer"),
    **dict.fromkeys(_NORMS, "norm"),
    **dict.fromkeys((nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish,
                     nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.Sigmoid, nn.Tanh, nn.Softplus), "activation"),
    **dict.fromkeys((nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool1d,
                     nn.ZeroPad2d, nn.ConstantPad2d, nn.ReflectionPad2d, nn.Upsample), "resizing"),
    **dict.fromkeys((nn.Identity, nn.Dropout, nn.Dropout2d, nn.AlphaDropout, nn.Flatten, nn.Unflatten), "moving"),
}  # fmt: skip
_OF_NAMES: dict[str, Role] = {
    **dict.fromkeys(("relu", "relu_", "relu6", "gelu", "silu", "mish", "elu", "selu", "leaky_relu", "hardtanh",
                     "hardswish", "hardsigmoid", "sigmoid", "softplus", "tanh", "clamp"), "activation"),
    **dict.fromkeys(("max_pool2d", "avg_pool2d", "avg_pool1d", "adaptive_avg_pool2d", "adaptive_max_pool2d",
                     "adaptive_avg_pool1d", "pad", "interpolate", "mean"), "resizing"),
    **dict.fromkeys(("add", "iadd", "add_"), "sum"),
    **dict.fromkeys(("dropout", "dropout2d", "flatten", "unflatten", "reshape", "view", "permute", "transpose",
                     "swapaxes", "unsqueeze", "squeeze", "contiguous", "clone", "float", "cat", "concat", "chunk",
                     "split", "unbind", "getitem", "getattr", "size", "dim", "floordiv", "eq", "_assert"), "moving"),
}  # fmt: skip


def role_of(model: GraphModule, node: fx.Node) -> Role | None:
    """What a node does to energies, or None where that is not known."""
    if node.op == "call_module":
        return _OF_MODULES.get(parametrize.type_before_parametrizations(model.get_submodule(str(node.target))))
    if node.op not in ("call_function", "call_method"):
        return None
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    if name in ("mean", "pad") and not _keeps_channels(name, node):
        return None
    return _OF_NAMES.get(name)


def _keeps_channels(name: str, node: fx.Node) -> bool:
    """Whether a mean or a padding is over positions alone."""
    if name == "pad":
        given = node.args[1] if len(node.args) > 1 else node.kwargs.get("pad")
        return isinstance(given, list | tuple) and len(given) <= 4
    given = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    axes = given if isinstance(given, list | tuple) else (given,)
    return all(axis in (2, 3, -1, -2) for axis in axes)


def unreadable(model: GraphModule) -> str | None:
    """A node through which channels cannot be followed, in words, a layer before any other; or None."""
    unknown = [node for node in model.graph.nodes if node.op not in ("placeholder", "output")]
    unknown = [node for node in unknown if role_of(model, node) is None]
    for node in sorted(unknown, key=lambda node: node.op != "call_module"):
        if node.op == "call_module":
            kind = parametrize.type_before_parametrizations(model.get_submodule(str(node.target))).__name__
            return f"{node.target} is a {kind}"
        if node.op == "get_attr":
            return f"the network reads the tensor {node.target} by itself"
        return f"the network computes {getattr(node.target, '__name__', node.target)} of activations ({node.name})"
    return None


@dataclass(frozen=True)
class Neighbours:
    """Of one call of a layer. before: energy of each input [in]. after: how each output is read [out]."""

    layer: nn.Module
    before: Tensor
    after: Tensor


def neighbours(
    model: GraphModule,
    squares: Mapping[nn.Module, Tensor],
    image: Tensor,
    *,
    norms: bool = False,
    rates: Mapping[str, Tensor] | None = None,
) -> list[Neighbours]:
    """What stands before and after each call of a layer.

    squares: the squared weights of every conv and linear layer, [out, in of a group, *taps].
    image: [1, c, h, w], for its shape.
    norms: whether a batch norm multiplies energies by (gamma / sqrt(var + eps))^2, or leaves them.
    rates: factors of energies, by name of node, that broadcast with them.
    """
    run = _Energies(model, squares, norms, rates or {})
    with torch.enable_grad():
        run.run(image)
        total = torch.stack(run.readings).sum()
        leaves = [leaf for _, _, leaf in run.calls]
        after = torch.autograd.grad(total, leaves, allow_unused=True)
    return [
        Neighbours(layer, before, torch.zeros_like(leaf) if gradient is None else gradient)
        for (layer, before, leaf), gradient in zip(run.calls, after, strict=True)
    ]


class _Energies(fx.Interpreter):
    """Runs the graph on energies. calls: layer, energy of its inputs [in], energy of its outputs [out]."""

    def __init__(
        self, model: GraphModule, squares: Mapping[nn.Module, Tensor], norms: bool, rates: Mapping[str, Tensor]
    ) -> None:
        super().__init__(model)
        self._model, self._squares, self._norms, self._rates = model, squares, norms, rates
        self.calls: list[tuple[nn.Module, Tensor, Tensor]] = []
        self.readings: list[Tensor] = []

    def run_node(self, n: fx.Node) -> Any:
        if n.op == "placeholder":
            return torch.ones_like(super().run_node(n))
        args, _ = self.fetch_args_kwargs_from_env(n)
        if n.op == "output":
            self.readings.append(args[0].sum())
            return args[0]
        energies = [one for one in args if isinstance(one, Tensor)]
        match role_of(self._model, n):
            case "layer":
                return self._layer(self._model.get_submodule(str(n.target)), energies[0])
            case "norm":
                return self._norm(self._model.get_submodule(str(n.target)), energies[0])
            case "activation":
                return energies[0] * self._rates.get(n.name, 1.0)
            case "sum" if energies:
                return torch.stack(torch.broadcast_tensors(*energies)).sum(0)
            case "resizing":
                with torch.no_grad():
                    shape = super().run_node(n).shape
                if len(shape) < energies[0].ndim:  # a mean that drops its axes
                    return super().run_node(n)
                # the mean of a channel, everywhere: padding is no signal, and does not weaken one
                positions = tuple(range(2, energies[0].ndim))
                return energies[0].mean(positions, keepdim=True).expand(shape).contiguous()
        return super().run_node(n)

    def _layer(self, layer: nn.Module, x: Tensor) -> Tensor:
        """x: energies [1, in, ...], of linear layers [..., in] -> energies [1, out, ...], [..., out]"""
        squares, groups = self._squares[layer], getattr(layer, "groups", 1)
        channel = x.ndim - 1 if isinstance(layer, nn.Linear) else 1
        before = x.movedim(channel, 0).flatten(1).mean(1)  # [in]
        columns = squares.flatten(2).sum(2) if squares.ndim > 2 else squares  # [out, in of a group]
        columns = columns.unflatten(0, (groups, -1)).sum(1).flatten()  # [in]
        self.readings.append((columns * before).sum())
        leaf = squares.flatten(1).sum(1).requires_grad_()  # [out]
        self.calls.append((layer, before.detach(), leaf))
        with torch.no_grad():
            shape = layer(x.detach()).shape
        return leaf.view([-1 if axis == channel else 1 for axis in range(len(shape))]).expand(shape).contiguous()

    def _norm(self, layer: nn.Module, x: Tensor) -> Tensor:
        """x: energies [1, c, ...]"""
        if not self._norms:
            return x
        assert isinstance(layer, _NORMS)
        factor = x.new_ones(layer.num_features)
        if layer.running_var is not None:
            factor = factor / (layer.running_var + layer.eps)
        if layer.affine:
            factor = factor * layer.weight.detach().square()
        return x * factor.view([-1 if axis == 1 else 1 for axis in range(x.ndim)])
