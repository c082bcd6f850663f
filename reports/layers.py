"""Bytes per layer, dense beside each method, from the ledgers: where a file's bytes are, and where they were."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.records import RunRecord
from reports.cells import byte_unit, bytes_text, shortened
from reports.crowd import left_out, named
from reports.rows import DENSE, dense_first, reference
from reports.style import looks, new_figure

MOST_LAYERS = 24  # more than these, and only the largest are shown
LARGEST = 20
COLUMNS = 4
MOST_PANELS = 12
CONTAINER = "(container)"
NAMES = ((30, 10.0), (34, 8.5))  # characters of a chain above its panel, and the size of the font that they fit in
LAYER = 42  # characters of a layer's path


def layer_bytes(records: Sequence[RunRecord]) -> Figure:
    """Small multiples: a panel a chain (the first MOST_PANELS, of a crowd those along the Pareto front), a line a
    layer, the dense file's bars grey behind."""
    chosen = named(records, MOST_PANELS)
    shown = one_a_chain(chosen)
    dense = next((r for one in shown if (r := reference(one, records)) and r.ledger), None)
    compressed = [one for one in shown if one.chain != DENSE]
    panels = compressed[:MOST_PANELS] or shown
    if not panels:
        return _nothing()
    sizes = {one.case_id: bytes_by_layer(one, dense) for one in (*shown, *([dense] if dense else []))}
    before = sizes[dense.case_id] if dense else {}
    lines = _lines(before or sizes[panels[0].case_id], list(sizes.values()))
    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    names = 0.5 + 0.065 * max(len(text) for text, _ in lines)  # inches
    figure = new_figure(names + 2.6 * max(2, columns), 0.9 + rows * (1.1 + 0.17 * len(lines)))
    text = left_out(records, chosen) or _first(panels, compressed)
    figure.suptitle(_title(records, panels, text, dense), fontsize=12)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    unit, factor = byte_unit([max(max(one.values()) for one in sizes.values())])
    table = looks(chosen)
    letters, size = NAMES[any(len(one.label) > NAMES[0][0] for one in panels)]
    for index, axes in enumerate(grid.flat):
        if index >= len(panels):
            axes.set_visible(False)
            continue
        one = panels[index]
        _bars(axes, lines, before, sizes[one.case_id], factor, table[one.chain].colour)
        axes.set_title(f"{shortened(one.label, letters)}\n{bytes_text(one.file_bytes)}", fontsize=size)
        if index + columns >= len(panels):
            axes.set_xlabel(f"stored bytes, {unit}")
            axes.tick_params(labelbottom=True)
    return figure


def bytes_by_layer(one: RunRecord, dense: RunRecord | None) -> dict[str, int]:
    """Bytes of each layer of `one` under the dense network's layer names: a layer inside a dense one counts for it."""
    known = {entry.layer for entry in dense.ledger} if dense else set()
    totals = dict.fromkeys([entry.layer for entry in dense.ledger], 0) if dense else {}
    for entry in one.ledger:
        name = _within(entry.layer, known)
        totals[name] = totals.get(name, 0) + entry.bytes
    return totals


def _within(layer: str, known: set[str]) -> str:
    parts = layer.split(".")
    inside = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((name for name in inside if name in known), layer)


def _title(records: Sequence[RunRecord], panels: Sequence[RunRecord], text: str, dense: RunRecord | None) -> str:
    title = "Bytes per layer"
    if len({one.seed for one in records}) > 1:
        title += f", seed {panels[0].seed}"
    title += f", {text}" if text else ""
    if not dense:
        return title
    return title + (";\n" if len(title) > 60 else "; ") + f"grey: the dense file, {bytes_text(dense.file_bytes)}"


def _first(panels: Sequence[RunRecord], compressed: Sequence[RunRecord]) -> str:
    if len(compressed) <= len(panels):
        return ""
    return f"the first {len(panels)} of {len(compressed)} rows"


def one_a_chain(records: Sequence[RunRecord]) -> list[RunRecord]:
    """The first record that left a ledger of each chain, dense first."""
    chains: dict[str, RunRecord] = {}
    for one in dense_first(records):
        if one.status == "ok" and one.ledger:
            chains.setdefault(one.chain, one)
    return list(chains.values())


def _lines(before: dict[str, int], files: Sequence[dict[str, int]]) -> list[tuple[str, list[str] | None]]:
    """The lines of a panel, from the top: (text, its layers), None for all layers not named elsewhere in any file."""
    layers = [name for name in before if name != CONTAINER]
    if len(layers) > MOST_LAYERS:
        largest = set(sorted(layers, key=lambda name: -before[name])[:LARGEST])
        layers = [name for name in layers if name in largest]
    lines: list[tuple[str, list[str] | None]] = [(shortened(name, LAYER), [name]) for name in layers]
    others = {name for one in files for name in one} - set(layers) - {CONTAINER}
    if others:
        lines.append((f"{len(others)} other layers", None))
    return [*lines, ("header, graph, checksums", [CONTAINER])]


def _bars(
    axes: Axes,
    lines: Sequence[tuple[str, list[str] | None]],
    before: dict[str, int],
    after: dict[str, int],
    factor: float,
    colour: str,
) -> None:
    places = range(len(lines))
    axes.barh(places, [one / factor for one in _per_line(lines, before)], height=0.8, color="#D0D0D0")
    axes.barh(places, [one / factor for one in _per_line(lines, after)], height=0.5, color=colour)
    axes.set_yticks(places, [text for text, _ in lines], fontsize=8)
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.locator_params(axis="x", nbins=4)
    axes.grid(visible=False, axis="y")


def _per_line(lines: Sequence[tuple[str, list[str] | None]], totals: dict[str, int]) -> list[int]:
    own = {name for _, names in lines for name in names or ()}
    rest = sum(size for name, size in totals.items() if name not in own)
    return [rest if names is None else sum(totals.get(name, 0) for name in names) for _, names in lines]


def _nothing() -> Figure:
    figure = new_figure(6.5, 2.0)
    figure.suptitle("Bytes per layer", fontsize=12)
    figure.text(0.5, 0.45, "no row left a file", ha="center", va="center")
    return figure
