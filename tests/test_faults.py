"""What goes wrong around a run: a full disk, folders that cannot be written, two runs at once, a clock that is set,
damaged files. Each is told in a line or mended, and nothing that was finished is lost."""

import contextlib
import errno
import itertools
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import run_bench
from baselines.errors import UsageError
from baselines.parts import part_of
from bench.command import parse_command
from bench.folders import check_writable, hold, no_more_room, released
from bench.inputs import make_job
from bench.job import claim
from bench.records import read_record
from methods import METHODS
from tests.test_command import rows

ROOT = Path(__file__).parents[1]
NOBODY = 99_999_999  # above any process id
SHORT = ["--net", "lenet", "--dataset", "fake:count=300:size=16:channels=1", "--epochs", "1", "--finetune-epochs", "1",
         "--no-controls", "--methods", "prune:sparsity=0.5", "--runtimes", "eager"]  # fmt: skip
MINE = [*SHORT, "--out", "run", "--cache", "nets"]


def job_of(*arguments):
    return make_job(parse_command(arguments), METHODS, print)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The rows of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with contextlib.chdir(folder):
        assert run_bench.main(MINE) == run_bench.OK
        return rows(Path("run"))


@contextlib.contextmanager
def files_end_at(size: int):
    """No file of this process, nor of those it starts, grows beyond `size` bytes: what a full disk is to a writer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [3_000, 60_000])
def test_a_full_disk_ends_the_run_with_a_line_and_the_same_command_goes_on(
    size, undisturbed, tmp_path, monkeypatch, capfd
):
    monkeypatch.chdir(tmp_path)
    with files_end_at(size):
        assert run_bench.main(MINE) == run_bench.BAD_USAGE
    told = capfd.readouterr()
    assert "Traceback" not in told.err + told.out
    assert "cannot be written" in told.err if size == 0 else "make room, and the same command goes on" in told.err
    assert not list(Path().rglob("*.json")) or {read_record(p).status for p in Path("run/records").glob("*.json")} <= {
        "ok"
    }
    assert run_bench.main(MINE) == run_bench.OK
    assert rows(Path("run")) == undisturbed


@pytest.fixture
def small_disk(tmp_path):
    """A disk of so many bytes."""
    made = []

    def make(size: int) -> Path:
        folder = tmp_path / f"disk-{size}"
        folder.mkdir()
        line = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        if subprocess.run(line, capture_output=True, check=False).returncode:
            pytest.skip("this process may not mount a disk; the same is tested by a limit on files")
        made.append(folder)
        return folder

    yield make
    for folder in made:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("size", [100_000, 400_000])
def test_a_disk_that_fills_up_ends_the_run_with_a_line(size, small_disk, monkeypatch, capfd):
    monkeypatch.chdir(small_disk(size))
    try:
        assert run_bench.main(MINE) == run_bench.BAD_USAGE
        told = capfd.readouterr()
        assert "Traceback" not in told.err + told.out
        assert "nothing more can be written to" in told.err
        assert "No space left on device" in told.err
        assert told.err.count("\n") == 1
    finally:
        monkeypatch.undo()


def test_a_disk_that_is_full_when_a_record_is_written_ends_the_run_with_a_line(
    undisturbed, tmp_path, monkeypatch, capfd
):
    def write_record(record, path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as full:
        full.setattr("bench.casework.write_record", write_record)
        assert run_bench.main(MINE) == run_bench.BAD_USAGE
    told = capfd.readouterr()
    assert "Traceback" not in told.err + told.out
    assert "make room, and the same command goes on" in told.err
    assert run_bench.main(MINE) == run_bench.OK
    assert rows(Path("run")) == undisturbed


def test_an_error_of_another_kind_is_no_full_disk(tmp_path):
    assert no_more_room(ValueError("x"), [tmp_path]) is None
    assert no_more_room(FileNotFoundError(2, "x"), [tmp_path]) is None
    hidden = RuntimeError("the writer broke")
    hidden.__cause__ = OSError(28, "No space left on device", str(tmp_path / "nets" / "a"))
    told = no_more_room(hidden, [tmp_path / "run", tmp_path / "nets"])
    assert told.startswith(f"nothing more can be written to {tmp_path / 'nets'}: No space left")
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("flag", ["--out", "--cache"])
@pytest.mark.parametrize("kind", ["a file in the way", "a folder of the system"])
def test_a_folder_that_cannot_be_written_is_told_before_anything_is_trained(flag, kind, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    bad = "file/run" if kind == "a file in the way" else "/sys/run"
    if not Path(bad).parent.exists():
        pytest.skip("this system has no /sys")
    folders = {"--out": "run", "--cache": "nets"} | {flag: bad}
    monkeypatch.setattr("bench.stages._dense", lambda *_: pytest.fail("it was trained"))
    assert run_bench.main([*SHORT, *itertools.chain(*folders.items())]) == run_bench.BAD_USAGE
    told = capsys.readouterr().err
    assert told.startswith(f"run_bench.py: {flag} {bad} cannot be written: ")
    assert told.count("\n") == 1


@contextlib.contextmanager
def holder(folder: Path):
    """Another process, which asks for the folder; its first line is its id, or why it has not got it."""
    code = """if True:
        import os, sys
        from pathlib import Path
        from bench.folders import hold
        try:
            hold(Path(sys.argv[1]))
        except Exception as error:
            print(error)
        else:
            print(os.getpid())
        sys.stdout.flush()
        input()
        """
    line = [sys.executable, "-c", code, str(folder)]
    with subprocess.Popen(line, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def test_a_folder_is_filled_by_one_run_at_a_time(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = job_of("--net", "lenet300", "--methods", "ptq", "--out", "run", "--cache", "nets")
    with holder(tmp_path / "run") as (other, told):
        assert told == str(other.pid)
        with pytest.raises(
            UsageError, match=rf"^--out run is being filled by another run \(process {other.pid}\): let"
        ):
            claim(job)
        assert not Path("run/plan.json").exists()
        other.send_signal(signal.SIGKILL)
        other.wait()
        with released():
            claim(job)
            claim(job)  # this process has it already
            with holder(tmp_path / "run") as (_, told):
                assert "is being filled by another run" in told
                assert f"(process {os.getpid()})" in told
    with holder(tmp_path / "run") as (other, told):
        assert told == str(other.pid)


def test_a_command_gives_its_folder_back(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_bench.main([*SHORT, "--out", "run", "--cache", "run/plan.json/nets"]) == run_bench.BAD_USAGE
    assert "--cache" in capsys.readouterr().err
    with holder(tmp_path / "run") as (other, told):
        assert told == str(other.pid)


def test_what_killed_runs_left_is_cleared_and_what_is_being_written_is_not(tmp_path, monkeypatch):
    """A file is left over when its process is gone and it is old: after a clock was set forward, all files are old."""
    monkeypatch.chdir(tmp_path)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as writer:
        places = ("run/records", "nets/stages")
        here = part_of(Path("x.json")).name
        nobodys, others, theirs = (
            here.replace(f".{os.getpid()}-", f".{pid}-") for pid in (NOBODY, NOBODY + 1, writer.pid)
        )
        elsewhere = re.sub("-[0-9a-f]{8}", "-00000000", theirs)  # that process id is another machine's
        gone = [Path(place, name) for name in (nobodys, elsewhere) for place in places]
        fresh = [Path(place, name) for name in (others, elsewhere.replace("x", "y")) for place in places]
        written = [Path(place, theirs) for place in places]
        foreign = [Path("run/mine", nobodys), Path("run/records/.film.mkv.part"), Path("run/records/.d.7.part/f")]
        for path in (*gone, *fresh, *written, *foreign):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            for one in (path, path.parent):
                os.utime(one, (0, 0) if path not in fresh else None)
        claim(job_of("--net", "lenet300", "--methods", "ptq", "--out", "run", "--cache", "nets"))
        assert [path for path in (*gone, *fresh, *written, *foreign) if not path.exists()] == gone
        writer.kill()


def test_a_clock_that_runs_backwards_changes_no_row_and_no_duration(undisturbed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hours = itertools.count(time.time(), -3600)
    monkeypatch.setattr(time, "time", lambda: float(next(hours)))
    assert run_bench.main(MINE) == run_bench.OK
    assert rows(Path("run")) == undisturbed
    for path in Path("run/records").glob("*.json"):
        record = read_record(path)
        assert all(0 < log.seconds < 60 for log in record.training)
        assert 0 <= record.compress_s < 60
        assert all(sample >= 0 for result in record.runtimes for one in result.measurements for sample in one.samples)


def test_damaged_records_files_and_cache_entries_are_made_again(undisturbed, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_bench.main(MINE) == run_bench.OK
    first, second = sorted(Path("run/records").glob("*.json"))
    artifact = Path("run") / read_record(second).artifact
    first.write_text(first.read_text()[:-40])
    artifact.write_bytes(artifact.read_bytes()[:-1])
    for path in Path("nets/stages").iterdir():
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 16
        path.write_bytes(data)
    capsys.readouterr()
    assert run_bench.main(MINE) == run_bench.OK
    assert "is damaged and will be made again" in capsys.readouterr().out
    assert rows(Path("run")) == undisturbed


def test_probing_leaves_nothing(tmp_path):
    check_writable("--cache", tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []
    with released():
        hold(tmp_path / "c")
    assert [path.name for path in (tmp_path / "c").iterdir()] == [".lock"]
