"""Rows against rows on the same test images: `python -m bench.pairs RUN [RUN ...] --pair ROW ROW --out FILE.md`.

For each seed and runtime the difference in accuracy with an interval for paired samples, and the mean over seeds with
Student's t. Records from before hold what was predicted, not the labels: of the images that two of their rows predict
differently, all count as right in just one of them, which makes the intervals wider than they need be, never narrower.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from bench.composition import read_run
from bench.intervals import over_seeds, paired_difference
from bench.measure.accuracy import decode
from bench.records import Accuracy, RunRecord
from bench.study_page import made_by

_READING = (
    "Each interval is that of paired samples, from the images that only one of the two rows gets right. Where records "
    "hold no labels it takes all images that the two predict differently as such: it is then at least as wide as it "
    "need be. Means are over seeds, their intervals Student's t."
)
_HEAD = "| runtime | seed | first, % | second, % | difference, points (95 % interval) | verdict |"


@dataclass(frozen=True)
class Difference:
    """Accuracy of one row minus that of another, as shares, with its 95 % interval."""

    first: float
    second: float
    low: float
    high: float

    @classmethod
    def of(cls, first: Accuracy, second: Accuracy, labels: str = "") -> Difference:
        """labels: of the images that both saw, as records hold them; empty where they are not known.

        Raises:
            ValueError: the two did not see the same number of images.
        """
        if first.seen != second.seen:
            raise ValueError(f"{first.seen} and {second.seen} images cannot be compared")
        one, other = decode(first.predictions), decode(second.predictions)
        right = (one == decode(labels)) | (other == decode(labels)) if labels else True
        apart = int(((one != other) & right).sum())  # those that both get wrong differently are no matter
        more = first.correct - second.correct
        apart += (apart - more) % 2  # so that the discordant images split into whole numbers
        low, high = paired_difference((apart + more) // 2, (apart - more) // 2, max(first.seen, apart))
        return cls(first.correct / first.seen, second.correct / second.seen, low, high)

    @property
    def points(self) -> float:
        return 100 * (self.first - self.second)


def verdict(low: float, high: float) -> str:
    """By which side of zero the whole interval lies on."""
    return "first is better" if low > 0 else "second is better" if high < 0 else "no difference is shown"


def compared(records: Sequence[RunRecord], first: str, second: str) -> dict[str, dict[int, Difference]]:
    """Differences by runtime and seed, wherever both rows ran."""
    rows = {(one.label, one.seed): one for one in records if one.status == "ok"}
    found: dict[str, dict[int, Difference]] = {}
    for (label, seed), one in rows.items():
        other = rows.get((second, seed))
        if label != first or other is None:
            continue
        scores = {result.runtime: result.accuracy for result in other.runtimes if result.accuracy}
        for result in one.runtimes:
            beside = scores.get(result.runtime)
            if result.accuracy and beside:
                labels = one.test_labels if one.test_labels == other.test_labels else ""
                found.setdefault(result.runtime, {})[seed] = Difference.of(result.accuracy, beside, labels)
    return found


def table(found: dict[str, dict[int, Difference]]) -> list[str]:
    """A Markdown table of one pair: its seeds, and their mean where there are several."""
    lines = [_HEAD, "|---|---|---|---|---|---|"]
    for runtime, seeds in found.items():
        for seed, one in seeds.items():
            interval = f"{one.points:+.2f} ({100 * one.low:+.2f} to {100 * one.high:+.2f})"
            scores = f"{100 * one.first:.2f} | {100 * one.second:.2f}"
            lines.append(f"| {runtime} | {seed} | {scores} | {interval} | {verdict(one.low, one.high)} |")
        if len(seeds) > 1:
            spread = over_seeds([one.points for one in seeds.values()])
            means = [fmean(one.first for one in seeds.values()), fmean(one.second for one in seeds.values())]
            interval = f"{spread.mean:+.2f} ({spread.low:+.2f} to {spread.high:+.2f})"
            scores = f"{100 * means[0]:.2f} | {100 * means[1]:.2f}"
            lines.append(f"| {runtime} | **mean** | {scores} | {interval} | {verdict(spread.low, spread.high)} |")
    return lines


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.pairs", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of finished runs")
    parser.add_argument("--pair", nargs=2, action="append", required=True, metavar=("FIRST", "SECOND"),
                        help="two rows, by the labels of the run's table; may be given several times")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    arguments = parser.parse_args()
    lines = ["# Rows against rows, on the same test images", "", f"Generated by {made_by('bench.pairs')}.", ""]
    lines += [_READING, ""]
    for folder in arguments.runs:
        try:
            records, command = read_run(folder)
        except ValueError as error:
            parser.error(str(error))
        commit = records[0].environment.get("commit", "unknown")
        lines += [f"## {records[0].net} on {records[0].dataset}", "", f"`{command}`", "", f"At commit {commit}.", ""]
        for first, second in arguments.pair:
            if found := compared(records, first, second):
                lines += [f"### `{first}` against `{second}`", "", *table(found), ""]
    arguments.out.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
