"""Laws of the reports: numbers are those worked out by hand, nothing is lost, the same records give the same bytes."""

import dataclasses
import hashlib
import io
import math
import re
import statistics
import subprocess
import sys
import time
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text
from rich.console import Console

from bench.records import Accuracy, EpochLog, Measurement, RunRecord, RuntimeResult, write_json
from reports import draw, load_run, terminal_table
from reports.cells import bytes_text, latex, percent, rounded, shortened
from reports.figures import FIGURES
from reports.labels import Box, arrange, measured
from reports.layers import bytes_by_layer
from reports.page import page
from reports.rows import COLUMNS, frame, summary
from reports.statistics import wilson
from reports.style import looks, new_figure, settle, styled, ticks
from reports.table import csv_text, latex_summary, latex_table, markdown_table
from tests.records_example import KINDS, densenet_layers, example, failed, record, sweep, write_run

ISSUE_COLUMNS = (  # noqa: SIM905
    "method seed status reason runtime kernels accuracy accuracy_low accuracy_high top5 parameters nonzeros "
    "information_bits file_bytes compression_ratio macs latency_ms_b1 latency_ms_b32 speedup_b1 speedup_b32 "
    "peak_memory_bytes gpu_memory_bytes energy_j compress_s artifact sha256"
).split()
NASTY = "50 % of a_b & {c} | #1 $x^2~ \\end{tabular}\nsecond line <b> `*`"


def with_runtime(one: RunRecord, name: str, **changes: object) -> RunRecord:
    """The record with fields of its result in one runtime replaced."""
    results = tuple(dataclasses.replace(r, **changes) if r.runtime == name else r for r in one.runtimes)  # type: ignore[arg-type]
    return dataclasses.replace(one, runtimes=results)


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


@given(st.floats(1e-6, 1e6), st.floats(1.5, 1e15))
def test_an_axis_has_three_to_nine_marks_that_can_be_told_apart(low: float, span: float) -> None:
    marks = ticks(low, low * span)
    assert 3 <= len(marks) <= 9
    assert low <= marks[0] < marks[-1] <= low * span
    assert len({f"{mark:g}" for mark in marks}) == len(marks)
    assert marks == sorted(marks)


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


# Figures ------------------------------------------------------------------------------------------------------------


def crowd(count: int, name: str = "dct:keep=0.25:number={}") -> list[RunRecord]:
    """Dense and `count` rows at one place."""
    kind = {"like": "dct", "accuracy": 0.97, "share": 0.25, "speed": 0.62, "runtimes": ("eager",)}
    rows = [record(name.format(i), **kind) for i in range(count)]  # type: ignore[arg-type]
    return [record("dense"), *rows]


def nothing_finite() -> list[RunRecord]:
    broken = Measurement("latency", "s", (math.nan, math.nan), {"batch": 1})
    log = EpochLog("dense", 1, 1, 0.1, math.nan, math.nan, math.nan, 1.0, 10)
    one = dataclasses.replace(record("dense"), training=(log,))
    return [with_runtime(one, "eager", accuracy=Accuracy(0, 0, 0), measurements=(broken,)), failed("x")]


LONG = "prune:sparsity={}:layers=convolutional:scope=global:schedule=cubic+qat:bits=8:per_channel=true"
SETS = {
    "four": example,
    "sweep": sweep,
    "seeds": lambda: example((0, 1, 2), runtimes=("eager",)),
    "crowd of 30": lambda: crowd(30),
    "long names": lambda: crowd(8, LONG),
    "one row": lambda: [record("dense", runtimes=("eager",))],
    "one row of two seeds": lambda: [record("dense", seed=seed, runtimes=("eager",)) for seed in (0, 1)],
    "no dense": lambda: [record("qat"), record("dct")],
    "all failed": lambda: [failed("dense"), failed("x")],
    "nothing": list,
    "nothing finite": nothing_finite,
    "all right and all wrong": lambda: [
        record("dense", accuracy=1.1, runtimes=("eager",)),
        record("dct", accuracy=-1.0),
    ],
    "120 layers": lambda: [record(chain, layers=densenet_layers(), runtimes=("eager",)) for chain in KINDS],
}


