"""The ShrinkBench checklist, as far as a run's records can answer it.

Source: Blalock et al. 2020, What is the State of Neural Network Pruning?, arXiv 2003.03033, section 6 (best practices)
and appendix B (checklist). Their thresholds are ours to state where they give none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from bench.records import RunRecord
from reports.cells import counted, percent, ratio, shortened
from reports.checklist_baselines import (
    CRITERIA,
    by_chance,
    global_random,
    magnitude,
    magnitude_same_rates,
    random_same_rates,
)
from reports.findings import MUCH
from reports.pairing import Row, rows_of, scored_alike
from reports.roles import asked
from reports.rows import DENSE, first_scored
from reports.sweeps import Curve, sweeps

RATIOS, APART, SPAN = 5, 1.1, 4.0  # compression ratios; how far apart they are; the largest over the smallest
CURVES, SETTINGS = 2, 3  # methods that are drawn as curves; settings that make one
SEEDS, PAIRS, FEW_CLASSES = 3, 3, 10
_DESCRIBED = ("epochs", "batch_size", "lr")  # of a training recipe
_NAMED = 4  # rows that evidence names


@dataclass(frozen=True)
class Item:
    """One demand of the checklist and what the records say to it."""

    demand: str
    passed: bool | None  # None where it does not apply
    evidence: str


Answer = tuple[bool | None, str]


def checklist(records: Sequence[RunRecord]) -> list[Item]:
    """Every demand, judged from the records alone."""
    return [Item(demand, *judge(records)) for demand, judge in DEMANDS.items()]


def score(items: Iterable[Item]) -> tuple[int, int]:
    """How many demands are met, of how many that apply."""
    known = [one.passed for one in items if one.passed is not None]
    return sum(known), len(known)


def _places(records: Iterable[RunRecord]) -> dict[tuple[str, str], list[Row]]:
    """The measured rows that were asked for, without dense, of each network and data set."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows_of(asked(records)):
        its = found.setdefault((row.net, row.dataset), [])
        if row.good and row.chain != DENSE:
            its.append(row)
    return found


def _ratio(row: Row, records: Sequence[RunRecord]) -> float:
    """Compression over the dense file of the same seed, of the first seed that has one; NaN without."""
    dense = {(one.net, one.dataset, one.seed): one for one in records if one.chain == DENSE and one.file_bytes > 0}
    known = [d.file_bytes / one.file_bytes for one in row.good.values() if (d := dense.get(_place(one)))]
    return known[0] if known else math.nan


def _place(one: RunRecord) -> tuple[str, str, int]:
    return one.net, one.dataset, one.seed


def _range_of_ratios(records: Sequence[RunRecord]) -> Answer:
    texts, good = [], []
    for (net, data), rows in _places(records).items():
        found: list[float] = []
        for value in sorted(one for row in rows if (one := _ratio(row, records)) > 1):
            if not found or value > APART * found[-1]:
                found.append(value)
        good.append(len(found) >= RATIOS and found[-1] >= SPAN * found[0])
        texts.append(f"{net} on {data}: {counted(len(found), 'ratio')}: {', '.join(map(ratio, found)) or 'none'}")
    return bool(good) and all(good), "; ".join(texts) or "nothing was measured"


def _far_enough(records: Sequence[RunRecord]) -> Answer:
    rows = [row for row in _measured(records) if not by_chance(row)]
    lost = [(loss, row) for row in rows if math.isfinite(loss := _lost(row, records))]
    if not lost:
        return False, "no row was scored beside its dense network, those pruned at random left out"
    worst, row = max(lost, key=lambda one: one[0])
    return worst > MUCH, f"the largest loss is {100 * worst:.2f} points ({shortened(row.label, 60)})"


def _lost(row: Row, records: Sequence[RunRecord]) -> float:
    dense = {_place(one): one for one in records if one.chain == DENSE}
    losses = []
    for one in row.good.values():
        if (own := dense.get(_place(one))) and (scores := scored_alike([own, one])):
            losses.append(scores[0].correct / scores[0].seen - scores[1].correct / scores[1].seen)
    return max(losses, default=math.nan)


