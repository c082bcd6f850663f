"""What a case that is being made takes of a machine: the grammar of `--needs`. No torch here.

NEEDS = NEED ("," NEED)*      cpus=4,gpus=1,memory=8GB
NEED  = "cpus=" NUMBER | "gpus=" NUMBER | "memory=" NUMBER UNIT
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from baselines.errors import UsageError, nearest

_UNITS = {"mb": 10**6, "gb": 10**9, "mib": 2**20, "gib": 2**30}
_NEED = re.compile(r"\s*([a-z]+)\s*=\s*([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)\s*", re.IGNORECASE)
_NAMES = ("cpus", "gpus", "memory")
_MOST_CPUS = 4  # of one case on a CPU, unless it is said: more threads than that gain little on small networks
_MOST_CPUS_A_GPU = 8  # what decoding images takes


@dataclass(frozen=True)
class Needs:
    """CPUs, GPUs and bytes of memory of one case; None where it is not said."""

    cpus: int | None = None
    gpus: int | None = None
    memory: int | None = None

    def __str__(self) -> str:
        gb = (self.memory or 0) / 10**9
        memory = None if self.memory is None else f"{gb:.0f}GB" if gb >= 10 else f"{gb:.2g}GB"
        said = {"cpus": self.cpus, "gpus": self.gpus, "memory": memory}
        return ",".join(f"{name}={value}" for name, value in said.items() if value is not None)


@dataclass(frozen=True)
class Node:
    """One machine of a cluster, and what Ray may use of it."""

    id: str
    address: str
    cpus: int
    gpus: int
    memory: int  # bytes

    def slots(self, needs: Needs) -> int:
        """Cases with these needs that it holds at once."""
        shares = ((self.cpus, needs.cpus), (self.gpus, needs.gpus), (self.memory, needs.memory))
        return min(have // need for have, need in shares if need)


def parse_needs(text: str) -> Needs:
    """What `--needs` asks for.

    Raises:
        UsageError: an unknown or doubled need, or an amount that cannot be.
    """
    found: dict[str, int] = {}
    for part in text.split(","):
        match = _NEED.fullmatch(part)
        if not match:
            raise UsageError(f"--needs cannot read {part.strip()!r}: write it as in --needs cpus=4,gpus=1,memory=8GB")
        name, number, unit = match[1].lower(), match[2], match[3]
        if name not in _NAMES:
            raise UsageError(f"--needs has no {name!r}: {nearest(name, _NAMES)}")
        if name in found:
            raise UsageError(f"--needs has {name} twice: name it once")
        found[name] = _amount(name, number, unit)
    return Needs(**found)


def _amount(name: str, number: str, unit: str) -> int:
    if name == "memory":
        if unit.lower() not in _UNITS or not float(number):
            raise UsageError(f"--needs memory={number}{unit} cannot be: write it with a unit, as in memory=8GB")
        return int(float(number) * _UNITS[unit.lower()])
    if unit or "." in number or (name == "cpus" and int(number) < 1):
        least = "1 or more" if name == "cpus" else "0 or more"
        raise UsageError(f"--needs {name}={number}{unit} cannot be: give a whole number, {least}")
    return int(number)


def complete(asked: Needs, nodes: Iterable[Node], device: str, memory: int, processes: int = 1) -> Needs:
    """`asked` with what it leaves open: on a GPU one for each process that trains together, with the share of CPUs
    that goes with it; on a CPU a few of its cores.

    device: "cpu" or "cuda". memory: bytes, an estimate.

    Raises:
        UsageError: no node holds one case.
    """
    nodes = list(nodes)
    gpus = asked.gpus if asked.gpus is not None else processes * (device == "cuda")
    if device == "cuda" and not gpus:
        raise UsageError("--needs gpus=0 with --device cuda: leave gpus out, or pass --device cpu")
    if device == "cuda" and gpus < processes:
        raise UsageError(f"--needs gpus={gpus} with --processes {processes}, which take a GPU each: leave gpus out")
    if device == "cpu" and gpus:
        raise UsageError(f"--needs gpus={gpus} with --device cpu: leave gpus out, or pass --device cuda")
    suited = [node for node in nodes if node.gpus >= gpus and node.cpus]
    if gpus:
        share = min((node.cpus * gpus // node.gpus for node in suited), default=1)
        usual = min(share, _MOST_CPUS_A_GPU * gpus)
    else:
        usual = min((*(node.cpus for node in suited), _MOST_CPUS))
    needs = Needs(asked.cpus or max(1, usual), gpus, asked.memory or memory)
    if not any(node.slots(needs) for node in nodes):
        most = max(nodes, key=lambda node: (node.gpus, node.cpus, node.memory), default=None)
        have = str(Needs(most.cpus, most.gpus, most.memory)) if most else "none"
        raise UsageError(f"no machine of the cluster holds a case that needs {needs} (the largest has {have}): "
                         "ask for less with --needs")  # fmt: skip
    return needs
