"""Networks as graphs: tracing, and a plain-data form that a file holds and a reader rebuilds without running code.

A traced network is a `torch.fx.GraphModule` whose nodes call either a layer of the table `LAYERS` (methods/layers) or a
function or tensor method of the tables here. Nothing else can be written, and nothing else is called on reading: a
file cannot name code of its own.
"""

from __future__ import annotations

import builtins
import keyword
import math
import operator
import re
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx import GraphModule

from methods.layers import kind_of

FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{f"operator.{name}": getattr(operator, name) for name in
       ("add", "sub", "mul", "truediv", "floordiv", "mod", "neg", "pow", "matmul", "getitem",
        "iadd", "isub", "imul", "itruediv", "eq", "ne", "lt", "le", "gt", "ge")},
    **{f"torch.{name}": getattr(torch, name) for name in
       ("add", "sub", "mul", "div", "matmul", "flatten", "relu", "sigmoid", "tanh", "cat", "concat", "stack", "chunk",
        "split", "reshape", "transpose", "permute", "unsqueeze", "squeeze", "mean", "sum", "amax", "exp", "log", "sqrt",
        "rsqrt", "square", "abs", "clamp", "softmax", "log_softmax", "bmm", "einsum", "roll", "_assert",
        "adaptive_avg_pool1d", "conv2d", "avg_pool1d", "swapaxes")},
    **{f"F.{name}": getattr(F, name) for name in
       ("relu", "relu6", "gelu", "silu", "mish", "elu", "selu", "leaky_relu", "hardtanh", "hardswish", "hardsigmoid",
        "sigmoid", "softplus", "softmax", "log_softmax", "dropout", "dropout2d", "max_pool2d", "avg_pool2d",
        "adaptive_avg_pool2d", "adaptive_max_pool2d", "pad", "interpolate", "layer_norm", "group_norm", "normalize",
        "linear", "conv2d", "scaled_dot_product_attention", "pixel_shuffle", "pixel_unshuffle", "unfold")},
    "builtins.getattr": builtins.getattr,
}  # fmt: skip
ATTRIBUTES = {"shape", "ndim", "dtype", "device", "T", "mT"}  # what `getattr` may be called with
METHODS_OF_TENSORS = {
    "add", "add_", "sub", "mul", "mul_", "div", "matmul", "view", "reshape", "flatten", "unflatten", "permute",
    "transpose", "contiguous", "size", "dim", "mean", "sum", "amax", "max", "relu", "relu_", "sigmoid", "tanh",
    "softmax", "chunk", "split", "unbind", "squeeze", "unsqueeze", "expand", "expand_as", "repeat", "clamp", "clone",
    "pow", "sqrt", "rsqrt", "exp", "abs", "neg", "float", "type_as", "to", "view_as", "swapaxes", "roll", "narrow",
}  # fmt: skip
_NAMES: dict[Any, str] = {}
for _name, _function in FUNCTIONS.items():
    _NAMES.setdefault(_function, _name)


class UntraceableError(ValueError):
    """A network whose data flow cannot be read, or that uses an operation outside the tables."""


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return kind_of(m) is not None


def trace(model: nn.Module) -> GraphModule:
    """The graph of `model`, over the same parameters and buffers (not copied), in eval mode.

    Branches on `self.training` are read in eval mode, so auxiliary heads are left out and functional dropout and
    stochastic depth stay off; `nn.Dropout` and batch norms are layers and behave as usual.

    Raises:
        UntraceableError: the data flow depends on values, or an operation is not in the tables.
    """
    if isinstance(model, GraphModule):
        return model
    model.eval()
    tracer = _Tracer()
    try:
        graph = tracer.trace(model)
    except Exception as error:  # tracing runs the network's own code, which may raise anything
        raise UntraceableError(f"{type(model).__name__} cannot be traced: {error}") from error
    traced = GraphModule(tracer.root, graph, class_name=type(model).__name__)
    _drop_stochastic_depth(traced)
    traced.graph.eliminate_dead_code()
    traced.delete_all_unused_submodules()
    traced.recompile()
    graph_to_data(traced)  # refuses unknown operations now, not when hours of training are to be written
    return traced.eval()


