"""The study of speed with fewer channels: files are held to the goal by what they multiply."""

import sys

import pytest

from baselines.errors import UsageError
from bench import structured_speed
from bench.artifact import save, ship
from bench.file_speed import Timing
from bench.measure.macs import macs_of
from bench.structured_speed import goal_lines, macs_ratio
from methods.pruning import Prune
from tests.quantization_example import SHAPE, Plain, network, task


def timing(file, batch, seconds, runtime="a"):
    return Timing(file, runtime, 1, batch, (3.2, 3.2, 9.0), (seconds,) * 3, 0.0)


def test_the_least_speedup_over_batches_is_held_to_the_goal_in_each_runtime():
    timings = [timing("f", 1, 1.0), timing("f", 32, 2.0), timing("f", 1, 1.0, "b"), timing("f", 32, 2.01, "b")]
    text = "\n".join(goal_lines(timings, {"f": 2.0}))
    assert "f, 2.00 times fewer multiply-accumulates (goal: at least 1.6 times as fast):" in text
    assert "- a, 1 thread: batch 1: 3.20, batch 32: 1.60. reached." in text
    assert "- b, 1 thread: batch 1: 3.20, batch 32: 1.59. missed." in text


def test_a_file_with_more_left_is_told_without_a_verdict():
    lines = goal_lines([timing("g", 1, 1.0), timing("f", 1, 1.0)], {"g": 1.9, "f": 1.0})
    assert not [line for line in lines if "reached" in line or "missed" in line]
    assert len([line for line in lines if line.startswith("- ")]) == 2


@pytest.fixture
def files(tmp_path):
    pytest.importorskip("torch_pruning")
    facts = {"net": "plain", "input_shape": list(SHAPE), "dataset": "none", "chain": "c"}
    found = [tmp_path / "dense.nnc", tmp_path / "cut.nnc"]
    save(ship(network(Plain)), found[0], facts)
    save(
        ship(Prune(pattern="channels", round_to=1).compress(network(Plain), task(lambda model, **_: model.eval()))),
        found[1],
        facts,
    )
    return found


def test_a_page_is_written_whole(files, tmp_path, monkeypatch, capsys):
    out = tmp_path / "page.md"
    options = ["--runtimes", "eager,onnxruntime", "--samples", "5", "--batches", "1,2", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["structured_speed", *map(str, files), *options])
    structured_speed.main()
    text = out.read_text()
    macs = macs_of(ship(network(Plain)), SHAPE)
    assert f"| dense | c | none | {files[0].stat().st_size:,} | 1.00 | {macs:,} | 1.00 |" in text
    assert f"| {macs_ratio(*files):.2f} |" in text
    assert "| runtime | threads | batch | file | dense ms | pruned ms | speed-up | error |" in text
    assert "- onnxruntime, 1 thread: batch 1: " in text
    assert "dense fallback" not in text
    assert capsys.readouterr().out.strip() in text


def test_unknown_runtimes_and_missing_files_are_refused(files, tmp_path):
    with pytest.raises(UsageError, match="did you mean"):
        structured_speed.load_checked(files, ["onxruntime"])
    with pytest.raises(UsageError, match="there is no such file"):
        structured_speed.load_checked([*files, tmp_path / "gone.nnc"], ["eager"])
