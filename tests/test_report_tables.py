"""What a run looks like as tables: rows, columns, cells, and how they are set."""

import dataclasses
import io
import math
import re
import statistics

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bench.intervals import wilson
from bench.records import Measurement, RunRecord, RuntimeResult
from reports import terminal_table
from reports.cells import bytes_text, latex, percent, rounded, shortened
from reports.columns import COLUMNS
from reports.page import page
from reports.rows import frame, summary
from reports.table import csv_text, latex_summary, latex_table, markdown_table
from tests.records_example import KINDS, example, failed, record, with_runtime

ISSUE_COLUMNS = (  # noqa: SIM905
    "method seed status reason runtime kernels accuracy accuracy_low accuracy_high top5 parameters nonzeros "
    "information_bits file_bytes compression_ratio macs latency_ms_b1 latency_ms_b32 speedup_b1 speedup_b32 "
    "peak_memory_bytes gpu_memory_bytes energy_j compress_s artifact sha256"
).split()
NASTY = "50 % of a_b & {c} | #1 $x^2~ \\end{tabular}\nsecond line <b> `*`"


def test_columns_are_the_promised_ones_in_order() -> None:
    assert list(frame(example()).columns)[: len(ISSUE_COLUMNS)] == ISSUE_COLUMNS
    assert list(frame([]).columns) == list(COLUMNS)


def test_dense_comes_first_and_the_rest_in_the_given_order() -> None:
    records = [record("qat"), record("dct"), record("dense"), failed("x"), record("prune")]
    methods = list(dict.fromkeys(frame(records)["method"]))
    assert methods == ["dense", "qat", "dct", "x", "prune"]


def test_every_chain_seed_and_runtime_has_one_line() -> None:
    table = frame(example((0, 1, 2)))
    assert len(table) == 3 * 5 * 2
    assert not table.duplicated(["method", "seed", "runtime"]).any()


def test_ratios_are_those_worked_out_by_hand() -> None:
    records = example((0, 7))
    table = frame(records)
    for one in records:
        dense = next(other for other in records if other.chain == "dense" and other.seed == one.seed)
        for result in one.runtimes:
            line = table[(table["chain"] == one.chain) & (table["seed"] == one.seed)]
            row = line[line["runtime"] == result.runtime].iloc[0]
            assert row["compression_ratio"] == dense.file_bytes / one.file_bytes
            assert row["theoretical_speedup"] == dense.macs / one.macs
            own = {m.protocol["batch"]: statistics.median(m.samples) for m in result.measurements if m.unit == "s"}
            beside = {m.protocol["batch"]: statistics.median(m.samples) for m in result.dense_measurements}
            for batch in (1, 32):
                assert row[f"latency_ms_b{batch}"] == pytest.approx(1000 * own[batch])
                speedup = 1.0 if one.chain == "dense" else beside[batch] / own[batch]
                assert row[f"speedup_b{batch}"] == pytest.approx(speedup)
            assert result.accuracy is not None
            assert row["accuracy"] == result.accuracy.correct / result.accuracy.seen
            assert (row["accuracy_low"], row["accuracy_high"]) == wilson(result.accuracy.correct, result.accuracy.seen)


def test_speedup_is_against_the_dense_network_in_the_same_process_not_in_its_own_row() -> None:
    slow_day = record("qat", runtimes=("onnxruntime",))
    twice = tuple(
        dataclasses.replace(m, samples=tuple(2 * s for s in m.samples)) for m in slow_day.runtimes[0].dense_measurements
    )
    before = frame([record("dense"), slow_day])["speedup_b1"].iloc[-1]
    after = frame([record("dense"), with_runtime(slow_day, "onnxruntime", dense_measurements=twice)])[
        "speedup_b1"
    ].iloc[-1]
    assert after == pytest.approx(2 * before)


def test_without_a_dense_row_of_the_seed_there_is_no_ratio() -> None:
    table = frame([record("dense", seed=0), record("qat", seed=1), failed("dense", seed=1)])
    row = table[table["method"] == "qat"].iloc[0]
    assert row["compression_ratio"] is pd.NA
    assert row["accuracy_drop"] is pd.NA


def test_csv_is_read_back_in_full_precision() -> None:
    table = frame([*example((0, 1)), failed("x", reason=NASTY), failed("dense", seed=2)])
    again = pd.read_csv(io.StringIO(csv_text(table)), dtype=COLUMNS, keep_default_na=False, na_values={
        name: [""] for name, kind in COLUMNS.items() if kind != "str"
    })  # fmt: skip
    pd.testing.assert_frame_equal(again, table, check_exact=True)


@pytest.mark.parametrize("status", ["failed", "refused"])
def test_a_row_that_went_wrong_stays_with_its_reason_and_nothing_that_was_not_measured(status: str) -> None:
    records = [record("dense"), failed("x_y", status=status, reason="no way, 50 %")]
    table = frame(records)
    row = table.iloc[-1]
    assert (row["method"], row["status"], row["reason"]) == ("x_y", status, "no way, 50 %")
    assert table.iloc[-1].drop(["seed"]).map(lambda value: not isinstance(value, str)).sum() == sum(
        kind != "str" for name, kind in COLUMNS.items() if name != "seed"
    )
    assert row[[name for name, kind in COLUMNS.items() if kind != "str" and name != "seed"]].isna().all()
    for text in (markdown_table(table), page(records, title="t", command="c"), rendered(records, 80)):
        assert f"{status}: no way, 50 %" in text
    assert rf"{status}: no way, 50 \%" in latex_table(table)


