"""Which kernels torch multiplies with: seen as it dispatches them, or read from code that its compiler wrote."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bench.runtimes.kernels import UNKNOWN

_MULTIPLIES = {
    "aten::convolution", "aten::linear", "aten::addmm", "aten::mm", "aten::bmm", "aten::baddbmm", "aten::addmv",
    "aten::mv", "aten::dot", "aten::_int_mm", "aten::_weight_int8pack_mm", "aten::_weight_int4pack_mm_for_cpu",
    "aten::_scaled_dot_product_flash_attention_for_cpu", "aten::_scaled_dot_product_flash_attention",
    "aten::_scaled_dot_product_efficient_attention", "aten::_native_multi_head_attention",
    "aten::_fft_r2c", "aten::_fft_c2r", "aten::_fft_c2c", "spectral::analysis", "spectral::synthesis",
    "mkldnn::_convolution_pointwise", "mkldnn::_linear_pointwise",
    "cuda_kernels::gemm_i8", "cuda_kernels::spmm_csr", "cuda_kernels::spmv_csr", "cuda_kernels::spectral_linear",
}  # fmt: skip
_NAMES = {
    torch.int8: "int8", torch.uint8: "int8", torch.float16: "fp16", torch.bfloat16: "bf16", torch.float32: "fp32",
    torch.float64: "fp64", torch.complex64: "fp32", torch.complex128: "fp64",
}  # fmt: skip
_NARROW_FIRST = ("int8", "bf16", "fp16", "fp32", "fp64")

_CALL = re.compile(
    r"(?:(\w+) = )?(?:torch\.ops\.|extern_kernels\.)"
    r"(onednn\.q\w+|mkldnn\._convolution\w*|mkldnn\._linear\w*|mkl\._mkl_linear|spectral\.\w+|aten\._scaled_dot\w+"
    r"|aten\._fft_\w+|convolution|addmm|baddbmm|mm|bmm|_int_mm)"
    r"(?:\.\w+)?\((.*)"
)
_MADE = re.compile(r"(\w+) = (?:None  # device\(.*?\) |empty_strided\w*\(.*, )torch\.(\w+)")  # a constant, or a buffer
_ALIAS = re.compile(r"(\w+) = (?:reinterpret_tensor\()?((?:buf|arg|_frozen_param)\w+)\b(?!\()")
_TYPE = re.compile(r"torch\.(\w+)")

_CPP_CALL = re.compile(
    r"aoti_torch_cpu_+(q\w+?|mkldnn_\w+?|mkl_linear|linear_pointwise\w*?|convolution|addmm|mm|bmm)"
    r"(?:_tensor|_out|_)*\((.*)"
)
_CPP_CONSTANT = re.compile(r"\.name = \"(\w+)\";\s+constants_info_\[\d+\]\.dtype = \w*?torch_dtype_(\w+);")
_CPP_BUFFER = re.compile(r"empty_strided\(.*torch_dtype_(\w+),.*&(\w+)_handle\)")


def products_of(run: Callable[[], object]) -> Counter[tuple[str, str]]:
    """How often each (precision, kernel) multiplies in one `run`."""
    with _Counting() as counting:
        run()
    return counting.calls


def products_in(sources: Iterable[str]) -> Counter[tuple[str, str]]:
    """How often each (precision, kernel of a library) is called in code that torch's compiler wrote."""
    calls: Counter[tuple[str, str]] = Counter()
    for source in sources:
        types: dict[
            str, str
        ] = {}  # of buffers and constants by name; their memory is taken for others of the same type
        for line in source.splitlines():
            if call := _CALL.search(line):
                out, name, arguments = call.groups()
                precision = _narrowest(types.get(word) for word in re.findall(r"\w+", arguments))
                calls[precision, name] += 1
                stated = _TYPE.search(arguments)  # integer kernels are told what to make
                types |= {out: _name(stated.group(1)) if stated else precision} if out else {}
            elif made := _MADE.search(line):
                types[made.group(1)] = _name(made.group(2))
            elif (alias := _ALIAS.search(line)) and alias.group(2) in types:
                types[alias.group(1)] = types[alias.group(2)]
    return _integers_first(calls)


def products_in_cpp(source: str) -> Counter[tuple[str, str]]:
    """The same of code in C++, that of a package compiled ahead of time."""
    types = {name: _name(dtype) for name, dtype in _CPP_CONSTANT.findall(source)}
    types |= {name: _name(dtype) for dtype, name in _CPP_BUFFER.findall(source)}
    calls: Counter[tuple[str, str]] = Counter()
    for name, arguments in _CPP_CALL.findall(source):
        precision = _narrowest(types.get(word) for word in re.findall(r"\w+", arguments))
        calls[precision, name.replace("__", "._")] += 1
    return _integers_first(calls)


class _Counting(TorchDispatchMode):
    """Counts what is dispatched, and changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[tuple[str, str]] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if (name := func._schema.name) in _MULTIPLIES:
            known = [_NAMES[one.dtype] for one in args if isinstance(one, Tensor) and one.dtype in _NAMES]
            self.calls[known[0] if known else UNKNOWN, name.removeprefix("aten::").replace("::", ".")] += 1
        return func(*args, **(kwargs or {}))


def _integers_first(calls: Counter[tuple[str, str]]) -> Counter[tuple[str, str]]:
    return Counter(dict(sorted(calls.items(), key=lambda one: (one[0][0] != "int8", one[0]))))


def _name(dtype: str) -> str:
    """float32 -> fp32."""
    return _NAMES.get(getattr(torch, dtype, torch.bool), UNKNOWN)


def _narrowest(precisions: Iterable[str | None]) -> str:
    """Of the operands' types: beside int8 codes there are float scales, beside narrow floats at most a wide bias."""
    known = set(precisions)
    return next((one for one in _NARROW_FIRST if one in known), UNKNOWN)
