"""The page that holds several runs: every row and runtime is on it, and its sentences are counted, not written."""

import dataclasses
import json

import pytest

from bench.composition import read_run, section, verdict
from bench.records import KernelCount, RuntimeResult, write_record
from tests.records_example import record

INT8 = (KernelCount("int8", "QLinearConv", 4),)
MIXED = (*INT8, KernelCount("fp32", "Conv", 1))


def row(label, runtime="onnxruntime", kernels=INT8, agreement=1.0, **fields):
    one = record(label, **fields)
    result = dataclasses.replace(one.runtimes[0], runtime=runtime, kernel_counts=kernels, agreement=agreement)
    return dataclasses.replace(one, runtimes=(result,))


def test_what_ran_and_agreed_and_was_int8_is_counted():
    refused = dataclasses.replace(record("qat"), runtimes=(RuntimeResult("openvino", "refused", "absent"),))
    lines = verdict([[row("ptq"), row("dct", kernels=MIXED, agreement=0.994)], [row("qat", "openvino"), refused]])
    assert lines == [
        "- 3 of 4 rows and runtimes ran.",
        "- At least 99.5 % of test predictions are eager's in 2 of 3; the least is 99.40 %.",
        "- All products were int8 in 2: 1 in onnxruntime, 1 in openvino.",
    ]


def test_a_row_without_kernels_is_not_taken_for_int8():
    assert verdict([[row("ptq", kernels=())]])[2] == "- All products were int8 in 0: none."


def test_every_row_and_runtime_has_a_line_with_its_kernels_by_precision():
    lines = section([row("ptq"), row("qat", kernels=MIXED), dataclasses.replace(record("prune"), status="failed",
                     reason="no", runtimes=())], "python run_bench.py --net x")  # fmt: skip
    table = [line for line in lines if line.startswith("| `")]
    assert len(table) == 3
    assert table[1].endswith("| int8 x4, fp32 x1 |")
    assert "failed: no" in table[2]
    assert "`python run_bench.py --net x`" in lines


def test_a_folder_that_is_no_run_is_an_error_that_names_it(tmp_path):
    with pytest.raises(ValueError, match="is no finished run"):
        read_run(tmp_path)
    (tmp_path / "plan.json").write_text(json.dumps({"cases": ["one"], "command": "c"}))
    with pytest.raises(ValueError, match="is no finished run"):
        read_run(tmp_path)
    write_record(row("ptq"), tmp_path / "records" / "one.json")
    assert read_run(tmp_path)[1] == "c"
