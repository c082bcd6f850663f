"""Calibration sees training images, as the network does, and no others."""

from pathlib import Path

import pytest
import torch

from baselines.data import load
from bench.task import calibration_images

NOWHERE = Path("nowhere-at-all")


class OtherPart(AssertionError):
    """An image of another part than the training part was read."""


def known(data, split):
    """The images of a part, each as bytes."""
    return {image.numpy().tobytes() for images, _ in data.batches(split, 64, device="cpu") for image in images}


def only_training(data, images):
    """The law: every calibration image is one of the training part, and none stands in another."""
    seen = [image.numpy().tobytes() for batch in images for image in batch]
    training = known(data, "train")
    if not seen or any(image not in training for image in seen):
        raise OtherPart
    return seen


@pytest.mark.parametrize("count", [1, 63, 64, 65, 300, 10**6])
def test_calibration_draws_the_number_asked_for_from_the_training_part(count):
    data = load("digits", data_dir=NOWHERE)
    seen = only_training(data, calibration_images(data, count, seed=0, device="cpu"))
    assert len(seen) == min(count, data.count("train"))


@pytest.mark.parametrize("split", ["validation", "test"])
def test_images_of_another_part_are_caught(split):
    data = load("digits", data_dir=NOWHERE)
    with pytest.raises(OtherPart):
        only_training(data, (images for images, _ in data.batches(split, 64, device="cpu")))


def test_the_seed_draws_others_and_the_same_seed_the_same():
    data = load("digits", data_dir=NOWHERE)
    draws = [torch.cat(list(calibration_images(data, 50, seed=seed, device="cpu"))) for seed in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
