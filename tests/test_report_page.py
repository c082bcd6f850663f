"""The page and the files of a report."""

import dataclasses
import hashlib
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from bench.records import RunRecord, write_json
from reports import draw, load_run
from reports.figures import FIGURES
from reports.page import page
from tests.records_example import example, failed, record, with_runtime, write_run


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


def test_rows_that_train_longer_than_others_are_said_to() -> None:
    same = [record("dense"), record("qat"), record("prune")]
    longer = dataclasses.replace(same[2], training=(*same[2].training, *same[2].training[-2:]))
    alike, differing = (page(records, title="t", command="c") for records in (same, [*same[:2], longer]))
    counts = [sum(log.stage != "dense" for log in one.training) for one in (same[1], longer)]
    assert "They differ" not in alike
    assert f"They differ from row to row ({counts[0]} to {counts[1]})" in differing
    assert f"| {counts[1]} |" in next(line for line in differing.splitlines() if line.startswith("| prune |"))


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


def int8_section(records: list[RunRecord]) -> list[str]:
    text = page(records, title="t", command="c")
    start = text.index("## Real int8 against simulated")
    return [line for line in text[start:].split("\n## ")[0].splitlines() if line.startswith("- ")]


def agreeing(one: RunRecord, *agreements: float | None) -> RunRecord:
    """The record with the agreements of its runtimes after eager."""
    changed = [dataclasses.replace(r, agreement=a) for r, a in zip(one.runtimes[1:], agreements, strict=True)]
    return dataclasses.replace(one, runtimes=(one.runtimes[0], *changed))


def test_int8_rows_are_held_against_their_simulation_the_lowest_first() -> None:
    dense, runtimes = agreeing(record("dense"), 0.5), ("eager", "onnxruntime", "openvino")
    ptq = agreeing(record("ptq", runtimes=runtimes), 0.9988, 0.995)
    assert int8_section([dense, ptq]) == [
        "- They agree: at least 99.5 % of test predictions are those of the simulation in 2 of 2 rows and runtimes "
        "that ran; the lowest is 99.50 %.",
        "- `ptq`, seed 0 in openvino: 99.50 %",
        "- `ptq`, seed 0 in onnxruntime: 99.88 %",
    ]
    qat = agreeing(record("qat", runtimes=runtimes), 0.9949, 1.0)
    verdict, lowest, *_ = int8_section([dense, ptq, qat])
    assert verdict.startswith("- They do not all agree: ")
    assert "in 3 of 4 rows and runtimes that ran; the lowest is 99.49 %" in verdict
    assert lowest == "- `qat`, seed 0 in onnxruntime: 99.49 %"


def test_an_agreement_that_is_not_known_is_no_agreement() -> None:
    ptq = record("ptq")
    unknown = with_runtime(agreeing(ptq, None), "onnxruntime", reason="no agreement: eager: it broke")
    verdict, line = int8_section([record("dense"), unknown])
    assert verdict.startswith("- They do not all agree: ")
    assert "in 0 of 1 rows and runtimes that ran." in verdict
    assert line == "- `ptq`, seed 0 in onnxruntime: not known (no agreement: eager: it broke)"


def test_a_run_without_int8_says_nothing_of_it() -> None:
    assert "Real int8" not in page([record("dense"), record("dct")], title="t", command="c")


@pytest.mark.parametrize(
    "kernels", ["u8 Convolution jit_avx2_I8 x17", "int8 onednn.qconv_pointwise x20", "i8 MatMul x1"]
)
def test_int8_is_known_by_any_runtimes_words(kernels: str) -> None:
    one = with_runtime(record("ptq", runtimes=("openvino", "inductor")), "openvino", kernels=kernels)
    one = with_runtime(one, "inductor", kernels="fp32 addmm x1")
    assert len(int8_section([one])) == 3


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
    assert set(here) == names | {"table.csv", "table.md", "table.tex", "ledger.csv", "report.html", "report.md"}
    assert seconds < 12


@pytest.mark.parametrize("nudge", [-3e-16, 2e-13])
def test_last_digits_of_a_layout_change_no_figure(
    nudge: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes may lay a figure out differently in the last digits, whose hashes are ids in an SVG."""
    draw(example(), tmp_path / "here", title="t", command="c")
    laid_out = ConstrainedLayoutEngine.execute

    def nudged(self: ConstrainedLayoutEngine, figure: Figure) -> object:
        grids = laid_out(self, figure)
        for axes in figure.axes:
            x, y, width, height = axes.get_position().bounds
            axes._set_position((x + nudge, y - nudge, width - nudge, height + nudge))  # type: ignore[attr-defined]
        return grids

    monkeypatch.setattr(ConstrainedLayoutEngine, "execute", nudged)
    draw(example(), tmp_path / "there", title="t", command="c")
    assert digests(tmp_path / "here") == digests(tmp_path / "there")


def test_page_names_only_files_that_exist(tmp_path: Path) -> None:
    draw([record("dense", seed=seed, runtimes=("eager",)) for seed in (0, 1)], tmp_path, title="t", command="c")
    linked = re.findall(r"\]\(([^)]+)\)", (tmp_path / "report.md").read_text())
    assert len(linked) == 7
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


def test_the_page_says_how_many_processes_trained_together(tmp_path):
    alone = [record("dense"), record("qat")]
    draw(alone, tmp_path, title="t", command="c")
    assert "processes" not in (tmp_path / "report.md").read_text()
    four = [
        dataclasses.replace(one, training=tuple(dataclasses.replace(log, processes=4) for log in one.training))
        for one in alone
    ]
    draw(four, tmp_path, title="t", command="c")
    text = (tmp_path / "report.md").read_text()
    assert "- processes: 4\n" in text
    assert "by 4 processes together." in text
    assert "<dt>processes</dt><dd>4</dd>" in (tmp_path / "report.html").read_text()
