"""Drift of a runtime's logits: what is planted is found, to the size, and told in the report."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from torch import nn

from bench.logit_error import logit_error
from bench.measure import logits as subject
from bench.measure.logits import FirstLogits, logits_as_read
from bench.records import RunRecord
from bench.runtimes import RUNTIMES, Runtime, Session
from bench.runtimes.eager import Eager
from bench.runtimes.kernels import Kernels
from methods.graph import trace
from reports.findings import drifting
from reports.page import page
from reports.rows import frame
from tests.measure_example import network, scored_here, written
from tests.records_example import record, with_runtime


@dataclasses.dataclass
class DriftingSession(Session):
    """Eager's logits, stretched: every class stays where it was."""

    exact: Session
    factor: float

    def run(self, images: np.ndarray) -> np.ndarray:
        return self.factor * self.exact.run(images)

    def kernels(self):
        return Kernels((), ("planted",))


class Drifting(Runtime):
    """A runtime whose scales are off, which no accuracy shows."""

    name: ClassVar[str] = "drifting"

    def __init__(self, factor: float) -> None:
        self.factor, self.exact = factor, Eager()

    def unavailable(self, device: str) -> str | None:
        return None

    def prepare(self, model: Any, input_shape: tuple[int, ...], folder: Path) -> Path | None:
        return None

    def load(self, model: Any, deployed: Path | None, *, threads: int, device: str) -> Session:
        return DriftingSession(self.exact.load(model, None, threads=threads, device=device), self.factor)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path / "small.nnc", network(3))


@pytest.mark.parametrize("also", [(), ("eager",)])  # asked for or not, eager is what others are held against
def test_a_drift_that_changes_no_prediction_is_found(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, also: tuple[str, ...]
) -> None:
    monkeypatch.setitem(RUNTIMES, "drifting", Drifting(1.5))
    drifted, *others = scored_here(file, tmp_path, "drifting", *also)
    assert drifted.agreement == 1.0
    assert drifted.logit_error is not None
    assert drifted.logit_error >= 0.5  # half of the root mean square, which is no less than the standard deviation
    assert all(one.logit_error is not None and one.logit_error < 1e-5 for one in others)


def test_runtimes_that_compute_the_same_have_no_error_worth_a_word(file: Path, tmp_path: Path) -> None:
    results = scored_here(file, tmp_path, "eager", "onnxruntime")
    assert all(one.logit_error is not None and one.logit_error < 1e-5 for one in results)


def test_a_reference_that_drifts_is_found_itself(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """An error of what the eager session makes of the network would be shared by all that are held against it."""
    drifting_eager = Drifting(1.5)
    monkeypatch.setattr(drifting_eager, "name", "eager", raising=False)
    monkeypatch.setitem(RUNTIMES, "eager", drifting_eager)
    eager, onnx = scored_here(file, tmp_path, "eager", "onnxruntime")
    assert eager.logit_error is not None
    assert eager.logit_error >= 0.5
    assert onnx.logit_error is not None
    assert onnx.logit_error > 0.1


def test_only_the_first_images_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "IMAGES", 10)
    all_logits = np.random.default_rng(0).standard_normal((17, 3)).astype(np.float32)
    kept = FirstLogits()
    for start in range(0, 17, 4):
        kept.add(all_logits[start : start + 4])
    assert np.array_equal(kept.all(), all_logits[:10])
    images = np.ones((4, 1, 2, 2), np.float32)
    read: list[int] = []

    def batches() -> Any:
        for index in range(9):
            read.append(index)
            yield images, np.zeros(4, np.int64)

    model = trace(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)))
    assert logits_as_read(model, batches(), "cpu").shape == (10, 3)
    assert read == [0, 1, 2]  # no image is read for nothing


def test_the_error_is_in_standard_deviations() -> None:
    reference = np.array([[0.0, 2.0], [4.0, 6.0]], np.float32)
    assert logit_error(reference + np.float32(1.0), reference) == pytest.approx(1 / 2)
    assert logit_error(reference, reference) == 0.0
    assert logit_error(10 * reference + 10, 10 * reference) == pytest.approx(1 / 2)


def test_a_runtime_that_ignores_its_images_is_one_deviation_off_however_far_classes_lie_apart() -> None:
    rng = np.random.default_rng(0)
    reference = (np.linspace(-3, 3, 10) + 0.1 * rng.standard_normal((500, 10))).astype(np.float32)
    blind = np.broadcast_to(reference.mean(0), reference.shape)
    assert (blind.argmax(1) == reference.argmax(1)).all()  # no prediction tells
    assert logit_error(blind, reference) == pytest.approx(1, abs=1e-3)


def test_what_has_no_finite_error_is_infinite() -> None:
    flat = np.ones((2, 2), np.float32)
    assert logit_error(flat, flat) == 0.0
    assert logit_error(flat + 1, flat) == math.inf
    for value in (np.nan, np.inf):
        assert logit_error(np.full((2, 2), value, np.float32), np.array([[0, 1], [1, 0]], np.float32)) == math.inf
    with pytest.raises(ValueError, match="cannot be compared"):
        logit_error(flat, flat[:1])


@pytest.mark.parametrize(
    ("runtime", "changes", "sentence"),
    [
        ("onnxruntime", {"agreement": 0.98}, "2.00 % of its predictions differ from eager's"),
        ("onnxruntime", {"logit_error": 0.25}, "its logits are 0.250 standard deviations from eager's"),
        ("onnxruntime", {"logit_error": math.inf}, "its logits are infinitely many standard deviations from eager's"),
        ("eager", {"logit_error": 0.02}, "standard deviations from the network's as it was read"),
        ("onnxruntime", {"logit_error": 0.02, "agreement": 0.9999}, ""),
        ("eager", {"logit_error": 1e-6}, ""),
        ("onnxruntime", {"logit_error": None}, ""),
    ],
)
def test_the_report_tells_what_drifts(runtime: str, changes: dict[str, Any], sentence: str) -> None:
    records: list[RunRecord] = [record("dense"), with_runtime(record("ptq"), runtime, **changes)]
    found = drifting(records)
    assert len(found) == bool(sentence)
    assert all(sentence in one and runtime in one and "`ptq`" in one for one in found)
    text = page(records, title="t", command="c")
    assert ("compute something else" in text) == bool(sentence)
    if "logit_error" in changes and changes["logit_error"] is not None:
        row = frame(records).query(f"method == 'ptq' and runtime == '{runtime}'").iloc[0]
        assert row["logit_error"] == changes["logit_error"]
