"""Measuring a file end to end: fresh processes give what an in-process recount gives."""

from __future__ import annotations

import hashlib
import statistics
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from bench import artifact
from bench.measure import Measured
from bench.measure.accuracy import decode
from bench.measure.deployment import prepared
from bench.measure.messages import MemoryRequest
from bench.measure.process import ask
from bench.runtimes import Runtime, Session
from tests.measure_example import (
    CLASS_NAMES,
    OUT,
    found,
    labels,
    measured,
    naive,
    network,
    opened,
    scored_here,
    written,
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("files")
    return written(folder / "small.nnc", network(3)), written(folder / "dense.nnc", network(6, seed=1))


@pytest.fixture(scope="module")
def whole(files: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Measured, list[str], Path]:
    """One row with everything: both default runtimes, the dense file beside it."""
    texts: list[str] = []
    work = tmp_path_factory.mktemp("work")
    return measured(*files, runtimes=("onnxruntime", "eager"), progress=texts.append, work=work), texts, work


# What comes back


def test_a_fresh_process_counts_what_a_naive_recount_counts(whole: Any, files: tuple[Path, Path]) -> None:
    expected = naive(files[0])
    hits = sum(one == label for one, label in zip(expected, labels(), strict=True))
    for result in whole[0].runtimes:
        assert result.status == "ok", result.reason
        assert result.accuracy is not None
        assert decode(result.accuracy.predictions).tolist() == expected
        assert (result.accuracy.correct, result.accuracy.seen) == (hits, len(expected))
        assert result.agreement == 1.0


def test_the_labels_that_were_scored_come_back_once_with_the_names_that_the_file_states(whole: Any) -> None:
    row: Measured = whole[0]
    assert decode(row.test_labels).tolist() == labels()
    assert row.class_names == CLASS_NAMES
    for result in row.runtimes:
        assert result.accuracy is not None
        hits = decode(result.accuracy.predictions) == decode(row.test_labels)
        assert int(hits.sum()) == result.accuracy.correct


def test_how_far_probabilities_can_be_believed_is_of_the_logits_that_were_scored(
    whole: Any, files: tuple[Path, Path]
) -> None:
    model = artifact.load(files[0]).model
    with torch.no_grad():
        logits = torch.cat([model(images) for images, _ in opened().batches("test", 5, device="cpu")]).double()
    expected = float(torch.nn.functional.cross_entropy(logits, torch.tensor(labels())))
    for result in whole[0].runtimes:
        assert result.accuracy is not None
        assert result.accuracy.log_loss == pytest.approx(expected, rel=1e-4)
        assert 0 <= result.accuracy.calibration_error <= 1


def test_size_is_that_of_the_bytes_on_disk(whole: Any, files: tuple[Path, Path]) -> None:
    data = files[0].read_bytes()
    row: Measured = whole[0]
    assert (row.file_bytes, row.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert sum(entry.bytes for entry in row.ledger) == len(data)
    assert row.parameters == sum(parameter.numel() for parameter in artifact.load(files[0]).model.parameters())
    assert 0 < row.nonzeros <= row.parameters
    assert row.macs == 3 * 64 * 2 * 9 + 3 * OUT * 7


def test_runtimes_come_in_the_order_asked_for(whole: Any) -> None:
    assert [result.runtime for result in whole[0].runtimes] == ["onnxruntime", "eager"]
    assert all(result.kernels for result in whole[0].runtimes)


def test_latency_is_samples_by_turns_with_how_they_were_taken(whole: Any) -> None:
    for result in whole[0].runtimes:
        own, dense = found(result, "latency"), result.dense_measurements
        assert [one.protocol["batch"] for one in own] == [one.protocol["batch"] for one in dense] == [1, 4]
        for mine, other, least in zip(own, dense, (20, 8), strict=True):
            assert len(mine.samples) == len(other.samples) >= least
            assert min(*mine.samples, *other.samples) > 0
            told = {"batch", "threads", "warmup", "runtime", "device", "clock", "interleaved"}
            assert told <= mine.protocol.keys()
            assert mine.protocol["interleaved"] is True


def test_memory_is_of_a_process_that_imports_what_the_runtime_needs(whole: Any) -> None:
    onnx, eager = whole[0].runtimes
    for result, imports_torch in ((onnx, False), (eager, True)):
        (peak,), (baseline,) = found(result, "peak_memory"), found(result, "baseline_memory")
        assert peak.protocol["torch_imported"] is imports_torch
        assert peak.samples[0] >= baseline.samples[0] > 1e7
        assert peak.unit == "B"
    assert found(onnx, "peak_memory")[0].samples[0] < 0.7 * found(eager, "peak_memory")[0].samples[0]


def test_progress_tells_each_step(whole: Any) -> None:
    steps = [f"{kind} {name}{end}" for name in ("eager", "onnxruntime")
             for kind, end in (("accuracy", ""), ("latency", " batch 1"), ("latency", " batch 4"))]  # fmt: skip
    assert whole[1] == ["reading", *steps, "memory onnxruntime", "memory eager"]


def test_a_cpu_has_no_energy_and_gives_no_excuse(whole: Any) -> None:
    assert all(not found(result, "energy") and result.reason == "" for result in whole[0].runtimes)


def test_the_dense_row_itself_has_no_dense_beside_it(files: tuple[Path, Path], tmp_path: Path) -> None:
    (result,) = scored_here(files[1], tmp_path, "eager")
    assert result.dense_measurements == ()
    assert [one.protocol["interleaved"] for one in found(result, "latency")] == [False, False]


# What a runtime deploys is made once


class Counting(Runtime):
    """Deploys a file and counts how often."""

    name: ClassVar[str] = "counting"
    made = 0

    def unavailable(self, device: str) -> str | None:
        return None

    def prepare(self, model: Any, input_shape: tuple[int, ...], folder: Path) -> Path | None:
        self.made += 1
        path = folder / "deployed.txt"
        path.write_text(str(input_shape))
        return path

    def load(self, model: Any, deployed: Path | None, *, threads: int, device: str) -> Session:
        raise NotImplementedError


def test_a_deployed_file_is_made_once_and_again_when_lost(files: tuple[Path, Path], tmp_path: Path) -> None:
    runtime, small, dense = Counting(), artifact.load(files[0]), artifact.load(files[1])
    first = prepared(runtime, small, tmp_path)
    assert prepared(runtime, small, tmp_path) == first
    assert first is not None
    assert runtime.made == 1
    assert prepared(runtime, dense, tmp_path) != first  # other content, other file
    assert runtime.made == 2
    first.unlink()
    assert prepared(runtime, small, tmp_path) == first
    assert first.read_text() == "(2, 8, 8)"
    (first.parent / "prepared.json").unlink()  # a kill before the export was whole
    prepared(runtime, small, tmp_path)
    assert runtime.made == 4


def test_a_deployed_file_of_other_code_is_made_again(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime, small = Counting(), artifact.load(files[0])
    prepared(runtime, small, tmp_path)
    monkeypatch.setattr("bench.measure.deployment._code", lambda: "as it was before an export was mended")
    prepared(runtime, small, tmp_path)
    assert runtime.made == 2


def test_the_dense_export_is_kept_for_the_next_row(whole: Any, files: tuple[Path, Path]) -> None:
    kept = {path.parent.parent.name for path in whole[2].glob("*/onnxruntime/*.onnx")}
    assert kept == {hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


# Memory follows the file


def test_a_larger_network_takes_that_much_more(tmp_path: Path) -> None:
    """Two processes that read one file each: the weights are there once, whatever the reader took meanwhile."""
    megabytes = 40.0

    def wide(size: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(128, size), nn.ReLU(), nn.Linear(size, 7))

    peaks = []
    for name, size in (("small", 16), ("large", 16 + round(megabytes * 1e6 / 4 / (128 + 1 + 7)))):
        path = written(tmp_path / f"{name}.nnc", wide(size))
        request = MemoryRequest("eager", str(path), None, (2, 8, 8), 1, 1, "cpu", None)
        (peak, reading, _) = ask(request, progress=lambda text: None, timeout_s=120).measurements
        assert reading.quantity == "reading_memory"
        peaks.append((peak.samples[0] / 1e6, reading.samples[0] / 1e6))
    assert 0.9 * megabytes < peaks[1][0] - peaks[0][0] < 1.3 * megabytes, peaks
    assert peaks[1][1] - peaks[0][1] > 0.9 * megabytes, peaks


def test_slower_networks_have_longer_latency(files: tuple[Path, Path], tmp_path: Path) -> None:
    slow = written(tmp_path / "slow.nnc", network(512))
    (result,) = scored_here(slow, tmp_path, "eager", dense=files[1])
    for own, other in zip(found(result, "latency"), result.dense_measurements, strict=True):
        assert statistics.median(own.samples) > 1.2 * statistics.median(other.samples)
