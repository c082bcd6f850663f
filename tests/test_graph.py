"""Graphs survive as plain data, and hostile data is refused before torch.fx makes source code of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import GraphModule

from methods.graph import UntraceableError, graph_from_data, graph_to_data, tensors_read, trace


class Slices(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, 1:, ..., ::2] + x[:, :-1, ..., None, 0]


class Tuples(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        first, second, third = x.chunk(3, dim=1)
        return torch.cat((first, *(third, second)), dim=-1)


class Keywords(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2.0, mode="nearest") + F.pad(x, [1, 2, 3, 0], value=-1.5).mean(
            (2, 3), True
        )


class ClassToken(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 5))
        self.inner = nn.Module()
        self.inner.register_buffer("position", torch.randn(1, 4, 5))

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(2)[:, :, :5]
        return torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1) + self.inner.position


class CalledTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({"a-b 1": nn.Conv2d(3, 3, 1)})

    def forward(self, x: Tensor) -> Tensor:
        return self.layers["a-b 1"](F.relu(self.layers["a-b 1"](x)))


class Infinite(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        x = torch.clamp(x, float("-inf"), float("inf"))
        return F.pad(x, [1, 1, 1, 1], value=float("inf")) * 1e-300 + float("nan") * 0


class Awkward(nn.Module):
    """A builtin's name for the input, a default argument, text, types and shapes as arguments, an in-place sum."""

    def forward(self, input: Tensor, extra: None = None) -> Tensor:
        height, width = input.shape[-2:]
        y = torch.einsum("nchw,ncvw->nchv", input, input).to(torch.float16).float()
        y += input.reshape(-1, 3, height, width).sum(dim=-1, keepdim=True)
        return y.view(input.size(0), -1)


