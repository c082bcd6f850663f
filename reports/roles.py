"""Which rows of a run were asked for, and which stand beside them to be compared with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.records import Role, RunRecord
from reports.chains import methods, parse

Settings = dict[str, str]

ASKED: Role = "asked"
CONTROLS: tuple[Role, ...] = ("longer", "small", "random", "half", "xz", "untaught")  # in the order of a report
WHAT: dict[Role, str] = {
    "longer": "dense, trained for as many extra epochs",
    "small": "a small dense network of the same bytes",
    "random": "pruned at random at the same layer-wise rates",
    "half": "dense in 16 bits",
    "xz": "the dense file by a general compressor",
    "untaught": "the same without its teacher",
    "part": "a part of a chain alone",
    "order": "a chain in another order",
}
_OF_A_TEACHER = {"teacher", "loss", "alpha", "temperature", "beta"}  # settings of a lesson, and of a method with one
_BY_NAME: tuple[Role, ...] = ("longer", "small", "half", "xz")  # methods that are controls by what they are


def asked(records: Iterable[RunRecord]) -> list[RunRecord]:
    """The rows that were asked for, and the dense network."""
    return [one for one in records if one.role == ASKED]


def beside(records: Iterable[RunRecord]) -> list[RunRecord]:
    """The rows that were not asked for: controls, parts of chains and other orders."""
    return [one for one in records if one.role != ASKED]


def serves_as(one: RunRecord, role: Role) -> bool:
    """Whether a row can be a control of that kind: added as one, or asked for although it is one."""
    if one.role != ASKED:
        return one.role == role
    stages = parse(one.chain)
    if role == "random":
        return any(("score", "random") in settings for _, settings in stages)
    if role == "untaught":
        return not any(is_taught(dict(settings)) for _, settings in stages)
    return role in _BY_NAME and methods(stages) == (role,)


def is_of(one: RunRecord, role: Role, chain: str) -> bool:
    """Whether a row is that kind of control of a chain: added as such, or asked for and like it but for what the
    control leaves out."""
    if one.role == role:
        return chain in one.control_of
    ours, theirs = parse(one.chain), parse(chain)
    if one.role != ASKED or role not in _LIKE or methods(ours) != methods(theirs) or one.chain == chain:
        return False
    pairs = [(dict(own), dict(other)) for (_, own), (_, other) in zip(ours, theirs, strict=True)]
    return all(own == other or _LIKE[role](own, other) for own, other in pairs)


def is_taught(settings: Settings) -> bool:
    """Whether a stage has a teacher."""
    return settings.get("loss", "none") != "none"


def _random_at_its_rates(own: Settings, other: Settings) -> bool:
    """Whether a stage prunes at random what `other` prunes by a score, as much of each layer."""
    rates, by_pattern = other.get("rates", "global"), "of" in other.get("pattern", "")  # N of M everywhere
    if rates == "global" and other.get("preset", "none") == "none" and not by_pattern:
        rates = other.get("score", "magnitude")
    return own == other | {"score": "random", "rates": rates} and own.get("score") != other.get("score")


def _without_its_teacher(own: Settings, other: Settings) -> bool:
    """Whether a stage is `other` without the lesson."""
    rest = [{key: text for key, text in one.items() if key not in _OF_A_TEACHER} for one in (own, other)]
    return rest[0] == rest[1] and is_taught(other) and not is_taught(own)


_LIKE = {"random": _random_at_its_rates, "untaught": _without_its_teacher}


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
