"""The report's section on steps: every step of every row, as the records have it."""

import csv
import dataclasses
import io
import math

from bench.records import StepLog
from reports import draw
from reports.steps_page import steps_csv, steps_section
from tests.records_example import example


def stepped(count=3):
    records = [one for one in example() if one.status == "ok"]
    logs = tuple(
        StepLog("prune:schedule=iterative", step, count, 1 - 0.5**step, 0.5 + 0.1 * step, 0.9 + 0.01 * step)
        for step in range(1, count + 1)
    )
    return [one if one.chain == "dense" else replaced(one, logs) for one in records]


def replaced(record, logs):
    return dataclasses.replace(record, steps=logs)


def test_every_step_is_in_the_table_with_what_fine_tuning_mended():
    records = stepped()
    text = steps_section(records)
    rows = [line for line in text.splitlines() if " of 3 |" in line]
    assert len(rows) == 3 * sum(1 for one in records if one.chain != "dense")
    assert "| 1 of 3 | 50.000 | 60.00 | 91.00 | +31.00 |" in rows[0]


def test_a_row_without_steps_makes_no_section(tmp_path):
    records = [one for one in example() if one.status == "ok"]
    assert steps_section(records) == ""
    draw(records, tmp_path, title="t", command="c")
    assert not (tmp_path / "steps.csv").exists()


def test_the_file_of_steps_is_in_full_precision(tmp_path):
    records = stepped()
    read = list(csv.DictReader(io.StringIO(steps_csv(records))))
    assert [float(row["sparsity"]) for row in read[:3]] == [0.5, 0.75, 0.875]
    assert float(read[2]["validation_before"]) == 0.5 + 0.1 * 3
    draw(records, tmp_path, title="t", command="c")
    assert (tmp_path / "steps.csv").read_text() == steps_csv(records)
    assert "## Step by step" in (tmp_path / "report.md").read_text()


def test_a_step_without_a_network_before_its_fine_tuning_has_dashes():
    log = StepLog("prune:schedule=gradual", 1, 1, 0.9, math.nan, 0.95)
    records = [one if one.chain == "dense" else replaced(one, (log,)) for one in example() if one.status == "ok"]
    text = steps_section(records)
    assert "| 1 of 1 | 90.000 | – | 95.00 | – |" in text
    assert "| gone % |" in text
    assert "it prunes while it trains" in text
    assert "nan" not in text
    assert {row["validation_before"] for row in csv.DictReader(io.StringIO(steps_csv(records)))} == {""}
