"""The study of spectral layers' speed."""

import sys

import pytest

from bench import spectral_speed
from bench.spectral_cases import Case
from bench.spectral_paths import Choice, table
from bench.spectral_speed import Samples, Timing, rows


def test_a_small_study_is_written_whole(tmp_path, monkeypatch, capsys):
    out = tmp_path / "study.md"
    monkeypatch.setattr(sys, "argv", ["spectral_speed", "--small", "--seconds", "0.01", "--out", str(out)])
    spectral_speed.main()
    text = out.read_text()
    assert "python -m bench.spectral_speed --small --seconds 0.01" in text
    assert "| Linear 512x512 | 1/8 of each axis | 2 |" in text
    assert "within 10% of the quickest" in text
    assert capsys.readouterr().out.strip().splitlines()[-1] in text


@pytest.mark.parametrize(("ours", "word"), [(0.5, "reached"), (0.500001, "missed")])
def test_a_verdict_is_the_ratio_of_medians_against_the_goal(ours, word):
    case = Case("layer", "half", 1, "fast", lambda: None, lambda: None, 2.0)
    dense, spectral = Samples((0.9, 1.0, 7.0), (1.0, 1.0, 1.0)), Samples((0.1, ours, 9.0), (1.0, 1.0, 1.0))
    assert f"| 2.00 | 2 | {word} |" in rows([Timing(case, [dense, spectral], [dense, spectral])])[-1]


def test_the_loss_of_a_choice_is_over_the_quickest_path():
    choices = [
        Choice("a", "1/2", 1, {"factored": 2.0, "fast": 1.0}, "factored"),
        Choice("b", "1/2", 1, {"fast": 1.0}, "fast"),
    ]
    assert [one.loss for one in choices] == [2.0, 1.0]
    assert "at 1 of 2 shapes" in table(choices)[0]
