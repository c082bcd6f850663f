"""The study of reading times counts every tensor and says which goals are missed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.artifact import load, save
from bench.reading_speed import Code, Reading, main, page, read
from tests.artifact_example import METADATA, network


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save(network(), tmp_path / "a.nnc", METADATA | {"net": "residual", "dataset": "fake", "label": "dense"})
    return tmp_path / "a.nnc"


def test_every_tensor_is_timed(file: Path) -> None:
    found, artifact = read(file, 1), load(file)
    lines = artifact.ledger[1:]
    assert [code.codec for code in found.codes] == [line.codec for line in lines]
    assert sum(code.float_bytes for code in found.codes) == found.float_bytes
    assert found.file_bytes == artifact.file_bytes
    assert min(found.frame_s, found.decode_s, found.load_s) > 0


@pytest.mark.parametrize(
    ("seconds", "load_s", "megabytes", "missed"),
    [
        (1.0, 1.9, 60, []),
        (1.0, 1.9, 40, ["rate"]),
        (1.0, 2.1, 60, ["load"]),
        (1.0, 1.0, 4, ["rate (small file)"]),
        (0.01, 1.0, 4, []),
        (9.0, 9.0, 40, ["rate", "load"]),
    ],
)
def test_goals_are_judged(seconds: float, load_s: float, megabytes: int, missed: list[str]) -> None:
    one = Reading("x", 1, 0.1, load_s, (Code("range", megabytes * 1_000_000, seconds),))
    assert one.missed == missed
    text = page([one], 1, "c")
    assert f"| {', '.join(missed) or '–'} |" in text
    assert ("1 of 1 files miss the rate with less than 5 MB" in text) == (missed == ["rate (small file)"])


def test_the_command_writes_the_page(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "new" / "page.md"
    monkeypatch.setattr("torch.set_num_threads", lambda _: None)
    monkeypatch.setattr(sys, "argv", ["reading_speed", str(file), "--rounds", "1", "--out", str(out)])
    assert main() == 1  # a file of some kilobytes
    assert "| residual on fake: dense |" in out.read_text()
    assert "rate (small file)" in out.read_text()
    monkeypatch.setattr(sys, "argv", ["reading_speed", str(tmp_path / "none.nnc"), "--out", str(out)])
    assert main() == 2
