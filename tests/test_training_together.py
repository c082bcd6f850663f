"""The study of training together counts bytes and operations, and times what decoding processes do."""

import sys

import pytest
from PIL import Image

from bench.training_together import Decoding, Exchange, decoding, main, page, photographs


def test_bytes_and_operations_are_those_of_eight_processes():
    one = Exchange("x", 1000, 50)
    assert one.gradient_bytes == 4000
    assert one.sent_bytes == 7000
    assert one.flop(16) == 2 * 2 * 3 * 50, "two images, three passes, two operations each"
    assert one.bytes_a_flop(16) == pytest.approx(7000 / 600)


def test_photographs_have_the_size_asked_for_and_differ(tmp_path):
    paths = photographs(tmp_path, (50, 40), 3)
    for path in paths:
        with Image.open(path) as image:
            assert (image.format, image.size) == ("JPEG", (50, 40))
    assert len({path.read_bytes() for path in paths}) == 3
    found = decoding(paths, (50, 40), 1)
    assert found.opened > found.trained > 0
    assert found.scored > 0


def test_the_page_says_how_many_cores_eight_gpus_need():
    text = page([Exchange("x", 1000, 50)], [Decoding((9, 8), 1000.0, 400.0, 200.0, 100.0)])
    assert "| 9x8 | 1 | 400 | 200 | 100 |" in text
    assert "| 1,000 | 40 |" in text


def test_the_command_writes_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.set_num_threads", lambda _: None)
    monkeypatch.setattr("bench.training_together._NETS", ("mobilenet_v2",))
    out = tmp_path / "new" / "page.md"
    monkeypatch.setattr(sys, "argv", ["training_together", "--images", "1", "--rounds", "1", "--out", str(out)])
    assert main() == 0
    assert "| mobilenet_v2 | 3,504,872 | 14.0 | 24.5 |" in out.read_text()