def drawn_texts(figure: Figure) -> list[Text]:
    """Every text that is seen: titles, labels, ticks inside their axes, legends, free text."""
    found = [*figure.texts]
    for legend in figure.legends:
        found += [*legend.get_texts(), legend.get_title()]
    for axes in figure.axes:
        if axes.get_visible():
            found += [axes.title, axes.xaxis.label, axes.yaxis.label, *axes.texts]
            for axis in (axes.xaxis, axes.yaxis):
                low, high = sorted(axis.get_view_interval())
                found += [t.label1 for t in axis.get_major_ticks() if low <= t.get_loc() <= high]
    return [text for text in dict.fromkeys(found) if text.get_visible() and text.get_text().strip()]


def check_texts(figure: Figure) -> None:
    """No two texts overlap, none leaves the figure, and free text in axes stays inside them."""
    settle(figure)
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    boxes = [(text, measured(text, renderer)) for text in drawn_texts(figure)]
    for text, box in boxes:
        assert box.x0 >= -0.5, text
        assert box.y0 >= -0.5, text
        assert box.x1 <= figure.bbox.width + 0.5, text
        assert box.y1 <= figure.bbox.height + 0.5, text
        if text.axes and text in text.axes.texts:
            inside = text.axes.get_window_extent(renderer)
            assert inside.x0 <= box.x0 <= box.x1 <= inside.x1, text
            assert inside.y0 <= box.y0 <= box.y1 <= inside.y1, text
    for (first, one), (second, other) in combinations(boxes, 2):
        assert not one.overlaps(other), (first, second)


@pytest.mark.parametrize("name", SETS)
def test_no_texts_overlap_or_leave_the_figure(name: str) -> None:
    records = SETS[name]()
    with styled():
        for figure in FIGURES.values():
            check_texts(figure(records))


def test_overlapping_and_clipped_texts_are_caught() -> None:
    with styled():
        for places in (((0.3, 0.5), (0.32, 0.5)), ((0.99, 0.5), (0.1, 0.5))):
            figure = new_figure(6, 3)
            axes = figure.subplots()
            for place in places:
                axes.text(*place, "a long label", transform=axes.transAxes)
            with pytest.raises(AssertionError):
                check_texts(figure)


def test_every_axis_names_its_quantity_and_unit() -> None:
    with styled():
        for draw_figure in FIGURES.values():
            axes = [one for one in draw_figure(example()).axes if one.get_visible()]
            labels = [text for one in axes for text in (one.get_xlabel(), one.get_ylabel()) if text]
            assert labels
            assert all(re.search(r", (%|ms|[kMG]?B|nats)\b|epoch|, %", text) for text in labels), labels


def test_every_point_is_named_and_chains_look_different() -> None:
    records = sweep()
    with styled():
        texts = {text.get_text() for text in drawn_texts(FIGURES["accuracy_size"](records))}
    assert {one.label for one in records} <= texts
    many = looks(crowd(65))
    assert len(set(many.values())) == len(many) == 66


SIZE = st.tuples(st.floats(5, 90), st.floats(5, 25))
SPOT = st.tuples(st.floats(0, 400), st.floats(0, 300))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(SPOT, SIZE), max_size=12), st.booleans())
def test_arranged_labels_keep_the_law(
    wanted: list[tuple[tuple[float, float], tuple[float, float]]], same: bool
) -> None:
    frame_box = Box(0, 0, 400, 300)
    anchors = [(200.0, 150.0) if same else spot for spot, _ in wanted]
    points = [Box(x, y, x, y).grown(4) for x, y in anchors]
    boxes = arrange(anchors, [size for _, size in wanted], frame_box, points)
    assert boxes is not None
    for box, (_, (width, height)) in zip(boxes, wanted, strict=True):
        assert (box.x1 - box.x0, box.y1 - box.y0) == pytest.approx((width, height))
        assert min(box.x0, box.y0) >= -1e-6
        assert box.x1 <= 400 + 1e-6
        assert box.y1 <= 300 + 1e-6
        assert not any(box.overlaps(point) for point in points)
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


def test_labels_that_cannot_fit_are_not_placed() -> None:
    assert arrange([(5.0, 5.0)], [(50.0, 5.0)], Box(0, 0, 40, 40), []) is None
    assert arrange([(5.0, 5.0)] * 2, [(30.0, 30.0)] * 2, Box(0, 0, 40, 40), []) is None
    assert arrange([], [], Box(0, 0, 1, 1), []) == []


def test_layer_bytes_add_up_to_the_file() -> None:
    dense, one = record("dense"), record("dct")
    inner = tuple(dataclasses.replace(e, layer=f"{e.layer}.core") if e.layer == "fc" else e for e in one.ledger)
    totals = bytes_by_layer(dataclasses.replace(one, ledger=inner), dense)
    assert sum(totals.values()) == one.file_bytes
    assert "fc.core" not in totals
    assert totals["fc"] == sum(entry.bytes for entry in one.ledger if entry.layer == "fc")


