"""How fast files are read on one thread: `python -m bench.reading_speed ARTIFACT...`.

Rates are megabytes of the float32 numbers that a tensor stands for, four bytes a value, a second. Times are medians, in
seconds of the processor: what a read takes of one core, whatever else the machine does meanwhile.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from baselines.errors import UsageError
from bench.artifact import load
from bench.artifact.codecs import CODECS
from bench.artifact.container import read_frame
from bench.artifact.header import header_from_bytes
from bench.artifact.words import count_of, word_type
from bench.study_page import made_at

_FLOAT_BYTES = 4
_LEAST_RATE = 50e6  # bytes a second
_SMALL_BYTES = 5_000_000  # of float32: in smaller files calls cost more than bytes, and the page says so
_MOST_LOAD_S = 2.0


@dataclass(frozen=True)
class Code:
    """One tensor: what it was and how long its code took to read."""

    codec: str
    float_bytes: int
    seconds: float


@dataclass(frozen=True)
class Reading:
    """One file: how long its parts took to read."""

    name: str
    file_bytes: int
    frame_s: float  # from disk, with the checksums over the whole file
    load_s: float  # all of it: frame, codes, ledger, layers and graph
    codes: tuple[Code, ...]

    @property
    def float_bytes(self) -> int:
        return sum(code.float_bytes for code in self.codes)

    @property
    def decode_s(self) -> float:
        return sum(code.seconds for code in self.codes)

    @property
    def rate(self) -> float:
        """Bytes a second of decoding."""
        return self.float_bytes / self.decode_s

    @property
    def missed(self) -> list[str]:
        """Which goals the file misses."""
        rate = "rate (small file)" if self.float_bytes < _SMALL_BYTES else "rate"
        return [rate] * (self.rate < _LEAST_RATE) + ["load"] * (self.load_s > _MOST_LOAD_S)


def read(path: Path, rounds: int) -> Reading:
    """Times of reading one file.

    Raises:
        UsageError: it cannot be read.
    """
    artifact = load(path)
    frame, start, codes = read_frame(path), 0, []
    for row in header_from_bytes(frame.header).tensors:
        data = bytes(frame.tensors[start : start + row.bytes])
        start += row.bytes
        work = partial(CODECS[row.codec].decode, data, word_type(row.dtype), row.shape)
        seconds = _median(work, rounds)
        codes.append(Code(row.codec, _FLOAT_BYTES * count_of(row.shape), seconds))
    about = artifact.metadata
    return Reading(
        name=f"{about['net']} on {about['dataset']}: {about['label']}",
        file_bytes=artifact.file_bytes,
        frame_s=_median(lambda: read_frame(path), rounds),
        load_s=_median(lambda: load(path), rounds),
        codes=tuple(codes),
    )


def _median(work: Callable[[], object], rounds: int) -> float:
    seconds = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)


def page(readings: list[Reading], rounds: int, command: str) -> str:
    """The study as Markdown."""
    lines = [
        "# How fast files are read",
        "",
        f"Made by `{command}`. {made_at(('torch', 'numpy', 'constriction'))}",
        "",
        f"One thread; medians of {rounds} reads of a file that is in the page cache, in seconds of processor time (what"
        " a read takes of one core, whatever else the machine does). Rates are float32 bytes, four a value, over the "
        "time of the codecs. Frame: from disk, BLAKE2b and SHA-256 over the whole file. Load: all of it, with the "
        "ledger's statistics, the layers and the graph.",
        "",
        "| file | bytes | float32 MB | frame s | codecs s | load s | MB/s | missed |",
        "|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for one in readings:
        times = " | ".join(f"{seconds:.3f}" for seconds in (one.frame_s, one.decode_s, one.load_s))
        missed = ", ".join(one.missed) or "–"
        head = f"| {one.name} | {one.file_bytes:,} | {one.float_bytes / 1e6:.2f} |"
        lines.append(f"{head} {times} | {one.rate / 1e6:.0f} | {missed} |")
    lines += ["", *_verdict(readings), "", "## By codec", "",
              "| codec | tensors | float32 MB | MB/s |", "|---|---:|---:|---:|"]  # fmt: skip
    for name in CODECS:
        codes = [code for one in readings for code in one.codes if code.codec == name]
        total = sum(code.float_bytes for code in codes)
        if total:
            rate = total / sum(code.seconds for code in codes)
            lines.append(f"| {name} | {len(codes)} | {total / 1e6:.2f} | {rate / 1e6:.0f} |")
    return "\n".join([*lines, ""])


def _verdict(readings: list[Reading]) -> list[str]:
    """The goals, and why small files miss that of the rate."""
    lines = [f"Goals: {_LEAST_RATE / 1e6:.0f} MB/s, and a load within {_MOST_LOAD_S:g} s."]
    slow = [one for one in readings if one.rate < _LEAST_RATE and one.float_bytes < _SMALL_BYTES]
    if slow:
        longest = max(one.load_s for one in slow)
        lines[0] += (
            f" {len(slow)} of {len(readings)} files miss the rate with less than {_SMALL_BYTES / 1e6:.0f} MB of "
            "float32: what it costs to start on a tensor, some calls for each pass of its coder, outweighs its bytes. "
            f"The longest load among them takes {1000 * longest:.0f} ms."
        )
    return lines


def main() -> int:
    """The command: 0 if no file misses a goal, 1 if one does, 2 for a wrong call."""
    parser = argparse.ArgumentParser(prog="python -m bench.reading_speed", description=__doc__)
    parser.add_argument("artifacts", type=Path, nargs="+")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("docs/studies/reading_speed.md"))
    typed = parser.parse_args()
    torch.set_num_threads(1)
    try:
        readings = [read(path, typed.rounds) for path in typed.artifacts]
    except UsageError as error:
        print(f"bench.reading_speed: {error}", file=sys.stderr)
        return 2
    names = shlex.join(str(path) for path in typed.artifacts)
    text = page(readings, typed.rounds, f"python -m bench.reading_speed {names} --rounds {typed.rounds}")
    typed.out.parent.mkdir(parents=True, exist_ok=True)
    typed.out.write_text(text, encoding="utf-8")
    print(text)
    return 1 if any(one.missed for one in readings) else 0


if __name__ == "__main__":
    sys.exit(main())
