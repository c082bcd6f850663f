"""Measuring a file end to end: fresh processes give what an in-process recount gives, and what fails is a result."""

from __future__ import annotations

import dataclasses
import hashlib
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

import bench.measure
from baselines import data as datasets
from baselines.errors import UsageError
from bench import artifact
from bench.measure import Measured, measure, score
from bench.measure.accuracy import decode
from bench.measure.deployment import prepared
from bench.measure.messages import MemoryAnswer, MemoryRequest, ScoreAnswer, ScoreRequest
from bench.measure.process import MeasureError, ask
from bench.records import Measurement, RuntimeResult
from bench.runtimes import RUNTIMES, Runtime, RuntimeFailure, Session
from bench.runtimes.kernels import Kernels
from methods.graph import trace

DATA = {"name": "fake:classes=7:size=8:channels=2:count=300", "data_dir": "nowhere", "seed": 3}
OUT = 16
CLASS_NAMES = tuple(f"klass {one}" for one in range(7))


def network(width: int = 6, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
        nn.Linear(width * OUT, 7),
    )  # fmt: skip


def opened() -> datasets.ImageData:
    return datasets.load(str(DATA["name"]), data_dir=Path("nowhere"), seed=3)


def written(path: Path, model: nn.Module, **stated: Any) -> Path:
    data = opened()
    metadata = {
        "net": "tiny", "dataset": "fake", "classes": data.classes, "input_shape": list(data.input_shape),
        "mean": list(data.mean), "std": list(data.std), "data": DATA,
        "class_names": list(CLASS_NAMES),
    }  # fmt: skip
    artifact.save(artifact.ship(trace(model)), path, {**metadata, **stated})
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("files")
    return written(folder / "small.nnc", network(3)), written(folder / "dense.nnc", network(6, seed=1))


def measured(path: Path, dense: Path | None = None, **options: Any) -> Measured:
    defaults: dict[str, Any] = {"runtimes": ("eager",), "data": DATA, "latency_budget_s": 0.05, "batches": (1, 4)}
    return measure(path, dense, threads=1, device="cpu", **{**defaults, **options})


@pytest.fixture(scope="module")
def whole(files: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Measured, list[str], Path]:
    """One row with everything: both default runtimes, the dense file beside it."""
    texts: list[str] = []
    work = tmp_path_factory.mktemp("work")
    return measured(*files, runtimes=("onnxruntime", "eager"), progress=texts.append, work=work), texts, work


def naive(path: Path) -> list[int]:
    """Predictions, an image at a time, by the network that was read."""
    model = artifact.load(path).model
    with torch.no_grad():
        batches = opened().batches("test", 5, device="cpu")
        return [int(model(image[None]).argmax()) for images, _ in batches for image in images]


def labels() -> list[int]:
    return [int(label) for _, some in opened().batches("test", 5, device="cpu") for label in some]


def found(result: RuntimeResult, quantity: str) -> list[Measurement]:
    return [one for one in result.measurements if one.quantity == quantity]


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


# What cannot be measured


class Planted(Runtime):
    """A runtime that breaks where it is told to."""

    name: ClassVar[str] = "planted"

    def __init__(self, where: str, error: Exception) -> None:
        self.where, self.error = where, error

    def _break(self, here: str) -> None:
        if here == self.where:
            raise self.error

    def unavailable(self, device: str) -> str | None:
        return "not today" if self.where == "unavailable" else None

    def prepare(self, model: Any, input_shape: tuple[int, ...], folder: Path) -> Path | None:
        self._break("prepare")
        return None

    def load(self, model: Any, deployed: Path | None, *, threads: int, device: str) -> Session:
        self._break("load")
        return PlantedSession(self._break)


@dataclasses.dataclass
class PlantedSession(Session):
    """Sees class 0 everywhere, with NaN for every other image where the runtime is told to be blind."""

    break_at: Callable[[str], None]

    def run(self, images: np.ndarray) -> np.ndarray:
        self.break_at("run")
        logits = np.zeros((len(images), 7), np.float32)
        logits[:, 0] = 1
        logits[:, 3] = np.nan
        return logits

    def kernels(self) -> Kernels:
        self.break_at("kernels")
        return Kernels()


def scored_here(path: Path, tmp_path: Path, *names: str, dense: Path | None = None) -> tuple[RuntimeResult, ...]:
    """In this process, so that a planted runtime takes part."""
    request = ScoreRequest(
        str(path), None if dense is None else str(dense), names, 1, "cpu", DATA, (1, 4), str(tmp_path), 0.01
    )
    return score.score(request, lambda text: None).runtimes


