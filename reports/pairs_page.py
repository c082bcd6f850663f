"""The section on which rows can be told apart, and what is behind their accuracy: dense's predictions, classes,
calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from bench.records import Accuracy, RunRecord, RuntimeResult
from reports.cells import MISSING, counted, markdown, percent, pipe_table, rounded
from reports.classes import (
    MUCH_RULE,
    Both,
    ClassFall,
    falls,
    falls_on_the_whole,
    known_pairs,
    much_more,
    name_of,
    worst,
)
from reports.crowd import left_out, listed, named
from reports.hits import agreement, hits_of
from reports.marks import LETTERED, LEVEL, Marked
from reports.paired_tests import ONE_SEED, SEVERAL_SEEDS
from reports.rows import DENSE, dense_first, first_scored, reference, same_runtime

ROWS = 5  # of the table of classes: those whose worst class loses most
CLASSES = 20  # of that table: with more, only those in which one of its rows loses most
_HEAD = (
    "method", "mark", "runtime", "seeds", "accuracy, %", "predictions that are dense's, %",
    "class that loses most (points)", "calibration error, %", "log loss, nats",
)  # fmt: skip
_TESTS = (
    f"Pairs are tested at {100 * LEVEL:g} % for all pairs together (Holm 1979), each row in the first runtime that "
    f"scored it: {ONE_SEED}; {SEVERAL_SEEDS}."
)
_RULE = f"Rows that share a letter under `mark` cannot be told apart, and rows that share none can. {_TESTS}"
_TOO_MANY = (
    f"With more than {LETTERED} rows, or where the alphabet has too few letters, `mark` says which rows cannot be told "
    "apart from the most accurate one (`best`) and from dense (`dense`), and only these pairs are tested."
)
_READING = (
    "Means over the seeds, in the first runtime that scored the row. Predictions are compared with those of the dense "
    "network of the same seed in the same runtime, whether right or wrong. Calibration error is the expected one, over "
    "15 equal bins of the highest probability, the softmax of the logits (Guo et al. 2017, arXiv 1706.04599); log loss "
    "is the mean negative log likelihood of the labels. In single seeds and runtimes: [table.csv](table.csv)."
)


Place = tuple[str, str, str]  # net, data set, chain


@dataclass(frozen=True)
class Scored:
    """One seed of a row in the first runtime that scored it, and the dense network of that seed in the same one."""

    record: RunRecord
    result: RuntimeResult
    accuracy: Accuracy
    dense: RunRecord | None
    beside: RuntimeResult | None


def pairs_section(records: Sequence[RunRecord], found: Sequence[Marked]) -> str:
    """The section as Markdown; empty where fewer than two rows were scored. found: the marks of all records."""
    if not any(one.pairs for one in found):
        return ""
    shown = named(records)
    marks = {(one.net, one.dataset, row.chain): text for one in found for row, text in one.with_marks}
    rows = _by_row(shown, records)
    parts = ["## Which rows can be told apart\n", *(f"{_counts(one)}\n" for one in found if one.pairs)]
    parts.append((_RULE if all(one.lettered for one in found) else f"{_TOO_MANY} {_TESTS}") + "\n")
    parts += ["### Behind the accuracy\n", _READING + "\n"]
    parts.append(pipe_table(_HEAD, [_line(seeds, marks[place]) for place, seeds in rows.items()], texts=3))
    if text := left_out(records, shown):
        parts.append(f"Dense and {text}.\n")
    return "\n".join([*parts, *_classes(_by_row(records, records), records)])


def seeds_bound(seeds: int) -> str:
    """What so many seeds cannot say; empty for three or more."""
    if seeds == 1:
        return (
            "**One seed** says which of these networks is the more accurate one on such images, not which method is: "
            "give several with `--seeds`."
        )
    if seeds == 2:
        return (
            "**Two seeds bound nothing**: a 95 % interval of their mean is more than twelve times as wide as the two "
            "are apart, and only rows that are far from each other in both can be told apart. Give three or more with "
            "`--seeds`."
        )
    return ""


def _counts(one: Marked) -> str:
    """How many pairs of rows can be told apart, and over how many seeds."""
    apart = sum(pair.apart for pair in one.pairs)
    counts = sorted({pair.seeds for pair in one.pairs})
    seeds = " to ".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))
    text = (
        f"{markdown(f'{one.net} on {one.dataset}')}: {counted(len(one.rows), 'row')}, {seeds} "
        f"{'seed' if counts[-1] == 1 else 'seeds'} in common. Of {counted(len(one.pairs), 'pair')} {apart:,} can be "
        f"told apart, {len(one.pairs) - apart:,} cannot."
    )
    if counts[0] == 1 < counts[-1]:
        text += " A pair with one seed in common is a pair of networks, which says little of the methods."
    return f"{text} {seeds_bound(counts[-1])}".strip()


def _by_row(shown: Sequence[RunRecord], records: Sequence[RunRecord]) -> dict[Place, list[Scored]]:
    """The seeds of each row that was scored, dense first, otherwise in the given order."""
    found: dict[Place, list[Scored]] = {}
    for one in dense_first(shown):
        result = first_scored(one)
        if one.status == "ok" and result and result.accuracy:
            dense = reference(one, records)
            beside = same_runtime(dense, result.runtime)
            scored = Scored(one, result, result.accuracy, dense, beside)
            found.setdefault((one.net, one.dataset, one.chain), []).append(scored)
    return found


def _pairs(seeds: Sequence[Scored]) -> list[Both]:
    """Which images the row and dense get right, of each seed; empty where that is not known."""
    both = [(hits_of(s.record, s.accuracy), hits_of(s.dense, s.beside.accuracy)) for s in seeds if s.dense and s.beside]
    return known_pairs(both) if len(both) == len(seeds) else []


def _line(seeds: Sequence[Scored], mark: str) -> list[str]:
    first = seeds[0]
    lowest = worst(falls(_pairs(seeds))) if first.record.chain != DENSE else None
    return [
        markdown(first.record.label),
        mark or MISSING,
        ", ".join(markdown(name) for name in dict.fromkeys(one.result.runtime for one in seeds)),
        str(len(seeds)),
        percent(_mean([one.accuracy.correct / one.accuracy.seen for one in seeds])),
        percent(_mean([agreement(one.result, one.beside) for one in seeds])),
        f"{_class(lowest, seeds)} ({_points(lowest.fall)})" if lowest and lowest.fall > 0 else MISSING,
        percent(_mean([one.accuracy.calibration_error for one in seeds])),
        rounded(_mean([one.accuracy.log_loss for one in seeds])),
    ]


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean, where all values are known."""
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None


