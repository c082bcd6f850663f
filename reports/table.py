"""The table: everything as csv, a readable selection as Markdown, LaTeX and on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from bench.records import RunRecord
from reports.cells import (
    MISSING,
    byte_unit,
    count_unit,
    counted,
    exact,
    known,
    latex,
    markdown,
    one_line,
    percent,
    ratio,
    rounded,
)
from reports.crowd import left_out, listed, named, shared_reasons
from reports.marks import line_marks, marked
from reports.roles import asked, beside
from reports.rows import frame, several_places, several_seeds, summary

Row = dict[str, Any]
_TWO_SEEDS = "two seeds bound nothing"  # in place of an interval of twelve times their difference
MOST_BESIDE = 12  # rows that were not asked for: more are left to the report
CONTROL = "·"  # in front of the names of rows that were not asked for
WIDE = 110  # columns of a terminal from which on the latencies are shown beside the speed-ups


@dataclass(frozen=True)
class Column:
    """A column of the readable table: heading with unit, and the cell of a row."""

    heading: str
    cell: Callable[[Row], str]
    text: bool = False


def csv_text(table: pd.DataFrame) -> str:
    """All columns in full precision; what is missing is empty."""
    return table.to_csv(index=False, lineterminator="\n")


def markdown_table(table: pd.DataFrame) -> str:
    """The readable selection as a Markdown table; a row that went wrong keeps its place, its reason as note."""
    columns = [*readable(table), Column("note", _note, text=True)]
    return _markdown(columns, _rows(table))


def latex_table(table: pd.DataFrame) -> str:
    """The readable selection as a tabular for booktabs and graphicx."""
    return _latex(readable(table), _rows(table))


def markdown_summary(seeds: pd.DataFrame) -> str:
    """Mean, standard deviation and interval over seeds as a Markdown table."""
    return _markdown([*_summary_columns(seeds), Column("note", lambda row: row["reason"], text=True)], _rows(seeds))


def latex_summary(seeds: pd.DataFrame) -> str:
    """Mean, standard deviation and interval over seeds as a tabular for booktabs and graphicx."""
    return _latex(_summary_columns(seeds), _rows(seeds))


def readable(table: pd.DataFrame) -> list[Column]:
    """The columns worth reading side by side, in units that fit this table, without those that nothing measured."""
    file_unit, file_factor = byte_unit(table["file_bytes"])
    memory_unit, memory_factor = byte_unit(table["peak_memory_bytes"])
    gpu_unit, gpu_factor = byte_unit(table["gpu_memory_bytes"])
    macs, macs_factor = count_unit(table["macs"])
    columns = [
        Column("method", lambda row: row["method"], text=True),
        Column("runtime", lambda row: row["runtime"] or MISSING, text=True),
        Column("accuracy, % (95 % interval)", _accuracy),
        Column("mark", lambda row: row["mark"] or MISSING, text=True),
        Column("top-5, %", lambda row: percent(row["top5"])),
        Column(f"file, {file_unit}", _scaled("file_bytes", file_factor)),
        Column("compression", lambda row: ratio(row["compression_ratio"])),
        Column("parameters", lambda row: exact(row["parameters"])),
        Column("non-zeros", lambda row: exact(row["nonzeros"])),
        Column(f"MACs, {macs}".rstrip(", "), _scaled("macs", macs_factor)),
        Column("latency, batch 1, ms", _scaled("latency_ms_b1", 1)),
        Column("latency, batch 32, ms", _scaled("latency_ms_b32", 1)),
        Column("speed-up, batch 1", lambda row: ratio(row["speedup_b1"])),
        Column("speed-up, batch 32", lambda row: ratio(row["speedup_b32"])),
        Column("speed-up by MACs", lambda row: ratio(row["theoretical_speedup"])),
        Column(f"peak memory, {memory_unit}", _scaled("peak_memory_bytes", memory_factor)),
        Column(f"GPU memory, {gpu_unit}", _scaled("gpu_memory_bytes", gpu_factor)),
        Column("energy per image, J", _scaled("energy_j", 1)),
        Column("compressing, s", _scaled("compress_s", 1)),
        Column("extra epochs", lambda row: exact(row["extra_epochs"])),
        Column("kernels", lambda row: row["kernels"] or MISSING, text=True),
    ]
    if table["control"].any():
        columns.insert(1, Column("control", lambda row: row["control"], text=True))
    if several_seeds(table):
        columns.insert(1, Column("seed", lambda row: str(row["seed"])))
    columns[1:1] = _places(table)
    optional = {"GPU memory": "gpu_memory_bytes", "energy per image": "energy_j", "top-5": "top5", "mark": "mark"}
    return [one for one in columns if not _empty(table, optional.get(one.heading.split(",")[0]))]


def terminal_table(records: Sequence[RunRecord], width: int = 80) -> Table:
    """The fewest columns that tell the rows apart, for a terminal of `width` columns; one line per chain and runtime,
    with several seeds their mean and its interval. Reasons of what went wrong stand below. Of a crowd the best rows."""
    added = {one.chain for one in beside(records)}
    shown = named(records if len(added) <= MOST_BESIDE else asked(records))
    table = frame(shown, line_marks(marked(asked(records))))
    over = several_seeds(table)
    rows = _rows(summary(table)) if over else _rows(table)
    means = {name: f"{name}_mean" if over else name for name in table.columns}
    columns = _terminal_columns(means, rows, wide=width >= WIDE)
    columns[1:1] = _places(table)
    interval = f"mean of {table['seed'].nunique()} seeds, ± 95 % of the mean" if over else "± 95 % Wilson"
    reasons = list(dict.fromkeys(f"{row['method']}: {_trouble(row)}" for row in rows if _trouble(row)))
    if over and any(row["ok"] == 2 for row in rows):
        interval += f", none of two seeds: {_TWO_SEEDS}"
    caption = [f"accuracy: {interval}; ratio and speed-up: dense / compressed; b1, b32: batch size"]
    if text := left_out(records, shown):
        caption.append(f"shown: dense and {text}; all rows: table.md, table.csv")
        reasons = listed(shared_reasons(records), records, "table.md")
    if table["control"].any():
        caption.append(f"{CONTROL}: not asked for, there to be compared with: see Controls in report.md")
    elif added:
        caption.append(f"{counted(len(added), 'control')} beside: see report.md, table.md")
    caption += reasons
    drawn = Table(
        box=box.SIMPLE_HEAD,
        caption=Text("\n".join(caption)),
        caption_justify="left",
        pad_edge=False,
        padding=(0, int(width >= WIDE)),
    )
    for column in columns:
        whole = column.heading not in ("method", "network")
        drawn.add_column(column.heading, justify="left" if column.text else "right", overflow="fold", no_wrap=whole)
    for row in rows:
        drawn.add_row(*[Text(column.cell(row)) for column in columns], style="dim" if row["control"] else "")
    return drawn


def _terminal_columns(means: dict[str, str], rows: Sequence[Row], *, wide: bool) -> list[Column]:
    def accuracy(row: Row) -> str:
        if known(row[means["accuracy"]]) is None:
            return _trouble(row).split(":")[0] or MISSING
        low, high = known(row["accuracy_low"]), known(row["accuracy_high"])
        half = "" if low is None or high is None or row.get("ok") == 2 else f" ±{percent((high - low) / 2, 1)}"
        return percent(row[means["accuracy"]], 1) + half

    def milliseconds(name: str) -> Column:
        return Column(f"ms\n{name}", lambda row: rounded(row[means[f"latency_ms_{name}"]]))

    def speedup(name: str) -> Column:
        return Column(f"speed-\nup {name}", lambda row: rounded(row[means[f"speedup_{name}"]], 2))

    def size(heading: str, name: str) -> Column:
        unit, factor = byte_unit(row[means[name]] for row in rows)
        return Column(f"{heading}\n{unit}", _scaled(means[name], factor))

    times = [one for name in ("b1", "b32") for one in ([milliseconds(name)] if wide else []) + [speedup(name)]]
    return [
        Column("method", lambda row: f"{CONTROL}{row['method']}" if row["control"] else row["method"], text=True),
        Column("runtime", lambda row: row["runtime"] or MISSING, text=True),
        Column("accuracy\n%", accuracy),
        *([Column("mark", lambda row: row["mark"], text=True)] if wide and any(row["mark"] for row in rows) else []),
        size("file", "file_bytes"),
        Column("ratio", lambda row: ratio(row[means["compression_ratio"]])),
        *times,
        size("peak\nmem.", "peak_memory_bytes"),
    ]


def _summary_columns(seeds: pd.DataFrame) -> list[Column]:
    unit, factor = byte_unit(seeds["file_bytes_mean"])
    memory, memory_factor = byte_unit(seeds["peak_memory_bytes_mean"])

    def spread(name: str, factor: float) -> Callable[[Row], str]:
        return lambda row: _spread(row, name, factor)

    controls = [Column("control", lambda row: row["control"], text=True)] if seeds["control"].any() else []
    return [
        Column("method", lambda row: row["method"], text=True),
        *_places(seeds),
        *controls,
        Column("runtime", lambda row: row["runtime"] or MISSING, text=True),
        Column("seeds", lambda row: f"{row['ok']} of {row['seeds']}"),
        Column("accuracy, %: mean ± std (95 % interval)", spread("accuracy", 0.01)),
        Column("mark", lambda row: row["mark"] or MISSING, text=True),
        Column(f"file, {unit}: mean", _scaled("file_bytes_mean", factor)),
        Column("compression: mean ± std", spread("compression_ratio", 1)),
        Column("latency, batch 1, ms: mean ± std", spread("latency_ms_b1", 1)),
        Column("latency, batch 32, ms: mean ± std", spread("latency_ms_b32", 1)),
        Column("speed-up, batch 1: mean ± std", spread("speedup_b1", 1)),
        Column("speed-up, batch 32: mean ± std", spread("speedup_b32", 1)),
        Column(f"peak memory, {memory}: mean", _scaled("peak_memory_bytes_mean", memory_factor)),
    ]


def _places(table: pd.DataFrame) -> list[Column]:
    """The column of networks and data sets, where there are several."""
    column = Column("network", lambda row: f"{row['net']} on {row['dataset']}", text=True)
    return [column] if several_places(table) else []


def _spread(row: Row, name: str, factor: float) -> str:
    mean, std, low, high = (known(row[f"{name}_{part}"]) for part in ("mean", "std", "low", "high"))
    if mean is None:
        return MISSING
    shown = (lambda value: f"{value / factor:.2f}") if name == "accuracy" else (lambda value: rounded(value / factor))
    if std is None or low is None or high is None:
        return shown(mean)
    text = f"{shown(mean)} ± {shown(std) if name == 'accuracy' else rounded(std / factor, 2)}"
    if name != "accuracy":
        return text
    return f"{text} ({_TWO_SEEDS})" if row["ok"] == 2 else f"{text} ({shown(low)} to {shown(high)})"


def _accuracy(row: Row) -> str:
    if known(row["accuracy"]) is None:
        return MISSING
    return f"{percent(row['accuracy'])} ({percent(row['accuracy_low'])} to {percent(row['accuracy_high'])})"


def _scaled(name: str, factor: float) -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        number = known(row[name])
        return MISSING if number is None else rounded(number / factor)

    return cell


def _note(row: Row) -> str:
    return "; ".join(part for part in (_trouble(row), row["timing"]) if part)


def _trouble(row: Row) -> str:
    """Why a row went wrong, or nothing; a summary's reason starts with its status."""
    if "status" not in row:
        return one_line(row["reason"])
    return "" if row["status"] == "ok" else one_line(f"{row['status']}: {row['reason']}")


