"""Networks whose tensors are stored in 16 bits, in the form that computes in 16 bits where there are kernels for it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from methods.graph import modules_called
from methods.layers import CompressedLayer, Widen, constraints, weights
from methods.layers.halves import HALVES


def stored_half(model: nn.Module) -> torch.dtype | None:
    """The 16-bit type that weights of `model` are stored in, or None; biases alone in 16 bits leave products as they
    are."""
    readers = (one for _, layer, name in weights(model) for one in constraints(layer, name))
    return next((HALVES[one.dtype] for one in readers if isinstance(one, Widen)), None)


def has_kernels(dtype: torch.dtype, device: str) -> bool:
    """Whether torch multiplies in `dtype` on `device` with kernels made for it."""
    if device.startswith("cuda"):
        return dtype is torch.float16 or torch.cuda.is_bf16_supported()
    if dtype is torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return bool(torch.ops.mkldnn._is_mkldnn_fp16_supported())


def in_stored_precision(plain: GraphModule, stored: GraphModule, device: str) -> GraphModule:
    """`plain`, the network without constraints, changed to compute in the 16-bit type of `stored` if that is one and
    `device` has kernels for it."""
    dtype = stored_half(stored)
    return plain if dtype is None or not has_kernels(dtype, device) else in_half(plain, dtype)


class _Cast(nn.Module):
    """To another floating type."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, values: Tensor) -> Tensor:
        return values.to(self.dtype)


def in_half(model: GraphModule, dtype: torch.dtype) -> GraphModule:
    """`model`, plain and of its own tensors, changed to compute in `dtype`: images are cast, logits cast back.

    Layers of our own go on in float32, between casts: their transforms have no 16-bit form.
    """
    ours = [path for path, layer in modules_called(model).items() if isinstance(layer, CompressedLayer)]
    model.add_submodule("to_half", _Cast(dtype))
    model.add_submodule("to_single", _Cast(torch.float32))
    kept = {path: model.get_submodule(path) for path in ours}
    model.to(dtype)
    for layer in kept.values():
        layer.float()
    for node in list(model.graph.nodes):
        if node.op == "placeholder":
            with model.graph.inserting_after(node):
                cast = model.graph.call_module("to_half", (node,))
            node.replace_all_uses_with(cast, delete_user_cb=lambda user, cast=cast: user is not cast)
        elif node.op == "call_module" and node.target in kept:
            _between_casts(model, node)
        elif node.op == "output":
            with model.graph.inserting_before(node):
                node.args = (model.graph.call_module("to_single", (node.args[0],)),)
    model.recompile()
    return model


def _between_casts(model: GraphModule, node: torch.fx.Node) -> None:
    with model.graph.inserting_before(node):
        node.args = (model.graph.call_module("to_single", (node.args[0],)), *node.args[1:])
    with model.graph.inserting_after(node):
        back = model.graph.call_module("to_half", (node,))
    node.replace_all_uses_with(back, delete_user_cb=lambda user: user is not back)
