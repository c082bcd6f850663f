"""Data: parts that stay apart, epochs that depend on (seed, epoch) alone, shifts and mirrors against a naive loop."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from baselines.data import ArrayData, FileData, bounds, load, stratified
from baselines.data.arrays import Split, statistics
from baselines.data.base import share_of
from baselines.errors import UsageError

NOWHERE = Path("nowhere-at-all")


def epoch_of(data, seed, epoch, batch_size=16, **more):
    batches = list(data.train_batches(batch_size, device="cpu", seed=seed, epoch=epoch, **more))
    return torch.cat([images for images, _ in batches]), torch.cat([labels for _, labels in batches])


@given(st.integers(0, 500), st.integers(2, 60))
def test_batches_cover_everything_once_and_are_even(count, batch_size):
    cuts = bounds(count, batch_size)
    assert [index for begin, end in cuts for index in range(begin, end)] == list(range(count))
    sizes = [end - begin for begin, end in cuts]
    if sizes:
        assert max(sizes) - min(sizes) <= 1
        assert min(sizes) >= min(2, count), "a batch of one image has no batch statistics"
        assert max(sizes) <= max(batch_size, 3)


def test_a_batch_size_of_one_is_refused():
    with pytest.raises(ValueError, match="batch norm"):
        bounds(10, 1)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=200), st.sampled_from([0.0, 0.1, 0.5]))
def test_a_stratified_cut_takes_its_fraction_of_every_class(labels, fraction):
    labels = np.array(labels)
    kept, cut = stratified(labels, fraction)
    assert sorted([*kept, *cut]) == list(range(len(labels)))
    for label in np.unique(labels):
        assert (labels[cut] == label).sum() == round(fraction * (labels == label).sum())
    again = stratified(labels, fraction)
    assert np.array_equal(again[1], cut)


def tiny_arrays(flip=True, border=2, count=13, shape=(5, 7, 3)):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
    labels = np.arange(count)  # a label is the index, so that images can be told apart
    mean, std = statistics(images)
    splits = {"train": Split.of(images, labels, border), "test": Split.of(images, labels)}
    names = tuple(map(str, labels))
    data = ArrayData("tiny", names, (shape[2], *shape[:2]), mean, std, splits, flip=flip)
    return data, images


def naive(data, image):
    """[h, w, c] uint8 -> [c, h, w] normalised, value by value."""
    mean, std = np.array(data.mean), np.array(data.std)
    return torch.from_numpy((image / 255 - mean) / std).permute(2, 0, 1).float()


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("shape", [(5, 7, 3), (1, 1, 1), (8, 4, 2)])
def test_every_augmented_image_is_a_shift_or_mirrored_shift_of_its_own(flip, shape):
    border = 2
    data, images = tiny_arrays(flip, border, shape=shape)
    height, width, _ = shape
    seen = set()
    for epoch in range(12):
        for image, label in zip(*epoch_of(data, 3, epoch, batch_size=5), strict=True):
            padded = np.pad(images[label], ((border, border), (border, border), (0, 0)), mode="edge")
            windows = {
                (top, left, mirrored): padded[top : top + height, left : left + width][:, :: -1 if mirrored else 1]
                for top in range(2 * border + 1)
                for left in range(2 * border + 1)
                for mirrored in ({False, flip})
            }
            found = [key for key, window in windows.items() if torch.allclose(naive(data, window), image, atol=1e-5)]
            assert found
            seen.update(found if len(found) == 1 else [])
    if shape == (5, 7, 3):
        assert {top for top, _, _ in seen} == {left for _, left, _ in seen} == set(range(5)), "every shift happens"
        assert {mirrored for *_, mirrored in seen} == {False, flip}


def test_without_augmentation_images_are_themselves():
    data, images = tiny_arrays()
    pixels, labels = epoch_of(data, 0, 1, augment=False)
    assert sorted(labels.tolist()) == list(range(13))
    for image, label in zip(pixels, labels, strict=True):
        torch.testing.assert_close(image, naive(data, images[label]))
    in_order = torch.cat([batch for batch, _ in data.batches("test", 4, device="cpu")])
    torch.testing.assert_close(in_order, torch.stack([naive(data, image) for image in images]))
    of_train = torch.cat([batch for batch, _ in data.batches("train", 4, device="cpu")])
    assert torch.equal(of_train, in_order), "the border does not show"


def check_epochs(data):
    """What every data set keeps: an epoch is a function of (seed, epoch), whatever the global generators hold."""
    torch.manual_seed(1)
    np.random.seed(1)
    first = epoch_of(data, 0, 1)
    torch.manual_seed(2)
    again, later, other = epoch_of(data, 0, 1), epoch_of(data, 0, 2), epoch_of(data, 1, 1)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    for different in (later, other):
        assert not torch.equal(first[0], different[0])
        assert torch.equal(first[1].sort().values, different[1].sort().values)
    assert len(first[1]) == data.count("train")


def test_epochs_of_arrays_depend_on_seed_and_epoch_alone():
    check_epochs(load("fake:classes=3:size=8:count=60", data_dir=NOWHERE))


def test_training_images_come_out_normalised():
    data = load("digits", data_dir=NOWHERE)
    pixels, _ = epoch_of(data, 0, 1, 64, augment=False)
    torch.testing.assert_close(pixels.mean(), torch.tensor(0.0), atol=1e-3, rtol=0)
    torch.testing.assert_close(pixels.std(), torch.tensor(1.0), atol=1e-3, rtol=0)


def folder(root, parts=("train", "test"), count=10, size=(9, 6), mode="RGB", classes=("ant", "bee")):
    rng = np.random.default_rng(1)
    for part in parts:
        for label, name in enumerate(classes):
            (root / part / name).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 80, (size[1], size[0], len(mode)), dtype=np.uint8) + np.uint8(100 * label)
                image = Image.fromarray(pixels.squeeze() if mode == "L" else pixels, mode=None)
                image.save(root / part / name / f"{index}.png")
    return root


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3)])
def test_class_folders_are_read_as_they_are(tmp_path, mode, channels):
    data = load("folder", data_dir=folder(tmp_path / "mine", mode=mode))
    assert isinstance(data, ArrayData)
    assert (data.name, data.input_shape, data.class_names) == ("mine", (channels, 6, 9), ("ant", "bee"))
    assert [data.count(split) for split in ("train", "validation", "test")] == [18, 2, 20]
    ((images, labels),) = data.batches("test", 100, device="cpu")
    path = tmp_path / "mine" / "test" / "bee" / "0.png"
    torch.testing.assert_close(images[10], naive(data, np.asarray(Image.open(path)).reshape(6, 9, channels)))
    assert labels.tolist() == [0] * 10 + [1] * 10


def test_a_validation_folder_is_used_and_its_images_are_not_trained_on(tmp_path):
    data = load("folder", data_dir=folder(tmp_path / "mine", ("train", "val", "test"), count=4))
    assert [data.count(split) for split in ("train", "validation", "test")] == [8, 8, 8]


@pytest.mark.parametrize(("size", "form"), [(6, ArrayData), (65, FileData)])
def test_a_part_of_the_training_images_is_a_share_of_every_class_and_the_test_part_stays(tmp_path, size, form):
    root = folder(tmp_path / "mine", count=40, size=(size, size))
    whole = load("folder", data_dir=root)
    part = load("folder:train=20", data_dir=root)
    assert isinstance(part, form)
    assert (whole.name, part.name) == ("mine", "mine:train=20")
    assert [part.count(split) for split in ("train", "validation", "test")] == [18, 2, 80]
    (_, labels), (_, labels_whole) = (next(iter(data.batches("test", 100, device="cpu"))) for data in (part, whole))
    assert torch.equal(labels, labels_whole)
    trained = torch.cat([labels for _, labels in part.train_batches(8, device="cpu", seed=0, epoch=0)])
    assert trained.bincount().tolist() == [9, 9]
    assert part.mean != whole.mean, "images that are left out may not be known to the rest"
    assert load("folder:train=20", data_dir=root).digest() == part.digest() != whole.digest()


@given(st.lists(st.integers(0, 3), min_size=8, max_size=200), st.integers(-1, 210))
def test_a_share_keeps_every_class_or_is_refused(labels, most):
    labels = np.array(labels)
    smallest = np.unique(labels, return_counts=True)[1].min()
    if not 0 < most < len(labels) or round(most / len(labels) * smallest) < 2:
        with pytest.raises(UsageError, match=f"train={most}"):
            share_of(labels, most)
        return
    chosen = share_of(labels, most)
    assert abs(len(chosen) - most) <= len(np.unique(labels)) / 2
    for label in np.unique(labels):
        assert (labels[chosen] == label).sum() == round(most / len(labels) * (labels == label).sum()) >= 2


def test_the_second_start_reads_the_cache_and_a_changed_image_is_seen(tmp_path, own_cache, monkeypatch):
    root = folder(tmp_path / "mine")
    first = next(load("folder", data_dir=root).batches("test", 100, device="cpu"))[0]
    with monkeypatch.context() as patched:
        patched.setattr("baselines.data.folder.open_image", lambda *_: pytest.fail("decoded again"))
        again = next(load("folder", data_dir=root).batches("test", 100, device="cpu"))[0]
    assert torch.equal(first, again)
    Image.fromarray(np.zeros((6, 9, 3), np.uint8)).save(root / "test" / "ant" / "0.png")
    changed = next(load("folder", data_dir=root).batches("test", 100, device="cpu"))[0]
    assert not torch.equal(first[0], changed[0])
    assert torch.equal(first[1:], changed[1:])
    for file in own_cache.rglob("*.npy"):
        file.write_bytes(file.read_bytes()[:50])
    assert torch.equal(next(load("folder", data_dir=root).batches("test", 100, device="cpu"))[0], changed)


def test_large_images_stay_on_disk_and_keep_the_same_laws(tmp_path):
    data = load("folder", data_dir=folder(tmp_path / "large", count=6, size=(80, 70)), size=66)
    assert isinstance(data, FileData)
    assert data.input_shape == (3, 66, 66)
    check_epochs(data)
    ((images, _),) = data.batches("test", 100, device="cpu")
    assert images.shape == (12, 3, 66, 66)


def test_workers_do_not_change_an_epoch(tmp_path):
    root = folder(tmp_path / "large", count=4, size=(70, 70))
    data = load("folder", data_dir=root, size=65)
    fields = {name: getattr(data, name) for name in ("name", "class_names", "input_shape", "mean", "std", "splits")}
    one, three = (epoch_of(FileData(**fields, workers=workers), 0, 1)[0] for workers in (0, 1))
    assert torch.equal(one, three)


def test_images_of_several_sizes_are_brought_to_one(tmp_path):
    root = folder(tmp_path / "mixed", count=3, size=(20, 30))
    Image.fromarray(np.full((50, 10, 3), 200, np.uint8)).save(root / "train" / "ant" / "tall.png")
    assert load("folder", data_dir=root).input_shape == (3, 20, 20)
    assert load("folder", data_dir=root, size=8).input_shape == (3, 8, 8)


def test_a_damaged_image_is_named(tmp_path):
    root = folder(tmp_path / "mine")
    (root / "test" / "bee" / "3.png").write_bytes(b"not an image")
    with pytest.raises(UsageError, match=r"3\.png is not a readable image"):
        load("folder", data_dir=root)


def test_a_class_that_only_the_test_part_has_is_refused(tmp_path):
    root = folder(tmp_path / "mine")
    shutil.copytree(root / "test" / "bee", root / "test" / "wasp")
    with pytest.raises(UsageError, match="wasp"):
        load("folder", data_dir=root)


def test_imagenet_is_class_folders_whose_val_is_the_test_part(tmp_path):
    folder(tmp_path / "imagenet", ("train", "val"), count=10)
    data = load("imagenet", data_dir=tmp_path, size=16)
    assert [data.count(split) for split in ("train", "validation", "test")] == [18, 2, 20]


def test_birds_follow_their_lists(tmp_path):
    root = tmp_path / "CUB_200_2011"
    images, marks = [], []
    for number, name in enumerate(f"{label:03d}.Bird/{index}.jpg" for label in (1, 2) for index in range(10)):
        (root / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((30, 40, 3), 10 * number, np.uint8)).save(root / "images" / name)
        images.append(f"{number + 1} {name}")
        marks.append(f"{number + 1} {int(number % 10 < 8)}")
    (root / "images.txt").write_text("\n".join(images) + "\n")
    (root / "train_test_split.txt").write_text("\n".join(marks) + "\n")
    data = load("cub200", data_dir=tmp_path, size=24)
    assert [data.count(split) for split in ("train", "validation", "test")] == [14, 2, 4]
    assert data.input_shape == (3, 24, 24)


def test_the_digest_changes_with_one_label_or_pixel_where_counts_and_statistics_stay():
    data = load("fake:classes=3:size=8:channels=1:count=60", data_dir=Path())
    train = data.splits["train"]
    swapped = train.labels.copy()
    first, second = 0, int(np.flatnonzero(swapped != swapped[0])[0])
    swapped[[first, second]] = swapped[[second, first]]
    moved = train.padded.copy()
    moved[[first, second]] = moved[[second, first]]
    others = [
        dataclasses.replace(data, splits={**data.splits, "train": dataclasses.replace(train, labels=swapped)}),
        dataclasses.replace(data, splits={**data.splits, "train": dataclasses.replace(train, padded=moved)}),
        dataclasses.replace(data, splits={**data.splits, "test": data.splits["validation"]}),
    ]
    assert dataclasses.replace(data).digest() == data.digest()
    assert len({data.digest(), *(other.digest() for other in others)}) == 4
