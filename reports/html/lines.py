"""The lines of the page's table: those of table.csv, and of several seeds those of table_seeds.csv, with intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from bench.records import RunRecord
from reports.cells import known
from reports.columns import COLUMNS, SUMMARISED, TEXT
from reports.marks import line_marks, marked
from reports.pairing import Row
from reports.reasons_page import with_reasons
from reports.roles import asked
from reports.rows import find, frame, same_runtime, several_seeds, summary
from reports.statistics import quartiles

BATCHES = (1, 32)
SHARE = "latency_share_b{}"  # of the dense network's, taken by turns in the same process
NUMBERS = tuple(name for name, kind in COLUMNS.items() if kind != TEXT and name != "seed")
DERIVED = (*(SHARE.format(batch) for batch in BATCHES), "promised_speedup")
TEXTS = ("mark", "timing", "worst_class", "kernels", "why_b1", "why_b32")
Bar = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """One line: a row in one runtime, of one seed or as a mean over the seeds (`seed` is None)."""

    row: int  # place in the list of rows
    case_id: str  # empty of a mean
    seed: int | None
    runtime: str  # empty where nothing ran
    status: str
    reason: str
    seeds: str  # of a mean: "2 of 3" went well
    numbers: dict[str, float | int | None]  # by column of table.csv or DERIVED
    texts: dict[str, str]  # of TEXTS
    bars: dict[str, Bar]  # 95 % interval, of two seeds mean and std, of one latency its quartiles


def lines_of(rows: Sequence[Row], records: Sequence[RunRecord]) -> list[Line]:
    """The lines in the order of the rows: of several seeds first the means, then each seed's."""
    table = with_reasons(frame(records, line_marks(marked(asked(records)))), records)
    places = {(row.net, row.dataset, row.chain): index for index, row in enumerate(rows)}
    cases = {one.case_id: one for one in records}
    single = [_line(found, places, cases) for found in table.to_dict("records")]
    single.sort(key=lambda line: line.row)  # stays as it is within a row
    if not several_seeds(table):
        return single
    means = [_mean(found, places, single) for found in summary(table).to_dict("records")]
    return [*sorted(means, key=lambda line: line.row), *single]


def _line(found: dict[str, Any], places: dict[Any, int], cases: dict[str, RunRecord]) -> Line:
    numbers: dict[str, float | int | None] = {name: _number(found[name]) for name in (*NUMBERS, "promised_speedup")}
    for batch in BATCHES:
        speedup = numbers[f"speedup_b{batch}"]
        numbers[SHARE.format(batch)] = 1 / speedup if speedup else None
    bars = {"accuracy": (found["accuracy_low"], found["accuracy_high"])} if known(found["accuracy"]) is not None else {}
    result = same_runtime(cases[found["case_id"]], found["runtime"])
    for batch in BATCHES:
        if result and (taken := find(result.measurements, "latency", batch)):
            spread = quartiles(taken.samples)
            bars[f"latency_ms_b{batch}"] = (1000 * spread.low, 1000 * spread.high)
    return Line(
        places[found["net"], found["dataset"], found["chain"]], found["case_id"], int(found["seed"]), found["runtime"],
        found["status"], found["reason"], "", numbers, {name: found[name] for name in TEXTS}, _finite(bars),
    )  # fmt: skip


def _mean(found: dict[str, Any], places: dict[Any, int], single: Sequence[Line]) -> Line:
    """A line over seeds. What the summary leaves out is the mean over the seeds that know it."""
    row = places[found["net"], found["dataset"], found["chain"]]
    of = [one for one in single if one.row == row and one.runtime in (found["runtime"], "")]
    good = [one for one in of if one.status == "ok"]
    numbers = {name: _mean_of(one.numbers.get(name) for one in good) for name in (*NUMBERS, *DERIVED)}
    bars: dict[str, Bar] = {}
    for name in SUMMARISED:
        mean, std, low, high = (known(found[f"{name}_{part}"]) for part in ("mean", "std", "low", "high"))
        numbers[name] = mean
        if mean is None or std is None or low is None or high is None:  # one seed: its own
            own = next((one.bars[name] for one in good if name in one.bars), None)
            if own:
                bars[name] = own
        else:
            bars[name] = (low, high) if found["ok"] > 2 else (mean - std, mean + std)
    if "accuracy" in bars:
        bars["accuracy"] = (max(0.0, bars["accuracy"][0]), min(1.0, bars["accuracy"][1]))
        numbers["accuracy_low"], numbers["accuracy_high"] = bars["accuracy"]
    status = "ok" if good else next((one.status for one in of if one.status != "ok"), "ok")
    texts = {name: "; ".join(dict.fromkeys(one.texts[name] for one in good if one.texts[name])) for name in TEXTS}
    texts["mark"] = found["mark"]
    count = f"{found['ok']} of {found['seeds']}"
    return Line(row, "", None, found["runtime"], status, found["reason"], count, numbers, texts, _finite(bars))


def _number(value: Any) -> float | int | None:
    number = known(value)
    return None if number is None else int(value) if isinstance(value, int) else number


def _mean_of(values: Iterable[float | int | None]) -> float | int | None:
    there = [one for one in values if one is not None]
    if not there:
        return None
    return there[0] if len(set(there)) == 1 else fmean(there)


def _finite(bars: dict[str, Bar]) -> dict[str, Bar]:
    found = {name: (known(low), known(high)) for name, (low, high) in bars.items()}
    return {name: (low, high) for name, (low, high) in found.items() if low is not None and high is not None}


def measured(lines: Iterable[Line], name: str) -> list[float]:
    """The values of one column that are known."""
    return [number for one in lines if (number := one.numbers.get(name)) is not None and math.isfinite(number)]
