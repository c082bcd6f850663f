"""Why processes that train together failed: the first one's reason, as one process alone would have given it."""

import pickle
import traceback

import pytest

from baselines.errors import UsageError
from baselines.training import Diverged
from bench.folders import no_more_room
from bench.ranks.messages import Failure, RankError, Request, failures, write_exit_codes
from bench.ranks.start import reason
from methods.base import Refused
from methods.graph import UntraceableError


def broke(folder, rank, error):
    try:
        raise error
    except BaseException as caught:
        Failure.of(rank, caught).write(folder)


def why(folder, code=1):
    (folder / "stderr.txt").touch()
    return reason(code, 4, folder)


@pytest.mark.parametrize("kind", [Refused, Diverged, UntraceableError, UsageError])
def test_what_is_for_the_table_is_raised_as_it_was(tmp_path, kind):
    broke(tmp_path, 2, kind("the loss is nan: pass a smaller --lr"))
    write_exit_codes({2: 1, 0: -15}, tmp_path)
    found = why(tmp_path)
    assert type(found) is kind
    assert str(found) == "the loss is nan: pass a smaller --lr"


def test_any_other_error_names_the_process_and_keeps_its_traceback(tmp_path):
    broke(tmp_path, 1, MemoryError("CUDA out of memory.\nTried to allocate 2 GiB"))
    found = why(tmp_path)
    assert isinstance(found, RankError)
    assert str(found) == "process 2 of 4: MemoryError: CUDA out of memory. Tried to allocate 2 GiB"
    assert "in broke" in "".join(traceback.format_exception(found))


def test_the_first_reason_counts(tmp_path):
    broke(tmp_path, 3, Diverged("first"))
    broke(tmp_path, 0, RuntimeError("Connection closed by peer"))
    assert [one.rank for one in failures(tmp_path)] == [3, 0]
    assert str(why(tmp_path)) == "first"


def test_a_full_disk_is_told_as_one(tmp_path):
    broke(tmp_path, 0, OSError(28, "No space left on device", str(tmp_path / "nets")))
    found = why(tmp_path)
    assert (found.errno, found.filename) == (28, str(tmp_path / "nets"))
    assert no_more_room(found, [tmp_path]).startswith(f"nothing more can be written to {tmp_path}: No space left")


@pytest.mark.parametrize(
    ("codes", "says"),
    [
        ({1: -9, 0: 1}, "process 2 of 4 ended: SIGKILL"),  # 0 noticed that 1 was gone
        ({1: -11, 0: -15}, "process 2 of 4 ended: SIGSEGV"),
        ({0: 1, 1: -6}, "Connection closed by peer"),  # an abort may follow from what 0 told
        ({0: 1, 1: -15}, "Connection closed by peer"),
    ],
)
def test_a_killed_process_is_the_reason_and_not_those_that_miss_it(tmp_path, codes, says):
    broke(tmp_path, 0, RuntimeError("Connection closed by peer"))
    write_exit_codes(codes, tmp_path)
    assert says in str(why(tmp_path))


def test_where_nothing_was_told_the_last_words_are_the_reason(tmp_path):
    (tmp_path / "stderr.txt").write_text("Traceback:\nImportError: no such thing\n")
    assert str(why(tmp_path)) == "torchrun ended with code 1: Traceback: / ImportError: no such thing"
    assert "torchrun ended: SIGTERM" in str(why(tmp_path, -15))
    write_exit_codes({2: 1}, tmp_path)
    assert str(why(tmp_path)) == "process 3 of 4 ended with code 1: Traceback: / ImportError: no such thing"


class _Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return (open, (str(self.trace), "w"))


def test_a_request_that_somebody_else_wrote_is_refused_unread(tmp_path):
    request, trace = Request(None, None, "here"), tmp_path / "trace"
    digest = request.write(tmp_path)
    assert Request.read(tmp_path, digest) == request
    (written,) = tmp_path.iterdir()
    for data in (pickle.dumps(_Bomb(trace)), written.read_bytes()[:-1], b""):
        written.write_bytes(data)
        with pytest.raises(RankError, match="is not what was written there"):
            Request.read(tmp_path, digest)
    assert not trace.exists()
