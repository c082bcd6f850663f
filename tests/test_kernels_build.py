"""The build of the GPU kernels, which needs nvcc and no GPU: all variants, all targets, no warning, no spill."""

import ctypes
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cuda_kernels import build
from cuda_kernels.build import TARGETS, BuildFailure, compiler, operations, parse_resources, resources
from cuda_kernels.catalogue import OPERATIONS
from tests.test_architecture import ROOT

NAME = "_ZN34_GLOBAL__N__0ab3_9_kernel_cu_11_2214gemv_f32_naiveILi4EEEvPKfS1_Pfll"
REPORT = f"""ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '{NAME}' for 'sm_75'
ptxas info    : Function properties for {NAME}
    8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 24 registers, used 0 barriers, 396 bytes cmem[0]
"""


def has_compiler() -> bool:
    try:
        return compiler().is_file()
    except BuildFailure:
        return False


needs_compiler = pytest.mark.skipif(not has_compiler(), reason="nvcc is not on this machine")


def test_every_folder_with_a_kernel_is_in_the_catalogue():
    assert set(OPERATIONS) == set(operations())


@needs_compiler
@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_variant_compiles_for_every_target_without_spills_and_within_its_registers(operation):
    found = resources(operation)
    assert {one.target for one in found} >= {f"sm_{target}" for target in TARGETS}
    limits = OPERATIONS[operation].registers
    for one in found:
        assert one.spill_bytes == 0, one
        limit = [limit for part, limit in limits.items() if part in one.kernel]
        assert limit, f"{one.kernel} has no stated limit of registers"
        assert one.registers <= min(limit), one


@needs_compiler
def test_the_library_has_an_entry_point_for_every_variant():
    library = ctypes.CDLL(str(build.build()))
    for operation in OPERATIONS.values():
        missing = [one.name for one in operation.variants if not hasattr(library, f"{operation.name}_{one.name}")]
        assert not missing, (operation.name, missing)


@needs_compiler
def test_a_warning_stops_the_build_and_leaves_nothing(tmp_path, monkeypatch):
    folder = tmp_path / "kernels"
    (folder / "bad").mkdir(parents=True)
    shutil.copy(ROOT / "cuda_kernels" / "launch.cuh", folder)
    (folder / "bad" / "kernel.cu").write_text(
        '#include "../launch.cuh"\nKERNEL_API int bad_one() { int unused = 1; return 0; }\n'
    )
    monkeypatch.setattr(build, "_HERE", folder)
    with pytest.raises(BuildFailure, match="unused"):
        build.build(("80",), tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


@needs_compiler
def test_the_cache_follows_the_source(tmp_path, monkeypatch):
    folder = tmp_path / "kernels"
    (folder / "one").mkdir(parents=True)
    shutil.copy(ROOT / "cuda_kernels" / "launch.cuh", folder)
    source = folder / "one" / "kernel.cu"
    source.write_text('#include "../launch.cuh"\nKERNEL_API int one_answer() { return 41; }\n')
    monkeypatch.setattr(build, "_HERE", folder)
    first = build.build(("80",), tmp_path / "cache")
    changed_at = first.stat().st_mtime_ns
    assert build.build(("80",), tmp_path / "cache") == first
    assert first.stat().st_mtime_ns == changed_at
    source.write_text(source.read_text().replace("41", "42"))
    second = build.build(("80",), tmp_path / "cache")
    assert (ctypes.CDLL(str(first)).one_answer(), ctypes.CDLL(str(second)).one_answer()) == (41, 42)


@needs_compiler
def test_the_cache_follows_headers_that_are_included_and_no_others(tmp_path, monkeypatch):
    folder = tmp_path / "kernels"
    (folder / "one").mkdir(parents=True)
    shutil.copy(ROOT / "cuda_kernels" / "launch.cuh", folder)
    (folder / "answer.cuh").write_text('#include "deep.cuh"\n')
    (folder / "deep.cuh").write_text("constexpr int kAnswer = 41;\n")
    (folder / "one" / "kernel.cu").write_text(
        '#include "../launch.cuh"\n#include "../answer.cuh"\nKERNEL_API int one_answer() { return kAnswer; }\n'
    )
    monkeypatch.setattr(build, "_HERE", folder)
    first = build.compile_operation("one", ("80",), tmp_path / "cache")
    (folder / "other.cuh").write_text("#error\n")
    assert build.compile_operation("one", ("80",), tmp_path / "cache") == first
    (folder / "deep.cuh").write_text("constexpr int kAnswer = 42;\n")
    assert build.compile_operation("one", ("80",), tmp_path / "cache") != first


def test_two_who_build_at_once_compile_once(tmp_path, monkeypatch):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "kernel.cu").write_text("")
    monkeypatch.setattr(build, "_HERE", tmp_path)
    monkeypatch.setattr(build, "compiler", lambda: Path("nvcc"))
    monkeypatch.setattr(build, "_version", lambda nvcc: "1.2")
    runs = []

    def slow(command, output):
        runs.append(command)
        time.sleep(0.2)
        output.parent.mkdir(exist_ok=True)
        output.write_text("object")
        return "report"

    monkeypatch.setattr(build, "_run", slow)
    with ThreadPoolExecutor(3) as pool:
        made = set(pool.map(lambda _: build.compile_operation("one", ("80",), tmp_path / "cache"), range(3)))
    assert (len(made), len(runs)) == (1, 1)


def test_a_missing_compiler_is_named_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    with pytest.raises(BuildFailure, match=re.escape(f"nvcc is not on PATH nor in {tmp_path}/bin: install")):
        build.build(folder=Path(tmp_path))


def test_the_assemblers_report_is_read():
    (found,) = parse_resources("gemv_f32", REPORT)
    assert (found.kernel, found.target, found.registers, found.spill_bytes, found.stack_bytes) == (
        "gemv_f32_naive", "sm_75", 24, 16, 8,
    )  # fmt: skip
