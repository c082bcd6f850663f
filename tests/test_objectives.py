"""Training towards another objective than the labels, on a part of the images: resumed exactly, logged as ever."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from baselines.data import load
from baselines.training import Recipe, train
from methods.base import Objective, Refused
from methods.graph import trace
from tests.interruption import Killed, killed_after

RECIPE = Recipe(batch_size=16, lr=0.1, precision="fp32")


@pytest.fixture(scope="module")
def data():
    return load("fake:classes=4:size=8:count=100", data_dir=Path("nowhere"))


def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2)
        return trace(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 4)))


class Reconstruct(Objective):
    """The logits are also to tell the mean of the image, through a layer that is left behind."""

    def __init__(self, weight=1.0):
        self.weight = weight
        self.beside = nn.Linear(4, 1)
        nn.init.constant_(self.beside.weight, 0.1)
        nn.init.zeros_(self.beside.bias)

    def __call__(self, model, images, labels):
        logits = model(images)
        missed = (self.beside(logits).squeeze(1) - images.mean((1, 2, 3))).square().mean()
        return logits, F.cross_entropy(logits, labels) + self.weight * missed


def run(model, data, epochs=3, **more):
    return train(model, data, stage="stage", epochs=epochs, lr=0.1, recipe=RECIPE, seed=0, **more)


def same(one, two):
    return all(torch.equal(tensor, two.state_dict()[name]) for name, tensor in one.state_dict().items())


@pytest.mark.parametrize("after_batches", [3, 7, 11])
def test_a_run_with_an_objective_resumes_bit_for_bit_with_what_it_trains_beside(data, tmp_path, after_batches):
    alone, whole = network(), Reconstruct()
    expected = run(alone, data, objective=whole, subset=0.6)
    snapshot = tmp_path / "run.pt"
    with pytest.raises(Killed):
        run(
            network(),
            data,
            objective=Reconstruct(),
            subset=0.6,
            snapshot=snapshot,
            on_batch=killed_after(after_batches),
        )
    resumed, again = network(), Reconstruct()
    logs = run(resumed, data, objective=again, subset=0.6, snapshot=snapshot)
    assert same(alone, resumed)
    assert same(whole.beside, again.beside)
    assert [log.train_loss for log in logs] == [log.train_loss for log in expected]
    assert not torch.equal(again.beside.weight, Reconstruct().beside.weight)
    assert not same(alone, network())


def test_the_snapshot_of_another_subset_is_not_gone_on_from(data, tmp_path):
    notes = []
    run(network(), data, snapshot=tmp_path / "run.pt")
    run(network(), data, subset=0.5, snapshot=tmp_path / "run.pt", on_note=notes.append)
    assert "another training" in notes[0]


def test_the_cross_entropy_is_logged_whatever_is_minimised(data):
    class Nothing(Objective):
        def __call__(self, model, images, labels):
            logits = model(images)
            return logits, 0 * logits.sum() + 1e6

    (log,) = run(network(), data, 1, objective=Nothing())
    assert 0.5 < log.train_loss < 5
    assert 0 <= log.train_accuracy <= 1


def test_an_objective_that_is_the_cross_entropy_changes_nothing(data):
    class Plain(Objective):
        def __call__(self, model, images, labels):
            logits = model(images)
            return logits, F.cross_entropy(logits, labels)

    one, two = network(), network()
    run(one, data)
    run(two, data, objective=Plain())
    assert same(one, two)


def test_a_subset_takes_the_same_share_of_each_class_and_always_the_same_images(data):
    before, part = Counter(data.labels("train").tolist()), data.subset(0.5)
    assert Counter(part.labels("train").tolist()) == {label: round(count / 2) for label, count in before.items()}
    assert np.array_equal(part.splits["train"].padded, data.subset(0.5).splits["train"].padded)
    assert (part.mean, part.count("test"), part.name) == (data.mean, data.count("test"), data.name)
    seen = [images for images, _ in part.train_batches(7, device="cpu", seed=3, epoch=1, augment=False)]
    held = {image.numpy().tobytes() for images, _ in data.batches("train", 9, device="cpu") for image in images}
    assert all(image.numpy().tobytes() in held for images in seen for image in images)
    (log,) = run(network(), data, 1, subset=0.5)
    assert log.samples == part.count("train") < data.count("train")


def test_a_subset_of_fewer_than_two_images_of_a_class_is_refused(data):
    with pytest.raises(Refused, match=r"subset=0.05 leaves class 'class 0' fewer than two"):
        run(network(), data, subset=0.05)


def test_a_subset_of_images_on_disk_keeps_paths_with_their_labels(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for part, count in (("train", 20), ("test", 3)):
        for label, shade in (("dark", 10), ("light", 200)):
            (tmp_path / part / label).mkdir(parents=True)
            for index in range(count):
                Image.new("L", (70, 72), shade + index).save(tmp_path / part / label / f"{index}.png")
    data = load("folder", data_dir=tmp_path)
    part = data.subset(0.5)
    files = part.splits["train"]
    assert len(files.paths) == part.count("train") == data.count("train") // 2
    assert all(
        (path.parent.name == "light") == bool(label) for path, label in zip(files.paths, files.labels, strict=True)
    )


def test_without_augmentation_every_epoch_shows_the_images_as_they_are(data):
    held = {image.numpy().tobytes() for images, _ in data.batches("train", 9, device="cpu") for image in images}
    shown = []

    class Watch(Objective):
        def __call__(self, model, images, labels):
            shown.extend(image.numpy().tobytes() in held for image in images)
            logits = model(images)
            return logits, F.cross_entropy(logits, labels)

    run(network(), data, 1, objective=Watch(), augment=False)
    assert all(shown)
    shown.clear()
    run(network(), data, 1, objective=Watch())
    assert not all(shown)
