"""Pages of the kernels where none has run on a GPU: what they count, and that they are those of the code."""

import dataclasses
import math
from pathlib import Path

import pytest
import torch

from cuda_kernels.__main__ import main
from cuda_kernels.catalogue import OPERATIONS
from cuda_kernels.launch import KernelError
from cuda_kernels.results import (
    Ceilings,
    KernelResources,
    KernelRun,
    Need,
    OperationCard,
    Peaks,
    Sheet,
    Timing,
    VariantCard,
    WorkloadResult,
)
from cuda_kernels.sheets import H200, compiler, sheet, sheets
from cuda_kernels.verify import verify
from reports.kernel_sheets import NOT_MEASURED, sheet_page, sheets_page
from reports.kernels import crossing_lines, front_page
from tests.test_architecture import ROOT
from tests.test_kernels_build import needs_compiler

FOLDERS = ROOT / "cuda_kernels"
PEAKS = Peaks("a GPU", 1e12, {"fp32": 1e13})
SHEET = Sheet(
    OperationCard("op", "an operation", (VariantCard("slow", "Plain.", "sm_75"),)),
    (
        Need("large", 4e9, 1e9, "fp32", ("copy bandwidth", 0.9)),
        Need("deep", 4e10, 1e9, "fp32", ("cuBLAS", 1.5)),
        Need("empty", 2e9, 1e9, "fp32", None, 0.5),
    ),
    {"op_": 64, "op_slow": 40},
    (
        KernelResources("op", "op_slow_kernel", "sm_90a", 38, 0, 0),
        KernelResources("op", "op_slow_kernel", "sm_75", 30, 4, 0),
        KernelResources("op", "op_slow_kernel", "sm_75", 32, 8, 0),
    ),
)


def measured(page: Path) -> bool:
    return "**Not measured.**" not in page.read_text()


def test_a_page_counts_the_least_time_and_names_its_limit():
    page = sheet_page(SHEET, PEAKS, "nvcc 1.2")
    assert NOT_MEASURED in page
    assert "| slow | Plain. | sm_75 | not run |" in page
    assert "| large | 4 G | 1 G | 1 000 | memory | at least 0.9 of the copy bandwidth | not measured |" in page
    assert "| deep | 40 G | 1 G | 4 000 | fp32 arithmetic | at least 1.5 x cuBLAS | not measured |" in page
    assert "| empty | 2 G | 1 G | 1 000 | memory |  | not measured |" in page


def test_a_page_says_what_the_compiler_said():
    page = sheet_page(SHEET, PEAKS, "nvcc 1.2")
    assert "by nvcc 1.2" in page
    assert "spills to memory: 12 bytes in all" in page
    assert "| kernel | at most | sm_75 | sm_90a |" in page
    assert "| op_slow_kernel | 40 | 30 to 32 | 38 |" in page


def test_the_page_of_all_has_every_goal_and_what_has_none():
    page = sheets_page([SHEET, dataclasses.replace(SHEET, needs=SHEET.needs[2:])], PEAKS)
    assert page.count("| not measured |") == 5
    assert "| op | deep | 4 000 | at least 1.5 x cuBLAS | not measured |" in page
    assert "| op | every shape | | its ratio to the dense product | not measured |" in page
    assert "| op | every share of zeros | | which one passes the dense product | not measured |" in page


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_page_of_an_operation_has_its_variants_and_times_or_says_that_there_are_none(name):
    page, operation = FOLDERS / name / "README.md", OPERATIONS[name]
    text = page.read_text()
    for variant in operation.variants:
        assert f"| {variant.name} | {variant.idea} |" in text
    if not measured(page):
        published = sheet_page(sheet(operation, ()), H200, "").partition("## What the compiler says")[0]
        assert text.partition("## What the compiler says")[0] == published
    else:
        assert "## Times" in text


def test_the_page_of_all_is_that_of_the_code():
    page = FOLDERS / "README.md"
    if not measured(page):
        assert page.read_text() == sheets_page([sheet(one, ()) for one in OPERATIONS.values()], H200)
    assert measured(page) == all(measured(FOLDERS / name / "README.md") for name in OPERATIONS)


@needs_compiler
def test_pages_hold_what_the_compiler_says_of_this_code():
    for one in sheets():
        text = (FOLDERS / one.card.name / "README.md").read_text()
        if f"by {compiler()}," in text:  # another release uses other registers
            assert text == sheet_page(one, H200, compiler())
        assert not any(found.spill_bytes for found in one.resources)


def run_of(ratios: dict[float, float]) -> KernelRun:
    """A run of one sparse product: zeros -> time of the dense product over ours."""
    workloads = tuple(
        WorkloadResult(
            "op", f"4 x 4, {100 * zeros:.0f} % zeros", 1.0, 1.0, "fp32", 1, 1, ("cuSPARSE", 2.0),
            (Timing("fast", True, (1.0, 1.0)), Timing("cuBLAS dense (torch.mm)", False, (ratio, ratio))), zeros,
        )
        for zeros, ratio in ratios.items()
    )  # fmt: skip
    return KernelRun("python", "a GPU", (9, 0), {}, Ceilings(1e12, 1e9, 1e9, 1, {"fp32": 1e13}), (SHEET.card,), (),
                     workloads)  # fmt: skip


@pytest.mark.parametrize(
    ("ratios", "words"),
    [
        ({0.5: 0.2, 0.8: 0.9, 0.9: 1.4}, "passes the dense product at about 82 % zeros, between 80 % and 90 %."),
        ({0.9: 1.4, 0.5: 0.2, 0.7: 1.1, 0.8: 0.9}, "at about 82 % zeros, between 80 % and 90 %."),  # once for good
        ({0.5: 1.2, 0.8: 2.0}, "is faster than the dense product from 50 % zeros on, the least that was timed."),
        ({0.5: 0.2, 0.8: 0.9}, "is slower than the dense product up to 80 % zeros, the most that was timed."),
    ],
)
def test_the_share_of_zeros_that_passes_the_dense_product_is_found(ratios, words):
    (line,) = (one for one in crossing_lines(run_of(ratios)) if one)
    assert line.startswith("- op 4 x 4 ")
    assert line.endswith(words)
    assert line in front_page(run_of(ratios))


def test_one_share_of_zeros_finds_nothing():
    assert crossing_lines(run_of({0.9: 2.0})) == []


def test_pages_are_put_in_place_all_or_none(capsys):
    with pytest.raises(SystemExit) as left:
        main(["--build-only", "--publish", "--operations", "gemm_f32"])
    assert left.value.code == 2
    assert "--publish puts the pages of all operations in place" in capsys.readouterr().err


def test_a_launch_that_is_refused_is_that_variants_fault_alone(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    gemv = OPERATIONS["gemv_f32"]

    def run(a, x, variant):
        if variant == "warp":
            raise KernelError("gemv_f32_warp fails: CUDA error 720")
        return gemv.run(a, x)

    outcomes = list(verify(dataclasses.replace(gemv, run=run), torch.device("cpu")))
    assert {one.variant for one in outcomes if not one.passed} == {"warp"}
    assert all(math.isnan(one.error) for one in outcomes if one.variant == "warp")
    assert {one.variant for one in outcomes if one.passed} == {one.name for one in gemv.variants} - {"warp"}
