"""The study that holds our quantised files beside ONNX Runtime's: who is compared with whom, and by which rule."""

import sys

import numpy as np
import pytest
import torch

from baselines.data import load as load_data
from baselines.errors import UsageError
from bench import peer_quantization
from bench.artifact import save, ship
from bench.measure.score import open_data
from bench.onnxruntime_peer import CALIBRATIONS, _Images, quantize
from bench.peer_page import Gap, Scored, gaps, group_section, summary_section, verdict
from bench.peer_quantization import groups
from bench.runtimes.onnxruntime import write_onnx
from bench.runtimes.onnxruntime_session import OnnxSession
from bench.task import calibration_images
from methods.quantization import PTQ
from tests.quantization_example import CONVOLUTIONS, LINEARS, SHAPE, Plain, Residual, images, network, task

DATA = {"name": "fake:classes=5:size=9:channels=2:count=80", "data_dir": "."}


def scored(kind, hits, name="", runtime="onnxruntime"):
    hits = np.array(hits, dtype=bool)
    return Scored(name or kind, kind, runtime, np.where(hits, 1, 2).astype(np.uint16), hits, 100, "int8")


def of_kind(ours_right, peer_right, alike):
    """Ours and a peer on images that only ours, only the peer, both get right."""
    counts = [ours_right, peer_right, alike]
    return scored("ours", np.repeat([1, 0, 1], counts)), scored("peer", np.repeat([0, 1, 1], counts))


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ((30, 5, 965), "ours is better"),
        ((5, 30, 965), "the peer is better"),
        ((12, 10, 978), "no difference is shown"),
        ((0, 0, 1000), "no difference is shown"),
    ],
)
def test_verdicts_are_those_of_planted_differences(counts, words):
    gap = Gap(*of_kind(*counts))
    assert gap.only == counts[:2]
    assert gap.difference == pytest.approx((counts[0] - counts[1]) / 1000)
    assert verdict(*gap.interval) == words
    assert verdict(*Gap(gap.peer, gap.ours).interval) == {
        "ours is better": "the peer is better", "the peer is better": "ours is better"
    }.get(words, words)  # fmt: skip


def test_each_of_ours_meets_each_peer_and_nothing_else():
    found = [scored("dense", [1]), scored("peer", [1], "a"), scored("peer", [1], "b"), scored("ours", [0], "x")]
    found.append(scored("ours", [1], "x", "eager"))
    assert [(one.ours.runtime, one.peer.name) for one in gaps(found)] == [
        (runtime, name) for runtime in ("onnxruntime", "eager") for name in "ab"
    ]


def test_a_section_tells_loss_and_agreement_against_dense():
    dense, peer = scored("dense", [1, 1, 1, 0]), scored("peer", [1, 0, 1, 0])
    text = "\n".join(group_section("t", ["x: a file"], [dense, peer, scored("ours", [0, 0, 1, 1])]))
    assert "| peer | onnxruntime | 50.00 |" in text
    assert "| 25.00 | 75.00 | 100 |" in text  # points lost, predictions shared
    assert "| ours | onnxruntime | peer | 1 | 1 | +0.00 |" in text


def seeds(*counts):
    return [("net", [scored("dense", [1] * 1000), *of_kind(*one)]) for one in counts]


def test_over_seeds_students_interval_decides_and_a_single_worse_seed_is_not_hidden():
    text = "\n".join(summary_section(seeds((30, 5, 965), (29, 5, 966), (31, 6, 963))))
    assert "| 3 | 3 / 0 / 0 | +2.47 |" in text
    assert text.count("| ours is better |") == 1
    assert "or is better, in each seed and over them" in text
    text = "\n".join(summary_section(seeds((30, 5, 965), (5, 30, 965), (5, 5, 990))))
    assert "| 3 | 1 / 1 / 1 | +0.00 |" in text
    assert "| no difference is shown |" in text
    assert "shown to be worse, in some seed or over them, than peer." in text


def test_one_seed_has_no_interval_over_seeds():
    text = "\n".join(summary_section(seeds((10, 9, 981))))
    assert "|" not in text
    assert "agrees with every peer" in text
    low, _ = Gap(*of_kind(10, 9, 981)).interval
    assert f"up to {-100 * low:.2f} points below one" in text


def test_small_losses_that_no_seed_shows_are_seen_over_seeds():
    text = "\n".join(summary_section(seeds((4, 10, 986), (4, 10, 986), (4, 11, 985))))
    assert "| 3 | 0 / 3 / 0 | -0.63 |" in text
    assert "shown to be worse" in text


