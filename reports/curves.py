"""Training curves: the dense network's training, and the fine-tuning of each chain stage after stage."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bench.records import EpochLog, RunRecord
from reports.cells import shortened
from reports.crowd import left_out, named
from reports.rows import DENSE, dense_first
from reports.style import Look, looks, new_figure

LABEL = 44  # characters of a label in the legend
MOST_RUNS = 12  # chains that a crowd's figure shows
WIDTH = 10.0  # inches
CHARACTERS = 125  # of the legend's font that fit in WIDTH


def training_curves(records: Sequence[RunRecord]) -> Figure:
    """Validation accuracy and training loss per epoch. Left the dense training, right the fine-tuning of each chain."""
    chosen = named(records, MOST_RUNS)
    ordered = dense_first(chosen)
    dense = [(one, logs) for one in ordered if one.chain == DENSE and (logs := stage_logs(one))]
    tuned = [(one, logs) for one in ordered if one.chain != DENSE and (logs := stage_logs(one))]
    parts = [(text, runs) for text, runs in (("dense training", dense), ("fine-tuning", tuned)) if runs]
    if not parts:
        return _nothing()
    figure = new_figure(WIDTH, 6.6)
    grid = figure.subplots(2, len(parts), squeeze=False, sharex="col")
    table = looks(chosen)
    for column, (text, runs) in enumerate(parts):
        _column(grid[0, column], grid[1, column], text, runs, table)
    if dense and tuned:
        _reference(grid[0, 1], dense)
    _legend(figure, [*dense, *tuned], table)
    rest = left_out(records, chosen)
    title = "Training: validation accuracy and loss per epoch" + (f";\n{rest}" if rest else "")
    figure.suptitle(title, fontsize=12)
    return figure


def stage_logs(one: RunRecord) -> list[EpochLog]:
    """The epochs that this row itself was trained for: of a compressed row those after the dense training."""
    return [log for log in one.training if (log.stage == DENSE) == (one.chain == DENSE)]


def _column(
    top: Axes, bottom: Axes, text: str, runs: Sequence[tuple[RunRecord, list[EpochLog]]], table: dict[str, Look]
) -> None:
    for one, logs in runs:
        _line(top, [100 * log.validation_accuracy for log in logs], logs, table[one.chain])
        _line(bottom, [log.train_loss for log in logs], logs, table[one.chain])
    longest = max(len(logs) for _, logs in runs)
    top.set_title(text)
    top.set_ylabel("validation accuracy, %")
    bottom.set_ylabel("training loss, nats")
    bottom.set_xlabel("epoch" if text.startswith("dense") else "epoch of fine-tuning, all stages")
    bottom.set_xlim(0.7, longest + 0.3)
    bottom.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _line(axes: Axes, values: Sequence[float], logs: Sequence[EpochLog], look: Look) -> None:
    """One run's curve; the first epoch of a further stage has a black ring. Epochs that are not finite leave a gap."""
    epochs = range(1, len(values) + 1)
    size = 9 if look.marker == "*" else 5
    axes.plot(epochs, values, color=look.colour, marker=look.marker, markersize=size, linewidth=1.4, alpha=0.85)
    further = [k for k in range(1, len(logs)) if logs[k].stage != logs[k - 1].stage]
    starts = [values[k] for k in further]
    axes.plot([k + 1 for k in further], starts, "o", markersize=10, markerfacecolor="none", color="#000000")


def _reference(axes: Axes, dense: Sequence[tuple[RunRecord, list[EpochLog]]]) -> None:
    for _, logs in dense:
        axes.axhline(100 * logs[-1].validation_accuracy, color="#000000", linewidth=0.8, linestyle=":")


def _legend(figure: Figure, runs: Sequence[tuple[RunRecord, list[EpochLog]]], table: dict[str, Look]) -> None:
    names = {one.chain: shortened(one.label, LABEL) for one, _ in runs}
    several = len({one.seed for one, _ in runs}) > 1
    handles = [Line2D([], [], color=table[c].colour, marker=table[c].marker, label=name) for c, name in names.items()]
    if any(log.stage != logs[0].stage for _, logs in runs for log in logs):
        ring = Line2D([], [], color="#000000", label="a further stage begins", marker="o", linestyle="")
        ring.set(markerfacecolor="none", markersize=10)
        handles.append(ring)
    widest = max(len(str(handle.get_label())) for handle in handles) + 8
    columns = max(1, min(len(handles), CHARACTERS // widest))
    title = "a line a seed; dotted: dense at its end" if several else "dotted: dense at its end"
    rows = math.ceil(len(handles) / columns)
    figure.set_figheight(figure.get_figheight() + 0.2 * rows)
    legend = figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=9, frameon=False)
    legend.set_title(title, prop=FontProperties(size=8.5))


def _nothing() -> Figure:
    figure = new_figure(6.5, 2.0)
    figure.suptitle("Training", fontsize=12)
    figure.text(0.5, 0.45, "no row was trained", ha="center", va="center")
    return figure
