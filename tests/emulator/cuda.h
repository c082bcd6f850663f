// The driver's maps of tiles, on a processor: what copies of tiles need to know of a matrix of bytes.
#pragma once

#include <cuda_runtime.h>

using cuuint64_t = uint64_t;
using cuuint32_t = uint32_t;
enum CUresult { CUDA_SUCCESS = 0, CUDA_ERROR_INVALID_VALUE = 1 };
enum CUtensorMapDataType { CU_TENSOR_MAP_DATA_TYPE_UINT8 };
enum CUtensorMapInterleave { CU_TENSOR_MAP_INTERLEAVE_NONE };
enum CUtensorMapSwizzle { CU_TENSOR_MAP_SWIZZLE_128B };
enum CUtensorMapL2promotion { CU_TENSOR_MAP_L2_PROMOTION_L2_256B };
enum CUtensorMapFloatOOBfill { CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE };
enum cudaDriverEntryPointQueryResult { cudaDriverEntryPointSuccess };
constexpr unsigned long long cudaEnableDefault = 0;

struct CUtensorMap {
  const unsigned char* matrix;
  uint64_t bytes, rows, pitch;
  uint32_t box_bytes, box_rows;
};

inline CUresult cuTensorMapEncodeTiled(CUtensorMap* map, CUtensorMapDataType, cuuint32_t rank, void* matrix,
                                       const cuuint64_t* sizes, const cuuint64_t* pitch, const cuuint32_t* box,
                                       const cuuint32_t* every, CUtensorMapInterleave, CUtensorMapSwizzle,
                                       CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
  const bool right = rank == 2 && reinterpret_cast<uintptr_t>(matrix) % 16 == 0 && pitch[0] % 16 == 0 && sizes[0] &&
                     sizes[1] && box[0] <= 128 && box[0] % 16 == 0 && box[1] <= 256 && every[0] == 1 && every[1] == 1;
  if (!right) return CUDA_ERROR_INVALID_VALUE;
  *map = {static_cast<const unsigned char*>(matrix), sizes[0], sizes[1], pitch[0], box[0], box[1]};
  return CUDA_SUCCESS;
}

inline cudaError_t cudaGetDriverEntryPointByVersion(const char*, void** found, unsigned, unsigned long long,
                                                    cudaDriverEntryPointQueryResult* status) {
  *found = reinterpret_cast<void*>(&cuTensorMapEncodeTiled);
  *status = cudaDriverEntryPointSuccess;
  return cudaSuccess;
}
