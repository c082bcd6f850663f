"""What holds for every test."""

from collections.abc import Iterator

import pytest

from bench.folders import released


@pytest.fixture(autouse=True)
def folders_are_given_back() -> Iterator[None]:
    """A folder that a test takes for a run is held for that test alone."""
    with released():
        yield