def _curves(records: Sequence[RunRecord]) -> Answer:
    found: dict[tuple[str, str], list[str]] = {place: [] for place in _places(records)}
    for panel in sweeps(asked(records)):
        found[panel.net, panel.dataset] += [f"{one.name} ({len(one.measured)})" for one in panel.curves if _long(one)]
    texts = [f"{net} on {data}: {', '.join(curves) or 'none'}" for (net, data), curves in found.items()]
    good = bool(found) and all(len(curves) >= CURVES for curves in found.values())
    return good, "; ".join(texts) or "nothing was measured"


def _long(curve: Curve) -> bool:
    return len(curve.measured) >= SETTINGS


def _raw_accuracies(records: Sequence[RunRecord]) -> Answer:
    good = [one for one in records if one.status == "ok"]
    without = [one for one in good if not first_scored(one)]
    no_dense = sorted({place for one in good if (place := _place(one)) not in _dense_places(good)})
    evidence = _of(len(good) - len(without), len(good), "row and seed is", "rows and seeds are") + " scored"
    if no_dense:
        evidence += "; no dense network of " + ", ".join(f"{net} on {data}, seed {s}" for net, data, s in no_dense)
    return bool(good) and not without and not no_dense, evidence


def _dense_places(records: Iterable[RunRecord]) -> set[tuple[str, str, int]]:
    return {_place(one) for one in records if one.chain == DENSE and first_scored(one)}


def _size_and_speed(records: Sequence[RunRecord]) -> Answer:
    good = [one for one in records if one.status == "ok"]
    both = [one for one in good if one.file_bytes > 0 and one.macs > 0]
    return (
        bool(good) and len(both) == len(good) and any(one.chain == DENSE for one in good),
        _of(len(both), len(good), "row and seed has", "rows and seeds have")
        + " both its file's bytes and its multiply-accumulates beside dense",
    )


def _top5(records: Sequence[RunRecord]) -> Answer:
    many = [one for one in records if len(one.class_names) > FEW_CLASSES and first_scored(one)]
    if not many:
        most = max((len(one.class_names) for one in records), default=0)
        return None, f"{most} classes" if most else "the records do not say how many classes there are"
    known = [one for one in many if (r := first_scored(one)) and r.accuracy and r.accuracy.top5_correct]
    classes = max(len(one.class_names) for one in many)
    return len(known) == len(many), f"{classes} classes, top-5 of {len(known)} of {len(many)} rows and seeds"


def _same_start(records: Sequence[RunRecord]) -> Answer:
    """A row's record repeats the epochs of the dense network that it began with; those are told by their losses."""
    dense = {_place(one): one for one in records if one.chain == DENSE and one.status == "ok"}
    rows = [one for one in records if one.chain != DENSE and one.status == "ok"]
    orphans = [one for one in rows if _place(one) not in dense]
    others = [
        one
        for one in rows
        if (own := dense.get(_place(one))) and _began(one) and _began(one) != tuple(own.training)
    ]  # fmt: skip
    wrong = list(dict.fromkeys(one.label for one in (*orphans, *others)))
    evidence = _of(len(rows) - len(orphans) - len(others), len(rows), "row and seed", "rows and seeds")
    evidence += f" on {counted(len(dense), 'dense network')}"
    if wrong:
        evidence += f"; of another start, or of none that is known: {_some(wrong)}"
    return bool(rows) and not wrong, evidence


def _began(one: RunRecord) -> tuple[object, ...]:
    return tuple(log for log in one.training if log.stage == DENSE)


def _several_seeds(records: Sequence[RunRecord]) -> Answer:
    counts = [(len(row.good), row.label) for row in rows_of(asked(records)) if row.good]
    few = [label for count, label in counts if count < SEEDS]
    seeds = sorted({one.seed for one in records})
    evidence = f"seeds {', '.join(map(str, seeds))}" + (f"; fewer than {SEEDS} of {_some(few)}" if few else "")
    return bool(counts) and not few, evidence


def _deviation(records: Sequence[RunRecord]) -> Answer:
    rows = [row for row in rows_of(asked(records)) if row.good]
    known = [row for row in rows if sum(first_scored(one) is not None for one in row.good.values()) > 1]
    evidence = _of(len(known), len(rows), "row has", "rows have")
    return bool(rows) and len(known) == len(rows), evidence + " a mean and a sample standard deviation over seeds"


