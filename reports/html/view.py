"""The parts of the page that are there without scripts: head, filters, the table itself, what it means, the machine."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

from bench.records import RunRecord
from reports.cells import MISSING, bytes_text, counted, percent
from reports.html.columns import Column
from reports.html.data import Page, place_of
from reports.html.lines import Line
from reports.page import flat
from reports.roles import ASKED, labels_of, role_text
from reports.rows import DENSE, recipes

SIDE_BY_SIDE = 6  # values of a fact that differs between records
LATENCIES = {"latency_ms_b1": "batch 1 ", "latency_ms_b32": "batch 32 "}


def head(page: Page, records: Sequence[RunRecord], title: str, command: str) -> str:
    """Title, what ran, the dense networks in a line each, and the command."""
    seeds = ", ".join(map(str, dict.fromkeys(one.seed for one in records)))
    runtimes = ", ".join(dict.fromkeys(line.runtime for line in page.lines if line.runtime))
    counts = {status: sum(one.status == status for one in records) for status in ("failed", "refused")}
    facts = [counted(len(page.rows), "row"), f"seed{'s' * (',' in seeds)} {seeds}", runtimes]
    facts += [f"{count} {status}" for status, count in counts.items() if count]
    commit = ", ".join(dict.fromkeys(str(c)[:10] for one in records if (c := one.environment.get("commit"))))
    facts += [f"commit {commit}"] if commit else []
    dense = "".join(
        _dense(page, line) for line in page.lines if page.rows[line.row].chain == DENSE and _first(page, line)
    )
    text = "".join(f"<li>{escape(fact)}</li>" for fact in facts if fact)
    return (
        f'<header class="top"><div><h1>{escape(title)}</h1><ul class="facts">{text}</ul></div>'
        '<button type="button" id="theme" class="quiet script">Theme: auto</button></header>'
        f'<div class="cards">{dense}</div>'
        '<details class="command"><summary>The command of this run</summary>'
        f'<div class="copied"><pre tabindex="0"><code>{escape(command.strip())}</code></pre>'
        '<button type="button" class="quiet script" data-copy>Copy</button></div></details>'
    )


def _first(page: Page, line: Line) -> bool:
    """Whether a line is the first of its row: of several seeds the mean, in the first runtime."""
    return next(one for one in page.lines if one.row == line.row) is line


def _dense(page: Page, line: Line) -> str:
    numbers = line.numbers
    parts = [f"{percent(numbers['accuracy'])} %", bytes_text(numbers["file_bytes"])]
    parts += [column.text(line) + " ms" for column in page.columns if column.key == "latency_ms_b1"]
    place = place_of(page.rows[line.row])
    words = zip(parts, ("accuracy", "file", "one image"), strict=False)
    items = "".join(f"<span><b>{escape(text)}</b> {what}</span>" for text, what in words)
    return f'<p class="card"><span class="name">Dense, {escape(place)}</span>{items}</p>'


def filters(page: Page) -> str:
    """What the rows are filtered by."""
    runtimes = list(dict.fromkeys(line.runtime for line in page.lines if line.runtime))
    several = {line.seed for line in page.lines} - {None}
    parts = [
        '<label class="wide">Find<input type="search" id="find" autocomplete="off" spellcheck="false" '
        'placeholder="words of a method, e.g. prune qat"></label>'
    ]
    if len(page.places) > 1:
        parts.append(
            _choice("place", "Network", [("", "all"), *((str(i), text) for i, text in enumerate(page.places))])
        )
    if len(runtimes) > 1:
        parts.append(_choice("runtime", "Runtime", [("", "all"), *((name, name) for name in runtimes)]))
    kinds = [("", "all"), ("asked", "asked for"), ("beside", "controls")]
    if any(row.role != ASKED for row in page.rows):
        parts.append(_choice("kind", "Rows", kinds))
    if any(line.status != "ok" for line in page.lines):
        parts.append(_choice("status", "Status", [("", "all"), ("ok", "measured"), ("bad", "failed or refused")]))
    if len(several) > 1:
        parts.append(_choice("seeds", "Seeds", [("mean", "means"), ("each", "each seed")]))
    file = next((one for one in page.columns if one.key == "file_bytes"), None)
    parts.append(_number("least", "Accuracy from, %", "0.01"))
    if file:
        parts.append(_number("most", f"File up to, {file.unit}", "any"))
    return (
        f'<form id="filters" class="script" role="search" aria-label="Filter the rows">{"".join(parts)}'
        '<button type="reset" class="quiet">Reset</button><output id="count" aria-live="polite"></output></form>'
    )


def _choice(name: str, label: str, options: Iterable[tuple[str, str]]) -> str:
    items = "".join(f'<option value="{escape(value)}">{escape(text)}</option>' for value, text in options)
    return f'<label>{label}<select id="{name}">{items}</select></label>'


def _number(name: str, label: str, step: str) -> str:
    return (
        f'<label>{escape(label)}<input type="number" id="{name}" min="0" step="{step}" inputmode="decimal" '
        'class="short"></label>'
    )


def table(page: Page, records: Sequence[RunRecord]) -> str:
    """Every line, with the texts of its cells; the scripts only order and hide them."""
    labels = labels_of(records)
    controls = [role_text(row.records[0], labels) for row in page.rows]
    texts = [("label", "Method", "the chain, as typed"), *([("place", "Network", "")] if len(page.places) > 1 else [])]
    texts += [("seed", "Seed", "")] if len({line.seed for line in page.lines}) > 1 else []
    texts += [("runtime", "Runtime", "what ran the file")]
    marks = any(line.texts["mark"] for line in page.lines)
    columns = list(page.columns)
    heads = [_head(key, text, "", help, text=True) for key, text, help in texts]
    for column in columns:
        heads.append(_head(column.key, column.head, column.unit, column.help, more=column.more))
        if column.key == "accuracy" and marks:
            heads.append(_head("mark", "Mark", "", "rows that share a letter cannot be told apart", text=True))
    keys = [key for key, _, _ in texts]
    lines = "".join(
        _row(page, index, line, controls[line.row], keys, columns, marks=marks) for index, line in enumerate(page.lines)
    )
    return (
        '<div class="scroll" id="box" tabindex="0" role="region" aria-labelledby="rows-head">'
        f'<table id="table"><caption class="hidden">Rows of this run. A button in each head sorts by it.</caption>'
        f"<thead><tr>{''.join(heads)}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def _head(key: str, head: str, unit: str, help: str, *, text: bool = False, more: bool = False) -> str:
    classes = " ".join([*(["text"] if text else []), *(["more"] if more else [])])
    of = f' <span class="unit">{escape(unit)}</span>' if unit else ""
    return (
        f'<th scope="col" data-key="{key}" class="{classes}" title="{escape(help)}">'
        f'<button type="button" class="sort">{escape(head)}{of}<span class="arrow" aria-hidden="true"></span></button>'
        "</th>"
    )


def _row(
    page: Page, index: int, line: Line, control: str, keys: Sequence[str], columns: Sequence[Column], *, marks: bool
) -> str:
    row = page.rows[line.row]
    label = escape(row.label)
    shown_label = breakable(row.label)
    why = "" if line.status == "ok" else f"{line.status}: {line.reason}".removesuffix(": ")
    below = [(control, "control"), (why, "bad")]
    notes = "".join(
        f'<span class="note {kind}" title="{escape(text)}">{escape(text)}</span>' for text, kind in below if text
    )
    cells = [
        f'<th scope="row"><div class="method"><input type="checkbox" class="pick script" aria-label="Compare {label}">'
        f'<div><button type="button" class="open" title="{label}">{shown_label}</button>{notes}</div></div></th>'
    ]
    seed = line.seeds if line.seed is None else str(line.seed)
    shown = {"place": place_of(row), "seed": seed, "runtime": line.runtime or MISSING}
    cells += [f'<td class="text">{escape(shown[key])}</td>' for key in keys if key != "label"]
    for column in columns:
        text = escape(column.text(line))
        if column.key == "accuracy" and "accuracy" in line.bars:
            text += f" <small>{_interval(line)}</small>"
        if line.texts["timing"] and LATENCIES.get(column.key, "\n") in f"{line.texts['timing']} ":
            text += f'<abbr title="{escape(line.texts["timing"])}">†</abbr>'
        cells.append(f'<td class="more">{text}</td>' if column.more else f"<td>{text}</td>")
        if column.key == "accuracy" and marks:
            cells.append(f'<td class="text">{escape(line.texts["mark"])}</td>')
    kinds = " ".join(name for name, yes in (("beside", control), ("wrong", why), ("dense", row.chain == DENSE)) if yes)
    return f'<tr data-line="{index}" class="{kinds}">{"".join(cells)}</tr>'


def breakable(text: str) -> str:
    """Text as HTML that may be broken where a setting or a method ends."""
    return "<wbr>".join(escape(part) for part in re.split(r"(?<=[:+,/])", text))


def _interval(line: Line) -> str:
    low, high = line.bars["accuracy"]
    return f"{percent(low, 1)}–{percent(high, 1)}"


def about(page: Page, records: Sequence[RunRecord]) -> str:
    """How the columns are read, and where all of it comes from."""
    known = "".join(
        f"<dt>{escape(one.head)}{escape(f', {one.unit}' if one.unit else '')}</dt><dd>{escape(one.help)}</dd>"
        for one in page.columns
    )
    found = facts([flat(one) for one in recipes(records)]), facts([flat(one.environment) for one in records])
    heads = ("Training", "Versions and machine")
    rest = "".join(
        f"<details><summary>{head}</summary><dl>{_list(of)}</dl></details>"
        for head, of in zip(heads, found, strict=True)
    )
    seen = sorted({r.accuracy.seen for one in records for r in one.runtimes if r.accuracy})
    images = " or ".join(f"{count:,}" for count in seen) or "no"
    return (
        '<section class="about" aria-labelledby="about-head"><h2 id="about-head">About these numbers</h2>'
        f"<p>Each row is one file, read and measured by a fresh process, on {images} test images. Intervals are 95 %: "
        "of one seed Wilson's, over seeds Student's t; of two seeds the bar is one standard deviation to each side, "
        "since two seeds bound nothing. Bars of a latency of one seed are its quartiles. † marks timings that were not "
        "steady. Rows that failed or were refused stay in the table, with the reason. Beside this page: "
        "<code>report.md</code>, <code>table.csv</code> and <code>ledger.csv</code> have the same in full.</p>"
        f"<details><summary>What the columns mean</summary><dl>{known}</dl></details>{rest}</section>"
    )


def facts(found: Sequence[dict[str, str]]) -> dict[str, str]:
    """Facts of several records as one; what differs side by side, of many values how many."""
    merged: dict[str, str] = {}
    for key in dict.fromkeys(key for one in found for key in one):
        values = list(dict.fromkeys(one[key] for one in found if key in one))
        many = f"{len(values)} different, {min(values)} to {max(values)}"
        merged[key] = many if len(values) > SIDE_BY_SIDE else " / ".join(values)
    return merged


def _list(found: dict[str, str]) -> str:
    return "".join(f"<dt>{escape(key.replace('_', ' '))}</dt><dd>{escape(text)}</dd>" for key, text in found.items())
