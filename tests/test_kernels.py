"""The kernels' operations as a whole: laws of torch's operations, the checks' power, and on a GPU every variant."""

import dataclasses
import inspect
import math
import shutil
import subprocess
import sys

import pytest
import torch

from cuda_kernels import ops
from cuda_kernels.catalogue import OPERATIONS
from cuda_kernels.launch import KernelError, launch
from cuda_kernels.results import (
    Ceilings,
    CheckOutcome,
    KernelRun,
    OperationCard,
    Timing,
    VariantCard,
    WorkloadResult,
    read_run,
    write_run,
)
from cuda_kernels.spmm_24.compression import compress_24
from cuda_kernels.verify import distance, make, verify
from reports.kernels import draw_kernels
from tests.test_architecture import ROOT

CPU = torch.device("cpu")
CHECKS = [
    (operation, check)
    for operation in OPERATIONS.values()
    for check in operation.checks
    if "8192" not in check.name  # a second each on a CPU
]
RUN = KernelRun(
    command="python -m cuda_kernels",
    device="a GPU",
    capability=(9, 0),
    environment={"packages": {"torch": "2.0"}, "date": "2026-01-01", "gpus": [{"driver": "1.2"}]},
    ceilings=Ceilings(2e12, 5e10, 4e10, 50_000_000, {"fp32": 6e13, "fp16": 9e14}),
    cards=(OperationCard("op", "an operation", (VariantCard("slow", "Plain.", "sm_75"), VariantCard("fast", "", ""))),),
    checks=(CheckOutcome("op", "slow", "hard", 1e-7, 1e-6), CheckOutcome("op", "fast", "hard", math.inf, 1e-6)),
    workloads=(
        WorkloadResult(
            operation="op", workload="large", operations=2e9, bytes=4e9, unit="fp32", input_bytes=4000, output_bytes=4,
            goal=("cuBLAS", 1.0),
            timings=(
                Timing("slow", True, (0.004, 0.002, 0.003)), Timing("fast", True, refused="failed a check"),
                Timing("cuBLAS (torch.mv)", False, (0.006, 0.006, 0.006)),
            ),
        ),
        WorkloadResult(
            "op", "copied", 2e9, 4e9, "fp32", 4, 4, ("copy bandwidth", 0.9), (Timing("slow", True, (0.004, 0.004)),)
        ),
    ),
)  # fmt: skip


@pytest.mark.parametrize(("operation", "check"), CHECKS, ids=lambda one: one.name)
def test_on_the_cpu_the_reference_answers_and_leaves_its_inputs(operation, check):
    arguments = make(check, CPU)
    kept = [one.clone() if isinstance(one, torch.Tensor) else one for one in arguments]
    assert distance(operation.run(*arguments), operation.reference(*arguments)) == 0
    for new, old in zip(arguments, kept, strict=True):
        assert torch.equal(new, old) if isinstance(new, torch.Tensor) else new == old


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_is_among_the_typed_functions(name):
    assert getattr(ops, name) is OPERATIONS[name].run


@pytest.mark.parametrize("name", OPERATIONS)
def test_variants_have_distinct_names_and_default_is_one_of_them(name):
    operation = OPERATIONS[name]
    names = [one.name for one in operation.variants]
    assert len(set(names)) == len(names)
    assert inspect.signature(operation.run).parameters["variant"].default in names


@pytest.mark.parametrize("name", OPERATIONS)
def test_checks_and_workloads_name_variants_that_exist(name):
    operation = OPERATIONS[name]
    for one in (*operation.checks, *operation.workloads):
        assert set(one.variants or ()) <= {variant.name for variant in operation.variants}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_compile_as_one_graph(name):
    operation = OPERATIONS[name]
    arguments = make(operation.checks[0], CPU)
    compiled = torch.compile(operation.run, backend="aot_eager", fullgraph=True)  # goes through the fake kernel
    assert distance(compiled(*arguments), operation.run(*arguments)) == 0


GEMM = (torch.ones(3, 4), torch.ones(4, 5))
CODES = (torch.ones(3, 4, dtype=torch.int8), torch.ones(5, 4, dtype=torch.int8))
DEEP = torch.zeros(1, 131072, dtype=torch.int8)
GEMV = (torch.ones(3, 4), torch.ones(4))
CSR = (torch.tensor([0, 1, 3], dtype=torch.int32), torch.tensor([2, 0, 3], dtype=torch.int32), torch.ones(3))
KEPT = (torch.ones(2, 8).half(), *compress_24(torch.tensor([[1.0, 0, 2, 0, 0, 0, 0, 3]] * 3).half()))
SPECTRAL = (torch.ones(2, 8), torch.ones(3, 4), torch.ones(6), 6, "dct", "dst")


