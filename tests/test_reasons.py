"""Why a row is not faster: each rule fires where it should, and nowhere else."""

from __future__ import annotations

import dataclasses
import io
import math
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.records import EXACT_INT8, FORMS_WEIGHTS, SIMULATED_INT8, KernelCount, Measurement, RunRecord, RuntimeResult
from reports import theory
from reports.page import page
from reports.promised import Compared, compared
from reports.reasons import RULES, UNEXPLAINED, reasons
from reports.reasons_page import reasons_section, with_reasons
from reports.rows import frame
from reports.table import csv_text
from tests.records_example import example, record
from tests.sweep_example import spectral_run

FLOAT = (("fp32", "Conv", 4),)
INT8 = (("int8", "QLinearConv", 4),)
BIG = 400_000_000  # bytes of dense weights: no cache holds them
SMALL = 400_000


def counts(kernels: tuple[tuple[str, str, int], ...]) -> tuple[KernelCount, ...]:
    return tuple(KernelCount(*one) for one in kernels)


def latency(seconds: float, batch: int, wide: bool = False) -> Measurement:
    samples = (seconds * 0.6, seconds, seconds * 1.4) if wide else (seconds,) * 3
    return Measurement("latency", "s", samples, {"batch": batch})


def row(
    speed: float, *, kernels: tuple[tuple[str, str, int], ...] = FLOAT, notes: tuple[str, ...] = (), macs: float = 1.0,
    zeros: float = 0.0, kept: float = 1.0, bits: int = 32, held: int = BIG, dense_s: float = 0.1, batch: int = 1,
    macs_a_byte: float = 1.0, wide: bool = False,
) -> Compared:  # fmt: skip
    """A row of `speed` times the dense network's pace beside a dense one of four float32 calls.

    macs, kept: shares of the dense multiply-accumulates and parameters. zeros: share of what is stored that is zero.
    held: bytes of the dense weights. macs_a_byte: of the dense network, for an image.
    """
    dense_macs, parameters = int(held * macs_a_byte), held // 4
    beside = RuntimeResult("r", "ok", measurements=(latency(dense_s, batch),), kernel_counts=counts(FLOAT))
    own = RuntimeResult(
        "r", "ok", measurements=(latency(dense_s / speed, batch, wide),), dense_measurements=beside.measurements,
        kernel_counts=counts(kernels), kernel_notes=notes,
    )  # fmt: skip
    blank = RunRecord("d", "net", "data", "dense", "dense", 0, {}, "ok")
    dense = dataclasses.replace(
        blank, macs=dense_macs, nonzero_macs=dense_macs, parameters=parameters, nonzeros=parameters,
        weight_bytes=4 * parameters, runtimes=(beside,),
    )  # fmt: skip
    left = int(parameters * kept)
    one = dataclasses.replace(
        blank, case_id="x", chain="x", label="x", macs=int(dense_macs * macs),
        nonzero_macs=int(dense_macs * macs * (1 - zeros)), parameters=left, nonzeros=int(left * (1 - zeros)),
        weight_bytes=left * bits // 8, runtimes=(own,),
    )  # fmt: skip
    (found,) = compared([dense, one], [batch])
    return found


def rules(**given_: Any) -> list[str]:
    return [one.rule for one in reasons(row(**given_))]


@pytest.mark.parametrize(
    ("given_", "rule"),
    [
        ({"speed": 0.5, "bits": 8, "notes": (SIMULATED_INT8,)}, "simulated"),
        ({"speed": 1.0, "bits": 4}, "read back"),
        ({"speed": 1.0, "bits": 8}, "read back"),  # an int8 file that a runtime ran in float32
        ({"speed": 0.9, "bits": 16}, "read back"),
        ({"speed": 1.4, "bits": 8, "kernels": (("int8", "QGemm", 2), ("fp32", "Gemm", 2))}, "left wide"),
        ({"speed": 1.0, "zeros": 0.9}, "zeros"),
        ({"speed": 0.01, "macs": 0.5, "notes": (FORMS_WEIGHTS,)}, "forms weights"),
        ({"speed": 1.2, "bits": 8, "kernels": INT8, "notes": (EXACT_INT8,)}, "exact int8"),
        ({"speed": 1.0, "macs": 0.2, "kept": 0.2, "kernels": (("fp32", "Conv", 12),)}, "pieces"),
        ({"speed": 1.1, "macs": 0.8, "kept": 0.1, "macs_a_byte": 50}, "bytes"),
        ({"speed": 1.1, "macs": 0.8, "kept": 0.1, "held": SMALL}, "bytes"),
        ({"speed": 1.1, "macs": 0.1, "kept": 0.9}, "bound by bytes"),
        ({"speed": 1.0, "macs": 0.2, "kept": 0.2, "dense_s": 1e-5}, "short"),
        ({"speed": 2.0, "macs": 0.2, "kept": 0.2, "wide": True}, "unsteady"),
        ({"speed": 40.0, "held": 4_000_000, "macs": 0.2, "kept": 0.2}, "out of cache"),
        ({"speed": 3.0, "kernels": (("fp32", "Conv", 2),)}, "fewer calls"),
        ({"speed": 3.0, "kernels": (("fp32", "mkldnn", 4),)}, "other kernels"),
        ({"speed": 2.3, "wide": True}, "unsteady"),
        ({"speed": 0.3}, "unexplained"),
        ({"speed": 3.0}, "unexplained"),
    ],
)
def test_each_rule_fires_alone_where_its_cause_is_planted(given_: dict[str, Any], rule: str) -> None:
    assert rules(**given_) == [rule]


