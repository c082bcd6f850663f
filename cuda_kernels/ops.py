"""The operations, typed and checked: our kernels on a GPU, references on the CPU. They work under `torch.compile`."""

from cuda_kernels.gemm_f32.op import gemm_f32
from cuda_kernels.gemm_i8.op import gemm_i8
from cuda_kernels.gemv_f32.op import gemv_f32
from cuda_kernels.spectral_linear.op import spectral_linear
from cuda_kernels.spmm_24.op import spmm_24
from cuda_kernels.spmm_csr.op import spmm_csr
from cuda_kernels.spmv_csr.op import spmv_csr

__all__ = ["gemm_f32", "gemm_i8", "gemv_f32", "spectral_linear", "spmm_24", "spmm_csr", "spmv_csr"]
