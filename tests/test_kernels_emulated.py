"""Every variant of the kernels without a GPU: the code itself, run by an emulator on this processor."""

import ctypes
import subprocess
import sys

import pytest
import torch

from cuda_kernels.catalogue import OPERATIONS
from cuda_kernels.verify import distance, make, poison
from tests.emulation import ORDERS, built, compiled, fenced, in_order, launched_here
from tests.test_architecture import ROOT

CPU = torch.device("cpu")
# Else 800: all that the operation's variants need. 860: a block has less memory there.
ARCHITECTURES = {"gemm_i8": (750, 900), "spmm_24": (800, 860)}
# Checks of spectral_linear that take seconds each, or go the way of fp16. Its fused variants fall back here.
SLOW = ("bf16", "8192", "16384", "3072", "1024", "2048", "x of", "x around", "no bias")


def variants_for(name, architecture):
    """Those that no older architecture of the operation runs too, but `auto`, which chooses by the architecture."""
    older = [divmod(one // 10, 10) for one in ARCHITECTURES.get(name, ()) if one < architecture]
    capable = [one for one in OPERATIONS[name].variants if one.runs_on(divmod(architecture // 10, 10))]
    return [one.name for one in capable if one.name == "auto" or not any(one.runs_on(before) for before in older)]


@pytest.mark.parametrize(
    ("name", "architecture"), [(name, one) for name in OPERATIONS for one in ARCHITECTURES.get(name, (800,))]
)
def test_every_variant_agrees_with_its_reference_in_any_order_of_threads(name, architecture, tmp_path):
    library, operation = compiled(name, architecture, tmp_path), OPERATIONS[name]
    wrong = {}
    for check in operation.checks:
        if name == "spectral_linear" and any(part in check.name for part in SLOW):
            continue
        arguments = make(check, CPU)
        expected = operation.reference(*arguments)
        for variant in variants_for(name, architecture):
            if check.variants is not None and variant not in check.variants:
                continue
            plain = variant == operation.variants[0].name  # its threads share nothing: their order is of no matter
            for order in ORDERS[1:] if plain else ORDERS:
                in_order(library, order)
                given = [fenced(one) if order and isinstance(one, torch.Tensor) else one for one in arguments]
                poison(expected, CPU)
                with launched_here(name, library) as run:
                    error = distance(run(*given, variant=variant), expected)
                if not error <= check.tolerance:
                    wrong[variant, check.name, order] = error
    assert not wrong


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_variant_is_emulated(name):
    emulated = {variant for one in ARCHITECTURES.get(name, (800,)) for variant in variants_for(name, one)}
    assert emulated == {variant.name for variant in OPERATIONS[name].variants}


# What the emulator must see: each kernel but the first breaks a law of CUDA. All reverse the order of a block's values.
PLANTED = """
#include "launch.cuh"

#include "copies.cuh"

enum class Fault { kNone, kNoBarrier, kNoWait, kTooEarly, kForEver, kDivergent, kPastTheEnd };

template <Fault kFault>
__global__ void turn(const int* in, int* out, int count) {
  int* const shared = dynamic_shared<int>();
  const int at = static_cast<int>(threadIdx.x);
  for (int half = 0; half < 2; ++half) {
    copy_4_bytes(shared + at, in + half * count + at + (kFault == Fault::kPastTheEnd), true);
    close_copies();
    if (kFault != Fault::kNoWait) await_copies<0>();
    int other = at;
    if (kFault == Fault::kDivergent && at % 2) {
      __syncwarp();
    } else {
      other = __shfl_xor_sync(0xffffffffu, at, 1);
    }
    if (kFault == Fault::kForEver && at < 32) __syncwarp();
    if (kFault != Fault::kNoBarrier) __syncthreads();
    if (kFault == Fault::kForEver && at == 0) __shfl_sync(0xffffffffu, at, 0);
    const int value = shared[count - 1 - at];
    if (kFault != Fault::kTooEarly) __syncthreads();
    out[half * count + at] = value + (other == (at ^ 1) ? 0 : 1);
    await_copies<0>();
  }
}

template <Fault kFault>
int turned(const int* in, int* out, int64_t count, cudaStream_t stream) {
  const int threads = static_cast<int>(count);
  return start(turn<kFault>, Launch::kPlain, 1, threads, 4096, stream, in, out, threads);
}

#define TURN(name) \\
  KERNEL_API int name(const int* in, int* out, int64_t count, cudaStream_t stream) { \\
    return turned<Fault::name>(in, out, count, stream);                              \\
  }
TURN(kNone) TURN(kNoBarrier) TURN(kNoWait) TURN(kTooEarly) TURN(kForEver) TURN(kDivergent) TURN(kPastTheEnd)
"""


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted")
    (folder / "planted.cu").write_text(PLANTED)
    return built(folder / "planted.cu", 800, folder / "planted.so")


def turned(library, entry, order):
    """Whether two times 64 values come back reversed, each half by itself."""
    count = 64
    values = torch.arange(2 * count + 1, dtype=torch.int32)[:-1]
    out = torch.full((2 * count,), -1, dtype=torch.int32)
    in_order(library, order)
    pointers = [ctypes.c_void_p(one.data_ptr()) for one in (values, out)]
    status = library[entry](*pointers, ctypes.c_int64(count), None)
    return status == 0 and torch.equal(out, values.view(2, count).flip(1).flatten())


@pytest.mark.parametrize("order", ORDERS)
def test_a_right_kernel_passes(planted, order):
    assert turned(planted, "kNone", order)


@pytest.mark.parametrize("fault", ["kNoBarrier", "kNoWait", "kTooEarly", "kForEver", "kDivergent", "kPastTheEnd"])
def test_a_broken_law_is_seen_in_one_order_at_least(planted, fault):
    assert not all(turned(planted, fault, order) for order in ORDERS)


def test_a_fence_stands_right_behind_a_tensor():
    code = (
        "import ctypes, torch; from tests.emulation import fenced; one = fenced(torch.arange(5.0)); "
        "print(one.sum().item(), flush=True); ctypes.string_at(one.data_ptr() + 20, 1)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "10.0"
    assert done.returncode < 0
