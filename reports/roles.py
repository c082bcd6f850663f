"""Which rows of a run were asked for, and which stand beside them to be compared with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.records import Role, RunRecord
from reports.chains import methods, parse

ASKED: Role = "asked"
CONTROLS: tuple[Role, ...] = ("longer", "small", "random", "half", "xz", "untaught")  # in the order of a report
WHAT: dict[Role, str] = {
    "longer": "dense, trained for as many extra epochs",
    "small": "a small dense network of the same bytes",
    "random": "pruned at random at the same layer-wise rates",
    "half": "dense in 16 bits",
    "xz": "the dense file by a general compressor",
    "untaught": "the student without its teacher",
    "part": "a part of a chain alone",
    "order": "a chain in another order",
}
_BY_NAME: tuple[Role, ...] = ("longer", "small", "half", "xz")  # methods that are controls by what they are


def asked(records: Iterable[RunRecord]) -> list[RunRecord]:
    """The rows that were asked for, and the dense network."""
    return [one for one in records if one.role == ASKED]


def beside(records: Iterable[RunRecord]) -> list[RunRecord]:
    """The rows that were not asked for: controls, parts of chains and other orders."""
    return [one for one in records if one.role != ASKED]


def serves_as(one: RunRecord, role: Role) -> bool:
    """Whether a row is a control of that kind: added as one, or asked for although it is one."""
    return one.role == role or (one.role == ASKED and role in _BY_NAME and methods(parse(one.chain)) == (role,))


def has_controls(records: Iterable[RunRecord]) -> bool:
    """Whether some row is a control that was added to the run."""
    return any(one.role in CONTROLS for one in records)


def role_text(one: RunRecord, labels: dict[str, str]) -> str:
    """What a row is there for, in words; empty of one that was asked for. `labels` has those of canonical texts."""
    if one.role == ASKED:
        return ""
    of = ", ".join(dict.fromkeys(labels.get(chain, chain) for chain in one.control_of))
    return WHAT[one.role] + (f": of {of}" if of else "")


def labels_of(records: Sequence[RunRecord]) -> dict[str, str]:
    """The label of each chain's canonical text."""
    return {one.chain: one.label for one in records}
