"""What a run says, in sentences drawn from its records by stated rules, each with the rows that it rests on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.records import RunRecord
from reports.bends import BEND_RULE, bend_sentences
from reports.cells import counted
from reports.chain_gains import ORDER_RULE, Orders, orders
from reports.chains import methods, parse
from reports.comparisons import Difference
from reports.controls import MARGIN, MOST_APART, SAME_FILE, UNCORRECTED, Match, matches, size_text
from reports.crowd import front
from reports.ensembles import ENSEMBLE_RULE, ensemble_sentences
from reports.pairing import (
    ALIKE,
    BETTER,
    WORSE,
    Row,
    code,
    compared,
    on_seeds,
    places_text,
    points,
    rests_on,
    rows_of,
    same_place,
    smaller_by,
)
from reports.roles import ASKED, CONTROLS, WHAT, serves_as
from reports.rows import DENSE

NAMED = 3  # rows that a sentence tells the numbers of
MOST = 6  # sentences of a topic
NOTHING = "None of the rules below has anything to say about this run's records."
PAYS_RULE = (
    "A row pays where it is more accurate, its 95 % interval leaving zero out, than each control of the same bytes or "
    "rates that it has, a small dense network or random pruning, and is not worse than dense in 16 bits or its xz "
    "file. One of the controls that it beats must have been trained: a small dense network that is interpolated, "
    f"between two that are at most {MOST_APART:g} times apart in bytes, may count against a row, and never makes it "
    "pay alone. Rows without such a control, and rows pruned at random, are not judged. Beside dense in 16 bits and "
    "the xz file, × says how many times smaller the row's file is, and a row is worse where it is less accurate, "
    f"beyond the interval, at no smaller file, or where its file is larger by more than "
    f"{100 * SAME_FILE:g} % and the interval leaves no room for a gain of more than {100 * MARGIN:g} points."
)
TAUGHT_RULE = (
    "A teacher adds something where the 95 % interval of the difference between the row that had one and the same row "
    "without leaves zero out."
)
DOMINATED_RULE = (
    "A row is dominated where a row on the Pareto front, or a control, has no larger file and is more accurate, the "
    "95 % interval of the difference leaving zero out; of several the most accurate is named."
)


@dataclass(frozen=True)
class Topic:
    """A question, the sentences that answer it and the rule that they follow."""

    question: str
    rule: str
    sentences: tuple[str, ...]


def takeaways(records: Sequence[RunRecord]) -> list[Topic]:
    """Every topic, those without a sentence too."""
    return [Topic(question, rule, tuple(draw(records))) for question, rule, draw in _TOPICS]


def takeaways_section(records: Sequence[RunRecord]) -> str:
    """The section as Markdown; where no rule has anything to say, it says so."""
    topics = takeaways(records)
    parts = ["## Takeaways\n"]
    for one in topics:
        if one.sentences:
            more = [f"and {len(one.sentences) - MOST:,} more"] if len(one.sentences) > MOST else []
            lines = "".join(f"- {line}\n" for line in [*one.sentences[:MOST], *more])
            parts.append(f"**{one.question}**\n\n{lines}\n*Rule: {one.rule}*\n")
    if len(parts) > 1:
        parts.append(f"{UNCORRECTED}\n")
    else:
        rules = "".join(f"- {one.rule}\n" for one in topics)
        parts.append(f"{NOTHING}\n\n{rules}")
    return "\n".join(parts)


def pays_sentences(records: Sequence[RunRecord]) -> list[str]:
    """A sentence for each sequence of methods of which some row has a control, by PAYS_RULE."""
    rows = rows_of(records)
    found: dict[tuple[str, str, str], dict[str, tuple[Row, list[Match]]]] = {}
    for one in matches(records, ("small", "random", "half", "xz")):
        if serves_as(one.row.records[0], "random"):  # chance, whoever asked for it
            continue
        family = "+".join(methods(parse(one.row.chain)))
        of = found.setdefault((one.row.net, one.row.dataset, family), {})
        of.setdefault(one.row.chain, (one.row, []))[1].append(one)
    lines = []
    for (_, _, family), of in found.items():
        judged = [(row, its) for row, its in of.values() if any(_equal(one) for one in its)]
        if judged:
            lines.append(places_text(judged[0][0], rows) + _pays(family, judged))
    return lines


def taught_sentences(records: Sequence[RunRecord]) -> list[str]:
    """A sentence for each taught row that has its untaught one beside it, by TAUGHT_RULE."""
    rows = rows_of(records)
    words = {
        BETTER: "the teacher adds {} points",
        WORSE: "the teacher takes away: {} points",
        ALIKE: "with and without a teacher it cannot be told apart: {} points",
    }
    return [
        f"{places_text(one.row, rows)}{code(one.row)}: {words[one.verdict].format(points(one.gap))} "
        f"{on_seeds(one.gap.seeds)} {rests_on(one.row, one.control)}"
        for one in matches(records, ("untaught",))
        if one.gap and one.control
    ]


def order_sentences(records: Sequence[RunRecord]) -> list[str]:
    """A sentence for each two orders of a chain, by ORDER_RULE."""
    rows = rows_of(records)
    return [_order(one, rows) for one in orders(records) if one.gap]


def dominated_sentences(records: Sequence[RunRecord]) -> list[str]:
    """A sentence for each row that dominates rows that were asked for, by DOMINATED_RULE; the most rows first."""
    rows = [row for row in rows_of(records) if row.good]
    places: dict[tuple[str, str], list[RunRecord]] = {}
    for one in records:
        places.setdefault((one.net, one.dataset), []).append(one)
    best = {place: {DENSE, *front(of)} for place, of in places.items()}
    rivals = [
        row for row in rows if row.role in CONTROLS or (row.role == ASKED and row.chain in best[row.net, row.dataset])
    ]
    found: dict[int, tuple[Row, list[tuple[Row, Difference]]]] = {}
    for row in rows:
        beaten = [one for one in rivals if _dominates(one, row)] if row.role == ASKED and row.chain != DENSE else []
        gaps = [(gap, by) for by in beaten if (gap := compared(by, row))]
        if gaps:
            gap, by = max(gaps, key=lambda one: (one[0].mean, one[1].chain))
            found.setdefault(id(by), (by, []))[1].append((row, gap))
    ordered = sorted(found.values(), key=lambda one: -len(one[1]))
    return [places_text(by, rows) + _dominating(by, its) for by, its in ordered]


def _dominating(by: Row, its: Sequence[tuple[Row, Difference]]) -> str:
    what = f" ({WHAT[by.role]})" if by.role != ASKED else ""
    texts = [
        f"{code(row)} ({points(gap)} points, {1 / smaller_by(by, row):.2f} times its bytes)" for row, gap in its[:NAMED]
    ]
    more = f" and {len(its) - NAMED} more" if len(its) > NAMED else ""
    seeds = on_seeds(*(gap.seeds for _, gap in its))
    rests = rests_on(by, *(row for row, _ in its))
    return f"{code(by)}{what} dominates {counted(len(its), 'row')}: {', '.join(texts)}{more}; {seeds} {rests}"


def _dominates(one: Row, row: Row) -> bool:
    if one.chain == row.chain or not same_place(one, row) or not smaller_by(one, row) >= 1:
        return False
    gap = compared(one, row)
    return gap is not None and gap.better


def _equal(one: Match) -> bool:
    """Whether the control has the row's bytes or rates."""
    return one.role in ("small", "random") and one.gap is not None