def _class(fall: ClassFall, seeds: Sequence[Scored]) -> str:
    return markdown(name_of(fall.index, seeds[0].record.class_names))


def _points(fall: float) -> str:
    """A fall in accuracy as the change that it is, in points: 0.032 -> -3.2."""
    return f"{-100 * fall + 0.0:+.1f}"


def _classes(rows: dict[Place, list[Scored]], records: Sequence[RunRecord]) -> list[str]:
    """The table of classes of the asked rows whose worst class loses most, and remarks on them; none without labels."""
    asked = [seeds for (_, _, chain), seeds in rows.items() if chain != DENSE and seeds[0].record.role == "asked"]
    known = [(seeds, pairs) for seeds in asked if (pairs := _pairs(seeds))]
    if not known:
        return []
    order = sorted(known, key=lambda one: -max(fall.fall for fall in falls(one[1])))
    parts = ["\n### Classes that lose most\n", _class_table(order[:ROWS]), f"{MUCH_RULE}\n"]
    lines = [_remark(seeds, pairs, much) for seeds, pairs in known if (much := much_more(pairs))]
    lines = listed(lines, records, "[table.csv](table.csv)") or ["No class of any of these rows does."]
    return [*parts, *(f"- {line}" for line in lines), ""]


def _class_table(rows: Sequence[tuple[Sequence[Scored], Sequence[Both]]]) -> str:
    """Change of each class' accuracy from dense's, a column a row of the run."""
    found = [{fall.index: fall for fall in falls(pairs)} for _, pairs in rows]
    indices = sorted(set.intersection(*(set(one) for one in found)))
    most = sorted(indices, key=lambda index: -max(one[index].fall for one in found))[:CLASSES]
    lines = [
        [_class(found[0][index], rows[0][0]), *(_change(one[index]) for one in found)]
        for index in (indices if len(indices) <= CLASSES else most)
    ]
    whole = [_points(fmean(falls_on_the_whole(pairs))) for _, pairs in rows]
    head = ["class", *(markdown(seeds[0].record.label) for seeds, _ in rows)]
    text = (
        "Change of a class' accuracy from dense's in points, and to how many per cent; means over the seeds. "
        f"Shown: of the rows that were asked for {len(rows)} whose worst class loses most, {len(lines)} of "
        f"{len(indices)} classes.\n"
    )
    return f"{text}\n{pipe_table(head, [*lines, ['all images', *whole]])}"


def _change(fall: ClassFall) -> str:
    return f"{_points(fall.fall)} (to {percent(fall.dense - fall.fall, 1)})"


def _remark(seeds: Sequence[Scored], pairs: Sequence[Both], much: Sequence[ClassFall]) -> str:
    whole = _points(fmean(falls_on_the_whole(pairs)))
    classes = ", ".join(f"{_class(one, seeds)} {_points(one.fall)}" for one in much)
    return f"`{seeds[0].record.label}`: {classes} points, where all images together change by {whole}."