def _drop_stochastic_depth(model: GraphModule) -> None:
    for node in list(model.graph.nodes):
        if node.op == "call_function" and getattr(node.target, "__name__", "") == "stochastic_depth":
            node.replace_all_uses_with(node.args[0])
            model.graph.erase_node(node)


def modules_called(model: GraphModule) -> dict[str, nn.Module]:
    """The layers that the graph calls, by path, each path once, in order of first call."""
    named = dict(model.named_modules(remove_duplicate=False))  # a layer may lie at two paths
    return {node.target: named[node.target] for node in model.graph.nodes if node.op == "call_module"}


def tensors_read(model: GraphModule) -> list[str]:
    """Paths of the parameters and buffers that the graph reads directly (class tokens, position embeddings)."""
    return list(dict.fromkeys(node.target for node in model.graph.nodes if node.op == "get_attr"))


def replace_module(model: GraphModule, path: str, layer: nn.Module) -> None:
    """Puts `layer` at `path`; the graph goes on calling that path."""
    layer.train(model.training)
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, layer)


def graph_to_data(model: GraphModule) -> list[dict[str, Any]]:
    """The nodes in JSON types.

    Raises:
        UntraceableError: a node calls what is not in the tables.
    """
    nodes = []
    for node in model.graph.nodes:
        if node.op == "call_function":
            target = _NAMES.get(node.target)
            if target is None:
                name = getattr(node.target, "__name__", node.target)
                raise UntraceableError(f"the network calls {name}, which a file cannot name (methods/graph.py)")
        else:
            target = str(node.target)
        if node.op == "call_method" and target not in METHODS_OF_TENSORS:
            raise UntraceableError(f"the network calls tensor.{target}(), which a file cannot name (methods/graph.py)")
        if node.op == "call_module" and kind_of(model.get_submodule(target)) is None:
            layer = type(model.get_submodule(target)).__name__
            raise UntraceableError(f"layer {target} is a {layer}, which a file cannot name (methods/layers)")
        nodes.append(
            {
                "op": node.op,
                "name": node.name,
                "target": target,
                "args": [_to_data(value) for value in node.args],
                "kwargs": {key: _to_data(value) for key, value in node.kwargs.items()},
            }
        )
    return nodes


def graph_from_data(nodes: list[dict[str, Any]], root: nn.Module) -> GraphModule:
    """The graph module over the layers and tensors of `root`.

    torch.fx makes source code of names, paths and keywords, so nothing passes but plain names and what `root` has: data
    from a stranger's file cannot run anything but the operations of the tables.

    Raises:
        ValueError: the data names an operation outside the tables, or is malformed.
    """
    graph = fx.Graph()
    made: dict[str, fx.Node] = {}
    for data in nodes:
        op, name, target = data["op"], data["name"], data["target"]
        if name in made:
            raise ValueError(f"two nodes are named {name!r}")
        args = tuple(_from_data(value, made) for value in data["args"])
        kwargs = {_keyword(key): _from_data(value, made) for key, value in data["kwargs"].items()}
        _check_target(op, name, target, args, root)
        made[name] = graph.create_node(op, FUNCTIONS[target] if op == "call_function" else target, args, kwargs, name)
        if made[name].name != name or not _PLAIN.fullmatch(name) or name == "self":
            raise ValueError(f"{name!r} cannot be a node's name")  # fx renames what would hide a builtin or a keyword
    if [data["op"] for data in nodes].index("output") != len(nodes) - 1:
        raise ValueError("the graph does not end in its one output")
    graph.lint()
    return GraphModule(root, graph, class_name="Network")


