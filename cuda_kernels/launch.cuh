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

inline bool aligned_to(const void* pointer, size_t bytes) { return reinterpret_cast<uintptr_t>(pointer) % bytes == 0; }

inline int attribute_of_device(cudaDeviceAttr attribute) {  // of the current one; 0 where it cannot be asked
  int device = 0, value = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&value, attribute, device);
  return value;
}

inline int multiprocessors() { return attribute_of_device(cudaDevAttrMultiProcessorCount); }

// 10 major + minor of the current device's compute capability.
inline int capability() {
  return 10 * attribute_of_device(cudaDevAttrComputeCapabilityMajor) +
         attribute_of_device(cudaDevAttrComputeCapabilityMinor);
}

// Whether a block may have so much shared memory: 64 KB before compute capability 8.0, from 99 to 227 KB since.
inline bool fits_a_block(int shared_bytes) {
  return shared_bytes <= attribute_of_device(cudaDevAttrMaxSharedMemoryPerBlockOptin);
}

enum class Launch { kPlain, kOverlapping, kCooperative };

// Launches and returns the error of the launch; faults inside a kernel show later, when the stream is synchronised.
// kOverlapping: the kernel may start before the one before it is done, for whose results it has to wait by itself.
template <typename... Parameters, typename... Given>
int start(void (*kernel)(Parameters...), Launch kind, int64_t blocks, int threads, int shared_bytes,
          cudaStream_t stream, Given... given) {
  if (blocks > INT32_MAX) return static_cast<int>(cudaErrorInvalidConfiguration);
  if (shared_bytes > 48 * 1024) {
    const cudaError_t status = cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                                    cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes);
    if (status != cudaSuccess) return static_cast<int>(status);
  }
  cudaLaunchAttribute attribute = {};
  if (kind == Launch::kOverlapping) {
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
  } else {
    attribute.id = cudaLaunchAttributeCooperative;
    attribute.val.cooperative = 1;
  }
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = static_cast<size_t>(shared_bytes);
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = kind == Launch::kPlain ? 0 : 1;
  return static_cast<int>(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(given)...));
}

template <typename Value>
__device__ __forceinline__ Value warp_sum(Value value) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(0xffffffffu, value, distance);
  return value;
}