@pytest.mark.parametrize("count", [1, 24, 63, 65, 130, 131])
def test_calibration_batches_are_equal_and_hold_every_image_in_order(count):
    pixels = np.arange(count, dtype=np.float32).reshape(count, 1, 1, 1)
    reader, batches = _Images(pixels, "x"), []
    while batch := reader.get_next():
        batches.append(batch["x"])
    assert len({len(one) for one in batches}) == 1
    assert len(batches[0]) <= 64
    assert np.array_equal(np.concatenate(batches), pixels)


@pytest.mark.parametrize("kind", [Residual, Plain])
@pytest.mark.parametrize("calibration", CALIBRATIONS)
def test_the_peer_runs_in_int8_and_near_the_float_network(kind, calibration, tmp_path):
    model = ship(network(kind))
    exported, x = write_onnx(model, SHAPE, tmp_path), images(23)
    path = quantize(exported, tmp_path / "peer.onnx", [x[:16].numpy(), x[16:].numpy()], calibration)
    session = OnnxSession(path, threads=1, device="cpu")
    words = session.kernels().words()
    assert f"int8 QLinearConv x{CONVOLUTIONS[kind]}" in words
    assert f"int8 QGemm x{LINEARS[kind]}" in words
    with torch.no_grad():
        wanted = model(x).numpy()
    assert np.abs(session.run(x.numpy()) - wanted).max() < 0.2 * np.abs(wanted).max()
    assert not path.with_suffix(".ready.onnx").exists()


def files_of(folder, seed):
    """A dense file and a quantised one, as a run would leave them."""
    about = {"net": "plain", "dataset": DATA["name"], "data": DATA, "seed": seed, "classes": 5,
             "input_shape": [2, 9, 9]}  # fmt: skip
    stated = load_data(DATA["name"], data_dir=folder)
    about |= {"mean": list(map(float, stated.mean)), "std": list(map(float, stated.std))}
    dense, ours = folder / f"dense-{seed}.nnc", folder / f"ptq-{seed}.nnc"
    save(ship(network(Residual, seed)), dense, about | {"chain": "dense", "label": "dense"})
    model = ship(PTQ().compress(network(Residual, seed), task()))
    save(model, ours, about | {"chain": "ptq:calibration=24", "label": "ptq"})
    return dense, ours


def test_a_page_is_written_from_files_of_two_seeds(tmp_path, monkeypatch):
    files = [*files_of(tmp_path, 0), *files_of(tmp_path, 3)]
    seen = []

    def noting(exported, target, batches, calibration):
        seen.append(np.concatenate(batches))
        return quantize(exported, target, batches, calibration)

    monkeypatch.setattr(peer_quantization, "quantize", noting)
    out = tmp_path / "page.md"
    options = ["--calibration", "24", "--peers", "MinMax", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["peer_quantization", *map(str, files), *options])
    assert peer_quantization.main() == 0
    text = out.read_text()
    assert "seed 0\n" in text
    assert "seed 3\n" in text
    assert f"- ptq: `ptq:calibration=24`, ptq-3.nnc, {files[3].stat().st_size:,} bytes" in text
    assert text.count("| ptq | onnxruntime | quantize_static, MinMax |") == 3  # of each seed, and over them
    assert "| ptq | eager | quantize_static, MinMax | 2 |" in text
    data = open_data(DATA, peer_quantization.read_metadata(files[0]))
    for seed, found in zip((0, 3), seen, strict=True):
        expected = torch.cat(list(calibration_images(data, 24, seed=seed, device="cpu")))
        assert np.array_equal(found, expected.numpy())


def test_files_are_matched_by_what_they_say_of_themselves(tmp_path):
    (dense, ours), (other, theirs) = files_of(tmp_path, 0), files_of(tmp_path, 1)
    found = groups([theirs, dense, ours, other], 24)
    assert {(one.dense, one.ours) for one in found} == {(dense, (ours,)), (other, (theirs,))}
    for files in ([dense, theirs, other], [ours], [dense, dense, ours], [dense, ours, ours], [dense]):
        with pytest.raises(UsageError, match="give one dense file"):
            groups(files, 24)
    with pytest.raises(UsageError, match="pass --calibration"):
        groups([dense, ours], 512)


def test_what_cannot_be_compared_ends_the_command_with_a_line(tmp_path, monkeypatch, capsys):
    dense, _ = files_of(tmp_path, 0)
    monkeypatch.setattr(sys, "argv", ["peer_quantization", str(dense), "--out", str(tmp_path / "page.md")])
    assert peer_quantization.main() == 2
    assert capsys.readouterr().err.startswith("bench.peer_quantization: plain on fake")
    assert not (tmp_path / "page.md").exists()
