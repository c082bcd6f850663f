"""What trackers are told of a row is what its record says, under names that every tracker takes."""

import dataclasses
import math
import re

import pytest

from bench.grammar import parse_chains
from bench.records import EpochLog, Measurement, StepLog
from bench.tracking_values import Row, row_of, stages
from methods import METHODS
from reports.columns import COLUMNS
from reports.rows import frame
from tests.records_example import example, failed, record, with_runtime

NAME = re.compile(r"[\w.\- ]+(/[\w.\- ]+)*")  # what MLflow takes on any system, and TensorBoard


@pytest.mark.parametrize(
    "typed",
    [
        "prune:sparsity=0.8+qat",
        "dct:keep=0.25:skip='first last'",
        "ensemble:of='prune:sparsity=0.8+ptq':seeds=3",
        "distill:student='student:widths=16-32:kernel=3:under=100000'+prune",
        "ensemble:of='prune,ensemble:of=''prune+ptq'':seeds=2':seeds=2",
    ],
)
def test_stages_and_hyperparameters_are_read_from_the_canonical_text(typed):
    for chain in parse_chains(typed, METHODS):
        assert stages(chain.text) == [(stage.name, stage.settings) for stage in chain.stages]


def test_the_dense_network_has_no_stage():
    assert stages("dense") == []
    assert not [key for key in row_of(record("dense"), None).params if key.startswith("stage")]


def test_measures_are_those_of_the_table_by_name_and_value():
    records = example(seeds=(0, 3))
    dense = {one.seed: one for one in records if one.chain == "dense"}
    rows = {one.case_id: row_of(one, dense[one.seed]) for one in records}
    table = frame(records)
    compared = 0
    for line in table.to_dict("records"):
        measures = rows[line["case_id"]].measures
        here = {name: measures.get(f"{line['runtime']}/{name}", measures.get(name)) for name in COLUMNS}
        for name, value in here.items():
            if value is not None:
                assert value == pytest.approx(line[name], rel=1e-12), (line["method"], name)
                compared += 1
    for name in ("file_bytes", "compression_ratio", "nonzeros", "latency_ms_b1", "speedup_b32", "accuracy_drop",
                 "peak_memory_bytes", "throughput_b32", "macs", "extra_epochs", "validation_accuracy"):  # fmt: skip
        assert any(f"eager/{name}" in one.measures or name in one.measures for one in rows.values()), name
    assert compared > 20 * len(table)


def test_what_is_told_beside_dense_waits_for_dense():
    dense, one = record("dense"), record("ptq")
    without, beside = row_of(one, None), row_of(one, dense)
    assert set(beside.measures) - set(without.measures) == {
        "compression_ratio", "eager/accuracy_drop", "onnxruntime/accuracy_drop"
    }  # fmt: skip
    assert without.digest != beside.digest
    assert row_of(one, failed("dense")).measures == without.measures


def test_energy_and_a_quantity_that_nobody_knows_have_their_unit():
    one = record("ptq", runtimes=("eager",))
    more = (
        Measurement("energy", "J", (3.0, 1.0, 2.0)),
        Measurement("ozone", "g/m3", (7.0,)),
        Measurement("noise", "B", ()),
    )
    one = with_runtime(one, "eager", measurements=one.runtimes[0].measurements + more)
    measures = row_of(one, None).measures
    assert (measures["eager/energy_j"], measures["eager/ozone_g_m3"]) == (2.0, 7.0)
    assert not [name for name in measures if "noise" in name]


def test_epochs_run_on_over_all_stages_and_name_them():
    one = record("prune+qat", like="prune")
    again = [EpochLog("qat", 1, 1, 0.1, 2.0, 0.5, 0.6, 3.0, 9)]  # a stage that trains again begins at 1
    one = dataclasses.replace(one, training=(*one.training, *again))
    row = row_of(one, None)
    loss = [point for point in row.curves if point.name == "training/loss"]
    assert [point.step for point in loss] == list(range(1, len(one.training) + 1))
    assert [point.value for point in loss] == [log.train_loss for log in one.training]
    assert loss[-1].after_s == pytest.approx(sum(log.seconds for log in one.training))
    parts = [row.params[f"training.part{number}"] for number in (1, 2, 3)]
    assert parts == ["epochs 1 to 2: prune", "epochs 3 to 4: qat", "epochs 5 to 5: qat"]


def test_steps_are_logged_without_what_is_not_a_number():
    steps = (StepLog("prune", 1, 2, 0.5, math.nan, 0.9), StepLog("prune", 2, 2, 0.8, 0.4, 0.7))
    row = row_of(dataclasses.replace(record("prune"), steps=steps), None)
    found = [(point.name, point.step, point.value) for point in row.curves if point.name.startswith("steps/")]
    assert ("steps/accuracy_before", 1) not in [one[:2] for one in found]
    assert {("steps/sparsity", 1, 0.5), ("steps/sparsity", 2, 0.8), ("steps/accuracy_before", 2, 0.4)} <= set(found)


def test_a_row_that_did_not_run_has_its_reason_and_no_measure():
    for status in ("failed", "refused"):
        row = row_of(failed("dct", status=status, reason="no layer is left"), record("dense"))
        assert (row.status, row.reason, row.measures, row.curves) == (status, "no layer is left", {}, ())
        assert (row.facts["status"], row.facts["reason"]) == (status, "no layer is left")


def test_a_runtime_that_did_not_run_is_told_and_has_no_measure():
    one = with_runtime(record("ptq"), "onnxruntime", status="failed", reason="out of memory")
    row = row_of(one, record("dense"))
    assert row.facts["reason.onnxruntime"] == "out of memory"
    assert not [name for name in row.measures if name.startswith("onnxruntime/")]
    assert row.measures["eager/accuracy"]


def test_names_are_those_that_trackers_take():
    records = [
        record(chain, like="prune") for chain in ("dense", "prune:sparsity=0.8+qat:bits=4", "dct:skip='first last'")
    ]
    for one in records:
        row = row_of(one, records[0])
        for name in (*row.params, *row.measures, *row.facts, *(point.name for point in row.curves)):
            assert NAME.fullmatch(name), name


def test_whatever_changes_in_a_row_changes_its_digest():
    row = row_of(record("prune"), record("dense"))
    other = row_of(record("qat", seed=1), record("dense", seed=1))
    seen = {row.digest}
    for field in dataclasses.fields(Row):
        if getattr(row, field.name) != getattr(other, field.name):
            seen.add(dataclasses.replace(row, **{field.name: getattr(other, field.name)}).digest)
    assert len(seen) >= 9
    assert row_of(record("prune"), record("dense")).digest == row.digest
