"""What cannot be measured: what fails is a result with its reason, or one clear error."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

import bench.measure
from baselines.errors import UsageError
from bench import artifact
from bench.measure import score
from bench.measure.messages import MemoryAnswer, MemoryRequest, ScoreAnswer, ScoreRequest
from bench.measure.process import MeasureError
from bench.records import Measurement, RuntimeResult
from bench.runtimes import RUNTIMES, Runtime, RuntimeFailure, Session
from bench.runtimes.kernels import Kernels
from tests.measure_example import DATA, found, labels, measured, network, scored_here, written


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("files")
    return written(folder / "small.nnc", network(3)), written(folder / "dense.nnc", network(6, seed=1))


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
