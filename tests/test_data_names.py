"""Data sets that have a name: what is opened, what is refused and why."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from baselines.data import DATASETS, known, load
from baselines.errors import UsageError

NOWHERE = Path("nowhere-at-all")
ROOT = Path(__file__).parents[1]
REAL = ROOT / ".data"


def test_digits_have_three_fixed_parts_without_a_common_image():
    data = load("digits", data_dir=NOWHERE)
    assert [data.count(split) for split in ("train", "validation", "test")] == [1259, 179, 359]
    assert (data.input_shape, data.classes) == ((1, 16, 16), 10)
    images = {split: [image.numpy().tobytes() for batch, _ in data.batches(split, 500, device="cpu") for image in batch]
              for split in ("train", "validation", "test")}  # fmt: skip
    assert len({pixels for part in images.values() for pixels in part}) == 1797
    assert not set(images["train"]) & set(images["test"])
    assert load("digits", data_dir=NOWHERE, size=9).input_shape == (1, 9, 9)


def test_digits_are_those_that_scikit_learn_loads_whose_import_they_spare(monkeypatch):
    code = "import sys; from baselines.data import load; load('digits', data_dir='x'); print('sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    found = [known._digits_of_scikit_learn()]
    monkeypatch.setattr(known.importlib.util, "find_spec", lambda name: None)  # a package that is laid out otherwise
    found.append(known._digits_of_scikit_learn())
    for fast, slow in zip(*found, strict=True):
        assert fast.dtype == slow.dtype
        assert np.array_equal(fast, slow)


def test_a_part_of_named_data_is_of_the_training_images_alone():
    whole, part = (load(name, data_dir=NOWHERE) for name in ("digits", "digits:train=300"))
    assert abs(part.count("train") - 300) <= 5
    assert (part.count("validation"), part.count("test")) == (whole.count("validation"), whole.count("test"))


@pytest.mark.parametrize("name", ["digits:train=3", "digits:train=99999", "digits:train=0", "fake:train=20"])
def test_a_part_that_cannot_be_taken_says_so(name):
    with pytest.raises(UsageError, match="train"):
        load(name, data_dir=NOWHERE)


@pytest.mark.parametrize("name", sorted(set(DATASETS) - {"digits", "fake"}))
def test_a_missing_data_set_says_where_it_looked_and_what_to_type(name):
    with pytest.raises(UsageError, match=r"nowhere-at-all.*(--data-dir|--download)") as raised:
        load(name, data_dir=NOWHERE)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("digit", "did you mean 'digits'"),
        ("fake:clases=3", "did you mean 'classes'"),
        ("fake:classes=1", "2 classes"),
        ("fake:size=a", "give a number"),
        ("mnist:colour=3", "no option"),
    ],
)
def test_what_cannot_be_opened_says_why(name, words):
    with pytest.raises(UsageError, match=words):
        load(name, data_dir=NOWHERE)


def test_fake_images_depend_on_the_seed_and_differ_by_class():
    def pixels(seed):
        data = load("fake:classes=4:size=9:channels=3", data_dir=NOWHERE, seed=seed)
        return next(data.batches("test", 99, device="cpu"))

    assert torch.equal(pixels(1)[0], pixels(1)[0])
    assert not torch.equal(pixels(1)[0], pixels(2)[0])
    images, labels = pixels(1)
    means = torch.stack([images[labels == label].mean(0).flatten() for label in range(4)])
    assert (torch.pdist(means) > 5).all()


@pytest.mark.skipif(not (REAL / "MNIST").is_dir(), reason="MNIST is not in .data/")
def test_mnist_is_whole_and_its_parts_do_not_share_an_image():
    data = load("mnist", data_dir=REAL)
    assert [data.count(split) for split in ("train", "validation", "test")] == [54_001, 5_999, 10_000]
    hashes = {
        split: {hashlib.md5(image.tobytes()).digest() for image in data.splits[split].images}
        for split in ("train", "validation", "test")
    }
    assert not hashes["train"] & hashes["validation"]
    assert not hashes["train"] & hashes["test"]


def test_images_are_scaled_as_asked_and_the_title_says_so():
    data = load("digits:size=11:train=200", data_dir=Path("nowhere"))
    assert data.input_shape == (1, 11, 11)
    assert data.name == "digits:size=11:train=200"
    assert load("fake:size=9", data_dir=Path("nowhere")).input_shape[1:] == (9, 9)


@pytest.mark.parametrize("spec", ["digits:size=0", "digits:size=-3", "fake:size=0"])
def test_a_size_without_pixels_is_refused(spec):
    with pytest.raises(UsageError, match="size"):
        load(spec, data_dir=Path("nowhere"))
