"""The processes that train one network together: what they share, and who decides.

All of them run the same code in lockstep, each on its part of every batch. Whatever depends on more than the data and
the seed (a file that is there or not) is found out by the first process and told to the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch.distributed as dist
from torch import Tensor, nn

from baselines.data.base import Part

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class World:
    """This process among those that train together.

    tensors: the group that exchanges tensors of the training's device. talk: that of all else, which waits for long.
    """

    rank: int = 0
    size: int = 1
    tensors: dist.ProcessGroup | None = None
    talk: dist.ProcessGroup | None = None

    @property
    def first(self) -> bool:
        """Whether this process decides and writes for all."""
        return self.rank == 0

    @property
    def part(self) -> Part:
        """Its share of a batch."""
        return Part(self.rank, self.size)

    def agreed(self, make: Callable[[], Answer]) -> Answer:
        """What `make`, called by the first process alone, returns: plain data or None."""
        if self.size == 1:
            return make()
        held: list[Any] = [make() if self.first else None]
        dist.broadcast_object_list(held, src=0, group=self.talk)
        return cast(Answer, held[0])

    def wait(self) -> None:
        """Returns when all processes have come here."""
        if self.size > 1:
            dist.barrier(group=self.talk)

    def total(self, *counts: Tensor) -> None:
        """Replaces each tensor, of the training's device, by its sum over the processes."""
        for count in counts if self.size > 1 else ():
            dist.all_reduce(count, group=self.tensors)

    def copy_first(self, *modules: nn.Module) -> None:
        """Gives all parameters and buffers the values that they have in the first process."""
        for module in modules if self.size > 1 else ():
            for tensor in (*module.parameters(), *module.buffers()):
                sent = tensor.detach().contiguous()
                dist.broadcast(sent, src=0, group=self.tensors)
                if sent.data_ptr() != tensor.data_ptr():
                    tensor.detach().copy_(sent)

    def averaging(self, step: nn.Module) -> nn.Module:
        """`step`, called instead of it: after a backward pass from what it returns, gradients are the means over the
        processes. Its parameters and buffers become those of the first.

        Unused parameters are looked for in each pass (a method may freeze some on the way); as a side effect the
        buckets that gradients are summed in stay as they are, and so does the order of sums after a resumption.
        """
        if self.size == 1:
            return step
        return nn.parallel.DistributedDataParallel(step, process_group=self.tensors, find_unused_parameters=True)


ALONE = World()
