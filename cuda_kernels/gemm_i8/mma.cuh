// The product of a warp by tensor cores. A host's compiler, which tests use, finds it in emulated_mma.h.
#pragma once

#include <cstdint>

#ifdef __CUDACC__

// sum += a b by one warp: a 16 x 32 int8 row-major, b 32 x 8 int8 column-major, sum 16 x 8 int32.
__device__ __forceinline__ void multiply_bytes(int (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#if __CUDA_ARCH__ >= 800
  asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+r"(sum[0]), "+r"(sum[1]), "+r"(sum[2]), "+r"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}

#else

#include "emulated_mma.h"

#endif
