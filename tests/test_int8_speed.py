"""The study of int8 speed: goals are read off the timings."""

import sys

import pytest

from baselines.errors import UsageError
from bench import int8_speed
from bench.artifact import save, ship
from bench.file_speed import Timing
from bench.int8_goals import Goals, bound, size_line, speed_lines
from bench.int8_speed import goal_lines
from methods.quantization import PTQ
from tests.quantization_example import SHAPE, Plain, network, task

GOALS = Goals(best_speedup=3.5, second_speedup=3.0, file_share=0.255)


def verdicts(speedups):
    return [line.split(": ")[1].split(" (")[0] for line in speed_lines("f", 1, speedups, GOALS) if line[:2] == "- "]


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ({1: 3.5, 32: 3.5}, {1: 3.0, 32: 3.0}, ["reached", "reached"]),
        ({1: 3.0, 32: 9.0}, {1: 3.5, 32: 3.6}, ["reached", "reached"]),
        ({1: 3.49, 32: 9.0}, {1: 9.0, 32: 2.99}, ["missed", "missed"]),  # each runtime is best at one batch size only
        ({1: 4.0, 32: 4.0}, {1: 2.9, 32: 4.0}, ["reached", "missed"]),
    ],
)
def test_a_runtime_counts_by_its_least_speedup(a, b, expected):
    assert verdicts({"a": a, "b": b}) == expected
    assert verdicts({"b": b, "a": a}) == expected


def test_one_runtime_says_nothing_of_two():
    assert verdicts({"a": {1: 4.0}}) == ["reached", "not shown"]
    assert speed_lines("f", 1, {}, GOALS) == []


def test_the_best_runtime_is_named_for_each_batch():
    lines = speed_lines("f", 1, {"a": {1: 2.0, 32: 3.0}, "b": {1: 4.0, 32: 1.0}}, GOALS)
    assert "| 1 | 2.00 | 4.00 | b |" in lines
    assert "| 32 | 3.00 | 1.00 | a |" in lines


@pytest.mark.parametrize(("size", "verdict"), [(255, "reached (25.50 %)"), (256, "missed (25.60 %)")])
def test_the_file_counts_too(size, verdict):
    assert size_line("f", 1000, size, GOALS) == f"- f: at most 25.5 % of the float32 file: {verdict}."


def test_goals_are_computed_from_the_samples_of_each_file_and_number_of_threads():
    def timing(threads, int8_s):
        return Timing("f", "a", threads, 1, (4.0, 4.0, 9.0), (int8_s,) * 3, 0.0)

    text = "\n".join(goal_lines([timing(1, 1.0), timing(2, 2.0)], {"dense": 100, "f": 25}, GOALS))
    assert "f, 1 thread:" in text
    assert "| 1 | 4.00 | a |" in text
    assert "f, 2 threads:" in text
    assert "| 1 | 2.00 | a |" in text
    assert "reached (25.00 %)" in text


def test_the_bound_is_that_of_the_processor():
    assert "bound is 4 times" in bound(["avx2", "fma"])[1]
    assert "has no VNNI" in bound(["avx2", "fma"])[1]
    assert bound(["avx2", "avx_vnni"]) == bound(["avx2", "avx512f", "avx512_vnni"])
    assert "has VNNI" in bound(["avx_vnni"])[1]
    assert bound(["asimd"]) == bound(["avx512_vnni", "amx_int8"]) == []


def test_a_page_is_written_whole(tmp_path, monkeypatch, capsys):
    about = {"net": "plain", "dataset": "none", "input_shape": list(SHAPE)}
    files = [tmp_path / "dense.nnc", tmp_path / "ptq.nnc"]
    save(ship(network(Plain)), files[0], about | {"chain": "dense"})
    save(ship(PTQ().compress(network(Plain), task())), files[1], about | {"chain": "ptq"})
    out = tmp_path / "page.md"
    options = ["--runtimes", "eager,onnxruntime", "--samples", "5", "--batches", "1,2", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["int8_speed", *map(str, files), *options])
    int8_speed.main()
    text = out.read_text()
    ratio = files[0].stat().st_size / files[1].stat().st_size
    assert f"| ptq | ptq | none | {files[1].stat().st_size:,} | {ratio:.2f} |" in text
    assert "| batch | eager | onnxruntime | best runtime |" in text
    assert f"({100 / ratio:.2f} %)" in text
    assert "- onnxruntime, ptq: int8 QLinearConv" in text
    assert capsys.readouterr().out.strip() in text


@pytest.fixture
def files(tmp_path):
    facts = {"net": "plain", "input_shape": list(SHAPE), "dataset": "none", "chain": "c"}
    found = {name: tmp_path / f"{name}.nnc" for name in ("dense", "int8", "other")}
    save(ship(network(Plain)), found["dense"], facts)
    save(ship(PTQ().compress(network(Plain), task())), found["int8"], facts)
    save(ship(PTQ().compress(network(Plain), task())), found["other"], facts | {"net": "another"})
    return found


@pytest.mark.parametrize(
    ("names", "runtimes", "words"),
    [
        (("int8", "dense"), ["onnxruntime"], "the float32 file comes first"),
        (("dense", "dense"), ["onnxruntime"], "is not quantised"),
        (("dense", "other"), ["onnxruntime"], "has net another"),
        (("dense", "int8"), ["onxruntime"], "did you mean 'onnxruntime'"),
        (("dense", "gone"), ["onnxruntime"], "there is no such file"),
    ],
)
def test_files_are_what_the_page_says_they_are(names, runtimes, words, files, tmp_path):
    paths = [files.get(name, tmp_path / name) for name in names]
    with pytest.raises(UsageError, match=words):
        int8_speed.check(paths, runtimes)


def test_honest_files_are_not_accused(files):
    int8_speed.check([files["dense"], files["int8"]], ["onnxruntime", "eager"])
