"""The columns of the page's table, which are the quantities of its charts' axes: names, units and cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from reports.cells import byte_unit, count_unit, exact, known, percent, ratio, rounded
from reports.html.lines import Line, measured

Better = Literal["low", "high", ""]
PERCENT, PLAIN = 100.0, 1.0


@dataclass(frozen=True)
class Column:
    """A quantity: its column of table.csv, how it is headed, and the text of a value in its unit."""

    key: str
    head: str
    unit: str
    factor: float  # what a value is multiplied by to be in `unit`
    cell: Callable[[float | None], str]
    help: str
    better: Better = ""  # which values are, on the axis of a chart; empty of what is no axis
    log: bool = False
    more: bool = False  # shown only with all columns

    def text(self, line: Line) -> str:
        """The cell of a line."""
        return self.cell(line.numbers.get(self.key))


def columns_of(lines: Sequence[Line]) -> list[Column]:
    """Those of all columns that some line has a value in."""
    return [one for one in _all(lines) if measured(lines, one.key)]


def _all(lines: Sequence[Line]) -> list[Column]:
    file, memory, gpu = (_unit(lines, name) for name in ("file_bytes", "peak_memory_bytes", "gpu_memory_bytes"))
    macs, macs_by = count_unit(measured(lines, "macs"))
    return [
        _share("accuracy", "Accuracy", "correct / seen on the whole test split, with its 95 % interval", "high"),
        _share("accuracy_drop", "Drop", "accuracy of the dense network less this row's, same seed and runtime", "low",
               unit="points", more=True),
        _scaled("file_bytes", "File", *file, "bytes of the one artifact", log=True),
        _factor("compression_ratio", "Compression", "dense file / this file, same seed"),
        _scaled("latency_ms_b1", "Latency b1", "ms", 1.0, "median time of one image (batch 1)"),
        _factor("speedup_b1", "Speed-up b1", "dense time / its own, one image, by turns in one process"),
        _scaled("latency_ms_b32", "Latency b32", "ms", 1.0, "median time of a batch of 32 images"),
        _factor("speedup_b32", "Speed-up b32", "dense time / its own, batch of 32, by turns in one process"),
        _share("latency_share_b1", "Latency b1 vs dense", "its time in % of the dense network's, one image", "low",
               places=1, more=True, log=True),
        _share("latency_share_b32", "Latency b32 vs dense", "its time in % of the dense network's, batch of 32",
               "low", places=1, more=True, log=True),
        _scaled("peak_memory_bytes", "Peak memory", *memory, "of a process that only reads the file and runs batches"),
        _scaled("gpu_memory_bytes", "GPU memory", *gpu, "peak of the allocator, or of the driver"),
        _scaled("energy_j", "Energy", "J an image", 1.0, "of the GPU"),
        _share("top5", "Top-5", "the label is among the five likeliest classes", "high", more=True),
        _count("parameters", "Parameters", "values stored in the file"),
        _count("nonzeros", "Non-zeros", "of the parameters"),
        Column("macs", "MACs", macs, 1 / macs_by, lambda value: _times(value, 1 / macs_by),
               "multiply-accumulates of one image", "low", log=True, more=True),
        _factor("theoretical_speedup", "Speed-up by MACs", "what the arithmetic alone would give", more=True),
        _factor("promised_speedup", "Promised speed-up", "what MACs without zeros, or bytes, would allow", more=True),
        _scaled("compress_s", "Compressing", "s", 1.0, "seconds, fine-tuning included", more=True),
        _count("extra_epochs", "Extra epochs", "trained beyond the dense network", better=""),
        _share("agreement_dense", "Agrees with dense", "test images that both predict alike", "high", more=True),
        _share("worst_class_drop", "Worst class drop", "how much the class that loses most loses", "low", unit="points",
               more=True),
        Column("ece", "Calibration error", "%", PERCENT, percent, "expected, 15 bins", "low", more=True),
        _share("validation_accuracy", "Validation accuracy", "on the validation split, which chose", "", more=True),
    ]  # fmt: skip


def _unit(lines: Sequence[Line], name: str) -> tuple[str, float]:
    unit, size = byte_unit(measured(lines, name))
    return unit, 1 / size


def _times(value: float | None, factor: float) -> str:
    number = known(value)
    return rounded(None if number is None else number * factor)


def _share(
    key: str, head: str, help: str, better: Better, *, unit: str = "%", places: int = 2, more: bool = False,
    log: bool = False,
) -> Column:  # fmt: skip
    return Column(key, head, unit, PERCENT, lambda value: percent(value, places), help, better, log=log, more=more)


def _scaled(
    key: str, head: str, unit: str, factor: float, help: str, *, log: bool = True, more: bool = False
) -> Column:
    return Column(key, head, unit, factor, lambda value: _times(value, factor), help, "low", log=log, more=more)


def _factor(key: str, head: str, help: str, *, more: bool = False) -> Column:
    return Column(key, head, "×", PLAIN, ratio, help, "high", log=True, more=more)


def _count(key: str, head: str, help: str, better: Better = "low") -> Column:
    return Column(key, head, "", PLAIN, exact, help, better, log=True, more=True)
