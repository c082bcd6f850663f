"""Which kernels ran is read, not assumed: an int8 file that ran in float32 is caught, and precisions are told apart."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn
from torch.fx import GraphModule

from bench.artifact import ship
from bench.records import EXACT_INT8, SIMULATED_INT8, KernelCount
from bench.runtimes import RUNTIMES
from bench.runtimes.kernels import Kernels, note_on_zeros
from bench.runtimes.onnx_graph import forms_weights, has_unsigned_weights, products
from bench.runtimes.torch_kernels import products_in, products_in_cpp, products_of
from methods.quantization import PTQ
from tests.quantization_example import (
    CONVOLUTIONS,
    KINDS,
    LINEARS,
    SHAPE,
    Depthwise,
    Plain,
    images,
    network,
    task,
)

COMPILER_WARNS = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # of its own insides


def not_in_int8(kernels: Kernels, calls: int) -> str:
    """What breaks the law of an int8 row (every product is one of int8 codes, and none is missing), or nothing."""
    found = sum(one.calls for one in kernels.counts if one.precision == "int8")
    kept = {one.precision for one in kernels.counts} == {"int8"} and found == calls
    return "" if kept else kernels.words()


def int8(kind: type[nn.Module]) -> GraphModule:
    return ship(PTQ().compress(network(kind), task()))


def ran(runtime: str, model: GraphModule, folder: Path) -> Kernels:
    if reason := RUNTIMES[runtime].unavailable("cpu"):
        pytest.skip(reason)
    deployed = RUNTIMES[runtime].prepare(model, SHAPE, folder)
    session = RUNTIMES[runtime].load(model, deployed, threads=1, device="cpu")
    session.run(images(2).numpy())
    return session.kernels()


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_int8_row_runs_in_int8_kernels(kind: type[nn.Module], runtime: str, tmp_path: Path) -> None:
    assert not not_in_int8(ran(runtime, int8(kind), tmp_path), CONVOLUTIONS[kind] + LINEARS[kind])


@COMPILER_WARNS
@pytest.mark.parametrize("kind", [Depthwise, Plain])  # of Plain a convolution reads through a pool, a linear a flatten
def test_an_int8_row_runs_in_int8_kernels_of_the_compiler(kind: type[nn.Module], tmp_path: Path) -> None:
    assert not not_in_int8(ran("inductor", int8(kind), tmp_path), CONVOLUTIONS[kind] + LINEARS[kind])


@COMPILER_WARNS
@pytest.mark.parametrize("runtime", ["eager", "onnxruntime", "openvino", "inductor"])
def test_a_float_network_is_not_taken_for_int8(runtime: str, tmp_path: Path) -> None:
    kernels = ran(runtime, ship(network(Plain)), tmp_path)
    assert "fp32" in not_in_int8(kernels, CONVOLUTIONS[Plain] + LINEARS[Plain])
    assert {one.precision for one in kernels.counts} == {"fp32"}


def test_simulated_int8_is_not_taken_for_int8(tmp_path: Path) -> None:
    kernels = ran("eager", int8(Plain), tmp_path)
    assert not_in_int8(kernels, CONVOLUTIONS[Plain] + LINEARS[Plain])
    assert kernels.notes == (SIMULATED_INT8,)


@pytest.mark.parametrize(
    ("dtype", "name"), [(torch.bfloat16, "bf16"), (torch.float32, "fp32"), (torch.float64, "fp64")]
)
def test_eager_products_have_the_precision_of_their_operands(dtype: torch.dtype, name: str) -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(105, 4), nn.ReLU()).to(dtype).eval()

    def run() -> None:
        with torch.no_grad():
            model(torch.zeros(2, *SHAPE, dtype=dtype))

    assert products_of(run) == {(name, "convolution"): 1, (name, "addmm"): 1}


def graph(
    kind: str, weight: int, inputs: list[str], *, value: int | None = None, cast: int | None = None
) -> onnx.GraphProto:
    """One node, its weight of type `weight` named "w"; the type of "x" is `value`, or comes from a cast."""
    nodes = [helper.make_node("Cast", ["images"], ["x"], to=cast)] if cast else []
    nodes.append(helper.make_node(kind, inputs, ["y"]))
    tensors = [helper.make_tensor("w", weight, [1], [0])] if weight else []
    known = [helper.make_tensor_value_info("x", value, None)] if value else []
    return helper.make_graph(nodes, "g", [], [], tensors, value_info=known)


@pytest.mark.parametrize(
    ("made", "precision"),
    [
        (graph("Conv", TensorProto.FLOAT16, ["x", "w"]), "fp16"),
        (graph("Conv", TensorProto.FLOAT, ["x", "w"]), "fp32"),
        (graph("Gemm", TensorProto.BFLOAT16, ["x", "w"]), "bf16"),
        (graph("MatMul", 0, ["x", "z"], value=TensorProto.DOUBLE), "fp64"),
        (graph("MatMul", 0, ["x", "z"], cast=TensorProto.FLOAT16), "fp16"),
        (graph("MatMul", 0, ["x", "z"]), "unknown"),
        (graph("MatMulNBits", TensorProto.UINT8, ["x", "w"], value=TensorProto.FLOAT), "fp32"),
        (graph("MatMulInteger", TensorProto.INT8, ["x", "w"]), "int8"),
        (graph("QGemm", TensorProto.UINT8, ["x", "s", "z", "w"]), "int8"),
    ],
    ids=str,
)
def test_a_graphs_products_have_the_precision_of_its_tensors(made: onnx.GraphProto, precision: str) -> None:
    assert products(made) == {(precision, made.node[-1].op_type): 1}


def test_weights_made_unsigned_are_seen() -> None:
    assert has_unsigned_weights(graph("QGemm", TensorProto.UINT8, ["x", "s", "z", "w"]))
    assert not has_unsigned_weights(graph("QGemm", TensorProto.INT8, ["x", "s", "z", "w"]))


def test_weights_that_are_formed_in_each_pass_are_seen() -> None:
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, None)
    forming = helper.make_node("MatMul", ["a", "b"], ["weight"])
    nodes = [helper.make_node("MatMul", ["images", "weight"], ["logits"])]
    assert not forms_weights(helper.make_graph(nodes, "g", [images], []))
    assert forms_weights(helper.make_graph([forming, *nodes], "g", [images], []))


COMPILED = """
_frozen_param1 = None  # device(type='cpu') torch.{dtype} (6, 2, 3, 3) (1, 0, 0, 0) 7fe785e187d0
        buf1 = empty_strided_cpu((2, 2, 9, 7), (126, 1, 14, 2), torch.{dtype})
        buf2 = torch.ops.mkldnn._convolution_pointwise.default(buf1, _frozen_param1, buf0, [1, 1], 1, 'relu', [None])
        buf3 = reinterpret_tensor(buf1, (2, 72), (72, 1), 0); del buf1  # reuse
        extern_kernels.bmm(buf3, buf9, out=buf4)
        extern_kernels.mm(arg1_1, arg2_1, out=buf9)
        buf5 = torch.ops.spectral.synthesis.default('dct', buf2, 16)