def _check_target(op: str, name: str, target: Any, args: tuple[Any, ...], root: nn.Module) -> None:
    """Raises: ValueError, unless the node calls or reads what it may."""
    if not isinstance(target, str):
        raise ValueError(f"bad target {target!r}")
    match op:
        case "call_function":
            if target not in FUNCTIONS:
                raise ValueError(f"unknown function {target!r}")
            if target == "builtins.getattr" and not (len(args) == 2 and args[1] in ATTRIBUTES):
                raise ValueError(f"attribute {args[1:]!r} may not be read")
            if target.startswith(("operator.", "builtins.")) and not any(isinstance(arg, fx.Node) for arg in args):
                raise ValueError(f"{target} is applied to constants")
        case "call_method":
            if target not in METHODS_OF_TENSORS or not (args and isinstance(args[0], fx.Node)):
                raise ValueError(f"unknown tensor method {target!r}")
        case "call_module":
            if kind_of(_resolve(root, target)) is None:
                raise ValueError(f"{target!r} is no layer")
        case "get_attr":
            owner, _, tensor = target.rpartition(".")
            if not isinstance(getattr(_resolve(root, owner), _path_part(tensor), None), Tensor):
                raise ValueError(f"{target!r} is no tensor")
            if not owner and hasattr(GraphModule, tensor):
                raise ValueError(f"{target!r} has the name of an attribute of every network")
        case "placeholder":
            if target != name and not (hasattr(builtins, target) and name.startswith(f"{target}_")):
                raise ValueError(f"bad placeholder {target!r}")
        case "output":
            pass
        case _:
            raise ValueError(f"unknown operation {op!r}")


def _resolve(root: nn.Module, path: str) -> nn.Module:
    """The module at a dotted path, reached through children alone.

    Raises:
        ValueError: there is none.
    """
    parts = path.split(".") if path else []
    if parts and hasattr(GraphModule, parts[0]):
        raise ValueError(f"{path!r} begins with the name of an attribute of every network")
    for part in parts:
        child = root._modules.get(_path_part(part))
        if child is None:
            raise ValueError(f"there is no module {path!r}")
        root = child
    return root


def _path_part(text: str) -> str:
    if not _PATH_PART.fullmatch(text):
        raise ValueError(f"bad path {text!r}")
    return text


def _keyword(text: str) -> str:
    if not _PLAIN.fullmatch(text) or keyword.iskeyword(text):
        raise ValueError(f"bad keyword {text!r}")
    return text


_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")  # of ASCII alone: Python reads several characters as one letter
_PATH_PART = re.compile(r"[A-Za-z0-9_\- ]+")
_MAX_DEPTH = 32  # of nested arguments
_DTYPE_LIST = (
    torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int8, torch.uint8, torch.bool,
)  # fmt: skip
_DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in _DTYPE_LIST}


def _to_data(value: Any) -> Any:
    if isinstance(value, fx.Node):
        return {"node": value.name}
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": str(value)}
    if isinstance(value, torch.Size | tuple):
        return {"tuple": [_to_data(item) for item in value]}
    if isinstance(value, list):
        return [_to_data(item) for item in value]
    if isinstance(value, slice):
        return {"slice": [_to_data(value.start), _to_data(value.stop), _to_data(value.step)]}
    if isinstance(value, torch.dtype) and value in _DTYPES.values():
        return {"dtype": str(value).removeprefix("torch.")}
    if value is Ellipsis:
        return {"ellipsis": True}
    raise UntraceableError(f"the network passes a {type(value).__name__} to an operation, which a file cannot hold")


def _from_data(data: Any, made: dict[str, fx.Node], depth: int = 0) -> Any:
    if depth > _MAX_DEPTH:
        raise ValueError(f"arguments are nested deeper than {_MAX_DEPTH}")
    if isinstance(data, list):
        return [_from_data(item, made, depth + 1) for item in data]
    if not isinstance(data, dict):
        return data
    match tuple(data.items()):
        case (("node", str() as name),) if name in made:
            return made[name]
        case (("tuple", list() as items),):
            return tuple(_from_data(item, made, depth + 1) for item in items)
        case (("slice", [start, stop, step]),):
            return slice(*(_from_data(item, made, depth + 1) for item in (start, stop, step)))
        case (("dtype", str() as name),) if name in _DTYPES:
            return _DTYPES[name]
        case (("float", "inf" | "-inf" | "nan" as text),):
            return float(text)
        case (("ellipsis", True),):
            return Ellipsis
    raise ValueError(f"malformed argument {str(data)[:80]}")


def state_names(model: GraphModule) -> set[str]:
    """Names in the state dict that the graph's layers and direct reads account for."""
    names = {f"{path}.{name}" for path, layer in modules_called(model).items() for name in layer.state_dict()}
    return names | set(tensors_read(model))


def tensor_at(model: nn.Module, path: str) -> Tensor:
    """The parameter or buffer at a dotted path."""
    parent, _, name = path.rpartition(".")
    return getattr(model.get_submodule(parent), name)
