// What every kernel.cu shares: the plain C ABI, and small device helpers.
//
// An entry point is `KERNEL_API int OPERATION_VARIANT(pointers..., int64_t..., float..., cudaStream_t stream)`. It checks
// nothing that Python has checked already, launches on `stream` and returns a cudaError_t as an int, 0 where all is well.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#define KERNEL_API extern "C" __attribute__((visibility("default")))

__host__ __device__ constexpr int64_t ceil_div(int64_t dividend, int64_t divisor) {
  return (dividend + divisor - 1) / divisor;
}

// The error of the launch just made, for the caller. Faults inside a kernel show later, when the stream is synchronised.
inline int launch_status() { return static_cast<int>(cudaGetLastError()); }

// Multiprocessors of the current device.
inline int multiprocessors() {
  int device = 0, count = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device);
  return count;
}

#ifdef __CUDACC__
template <typename Value>
__device__ __forceinline__ Value warp_sum(Value value) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(0xffffffffu, value, distance);
  return value;
}
#endif
