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
_LEFT_OUT: dict[Role, tuple[tuple[str, str], set[str]]] = {  # the control's setting, and what else may differ
    "random": (("score", "random"), {"score", "rates"}),
    "untaught": (("loss", "none"), {"loss", "teacher", "alpha", "temperature"}),
}
_BY_NAME: tuple[Role, ...] = ("longer", "small", "half", "xz")  # methods that are controls by what they are


def asked(records: Iterable[RunRecord]) -> list[RunRecord]:
    """The rows that were asked for, and the dense network."""
    return [one for one in records if one.role == ASKED]


def beside(records: Iterable[RunRecord]) -> list[RunRecord]:
    """The rows that were not asked for: controls, parts of chains and other orders."""
    return [one for one in records if one.role != ASKED]


def serves_as(one: RunRecord, role: Role) -> bool:
    """Whether a row can be a control of that kind: added as one, or asked for although it is one."""
    if one.role == ASKED and role in _LEFT_OUT:
        key, value = _LEFT_OUT[role][0]
        return any((key, value) in settings for _, settings in parse(one.chain))
    return one.role == role or (one.role == ASKED and role in _BY_NAME and methods(parse(one.chain)) == (role,))


def is_of(one: RunRecord, role: Role, chain: str) -> bool:
    """Whether a row is that kind of control of a chain: added as such, or asked for and like it but for what the
    control leaves out."""
    if one.role == role:
        return chain in one.control_of
    return one.role == ASKED and role in _LEFT_OUT and _leaves_out(one.chain, role, chain)


def _leaves_out(control: str, role: Role, chain: str) -> bool:
    setting, may_differ = _LEFT_OUT[role]
    ours, theirs = parse(control), parse(chain)
    if methods(ours) != methods(theirs) or control == chain:
        return False
    for (_, own), (_, other) in zip(ours, theirs, strict=True):
        mine, its = dict(own), dict(other)
        if mine == its:
            continue
        differ = {key for key in mine.keys() | its.keys() if mine.get(key) != its.get(key)}
        if differ - may_differ or (setting[0], mine.get(setting[0])) != setting or setting[0] not in differ:
            return False
        if role == "random" and mine.get("rates") not in (its.get("score"), its.get("rates")):
            return False
    return True


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