def test_every_rule_is_tried_above() -> None:
    (mark,) = (one for one in test_each_rule_fires_alone_where_its_cause_is_planted.pytestmark)  # type: ignore[attr-defined]
    assert {rule for _, rule in mark.args[1]} == set(RULES)


@pytest.mark.parametrize(
    "given_",
    [
        {"speed": 1.0},
        {"speed": 2.1, "bits": 8, "kernels": INT8},
        {"speed": 7.9, "bits": 8, "kernels": INT8, "notes": (EXACT_INT8,)},
        {"speed": 5.5, "zeros": 0.9},
        {"speed": 0.51, "wide": True},
        {"speed": 2.5, "macs": 0.25, "kept": 0.25, "kernels": (("fp32", "Conv", 12),), "dense_s": 1e-5},
    ],
)
def test_a_row_within_twice_of_its_promise_has_no_reason(given_: dict[str, Any]) -> None:
    assert rules(**given_) == []


@pytest.mark.parametrize(
    ("given_", "rule"),
    [
        ({"speed": 1.0, "zeros": 0.9, "kernels": (("fp32", "sparse Conv", 4),)}, "zeros"),
        ({"speed": 0.4, "zeros": 0.05}, "zeros"),
        ({"speed": 1.2, "bits": 8, "kernels": INT8}, "read back"),
        ({"speed": 0.5, "bits": 8, "notes": (SIMULATED_INT8,)}, "read back"),
        ({"speed": 1.2, "bits": 8, "kernels": INT8}, "left wide"),
        ({"speed": 0.3, "bits": 8, "kernels": (("int8", "a", 2), ("unknown", "b", 2))}, "left wide"),
        ({"speed": 1.0, "macs": 0.2, "kept": 0.2}, "pieces"),
        ({"speed": 1.1, "macs": 0.8, "kept": 0.1, "macs_a_byte": 1}, "bytes"),  # memory-bound at batch 1
        ({"speed": 1.1, "macs": 0.1, "kept": 0.9, "macs_a_byte": 1, "batch": 32}, "bound by bytes"),
        ({"speed": 1.0, "macs": 0.2, "kept": 0.2}, "short"),
        ({"speed": 1.0, "macs": 0.2, "kept": 0.2, "wide": True}, "unsteady"),  # by more than its spread
        ({"speed": 40.0, "macs": 0.2, "kept": 0.2}, "out of cache"),
        ({"speed": 3.0, "kernels": (("fp32", "Conv", 4),)}, "other kernels"),
    ],
)
def test_a_rule_is_silent_where_its_cause_is_not(given_: dict[str, Any], rule: str) -> None:
    assert rule not in rules(**given_)


def test_the_same_file_is_bound_by_bytes_at_batch_1_and_by_arithmetic_at_batch_32() -> None:
    assert rules(speed=1.1, macs=0.8, kept=0.1, batch=1) == ["unexplained"]
    assert rules(speed=1.1, macs=0.8, kept=0.1, batch=32) == ["bytes"]
    assert rules(speed=1.1, macs=0.1, kept=0.9, batch=1) == ["bound by bytes"]


