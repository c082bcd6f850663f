"""nvcc makes one shared library of every `kernel.cu`: fat for the targets below, cached by the hash of what went in.

Each operation is compiled on its own and kept, so a change to one costs the others nothing. No GPU is needed to build.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from cuda_kernels.results import KernelResources

_HERE = Path(__file__).resolve().parent
CACHE = _HERE.parent / ".build" / "cuda_kernels"
TARGETS = ("75", "80", "86", "89", "90a")  # compute capabilities with machine code in the library
PTX_FOR_NEWER = "90"  # what a GPU newer than all targets compiles for itself at first use
_FLAGS = (
    "-O3", "-std=c++17", "--expt-relaxed-constexpr", "-Xcompiler",
    "-fPIC,-fvisibility=hidden,-Wall,-Wno-unknown-pragmas", "-Werror", "all-warnings", "-Xptxas", "-v", "-lineinfo",
)  # fmt: skip
_AT_ONCE = ("--threads", "0")  # a target a core; what comes out is the same
_TIMEOUT_S = 900


class BuildFailure(RuntimeError):
    """The kernels cannot be compiled here. The message says what is missing or what the compiler said."""


def operations() -> list[str]:
    """Names of the operations: the folders with a kernel.cu."""
    return sorted(path.parent.name for path in _HERE.glob("*/kernel.cu"))


def compiler() -> Path:
    """nvcc, from PATH, CUDA_HOME or /usr/local/cuda.

    Raises:
        BuildFailure: there is none.
    """
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    found = shutil.which("nvcc") or shutil.which("nvcc", path=str(Path(home) / "bin"))
    if found is None:
        raise BuildFailure(f"nvcc is not on PATH nor in {home}/bin: install the CUDA toolkit, or set CUDA_HOME to it")
    return Path(found)


def build(targets: Iterable[str] = TARGETS, folder: Path = CACHE) -> Path:
    """The shared library of all operations, compiled where it is not in `folder` yet.

    targets: compute capabilities, such as "90a".

    Raises:
        BuildFailure: nvcc is missing or refuses a source.
    """
    targets = tuple(targets)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(lambda operation: compile_operation(operation, targets, folder), operations()))
    library = folder / f"kernels-{_digest(path.name for path in objects)}.so"
    if not library.is_file():
        _run([str(compiler()), "-shared", "-cudart", "static", "-Xlinker", "-Bsymbolic", *map(str, objects)], library)
    return library


def compile_operation(operation: str, targets: tuple[str, ...] = TARGETS, folder: Path = CACHE) -> Path:
    """The object file of one operation; the compiler's report lies beside it, with the suffix `.log`."""
    nvcc, source = compiler(), _HERE / operation / "kernel.cu"
    flags = [*_FLAGS, *_targets(targets)]
    digest = _digest([_version(nvcc), *flags, *_texts(source)])
    compiled = folder / f"{operation}-{digest}.o"
    with _alone(source):
        if compiled.is_file() and compiled.with_suffix(".log").is_file():
            return compiled
        report = _run([str(nvcc), *flags, *_AT_ONCE, "-c", str(source)], compiled)
        compiled.with_suffix(".log").write_text(report, encoding="utf-8")
    return compiled


@contextmanager
def _alone(source: Path) -> Iterator[None]:
    """Others who would compile the same source wait, and find it done."""
    with source.open(encoding="utf-8") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


_INCLUDE = re.compile(r'^#include "([^"]+)"', re.MULTILINE)


def _texts(source: Path) -> list[str]:
    """The source and what it includes of ours, so that a header's change costs those alone that include it."""
    texts: dict[Path, str] = {}
    waiting = [source.resolve()]
    while waiting:
        path = waiting.pop()
        if path not in texts and path.is_file():
            texts[path] = path.read_text(encoding="utf-8")
            waiting += [(path.parent / name).resolve() for name in _INCLUDE.findall(texts[path])]
    return list(texts.values())


def resources(operation: str, targets: tuple[str, ...] = TARGETS, folder: Path = CACHE) -> list[KernelResources]:
    """Registers, spills and stack of every kernel of an operation on every target, as the assembler reports them."""
    report = compile_operation(operation, targets, folder).with_suffix(".log").read_text(encoding="utf-8")
    return parse_resources(operation, report)


_ENTRY = re.compile(
    r"Compiling entry function '(?P<name>\w+)' for '(?P<target>\w+)'.*?"
    r"(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads.*?"
    r"Used (?P<registers>\d+) registers",
    re.DOTALL,
)


def parse_resources(operation: str, report: str) -> list[KernelResources]:
    """The kernels in a report of `ptxas -v`."""
    return [
        KernelResources(
            operation,
            _plain_name(found["name"]),
            found["target"],
            int(found["registers"]),
            int(found["stores"]) + int(found["loads"]),
            int(found["stack"]),
        )
        for found in _ENTRY.finditer(report)
    ]


def _plain_name(mangled: str) -> str:
    """The function's own name in an Itanium-mangled one: the last of the length-prefixed identifiers that nest it."""
    if not mangled.startswith("_Z"):
        return mangled
    rest, name = mangled[2:].removeprefix("N"), ""
    while found := re.match(r"(\d+)", rest):
        length = int(found[1])
        name, rest = rest[found.end() :][:length], rest[found.end() + length :]
    return name


def _targets(targets: tuple[str, ...]) -> list[str]:
    codes = [f"-gencode=arch=compute_{target},code=sm_{target}" for target in targets]
    return [*codes, f"-gencode=arch=compute_{PTX_FOR_NEWER},code=compute_{PTX_FOR_NEWER}"]


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def compiler_release() -> str:
    """The release of nvcc, such as "13.0.88".

    Raises:
        BuildFailure: there is none.
    """
    found = re.search(r"\bV(\d+(?:\.\d+)+)", _version(compiler()))
    return found[1] if found else "unknown"


@cache
def _version(nvcc: Path) -> str:
    return subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True, timeout=60).stdout


def _run(command: list[str], output: Path) -> str:
    """Runs the compiler and returns what it said. `output` appears whole or not at all, also if two build at once."""
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f"{output.name}.{os.getpid()}.partial")
    try:
        done = subprocess.run(
            [*command, "-o", str(partial)], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
        if done.returncode:
            raise BuildFailure(f"nvcc fails ({done.returncode}) at {' '.join(command[-1:])}:\n{done.stderr.strip()}")
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)
    return done.stderr
