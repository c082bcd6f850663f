"""The section on methods that go on in steps: how sparse each step left the network, and what fine-tuning mended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from bench.records import RunRecord
from reports.cells import MISSING, known, markdown, percent, pipe_table
from reports.crowd import left_out, named

_HEAD = ("method", "seed", "step", "gone %", "validation before %", "after fine-tuning %", "mended, points")


def steps_section(records: Sequence[RunRecord]) -> str:
    """The section as Markdown; empty where no row tells of steps."""
    shown = named(records)
    lines = [_line(row) for row in step_rows(shown)]
    if not lines:
        return ""
    note = f"Of {text}. All: [steps.csv](steps.csv).\n" if (text := left_out(records, shown)) else ""
    return "\n".join(
        [
            "## Step by step\n",
            "Accuracy on the validation images before and after the fine-tuning of each step. A gradual schedule has a "
            "dash before it: it prunes while it trains, so that no network of it is pruned and not yet fine-tuned. "
            "Gone is the share of the stored entries that the method acts on which is held at zero; where channels are "
            "cut, the share of the multiply-accumulates, parameters or channels that `of` names which is no longer "
            "there.\n",
            note + pipe_table(_HEAD, lines) + "\n",
        ]
    )


def step_rows(records: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """A row for each step of each record, in full precision."""
    return [
        {
            "method": one.label,
            "seed": one.seed,
            "stage": log.stage,
            "step": log.step,
            "steps": log.steps,
            "sparsity": log.sparsity,
            "validation_before": log.accuracy_before,
            "validation_after": log.accuracy_after,
        }
        for one in records
        for log in one.steps
    ]


def steps_csv(records: Sequence[RunRecord]) -> str:
    """All steps as CSV."""
    return pd.DataFrame(step_rows(records)).to_csv(index=False, lineterminator="\n")


def _line(row: dict[str, Any]) -> list[str]:
    before, after = row["validation_before"], row["validation_after"]
    name = row["method"] if row["stage"] == row["method"] else f"{row['method']}, stage {row['stage']}"
    step = f"{row['step']} of {row['steps']}"
    gone = percent(row["sparsity"], 3)
    mended = MISSING if known(after - before) is None else f"{100 * (after - before):+.2f}"
    return [markdown(name), str(row["seed"]), step, gone, percent(before), percent(after), mended]
