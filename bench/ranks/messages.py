"""What the ranks are asked, and what they and the process that starts them leave behind, in a folder that they share.

The request is pickled, since both ends are this code. What is read is the very bytes that were written: their digest
goes another way, from process to process, and nothing else is unpickled, whoever may write to the folder.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import pickle
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path

from baselines.errors import UsageError
from baselines.training import Diverged
from bench.command import Command
from bench.plan import Case
from bench.records import write_json
from methods.base import Refused
from methods.graph import UntraceableError

DIGEST = "BENCH_REQUEST_SHA256"  # variable of the environment in which ranks find the digest of their request
PROGRESS = "@progress "  # begins a line on standard output that is meant for who asked; JSON follows
_REQUEST, _EXIT_CODES, _FAILED = "request.pickle", "exit_codes.json", "failed.{rank}.json"
_TOLD_AS_THEY_ARE: dict[str, type[Exception]] = {
    kind.__name__: kind for kind in (Refused, Diverged, UntraceableError, UsageError)
}


class RankError(RuntimeError):
    """A process that trained with others broke. The message is one line."""


@dataclass(frozen=True)
class Request:
    """What to make: all stages of `case` that the cache lacks.

    rewound_to: in place of them the dense network after that share of its training.
    folder: the working directory, which paths of the command may hang on.
    """

    command: Command
    case: Case
    folder: str
    rewound_to: float | None = None

    def write(self, shared: Path) -> str:
        """Returns the digest that `read` takes."""
        data = pickle.dumps(self)
        (shared / _REQUEST).write_bytes(data)
        return hashlib.sha256(data).hexdigest()

    @staticmethod
    def read(shared: Path, digest: str) -> Request:
        """The request in the folder `shared`.

        Raises:
            RankError: it is not what was written.
        """
        data = (shared / _REQUEST).read_bytes()
        if not hmac.compare_digest(hashlib.sha256(data).hexdigest(), digest):
            raise RankError(f"{shared / _REQUEST} is not what was written there")
        found = pickle.loads(data)
        assert isinstance(found, Request)
        return found


@dataclass(frozen=True)
class Failure:
    """Why a rank broke."""

    rank: int
    at_s: float  # on the machine's monotonic clock
    kind: str
    message: str
    details: str  # the traceback
    errno: int | None = None  # of an OSError, as is the next
    filename: str | None = None

    @staticmethod
    def of(rank: int, error: BaseException) -> Failure:
        kind = next((name for name, one in _TOLD_AS_THEY_ARE.items() if isinstance(error, one)), type(error).__name__)
        system = isinstance(error, OSError) and error.errno is not None
        return Failure(
            rank,
            time.monotonic(),
            kind,
            str(error.strerror if system else error),  # type: ignore[attr-defined]
            "".join(traceback.format_exception(error)),
            error.errno if system else None,  # type: ignore[attr-defined]
            str(error.filename) if system and error.filename else None,  # type: ignore[attr-defined]
        )

    def write(self, shared: Path) -> None:
        write_json(asdict(self), shared / _FAILED.format(rank=self.rank))

    def error(self, ranks: int) -> Exception:
        """As it would have been raised by a process that trains alone, where that is for the table to tell."""
        if self.errno is not None:
            error: Exception = OSError(self.errno, self.message, self.filename)
        elif self.kind in _TOLD_AS_THEY_ARE:
            error = _TOLD_AS_THEY_ARE[self.kind](self.message)
        else:
            error = RankError(f"process {self.rank + 1} of {ranks}: {self.kind}: {' '.join(self.message.split())}")
        error.add_note(self.details)
        return error


def failures(shared: Path) -> list[Failure]:
    """Those of all ranks, the first first."""
    found = [Failure(**json.loads(path.read_text(encoding="utf-8"))) for path in shared.glob(_FAILED.format(rank="*"))]
    return sorted(found, key=lambda one: one.at_s)


def write_exit_codes(codes: dict[int, int], shared: Path) -> None:
    """codes: of ranks that did not end well, negative for a signal."""
    write_json({str(rank): code for rank, code in codes.items()}, shared / _EXIT_CODES)


def exit_codes(shared: Path) -> dict[int, int]:
    """What `write_exit_codes` wrote, empty where it did not."""
    path = shared / _EXIT_CODES
    if not path.is_file():
        return {}
    return {int(rank): code for rank, code in json.loads(path.read_text(encoding="utf-8")).items()}
