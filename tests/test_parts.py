"""Several processes share a batch: their parts are disjoint, cover it, and hold the images that one would see."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from baselines.data import files as of_files
from baselines.data import load
from baselines.data.base import WHOLE, Part, bounds
from baselines.data.files import FileData, worker_count
from baselines.training import too_few_for_all


@given(st.integers(0, 1000), st.integers(0, 500), st.integers(1, 12))
def test_parts_follow_one_another_and_differ_by_one_at_most(begin, images, count):
    edges = [Part(index, count).of(begin, begin + images) for index in range(count)]
    assert edges[0][0] == begin
    assert edges[-1][1] == begin + images
    assert all(one[1] == two[0] for one, two in itertools.pairwise(edges))
    sizes = [end - start for start, end in edges]
    assert max(sizes) - min(sizes) <= 1
    assert WHOLE.of(begin, begin + images) == (begin, begin + images)


@given(st.integers(2, 300), st.integers(2, 64), st.integers(2, 9))
def test_no_process_gets_a_single_image_where_none_is_refused(images, batch_size, count):
    if too_few_for_all(images, batch_size, count):
        assert min(end - begin for begin, end in bounds(images, batch_size)) < 2 * count
        return
    for edges in bounds(images, batch_size):
        for index in range(count):
            begin, end = Part(index, count).of(*edges)
            assert end - begin >= 2


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """The same kind of data in memory and on disk: 39 coloured images of which no two are alike."""
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for part, label in itertools.product(("train", "val", "test"), ("a", "b", "c")):
        (root / part / label).mkdir(parents=True)
        for index in range(13):
            pixels = rng.integers(0, 256, (20, 17, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / part / label / f"{index}.png")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_CACHE_HOME", str(root / "cache"))
        memory = load("folder:size=16", data_dir=root)
        environment.setattr("baselines.data.folder._IN_MEMORY_PIXELS", 0)
        disk = load("folder:size=16", data_dir=root)
    assert isinstance(disk, FileData)
    return {"memory": memory, "disk": FileData(**{**vars(disk), "workers": 0})}


def images_of(batches):
    """Each batch as a set of (image, class), as bytes."""
    return [
        {(image.numpy().tobytes(), int(label)) for image, label in zip(images, labels, strict=True)}
        for images, labels in batches
    ]


@pytest.mark.parametrize("where", ["memory", "disk"])
@pytest.mark.parametrize("augment", [True, False])
@pytest.mark.parametrize("count", [2, 3])
def test_parts_of_training_batches_are_the_images_of_one_process(opened, where, augment, count):
    def epoch(part):
        batches = opened[where].train_batches(8, device="cpu", seed=5, epoch=2, augment=augment, part=part)
        return images_of(batches)

    whole, parts = epoch(WHOLE), [epoch(Part(index, count)) for index in range(count)]
    assert sum(map(len, whole)) == 39
    assert {len(part) for part in parts} == {len(whole)}, "as many steps for all"
    for batch, *shares in zip(whole, *parts, strict=True):
        assert sum(map(len, shares)) == len(batch), "disjoint"
        assert set.union(*shares) == batch


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_parts_of_a_split_are_whole_batches_by_turns(opened, where):
    def batches(part):
        return [images for images, _ in opened[where].batches("validation", 5, device="cpu", part=part)]

    whole, parts = batches(WHOLE), [batches(Part(index, 3)) for index in range(3)]
    assert [len(part) for part in parts] == [3, 3, 2]
    for index, batch in enumerate(whole):
        assert torch.equal(parts[index % 3][index // 3], batch)


def test_a_process_decodes_its_own_part_alone(opened, monkeypatch):
    seen = []
    plain = of_files.open_image
    monkeypatch.setattr(of_files, "open_image", lambda path, channels: seen.append(path) or plain(path, channels))
    for batches in (
        opened["disk"].train_batches(8, device="cpu", seed=0, epoch=1, part=Part(1, 3)),
        opened["disk"].batches("test", 5, device="cpu", part=Part(2, 3)),
    ):
        seen.clear()
        given = sum(len(labels) for _, labels in batches)
        assert len(seen) == len(set(seen)) == given
        assert 39 / 3 - 4 < given < 39 / 3 + 4


@pytest.mark.parametrize(("cores", "together", "each"), [(2, 1, 2), (64, 1, 8), (64, 4, 16), (6, 4, 1), (2, 4, 1)])
def test_cores_are_shared_by_those_that_train_together(monkeypatch, cores, together, each):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(cores))
    assert worker_count(together) == each


def test_the_reason_names_what_to_change():
    assert too_few_for_all(1000, 8, 4) is None
    assert "8 processes cannot share batches of 5 images" in (too_few_for_all(10, 8, 8) or "")
    with pytest.raises(ValueError, match="at least 2"):
        too_few_for_all(10, 1, 2)
