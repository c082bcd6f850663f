"""Ensembles: several networks as one file, of which the outputs are averaged.

Idea     networks that err differently are right together more often than each alone.
Source   Hansen and Salamon 1990, IEEE PAMI 12(10), 993-1001; means of probabilities as in Lakshminarayanan et al. 2017,
         arXiv 1612.01474, section 2.4.
Stored   every member as it is: bytes, multiply-accumulates and latency are the sum.
Cost     the members' training.
Fails    members that learned the same (one chain on one dense network) add bytes and no accuracy.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import fx, nn
from torch.fx import GraphModule

from methods.base import ChainTexts, CompressionMethod, Effect, Refused, Task
from methods.quoting import split

SEEDS_APART = 10_007  # between members: rows of the seeds that people name stay independent of one another
_SEEDS_OF_ONE = 3
_AGREES = 1e-3  # of the largest output: what another order of the same sums makes in float32


@dataclass(frozen=True)
class Ensemble(CompressionMethod):
    """Averages the outputs of several networks, stored in one file.

    of: the members, chains as `--methods` writes them, commas between; `dense` is the dense network.
    seeds: how many networks of each chain, the first from this row's dense network, the others from dense networks of
        seeds far from it, so that ensembles of several seeds have no network in common. Not set: 3 where `of` is one
        chain, else 1.
    mean: of logits, or of probabilities (the outputs are then the logarithm of their mean).
    """

    of: ChainTexts = ChainTexts("dense")
    seeds: int | None = None
    mean: Literal["logits", "probabilities"] = "logits"
    effect: ClassVar[Effect] = Effect.MAKES_NETWORK
    variants: ClassVar[
        tuple[str, ...]
    ] = ()  # of dense networks it is larger, and which other members it wants is for a person to say
    trains: ClassVar[bool] = False  # by itself: its members do

    def __post_init__(self) -> None:
        if self.seeds is not None and self.seeds < 1:
            raise ValueError(f"seeds must be at least 1, got {self.seeds}: pass how many networks of each chain")
        if len(self.asks_for()) < 2:
            raise ValueError(f"an ensemble has two members at least, got {self.of!r}: name more, or set seeds")

    def asks_for(self) -> tuple[tuple[str, int], ...]:
        chains = split(self.of, ",")
        seeds = self.seeds or (_SEEDS_OF_ONE if len(chains) == 1 else 1)
        return tuple((chain, index * SEEDS_APART) for chain in chains for index in range(seeds))

    def compress(self, model: GraphModule, task: Task) -> GraphModule:
        members = [copy.deepcopy(task.compressed(chain, offset)).eval() for chain, offset in self.asks_for()]
        together = joined(members, self.mean)
        for images in task.calibration(2):
            _check(together, members, images, self.mean)
        return together


def joined(members: Sequence[GraphModule], mean: Literal["logits", "probabilities"]) -> GraphModule:
    """One network over the layers of all members, below `member0`, `member1`, ..., whose output is their mean.

    members: each takes images [n, c, h, w] and gives logits [n, classes]; their layers are not copied.
    """
    root, graph = nn.Module(), fx.Graph()
    images = graph.placeholder("x")
    outputs = []
    for index, member in enumerate(members):
        path = f"member{index}"
        root.add_module(path, _layers(member))
        outputs.append(_inlined(member, path, graph, images))
    graph.output(_averaged(graph, outputs, mean))
    graph.lint()
    return GraphModule(root, graph, class_name="Ensemble").eval()


def _layers(member: GraphModule) -> nn.Module:
    """The layers and tensors of `member`, without its graph."""
    holder = nn.Module()
    for name, layer in member.named_children():
        holder.add_module(name, layer)
    for name, parameter in member.named_parameters(recurse=False):
        holder.register_parameter(name, parameter)
    for name, buffer in member.named_buffers(recurse=False):
        holder.register_buffer(name, buffer)
    return holder


def _inlined(member: GraphModule, path: str, graph: fx.Graph, images: fx.Node) -> fx.Node:
    """Copies the nodes of `member` into `graph`, its layers below `path`; returns the node of its logits."""
    copies: dict[fx.Node, fx.Node] = {}
    for node in member.graph.nodes:
        if node.op == "placeholder":
            if any(one.op == "placeholder" for one in copies):
                raise Refused("a member takes more than images: it cannot be in an ensemble")
            copies[node] = images
        elif node.op == "output":
            break
        else:
            copies[node] = graph.node_copy(node, copies.__getitem__)
            if node.op in ("call_module", "get_attr"):
                copies[node].target = f"{path}.{node.target}"
    return copies[member.graph.output_node().args[0]]  # type: ignore[index]


def _averaged(graph: fx.Graph, outputs: Sequence[fx.Node], mean: str) -> fx.Node:
    if mean == "logits":
        return graph.call_function(torch.mean, (graph.call_function(torch.stack, (list(outputs), 0)), 0))
    logs = [graph.call_function(torch.log_softmax, (one, 1)) for one in outputs]
    stacked = graph.call_function(torch.stack, (logs, 0))  # [members, n, classes]
    largest = graph.call_function(torch.amax, (stacked, 0))  # taken out so that no sum of exponentials is zero
    shifted = graph.call_function(torch.exp, (graph.call_function(torch.sub, (stacked, largest)),))
    log_mean = graph.call_function(torch.log, (graph.call_function(torch.mean, (shifted, 0)),))
    return graph.call_function(torch.add, (log_mean, largest))


@torch.no_grad()
def _check(together: GraphModule, members: Sequence[GraphModule], images: torch.Tensor, mean: str) -> None:
    """Raises: Refused, where the members do not compute as they do alone: one may write into the images."""
    found = together(images.clone())
    outputs = torch.stack([member(images.clone()) for member in members])  # [members, n, classes]
    log_mean = outputs.log_softmax(2).logsumexp(0) - math.log(len(members))
    expected = outputs.mean(0) if mean == "logits" else log_mean
    if not (found - expected).abs().max() <= _AGREES * expected.abs().max():
        raise Refused("its members do not give together what they give alone, as where one changes the images that "
                      "all of them read: leave that one out")  # fmt: skip
