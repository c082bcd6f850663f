"""Where the bytes of each file are: values, positions of nonzero values, codebooks, scales, and how to read them."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from bench.records import RunRecord, TensorEntry
from reports.cells import MISSING, bytes_text, markdown, rounded, shortened
from reports.crowd import left_out, named
from reports.layers import CONTAINER, one_a_chain
from reports.style import new_figure

PARTS = {  # of a ledger's lines, as it calls them: in words, colour
    "values_bytes": ("values", "#0072B2"),
    "indices_bytes": ("positions of nonzero values", "#E69F00"),
    "codebooks_bytes": ("codebooks", "#009E73"),
    "scales_bytes": ("scales", "#CC79A7"),
    "header_bytes": ("header and codecs' parameters", "#999999"),
}
MOST_BARS = 25
NAME = 44  # characters of a chain beside its bar
COLUMNS = ("method", "chain", "seed", "layer", "tensor", "shape", "codec", "parameters", "nonzeros",
           "information_bits", "bytes", *PARTS)  # fmt: skip


def parts_of(one: RunRecord) -> dict[str, int]:
    """Bytes of each part, which sum to the file; empty for records from before parts were told apart."""
    totals = {part: sum(getattr(entry, part) for entry in one.ledger) for part in PARTS}
    return totals if one.ledger and sum(totals.values()) == one.file_bytes else {}


def ledger_frame(records: Sequence[RunRecord]) -> pd.DataFrame:
    """A line for each stored tensor of each file, and one for its container, in the order of the file."""
    lines = [_line(one, entry) for one in records for entry in one.ledger]
    return pd.DataFrame(lines, columns=list(COLUMNS))


def ledger_markdown(records: Sequence[RunRecord]) -> str:
    """A line for each file: what its bytes are spent on, and what a coder that knows nothing of order would need."""
    rows = [(one, parts_of(one)) for one in named(records)]
    rows = [(one, parts) for one, parts in rows if parts]
    if not rows:
        return ""
    used = [part for part in PARTS if any(parts[part] for _, parts in rows)]
    heads = [
        "method",
        "seed",
        *(f"{PARTS[part][0]}, B" for part in used),
        "file, B",
        "information, B",
        "file / information",
    ]
    lines = ["| " + " | ".join(heads) + " |", "| --- |" + " ---: |" * (len(heads) - 1)]
    for one, parts in rows:
        information = sum(entry.information_bits for entry in one.ledger if entry.layer != CONTAINER) / 8
        ratio = rounded(one.file_bytes / information) if information else MISSING
        cells = [markdown(one.label), str(one.seed), *(f"{parts[part]:,}" for part in used)]
        cells += [f"{one.file_bytes:,}", f"{information:,.0f}", ratio]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def ledger_section(records: Sequence[RunRecord]) -> str:
    """The part of the page about bytes; empty where no record tells them apart."""
    table = ledger_markdown(records)
    if not table:
        return ""
    more = f" Dense and {text}." if (text := left_out(records, named(records))) else ""
    return (
        f"## Where the bytes are\n\n{table}\n"
        "The parts sum to the file. Positions are what it takes to say which values are zero, in tensors that are "
        "mostly zero; they are coded with the values and told apart by the probabilities that the coder used. "
        "Information is, summed over tensors, the least of four sizes: the values as they are; the entropy of their "
        "distribution and a histogram of it, over the range of the values or over a list of those that occur; of "
        "floats, the same of sign and exponent, with the mantissa as it is. The container (graph, names, checksums) "
        "holds none. It knows nothing of order, so a file whose coder learns from rows, columns and kernels can be "
        f"smaller. Every tensor of every file: [ledger.csv](ledger.csv).{more}\n"
    )


def byte_parts(records: Sequence[RunRecord]) -> Figure:
    """Stacked bars, one a chain (the first seed; of a crowd those along the Pareto front): each part's share of the
    file, whose size stands beside the name."""
    chosen = named(records, MOST_BARS)
    bars = [(one, parts_of(one)) for one in one_a_chain(chosen)]
    bars = [(one, parts) for one, parts in bars if parts][: MOST_BARS + 1]
    if not bars:
        return _nothing()
    names = [f"{shortened(one.label, NAME)}, {bytes_text(one.file_bytes)}" for one, _ in bars]
    figure = new_figure(5.5 + 0.08 * max(map(len, names)), 1.8 + 0.28 * len(bars))
    figure.suptitle(_title(records, chosen, bars[0][0]), fontsize=12)
    axes = figure.subplots()
    starts = [0.0] * len(bars)
    for part, (text, colour) in PARTS.items():
        shares = [100 * parts[part] / one.file_bytes for one, parts in bars]
        if any(shares):
            axes.barh(range(len(bars)), shares, left=starts, height=0.7, color=colour, label=text)
        starts = [start + share for start, share in zip(starts, shares, strict=True)]
    axes.set_yticks(range(len(bars)), names, fontsize=9)
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.set_xlim(0, 100)
    axes.set_xlabel("share of the file's bytes, %")
    axes.grid(visible=False, axis="y")
    figure.legend(loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    return figure


def _title(records: Sequence[RunRecord], chosen: Sequence[RunRecord], first: RunRecord) -> str:
    title = "Where the bytes are"
    if len({one.seed for one in records}) > 1:
        title += f", seed {first.seed}"
    text = left_out(records, chosen)
    return title + (f",\n{text}" if text else "")


def _nothing() -> Figure:
    figure = new_figure(6.5, 2.0)
    figure.suptitle("Where the bytes are", fontsize=12)
    figure.text(0.5, 0.45, "no row left a ledger of parts", ha="center", va="center")
    return figure


def _line(one: RunRecord, entry: TensorEntry) -> dict[str, object]:
    shape = "x".join(map(str, entry.shape))
    about = {"method": one.label, "chain": one.chain, "seed": one.seed, "shape": shape}
    return {name: about[name] if name in about else getattr(entry, name) for name in COLUMNS}