class Texts(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        torch._assert(x.ndim == 4, "a message with \"quotes\", 'quotes', \\ and\nlines {x} %s")
        return x


@pytest.mark.parametrize("net", [Slices, Tuples, Keywords, ClassToken, CalledTwice, Infinite, Awkward, Texts])
def test_graphs_come_back_from_json_with_the_same_outputs(net: type[nn.Module]) -> None:
    graph = trace(net())
    data = json.loads(json.dumps(graph_to_data(graph)))
    again = graph_from_data(data, graph)
    x = torch.randn(2, 3, 6, 6)
    torch.testing.assert_close(again(x), graph(x), rtol=0, atol=0, equal_nan=True)
    assert graph_to_data(again) == data
    assert tensors_read(again) == tensors_read(graph)


def test_operations_outside_the_tables_are_named_when_traced() -> None:
    class Sorts(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.sort(x)[0]

    class Saves(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.numpy()

    for net, name in ((Sorts(), "sort"), (Saves(), "numpy")):
        with pytest.raises(UntraceableError, match=name):
            trace(net)


RAN: list[str] = []  # what hostile data managed to run


def node(op: str, name: str, target: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
    return {"op": op, "name": name, "target": target, "args": list(args), "kwargs": kwargs}


X = {"node": "x"}
INPUT = node("placeholder", "x", "x")
EVIL = "__import__('tests.test_graph').test_graph.RAN.append('ran')"
QUOTE = 'a"), exec(open("evil")), getattr(self, "a'


def root() -> nn.Module:
    layers = nn.Module()
    layers.add_module("a", nn.ReLU())
    layers.add_module("b", nn.Module())
    layers.register_buffer("c", torch.zeros(2))
    layers.add_module(QUOTE, nn.ReLU())
    layers.add_module("to_folder", nn.ReLU())
    return layers


HOSTILE: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "unknown function": lambda: [node("call_function", "y", "os.system", "true")],
    "function of another table": lambda: [node("call_function", "y", "builtins.eval", EVIL)],
    "target that is no text": lambda: [node("call_function", "y", ["torch.relu"], X)],
    "unknown method": lambda: [node("call_method", "y", "numpy", X)],
    "method of a constant": lambda: [node("call_method", "y", "expand", "text")],
    "method of nothing": lambda: [node("call_method", "y", "view")],
    "dotted method": lambda: [node("call_method", "y", "view.__globals__", X)],
    "attribute": lambda: [node("call_function", "y", "builtins.getattr", X, "__class__")],
    "attribute with a default": lambda: [node("call_function", "y", "builtins.getattr", X, "shape", 1)],
    "attribute of text": lambda: [node("call_function", "y", "builtins.getattr", "text", "T")],
    "attribute by a node": lambda: [node("call_function", "y", "builtins.getattr", X, X)],
    "operator of constants": lambda: [node("call_function", "y", "operator.pow", 10, 10**9)],
    "keyword with code": lambda: [node("call_function", "y", "torch.relu", X, **{f"input={EVIL}, out": None})],
    "keyword that is a keyword": lambda: [node("call_function", "y", "torch.relu", X, **{"lambda": 1})],
    "keyword of other letters": lambda: [node("call_function", "y", "torch.relu", X) | {"kwargs": {"ｏut": None}}],
    "name with code": lambda: [node("call_function", f"y = {EVIL}; z", "torch.relu", X)],
    "name with a line": lambda: [node("call_function", f"y\n    {EVIL}\n    z", "torch.relu", X)],
    "name of a keyword": lambda: [node("call_function", "lambda", "torch.relu", X)],
    "name of a builtin": lambda: [node("call_function", "getattr", "torch.relu", X)],
    "name of torch": lambda: [node("call_function", "torch", "torch.relu", X)],
    "name of the network": lambda: [node("call_function", "self", "torch.relu", X)],
    "name of other letters": lambda: [node("call_function", "ｓelf", "torch.relu", X)],
    "name that is no text": lambda: [node("call_function", 5, "torch.relu", X)],
    "name taken": lambda: [node("call_function", "x", "torch.relu", X)],
    "placeholder with code": lambda: [node("placeholder", "y", f"y={EVIL}")],
    "placeholder of another name": lambda: [node("placeholder", "y", "self")],
    "placeholder for torch": lambda: [node("placeholder", "torch_1", "torch")],
    "starred placeholder": lambda: [node("placeholder", "y", "*y")],
    "layer that is not there": lambda: [node("call_module", "y", "z", X)],
    "layer that is a container": lambda: [node("call_module", "y", "b", X)],
    "layer that is a tensor": lambda: [node("call_module", "y", "c", X)],
    "layer with quotes": lambda: [node("call_module", "y", QUOTE, X)],
    "layer that is a method of networks": lambda: [node("call_module", "y", "to_folder", "/elsewhere/evil")],
    "layer through attributes": lambda: [node("call_module", "y", "a.forward.__globals__", X)],
    "tensor that is a layer": lambda: [node("get_attr", "y", "a")],
    "tensor through attributes": lambda: [node("get_attr", "y", "a.__class__")],
    "tensor that is a method of networks": lambda: [node("get_attr", "y", "load_state_dict")],
    "tensor with quotes": lambda: [node("get_attr", "y", QUOTE)],
    "unknown operation": lambda: [node("root", "y", "a")],
    "node from the future": lambda: [node("call_function", "y", "torch.relu", {"node": "z"})],
    "node of a strange name": lambda: [node("call_function", "y", "torch.relu", {"node": [1]})],
    "unknown argument": lambda: [node("call_function", "y", "torch.relu", {"eval": EVIL})],
    "unknown type": lambda: [node("call_function", "y", "torch.relu", X, {"dtype": "__class__"})],
    "malformed slice": lambda: [node("call_function", "y", "operator.getitem", X, {"slice": [1]})],
    "two kinds of argument": lambda: [node("call_function", "y", "torch.relu", {"node": "x", "tuple": []})],
    "float with code": lambda: [node("call_function", "y", "torch.relu", {"float": EVIL})],
    "deep argument": lambda: [node("call_function", "y", "torch.relu", nested(40))],
    "two outputs": lambda: [node("output", "y", "output", X)],
}  # fmt: skip


def nested(depth: int) -> Any:
    value: Any = X
    for _ in range(depth):
        value = {"tuple": [value]}
    return value


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_data_is_refused_and_runs_nothing(case: str) -> None:
    nodes = [INPUT, *HOSTILE[case](), node("output", "output", "output", X)]
    with pytest.raises((ValueError, TypeError)):
        graph_from_data(nodes, root())(torch.zeros(2))
    assert RAN == []


def test_the_frame_of_the_hostile_cases_is_itself_accepted() -> None:
    nodes = [INPUT, node("call_module", "a", "a", X), node("get_attr", "c", "c"),
             node("call_function", "add", "torch.add", {"node": "a"}, {"node": "c"}, alpha=2),
             node("output", "output", "output", {"node": "add"})]  # fmt: skip
    graph = graph_from_data(nodes, root())
    assert isinstance(graph, GraphModule)
    assert torch.equal(graph(torch.tensor([-1.0, 2.0])), torch.tensor([0.0, 2.0]))


@pytest.mark.parametrize("nodes", [[], [INPUT], [node("output", "output", "output", 1), INPUT]])
def test_a_graph_ends_in_its_output(nodes: list[dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match="output"):
        graph_from_data(nodes, root())


def test_text_arguments_are_data() -> None:
    texts = ["'", '"', "\\", f"' + {EVIL} + '", f"\n{EVIL}\n", "{x}"]
    nodes = [INPUT, node("call_function", "y", "torch._assert", True, texts[3]),
             *(node("call_function", f"y_{i}", "torch._assert", True, text) for i, text in enumerate(texts)),
             node("output", "output", "output", X)]  # fmt: skip
    graph_from_data(nodes, root())(torch.zeros(2))
    assert RAN == []