def _pays(family: str, judged: Sequence[tuple[Row, list[Match]]]) -> str:
    good = [(row, its) for row, its in judged if not _against(its)]
    bad = [(row, _against(its)) for row, its in judged if _against(its)]
    parts = []
    if good:
        gaps = [one.gap.mean for _, its in good for one in its if _equal(one) and one.gap]
        names = ", ".join(code(row) for row, _ in good)
        against = " and ".join(dict.fromkeys(_named(one) for _, its in good for one in its if _equal(one)))
        by = f"{100 * min(gaps):.2f}" + (f" to {100 * max(gaps):.2f}" if len(gaps) > 1 else "")
        parts.append(f"pays at {len(good)} of {counted(len(judged), 'setting')} ({names}): {by} points above {against}")
    else:
        lost = all(any(one.verdict == WORSE for one in its) for _, its in bad)
        words = "does not pay" if lost else "is not shown to pay"
        parts.append(f"{words} at any of {counted(len(judged), 'setting')}")
    if bad:
        parts.append("not at " + ", ".join(f"{code(row)} ({_lost(its)})" for row, its in bad))
    seeds = [one.gap.seeds for _, its in judged for one in its if one.gap]
    controls = [other for _, its in judged for one in its for other in (one.control, *one.read_between) if other]
    rows = [*(row for row, _ in judged), *controls]
    return f"`{family}` {'; '.join(parts)}; {on_seeds(*seeds)} {rests_on(*rows)}"


def _against(its: Sequence[Match]) -> list[Match]:
    """What keeps a row from paying: controls that it does not beat, or that what it beats was only interpolated."""
    lost = [one for one in its if not _won(one)]
    equal = [one for one in its if _equal(one)]
    return lost or (equal if all(one.interpolated for one in equal) else [])


def _named(one: Match) -> str:
    return "a small dense network interpolated at the same bytes" if one.interpolated else _SHORT[one.role]


def _won(one: Match) -> bool:
    return one.verdict == BETTER if _equal(one) else one.verdict != WORSE


def _lost(its: Sequence[Match]) -> str:
    """Which controls a row does not beat, and how: worse than random pruning at the same rates, -0.52 (...) points."""
    words = {WORSE: "worse than", BETTER: "better only than"}
    return "; ".join(
        f"{words.get(one.verdict, 'not told apart from')} {_named(one)}"
        + (f", {points(one.gap)} points{size_text(one)}" if one.gap else "")
        for one in its
    )


def _order(one: Orders, rows: Sequence[Row]) -> str:
    first, second = (one.first, one.second) if one.verdict != WORSE else (one.second, one.first)
    words = {BETTER: "is the better order than", WORSE: "is the better order than"}
    relation = words.get(one.verdict, f"against {code(second)}: {one.verdict}")
    text = f"{code(first)} {relation}" + (f" {code(second)}" if one.verdict in words else "")
    gap, smaller = compared(first, second), smaller_by(first, second)
    facts = f"{points(gap)} points in accuracy, " if gap else ""
    return (
        f"{places_text(first, rows)}{text}: {facts}{smaller:.2f} times smaller, "
        f"{on_seeds(gap.seeds if gap else 0)} {rests_on(first, second)}"
    )


_SHORT = {
    "small": "a small dense network of the same bytes",
    "random": "random pruning at the same rates",
    "half": "dense in 16 bits",
    "xz": "the xz file of dense",
}
_TOPICS: tuple[tuple[str, str, Callable[[Sequence[RunRecord]], list[str]]], ...] = (
    ("Where does each method pay?", PAYS_RULE, pays_sentences),
    ("Where does its curve bend?", BEND_RULE, bend_sentences),
    ("What does a teacher add?", TAUGHT_RULE, taught_sentences),
    ("What does an ensemble add?", ENSEMBLE_RULE, ensemble_sentences),
    ("Which order is better?", ORDER_RULE, order_sentences),
    ("Which rows are dominated?", DOMINATED_RULE, dominated_sentences),
)