def _empty(table: pd.DataFrame, column: str | None) -> bool:
    return column is not None and bool((table[column].isna() | (table[column].astype("object") == "")).all())


def _rows(table: pd.DataFrame) -> list[Row]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _markdown(columns: Sequence[Column], rows: Sequence[Row]) -> str:
    lines = [[column.heading for column in columns], ["---" if column.text else "---:" for column in columns]]
    lines += [[markdown(column.cell(row)) for column in columns] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _latex(columns: Sequence[Column], rows: Sequence[Row]) -> str:
    head = [r"% needs \usepackage{booktabs,graphicx}", r"\resizebox{\linewidth}{!}{%"]
    head.append(rf"\begin{{tabular}}{{{''.join('l' if column.text else 'r' for column in columns)}}}")
    headings = " & ".join(latex(column.heading) for column in columns)
    body = []
    for row in rows:
        if (trouble := _trouble(row)) and not row.get("ok"):
            rest = rf"\multicolumn{{{len(columns) - 2}}}{{p{{14cm}}}}{{{latex(trouble)}}}"
            body.append(" & ".join([*(latex(column.cell(row)) for column in columns[:2]), rest]) + r" \\")
        else:
            body.append(" & ".join(latex(column.cell(row)) for column in columns) + r" \\")
    return "\n".join([*head, r"\toprule", headings + r" \\", r"\midrule", *body, r"\bottomrule", r"\end{tabular}}", ""])
