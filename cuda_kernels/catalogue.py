"""All operations with what they are checked on and timed at."""

from cuda_kernels.gemm_f32.bench import OPERATION as GEMM_F32
from cuda_kernels.gemm_i8.bench import OPERATION as GEMM_I8
from cuda_kernels.gemv_f32.bench import OPERATION as GEMV_F32
from cuda_kernels.operation import Operation
from cuda_kernels.spectral_linear.bench import OPERATION as SPECTRAL_LINEAR
from cuda_kernels.spmm_24.bench import OPERATION as SPMM_24
from cuda_kernels.spmm_csr.bench import OPERATION as SPMM_CSR
from cuda_kernels.spmv_csr.bench import OPERATION as SPMV_CSR

OPERATIONS: dict[str, Operation] = {
    one.name: one for one in (GEMM_F32, GEMM_I8, GEMV_F32, SPECTRAL_LINEAR, SPMM_24, SPMM_CSR, SPMV_CSR)
}