def _pairs(records: Sequence[RunRecord]) -> Answer:
    pairs = [f"{net} on {data}" for net, data in _places(records)]
    return len(pairs) >= PAIRS, f"this run: {', '.join(pairs) or 'none'}"


def _recipe(records: Sequence[RunRecord]) -> Answer:
    good = [one for one in records if one.status == "ok"]
    told = [one for one in good if all(key in one.recipe for key in _DESCRIBED)]
    evidence = _of(len(told), len(good), "row and seed names", "rows and seeds name")
    return bool(good) and len(told) == len(good), f"{evidence} {', '.join(_DESCRIBED)}, and its chain in full"


def _machine(records: Sequence[RunRecord]) -> Answer:
    good = [one for one in records if one.status == "ok"]
    libraries = [one for one in good if any("torch" in str(facts) for facts in one.environment.items())]
    machines = [one for one in good if any(one.environment.get(key) for key in ("machine", "cpu", "gpus"))]
    known = bool(good) and len(libraries) == len(machines) == len(good)
    return known, f"libraries of {len(libraries)} and the machine of {len(machines)} of {len(good)} rows and seeds"


def _same_code(records: Sequence[RunRecord]) -> Answer:
    good = [one for one in records if one.status == "ok" and one.environment]
    texts, same = [], bool(good)
    for key in ("commit", "packages", "device", "threads"):
        values = list(dict.fromkeys(str(one.environment.get(key)) for one in good))
        same &= len(values) == 1
        if len(values) > 1:
            shown = ", ".join(shortened(value, 16) for value in values) if key != "packages" else ""
            texts.append(f"{counted(len(values), key)} {shown}".replace("packagess", "lists of packages").strip())
    return same, "; ".join(texts) or f"one commit, libraries, device and number of threads in {len(good)} records"


def _files(records: Sequence[RunRecord]) -> Answer:
    good = [one for one in records if one.status == "ok"]
    kept = [one for one in good if one.artifact and one.sha256]
    evidence = _of(len(kept), len(good), "row and seed has", "rows and seeds have")
    return bool(good) and len(kept) == len(good), evidence + " a file with its checksum"


def _measured(records: Iterable[RunRecord]) -> list[Row]:
    return [row for rows in _places(records).values() for row in rows]


def _of(some: int, every: int, one: str, several: str) -> str:
    return f"{some} of {every} {one if every == 1 else several}"


def _some(labels: Sequence[str]) -> str:
    names = ", ".join(shortened(label, 40) for label in labels[:_NAMED])
    return names + (f" and {len(labels) - _NAMED} more" if len(labels) > _NAMED else "")


DEMANDS: dict[str, Callable[[Sequence[RunRecord]], Answer]] = {
    f"{RATIOS} compression ratios above 1 or more, the largest {SPAN:g} times the smallest": _range_of_ratios,
    f"up to ratios at which accuracy falls, by more than {percent(MUCH, 0)} points": _far_enough,
    f"{CURVES} trade-off curves or more, of {SETTINGS} settings each": _curves,
    "raw accuracies of dense and of every compressed network": _raw_accuracies,
    "both compression ratio and theoretical speed-up": _size_and_speed,
    f"top-1 and top-5 where there are more than {FEW_CLASSES} classes": _top5,
    "all methods from the same initial checkpoint": _same_start,
    f"{SEEDS} seeds or more, of the dense network too": _several_seeds,
    "mean and standard deviation, with error bars": _deviation,
    f"random pruning at the same layer-wise rates, for {CRITERIA} rows of each score or all": random_same_rates,
    "random pruning, global or uniform": global_random,
    "magnitude pruning, global or uniform": magnitude,
    "magnitude pruning at the same layer-wise rates as other scores": magnitude_same_rates,
    f"{PAIRS} pairs of a network and a data set or more": _pairs,
    "training described": _recipe,
    "libraries and hardware described": _machine,
    "identical code, libraries and device for all methods": _same_code,
    "each result can be had: its file, with a checksum": _files,
}