def test_reasons_hold_the_numbers_that_they_rest_on() -> None:
    (one,) = reasons(row(1.0, zeros=0.9))
    assert one.words.startswith("dense kernels multiply zeros: the 90.0 % of multiply-accumulates")
    (one,) = reasons(row(1.4, bits=8, kernels=(("int8", "QGemm", 3), ("fp32", "Gemm", 1))))
    assert one.numbers == "1 of 4 kernel calls did not run in int8: fp32 Gemm x1"


def test_a_slowdown_that_no_rule_makes_is_not_explained_away() -> None:
    found = reasons(row(0.01, macs=0.2, kept=0.2, dense_s=1e-5))
    assert [one.rule for one in found] == ["short", "unexplained"]
    assert found[-1].words == f"{UNEXPLAINED}: that it is slower than dense"


@given(st.floats(0.01, 100), st.floats(0.05, 1), st.floats(0, 0.95), st.sampled_from([4, 8, 16, 32]))
def test_reasons_are_given_exactly_where_promised_and_measured_are_apart(
    speed: float, macs: float, zeros: float, bits: int
) -> None:
    one = row(speed, macs=macs, kept=macs, zeros=zeros, bits=bits)
    apart = max(one.measured / one.promised, one.promised / one.measured)
    assert bool(reasons(one)) == (apart > 2)


def test_bytes_of_pruned_weights_are_those_of_the_smaller_form() -> None:
    one = dataclasses.replace(record("dense"), parameters=1000, weight_bytes=4000, nonzeros=1000, ledger=())
    assert theory.least_bytes(one) == 4000
    assert theory.least_bytes(dataclasses.replace(one, nonzeros=100)) == 400 + 125
    assert theory.least_bytes(dataclasses.replace(one, nonzeros=990)) == 4000
    assert theory.least_bytes(dataclasses.replace(one, weight_bytes=None)) is None


def test_what_width_promises() -> None:
    assert theory.gain_of_kernels(counts(INT8), counts(FLOAT)) == 4
    assert theory.gain_of_kernels(counts((("bf16", "mm", 3),)), counts(FLOAT)) == 2
    assert theory.gain_of_kernels(counts((("int8", "a", 1), ("fp32", "b", 1))), counts(FLOAT)) == 32 / 20
    assert math.isnan(theory.gain_of_kernels(counts((("unknown", "a", 1),)), counts(FLOAT)))
    assert math.isnan(theory.gain_of_kernels((), counts(FLOAT)))


def test_the_page_has_a_line_for_each_row_and_reasons_where_they_differ() -> None:
    text = page(example(), title="t", command="c")
    section = text[text.index("## Why is it not faster?") :].split("\n## ")[0]
    assert section.count("\n| ") == 1 + 1 + 4 * 2 * 2 - 0
    assert "`prune` in onnxruntime: 0." in section
    assert "**dense kernels multiply zeros**" in section
    assert "**int8 is simulated by float kernels**" in section
    assert "fp32 Conv x20, fp32 Gemm x1" in section
    assert "`ptq` in onnxruntime" not in section  # 3.2 times of some 3.5: nothing to explain


def test_records_from_before_have_no_section_and_no_promise() -> None:
    old = [
        dataclasses.replace(
            one, nonzero_macs=None, weight_bytes=None,
            runtimes=tuple(dataclasses.replace(r, kernel_counts=(), kernel_notes=()) for r in one.runtimes),
        )
        for one in example()
    ]  # fmt: skip
    assert reasons_section(old) == ""
    assert frame(old)["theoretical_speedup_bytes"].isna().all()
    assert frame(old)["theoretical_speedup"].notna().all()
    assert with_reasons(frame(old), old)["promised_speedup"].isna().all()


def test_csv_says_why() -> None:
    records = example()
    table = pd.read_csv(io.StringIO(csv_text(with_reasons(frame(records), records))))
    pruned = table[(table["method"] == "prune") & (table["runtime"] == "onnxruntime")].iloc[0]
    assert pruned["theoretical_speedup"] == 1
    assert pruned["theoretical_speedup_nonzero_macs"] == pytest.approx(10)
    assert pruned["promised_speedup"] == pytest.approx(10)
    assert "dense kernels multiply zeros" in pruned["why_b1"]
    assert "dense kernels multiply zeros" in pruned["why_b32"]
    assert table[table["method"] == "dense"]["why_b1"].isna().all()


def test_a_crowd_is_told_by_rule_and_in_few_lines() -> None:
    section = reasons_section(spectral_run())
    assert len(section.splitlines()) < 200
    assert "timings of all rows" in section
    assert "dense kernels multiply zeros: " in section