"""


@pytest.mark.parametrize(("dtype", "name"), [("bfloat16", "bf16"), ("float32", "fp32"), ("float16", "fp16")])
def test_compiled_products_have_the_precision_of_their_buffers(dtype: str, name: str) -> None:
    assert products_in([COMPILED.format(dtype=dtype)]) == {
        (name, "mkldnn._convolution_pointwise"): 1, (name, "bmm"): 1, ("unknown", "mm"): 1,
        (name, "spectral.synthesis"): 1,
    }  # fmt: skip


def test_what_an_integer_kernel_makes_has_the_type_that_it_is_told() -> None:
    source = """
        buf0 = empty_strided_cpu((2, 11), (11, 1), torch.uint8)
        buf1 = torch.ops.onednn.qlinear_pointwise.tensor(buf0, x_scale, x_zp, w, 1.0, 0, torch.float32, 'none', [])
        buf2 = torch.ops.mkl._mkl_linear.default(buf1, arg0, arg1, None, 2)
    """
    assert products_in([source]) == {("int8", "onednn.qlinear_pointwise"): 1, ("fp32", "mkl._mkl_linear"): 1}


PACKAGED = """
    constants_info_[0].name = "_frozen_param0";
    constants_info_[0].dtype = cached_torch_dtype_{dtype};
    CHECK(aoti_torch_empty_strided(4, int_array_2, int_array_3, cached_torch_dtype_int64, device_, &buf0_handle));
    CHECK(aoti_torch_cpu_mkldnn__convolution_pointwise(buf1, _frozen_param0, &temporary_reference(buf0.get())));
    CHECK(aoti_torch_cpu__qlinear_pointwise_tensor(buf5, x_scale, x_zp, _frozen_param0, buf2));
    CHECK(aoti_torch_cpu_addmm_out(buf17, hidden_bias, buf15));
"""


@pytest.mark.parametrize(("dtype", "name"), [("bfloat16", "bf16"), ("float32", "fp32"), ("int8", "int8")])
def test_packaged_products_have_the_precision_of_their_constants(dtype: str, name: str) -> None:
    assert products_in_cpp(PACKAGED.format(dtype=dtype)) == {
        (name, "mkldnn._convolution_pointwise"): 1, (name, "qlinear_pointwise"): 1, ("unknown", "addmm"): 1,
    }  # fmt: skip


def test_words_are_those_of_the_table() -> None:
    calls = Counter({("int8", "QLinearConv"): 20, ("fp32", "Gemm"): 1})
    kernels = Kernels.of(calls, "", EXACT_INT8, note_on_zeros(9, 10), note_on_zeros(1, 100))
    assert kernels.counts == (KernelCount("int8", "QLinearConv", 20), KernelCount("fp32", "Gemm", 1))
    assert kernels.words() == (
        "int8 QLinearConv x20, fp32 Gemm x1 (u8u8 kernels: u8s8 would saturate on this processor) "
        "(dense fallback: the 90 % of weights that are zero are multiplied)"
    )
    assert Kernels().words() == "no layer that multiplies"


@pytest.mark.parametrize(
    ("zeros", "said"),
    [
        (9, ""),
        (10, "10"),
        (989, "99"),
        (994, "99.40"),
        (99_643, "99.64"),
        (99_999, "99.99"),
        (10**9 - 1, "99.99"),
        (0, ""),
    ],
)
def test_all_weights_are_zero_only_where_none_is_left(zeros: int, said: str) -> None:
    weights = 100 if zeros < 100 else 10 ** len(str(zeros))
    note = note_on_zeros(zeros, weights)
    assert (f"the {said} % of" in note) if said else not note
    assert "the 100.00 % of" in note_on_zeros(weights, weights)
