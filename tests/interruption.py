"""A training that is killed after so many batches: what the tests of resumption share."""

from collections.abc import Callable


class Killed(Exception):
    """Raised in place of a signal that ends the process."""


def killed_after(batches: int) -> Callable[..., None]:
    """An `on_batch` that raises `Killed` when it is called for the `batches`-th time."""
    count = 0

    def kill(*_: object) -> None:
        nonlocal count
        count += 1
        if count == batches:
            raise Killed

    return kill