@pytest.mark.parametrize(
    ("name", "arguments", "error", "message"),
    [
        ("gemm_f32", (GEMM[0], torch.ones(5, 4)), ValueError, r"b must have shape \[4, any\], got \[5, 4\]"),
        ("gemm_f32", (GEMM[0], GEMM[1].half()), TypeError, "b must be float32, got float16"),
        ("gemm_f32", (GEMM[0], torch.ones(5, 4).T), ValueError, "b must be contiguous, its strides are"),
        ("gemm_i8", (CODES[0].float(), CODES[1]), TypeError, "a must be int8, got float32"),
        ("gemm_i8", (CODES[0], CODES[1].T.contiguous()), ValueError, r"b must have shape \[any, 4\], got \[4, 5\]"),
        ("gemm_i8", (*CODES, torch.ones(3)), ValueError, r"scale must have shape \[5\], got \[3\]"),
        ("gemm_i8", (*CODES, torch.ones(5).double()), TypeError, "scale must be float32, got float64"),
        ("gemm_i8", (*CODES, None, torch.ones(5)), ValueError, "bias needs a scale"),
        ("gemm_i8", (DEEP, DEEP), ValueError, "k must be at most 131071, got 131072: a longer sum may overflow int32"),
        ("gemv_f32", (GEMV[0], torch.ones(5)), ValueError, r"x must have shape \[4\], got \[5\]"),
        ("gemv_f32", (GEMV[0].double(), GEMV[1]), TypeError, "a must be float32, got float64"),
        ("gemv_f32", (torch.ones(4, 3).T, GEMV[1]), ValueError, "a must be contiguous, its strides are"),
        ("gemv_f32", (GEMV[0], GEMV[1].to("meta")), ValueError, "one device, got a on cpu, x on meta"),
        ("spmm_24", (KEPT[0].float(), *KEPT[1:]), TypeError, "x must be bfloat16 or float16, got float32"),
        ("spmm_24", (KEPT[0].bfloat16(), *KEPT[1:]), TypeError, "values must be bfloat16, got float16"),
        ("spmm_24", (KEPT[0][:, :6].contiguous(), *KEPT[1:]), ValueError, r"in a multiple of 4, got \[2, 6\]"),
        ("spmm_24", (KEPT[0][:, :4].contiguous(), *KEPT[1:]), ValueError, r"values must have shape \[any, 2\], got"),
        ("spmm_24", (*KEPT[:2], KEPT[2][:, :, :32].contiguous()), ValueError, r"places must have shape \[1, 1, 64\]"),
        ("spmm_24", (*KEPT, torch.ones(4).half()), ValueError, r"bias must have shape \[3\], got \[4\]"),
        ("spmv_csr", (CSR[0].long(), *CSR[1:], torch.ones(4)), TypeError, "row_starts must be int32, got int64"),
        ("spmv_csr", (*CSR[:2], torch.ones(4), torch.ones(4)), ValueError, r"values must have shape \[3\], got \[4\]"),
        ("spmv_csr", (CSR[0][:0], *CSR[1:], torch.ones(4)), ValueError, r"row_starts must have shape \[rows \+ 1\]"),
        ("spmv_csr", (*CSR, torch.ones(4, 1)), ValueError, r"x must have shape \[any\], got \[4, 1\]"),
        ("spmm_csr", (*CSR, torch.ones(2, 4).T), ValueError, "b must be contiguous, its strides are"),
        ("spmm_csr", (*CSR, torch.ones(4, 2, dtype=torch.half)), TypeError, "b must be float32, got float16"),
        ("spmm_csr", (*CSR, torch.ones(4, 2).to("meta")), ValueError, "one device, got values on cpu, b on meta"),
        ("spectral_linear", (SPECTRAL[0].long(), *SPECTRAL[1:]), TypeError, "x must be float32 or bfloat16 or float16"),
        ("spectral_linear", (SPECTRAL[0].half(), *SPECTRAL[1:]), TypeError, "coefficients must be float16, got"),
        ("spectral_linear", (*SPECTRAL[:3], 7, "dct", "dct"), ValueError, r"bias must have shape \[7\], got \[6\]"),
        ("spectral_linear", (*SPECTRAL[:2], None, 2, "dct", "dct"), ValueError, r"at most .* = \[2, 8\], got \[3, 4\]"),
        ("spectral_linear", (*SPECTRAL[:4], "dct", "dft"), ValueError, "out_basis must be dct or dst, got 'dft'"),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_an_error_that_says_so(name, arguments, error, message):
    with pytest.raises(error, match=message):
        getattr(ops, name)(*arguments)


def test_a_launch_without_a_gpu_says_so():
    with pytest.raises(KernelError, match="runs on a GPU only, its tensors are on cpu"):
        launch("gemv_f32_naive", device=CPU)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_the_command_without_a_gpu_says_so():
    done = subprocess.run([sys.executable, "-m", "cuda_kernels"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "sees no GPU here, and timing needs one: --build-only compiles" in done.stderr


def test_the_command_refuses_an_unknown_operation():
    command = [sys.executable, "-m", "cuda_kernels", "--operations", "gemm_f64"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert f"there is no operation 'gemm_f64': choose from {', '.join(sorted(OPERATIONS))}" in done.stderr


@pytest.mark.parametrize(
    ("out", "expected", "error"),
    [
        (torch.tensor([3.0, 4.0]), torch.tensor([3.0, 4.0]), 0.0),
        (torch.tensor([3.0, 5.0]), torch.tensor([3.0, 4.0]), 0.2),
        (torch.tensor([1]), torch.tensor([2]), math.inf),
        (torch.tensor([1.0]), torch.tensor([0.0]), math.inf),
        (torch.zeros(0), torch.zeros(0), 0.0),
    ],
)
def test_distance(out, expected, error):
    assert distance(out, expected) == pytest.approx(error)


@pytest.mark.parametrize(
    ("out", "expected"),
    [
        (torch.tensor([math.nan]), torch.tensor([1.0])),
        (torch.tensor([math.nan]), torch.tensor([0.0])),
        (torch.tensor([1.0]), torch.tensor([[1.0]])),
        (torch.tensor([1.0]), torch.tensor([1.0], dtype=torch.float64)),
    ],
)
def test_a_distance_that_is_no_number_never_passes(out, expected):
    error = distance(out, expected)
    assert math.isnan(error)
    assert not CheckOutcome("op", "variant", "check", error, tolerance=math.inf).passed


@pytest.mark.gpu
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_variant_agrees_with_its_reference(name):
    outcomes = list(verify(OPERATIONS[name], torch.device("cuda")))
    assert outcomes
    assert not [one for one in outcomes if not one.passed]


@pytest.mark.gpu
def test_a_wrong_kernel_is_seen():
    gemv = OPERATIONS["gemv_f32"]
    one_row_short = dataclasses.replace(
        gemv, run=lambda a, x, variant: torch.cat([gemv.run(a, x)[:-1], x.new_empty(1)])
    )
    assert [one for one in verify(one_row_short, torch.device("cuda")) if not one.passed]


@pytest.mark.parametrize("device", [CPU, pytest.param(torch.device("cuda"), marks=pytest.mark.gpu)], ids=str)
@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_keep_torchs_laws(name, device):
    """Schema, fake kernel (also of sizes that are not known), autograd: `torch.library.opcheck` tries each."""
    operation, registered = OPERATIONS[name], getattr(torch.ops.cuda_kernels, name).default
    for check in [one for one in operation.checks if one.variants is None and "8192" not in one.name][:5]:
        given = inspect.signature(operation.run).bind(*make(check, device))
        given.apply_defaults()
        found = torch.library.opcheck(registered, given.args)
        assert set(found.values()) == {"SUCCESS"}, (check.name, found)


def test_a_fake_kernel_of_another_shape_is_seen():
    """The law above, broken on purpose."""
    with torch.library._scoped_library("cuda_kernels_broken", "FRAGMENT") as library:
        library.define("doubled(Tensor x) -> Tensor")
        library.impl("doubled", lambda x: x * 2, "CPU")
        torch.library.register_fake("cuda_kernels_broken::doubled", lambda x: x[1:], lib=library)
        with pytest.raises(torch.testing._internal.optests.OpCheckError, match="fake"):
            torch.library.opcheck(torch.ops.cuda_kernels_broken.doubled.default, (torch.ones(3),))


@pytest.mark.gpu
@pytest.mark.sanitizer
@pytest.mark.skipif(shutil.which("compute-sanitizer") is None, reason="compute-sanitizer is not on PATH")
@pytest.mark.parametrize("name", OPERATIONS)
def test_compute_sanitizer_finds_nothing(name, tmp_path):
    command = [sys.executable, "-m", "cuda_kernels", "--sanitize", "--operations", name, "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=3600)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.mark.gpu
@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_compile_on_the_gpu(name):
    operation = OPERATIONS[name]
    arguments = make(next(one for one in operation.checks if one.variants is None), torch.device("cuda"))
    compiled = torch.compile(operation.run, fullgraph=True)
    assert distance(compiled(*arguments), operation.run(*arguments)) <= 1e-5


def test_a_run_is_read_as_it_was_written(tmp_path):
    assert read_run(write_run(RUN, tmp_path / "kernels.json")) == RUN


@pytest.mark.parametrize("text", ["", "{}", '{"schema": 1}', '{"schema": 0}'])
def test_a_damaged_run_says_what_to_do(tmp_path, text):
    (tmp_path / "kernels.json").write_text(text)
    with pytest.raises(ValueError, match="run python -m cuda_kernels again"):
        read_run(tmp_path / "kernels.json")


def test_a_report_holds_times_ratios_goals_and_failures(tmp_path):
    (tmp_path / "op").mkdir()
    paths = draw_kernels(RUN, tmp_path, folders=tmp_path)
    assert {path.name for path in paths} == {"op.md", "README.md", "kernels.md", "roofline.png", "roofline.svg"}
    assert (tmp_path / "op" / "README.md").read_text() == (tmp_path / "op.md").read_text()
    page, table = (tmp_path / "kernels.md").read_text(), (tmp_path / "op.md").read_text()
    assert "1 of 2 checks against the references passed" in page
    assert "| op | large | at least 1 x cuBLAS | slow | 2.00 | yes |" in page
    assert "| op | copied | at least 0.9 of the copy bandwidth | slow | 0.50 | no |" in page
    assert "| fast |  |  | failed: hard |" in table
    assert "| slow | 3 000 (2 000 to 4 000) | 67 % | 2.00 |" in table
    assert "| fast | failed a check | | |" in table
