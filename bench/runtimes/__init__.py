"""Runtimes: from a read artifact to a callable. Importing this imports no torch and no runtime's package."""

from bench.runtimes.aoti import AotInductor
from bench.runtimes.base import Runtime, RuntimeFailure, Session
from bench.runtimes.cuda_kernels import CudaKernels
from bench.runtimes.cudagraphs import CudaGraphs
from bench.runtimes.eager import Eager
from bench.runtimes.half import BFloat16, Float16
from bench.runtimes.inductor import Inductor
from bench.runtimes.int8_gemm import Int8Gemm
from bench.runtimes.onnxruntime import OnnxRuntime
from bench.runtimes.openvino import OpenVino

RUNTIMES: dict[str, Runtime] = {
    runtime.name: runtime
    for runtime in (
        *(Eager(), OnnxRuntime(), OpenVino(), Inductor(), AotInductor()),
        *(CudaGraphs(), Float16(), BFloat16(), Int8Gemm(), CudaKernels()),
    )
}

__all__ = ["RUNTIMES", "Runtime", "RuntimeFailure", "Session"]