def test_a_runtime_that_cannot_run_a_row_says_why_and_leaves_the_other_alone() -> None:
    result = RuntimeResult("inductor", "refused", "no compiler here")
    one = record("qat")
    records = [record("dense"), dataclasses.replace(one, runtimes=(*one.runtimes, result))]
    table = frame(records)
    assert list(table["status"])[-3:] == ["ok", "ok", "refused"]
    assert table["reason"].iloc[-1] == "no compiler here"
    assert table["file_bytes"].iloc[-1] == one.file_bytes
    assert table["latency_ms_b1"].isna().iloc[-1]
    assert "in inductor: refused: no compiler here" in page(records, title="t", command="c")


def test_an_unsteady_timing_is_called_so() -> None:
    noisy = Measurement("latency", "s", (0.01, 0.01, 0.02, 0.03), {"batch": 1})
    records = [record("dense"), with_runtime(record("qat"), "eager", measurements=(noisy,))]
    table = frame(records)
    assert [bool(note) for note in table["timing"]] == [False, False, True, False]
    assert "not steady" in page(records, title="t", command="c")
    assert "not steady" not in page(example(), title="t", command="c")


def test_throughput_that_was_not_measured_follows_from_the_latency_of_the_batch() -> None:
    alone = tuple(m for m in record("qat").runtimes[0].measurements if m.quantity == "latency")
    row = frame([with_runtime(record("qat"), "eager", measurements=alone)]).iloc[0]
    assert row["throughput_b32"] == pytest.approx(1000 * 32 / row["latency_ms_b32"])


def test_summary_over_seeds_is_numpys() -> None:
    table = frame([*example((0, 1, 2)), failed("dct", seed=3)])
    seeds = summary(table)
    line = seeds[(seeds["method"] == "dct") & (seeds["runtime"] == "eager")].iloc[0]
    values = table[(table["method"] == "dct") & (table["runtime"] == "eager")]["speedup_b1"].to_numpy(float)
    assert (line["seeds"], line["ok"]) == (4, 3)
    assert line["speedup_b1_mean"] == pytest.approx(np.mean(values))
    assert line["speedup_b1_std"] == pytest.approx(np.std(values, ddof=1))
    assert line["reason"].startswith("failed: ")
    assert len(seeds) == 10


def check_latex(text: str) -> None:
    """Braces and environments balance, every row has the same columns, and no special sign stands unescaped."""
    bare = re.sub(r"\\[{}%&_#$\\]", "", text)
    assert bare.count("{") == bare.count("}")
    assert re.findall(r"\\begin\{(\w+)\}", text) == re.findall(r"\\end\{(\w+)\}", text) == ["tabular"]
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert len({columns(row) for row in rows}) == 1
    plain = re.sub(r"\\(textbackslash|textasciitilde|textasciicircum|textless|textgreater|textbar)\{\}", "", body)
    plain = re.sub(r"\$\\(times|pm)\$", "", plain)
    plain = re.sub(r"\\[{}%&_#$]", "", plain)
    assert not re.search(r"[%_#$^~]", plain)


def columns(row: str) -> int:
    spans = sum(int(span) - 1 for span in re.findall(r"\\multicolumn\{(\d+)\}", row))
    return len(re.sub(r"\\&", "", row).split("&")) + spans


def test_latex_holds_together_whatever_the_text() -> None:
    records = [*example((0, 1)), failed(NASTY, reason=NASTY), record("dct", label="a_b%c&d{", seed=1)]
    table = frame(records)
    check_latex(latex_table(table))
    check_latex(latex_summary(summary(table)))
    with pytest.raises(AssertionError):
        check_latex(latex_table(table).replace(r"a\_b", "a_b"))
    with pytest.raises(AssertionError):
        check_latex(latex_table(table).replace(" & ", " ", 1))


@given(st.text())
def test_latex_never_leaves_a_special_sign(text: str) -> None:
    bare = re.sub(r"\\(text\w+\{\}|[{}%&_#$])|\$\\(times|pm)\$", "", latex(text))
    assert not re.search(r"[\\{}%&_#$~^]", bare)


def test_markdown_has_the_same_cells_in_every_line() -> None:
    lines = markdown_table(frame([*example(), failed("x", reason=NASTY)])).splitlines()
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.99961, "1.00"), (3.14159, "3.14"), (31.4159, "31.4"), (3141.5, "3,140"), (0, "0"), (math.nan, "–"), (None, "–"),
     (pd.NA, "–"), (0.00123456, "0.00123"), (-2.5, "-2.50"), (math.inf, "–")],
)  # fmt: skip
def test_rounding(value: object, text: str) -> None:
    assert rounded(value) == text


def test_units() -> None:
    assert (bytes_text(11_415_869), bytes_text(999), bytes_text(None)) == ("11.4 MB", "999 B", "–")
    assert percent(0.98611) == "98.61"


@given(st.text(), st.integers(1, 60))
def test_shortened_fits_and_keeps_both_ends(text: str, limit: int) -> None:
    short, whole = shortened(text, limit), " ".join(text.split())
    assert len(short) <= limit
    if len(whole) <= limit:
        assert short == whole
    else:
        head, tail = short.split("…", 1) if "…" not in whole else ("", "")
        assert whole.startswith(head)
        assert whole.endswith(tail)


def rendered(records: list[RunRecord], width: int) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(terminal_table(records, width))
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [80, 100, 140])
@pytest.mark.parametrize("several", [False, True])
def test_terminal_table_keeps_every_row_and_number_in_the_width(width: int, several: bool) -> None:
    records = [*example((0, 1) if several else (0,)), failed("refused_one", status="refused", reason="no way")]
    text = rendered(records, width)
    assert max(map(len, text.splitlines())) <= width
    assert text.count("onnxruntime") == 5
    for word in (*KINDS, "98.", "±", "44.7", "1.00×", "refused: no way"):
        assert word in text
    assert "…" not in text