# Page and files -----------------------------------------------------------------------------------------------------


def test_page_holds_command_environment_and_checksums() -> None:
    records = example((0, 4))
    text = page(records, title="A_run", command="python run_bench.py --methods dct --seeds 0,4")
    for fact in (
        "# A\\_run",
        "python run_bench.py --methods dct --seeds 0,4",
        "2.13.0+cpu",
        "0123456789abcdef",
        "0, 4",
    ):
        assert fact in text
    assert all(one.sha256 in text for one in records)
    assert "warmup: 10" in text


def test_rows_far_below_dense_are_explained_and_others_are_not() -> None:
    records = [record("dense"), record("qat"), record("dct:keep=0.0625", accuracy=0.8)]
    text = page(records, title="t", command="c")
    section = text[text.index("## Rows more than 3 points below dense") :].split("\n## ")[0]
    assert section.count("\n- ") == 1
    ended = records[2].training[-1].validation_accuracy
    assert "`dct:keep=0.0625`" in section
    assert f"{100 * ended:.2f} %" in section
    assert "below dense" not in page(records[:2], title="t", command="c").split("## Figures")[1].replace("told", "")


def test_rows_within_chance_of_dense_are_named() -> None:
    text = page([record("dense"), record("qat"), record("dct", accuracy=0.8)], title="t", command="c")
    section = text[text.index("## Rows that cannot be told apart") :].split("\n## ")[0]
    assert "`qat`" in section
    assert "`dct`" not in section


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


FRESH = """
import sys
from pathlib import Path
import reports
from tests.records_example import example, failed
reports.draw([*example(), failed("x")], Path(sys.argv[1]), title="t", command="c")
assert "torch" not in sys.modules, "torch was imported"
assert "matplotlib.pyplot" not in sys.modules, "pyplot was imported"
"""


def test_same_records_same_bytes_in_a_fresh_process_without_torch(tmp_path: Path) -> None:
    start = time.process_time()
    paths = draw([*example(), failed("x")], tmp_path / "here", title="t", command="c")
    seconds = time.process_time() - start
    subprocess.run([sys.executable, "-c", FRESH, str(tmp_path / "there")], check=True, cwd=Path(__file__).parents[1])
    here = digests(tmp_path / "here")
    assert here == digests(tmp_path / "there")
    assert {str(path.relative_to(tmp_path / "here")) for path in paths} == set(here)
    names = {f"figures/{name}.{kind}" for name in FIGURES for kind in ("png", "svg")}
    assert set(here) == names | {"table.csv", "table.md", "table.tex", "report.md"}
    assert seconds < 12


def test_page_names_only_files_that_exist(tmp_path: Path) -> None:
    draw([record("dense", seed=seed, runtimes=("eager",)) for seed in (0, 1)], tmp_path, title="t", command="c")
    linked = re.findall(r"\]\(([^)]+)\)", (tmp_path / "report.md").read_text())
    assert len(linked) == 5
    assert all((tmp_path / name).is_file() for name in linked)
    assert (tmp_path / "table_seeds.csv").is_file()


def test_a_run_is_loaded_in_plan_order(tmp_path: Path) -> None:
    records = [record("qat"), record("dense"), failed("x"), record("dct")]
    write_run(tmp_path, records, command="python run_bench.py --methods qat,dct")
    assert load_run(tmp_path) == (records, "python run_bench.py --methods qat,dct")
    (tmp_path / "records" / f"{records[1].case_id}.json").unlink()
    assert load_run(tmp_path)[0] == [records[0], *records[2:]]


def test_what_is_no_run_is_said_with_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no such folder; looked for .*plan\.json: pass the folder"):
        load_run(tmp_path / "missing")
    with pytest.raises(ValueError, match=r"not the folder of a run; looked for .*plan\.json"):
        load_run(tmp_path)
    write_json({"command": "c", "cases": ["a"]}, tmp_path / "plan.json")
    with pytest.raises(ValueError, match=r"no record yet; looked for .*a\.json: .*type: c"):
        load_run(tmp_path)
    (tmp_path / "plan.json").write_text('{"command": 1')
    with pytest.raises(ValueError, match="damaged"):
        load_run(tmp_path)
    write_run(tmp_path, [record("qat")])
    (tmp_path / "records" / f"{record('qat').case_id}.json").write_text("{")
    with pytest.raises(ValueError, match="delete it"):
        load_run(tmp_path)
