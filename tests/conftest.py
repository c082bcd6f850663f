"""What holds for every test."""

import gc
from collections.abc import Generator, Iterator

import pytest

from baselines.collector import collector_off
from bench.folders import released


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None]:
    """What all tests import is not gone through again each time that one of them collects garbage."""
    with collector_off():
        yield
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked `gpu` run where torch finds one."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")


@pytest.fixture(autouse=True)
def folders_are_given_back() -> Iterator[None]:
    """A folder that a test takes for a run is held for that test alone."""
    with released():
        yield