@pytest.mark.parametrize(
    ("where", "error", "status", "reason"),
    [
        ("unavailable", ValueError(), "refused", "not today"),
        ("prepare", RuntimeFailure("no such\n operator"), "refused", "no such operator"),
        ("load", MemoryError("x" * 2000), "failed", "MemoryError: xxx"),
        ("run", ZeroDivisionError("division"), "failed", "ZeroDivisionError: division"),
        ("kernels", KeyError("conv"), "failed", "KeyError: 'conv'"),
    ],
)
def test_a_runtime_that_breaks_is_a_result_and_the_others_go_on(
    where: str, error: Exception, status: str, reason: str,
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setitem(RUNTIMES, "planted", Planted(where, error))
    broken, eager = scored_here(files[0], tmp_path, "planted", "eager")
    assert (broken.status, broken.accuracy, broken.measurements) == (status, None, ())
    assert broken.reason.startswith(reason)
    assert "\n" not in broken.reason
    assert len(broken.reason) < 500
    assert eager.status == "ok"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_a_refusal_in_every_runtime(files: tuple[Path, Path], tmp_path: Path) -> None:
    request = ScoreRequest(str(files[0]), None, ("eager", "onnxruntime"), 1, "cuda", DATA, (1,), str(tmp_path), 0.01)
    results = score.score(request, lambda text: None).runtimes
    assert [result.status for result in results] == ["refused", "refused"]
    assert all(result.reason for result in results)


def test_nan_is_wrong_and_disagrees(files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RUNTIMES, "planted", Planted("nowhere", ValueError()))
    (result,) = scored_here(files[0], tmp_path, "planted")  # eager is not asked for, and held against all the same
    assert result.accuracy is not None
    assert (result.accuracy.correct, result.accuracy.top5_correct, result.accuracy.seen) == (0, 0, len(labels()))
    assert result.agreement == 0.0
    assert (result.accuracy.calibration_error, result.accuracy.log_loss) == (None, None)


def answering(monkeypatch: pytest.MonkeyPatch, dies: Callable[[Any], bool]) -> None:
    """Puts stand-ins in the place of the processes: those for which `dies` holds are killed, the others are well."""
    nothing = ScoreAnswer((), 0, "", 0, (2, 8, 8), (), {}, None)

    def ask(request: Any, **_: Any) -> Any:
        if dies(request):
            raise MeasureError("the measuring process was killed by SIGSEGV: it said nothing")
        if isinstance(request, MemoryRequest):
            return MemoryAnswer((Measurement("peak_memory", "B", (1.0,)),), "")
        results = tuple(RuntimeResult(name, "ok") for name in request.runtimes)
        known = {"test_labels": "labels" if results else ""}
        return dataclasses.replace(nothing, runtimes=results, deployed=dict.fromkeys(request.runtimes), **known)

    monkeypatch.setattr(bench.measure, "ask", ask)


def test_a_runtime_that_kills_its_process_takes_no_other_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, lambda request: "deadly" in getattr(request, "runtimes", ()))
    row = measured(Path("any.nnc"), runtimes=("deadly", "eager"))
    assert [result.status for result in row.runtimes] == ["failed", "ok"]
    assert "SIGSEGV" in row.runtimes[0].reason
    assert row.test_labels == "labels"
    assert found(row.runtimes[1], "peak_memory")
    assert not found(row.runtimes[0], "peak_memory")


def test_a_process_that_dies_whatever_runs_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, lambda request: True)
    with pytest.raises(MeasureError, match="SIGSEGV"):
        measured(Path("any.nnc"))


def test_a_memory_pass_that_dies_leaves_the_rest_and_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, lambda request: isinstance(request, MemoryRequest) and request.runtime == "deadly")
    deadly, eager = measured(Path("any.nnc"), runtimes=("deadly", "eager")).runtimes
    assert (deadly.status, found(deadly, "peak_memory")) == ("ok", [])
    assert deadly.reason == "no memory: the measuring process was killed by SIGSEGV: it said nothing"
    assert found(eager, "peak_memory")


def test_a_file_that_is_gone_is_the_persons_to_mend(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone\.nnc"):
        measured(tmp_path / "gone.nnc")


@pytest.mark.parametrize(
    ("stated", "complaint"),
    [
        ({"mean": [0.5, 0.1]}, r"mean .*, the file was made for 0.5, 0.1"),
        ({"std": [1.0]}, "standard deviation"),
        ({"classes": 8}, "classes 7, the file was made for 8"),
        ({"input_shape": [2, 8, 9]}, "input shape 2, 8, 8, the file was made for 2, 8, 9"),
    ],
)
def test_another_data_set_than_the_files_is_refused(stated: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    metadata = artifact.read_metadata(written(tmp_path / "case.nnc", network(), **stated))
    with pytest.raises(ValueError, match=complaint):
        score.open_data(DATA, metadata)


def test_an_unknown_runtime_is_named_with_its_neighbour(files: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown runtime 'egaer': did you mean 'eager'"):
        scored_here(files[0], tmp_path, "egaer")


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
