// Types of 16 bits and the sparse product of a warp by tensor cores. A host's compiler, which tests use, finds what the
// assembler says here in emulated_sparse.h.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

struct Half {
  uint16_t bits;
};

struct BFloat {
  uint16_t bits;
};

__device__ __forceinline__ float to_float(BFloat value) {
  const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
  float result;
  memcpy(&result, &bits, sizeof(result));
  return result;
}

// To the nearest, ties to even; NaN stays one.
__device__ __forceinline__ void from_float(float value, BFloat* to) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  const bool number = (bits & 0x7fffffffu) <= 0x7f800000u;
  to->bits = static_cast<uint16_t>(number ? (bits + 0x7fffu + (bits >> 16 & 1)) >> 16 : 0x7fffu);
}

#ifdef __CUDACC__

__device__ __forceinline__ float to_float(Half value) {
  float result;
  asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value.bits));
  return result;
}

__device__ __forceinline__ void from_float(float value, Half* to) {
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(to->bits) : "f"(value));
}

#if __CUDACC_VER_MAJOR__ > 12 || (__CUDACC_VER_MAJOR__ == 12 && __CUDACC_VER_MINOR__ >= 5)
#define SPARSE_PRODUCT "mma.sp::ordered_metadata.sync.aligned.m16n8k32.row.col.f32."
#else
#define SPARSE_PRODUCT "mma.sp.sync.aligned.m16n8k32.row.col.f32."
#endif

// sum += a b by one warp: a 16 x 32 of which 16 x 16 are stored, b 32 x 8 column-major, sum 16 x 8. places: of lanes
// with lane / 2 % 2 == kPair those of the warp's a.
template <int kPair, typename T>
__device__ __forceinline__ void multiply_kept(float (&sum)[4], const uint32_t (&a)[4], const uint32_t (&b)[4],
                                              uint32_t places, T) {
#if __CUDA_ARCH__ >= 800
  if constexpr (std::is_same_v<T, Half>) {
    asm(SPARSE_PRODUCT
        "f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9, %10, %11}, {%0, %1, %2, %3}, %12, %13;"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(b[2]), "r"(b[3]), "r"(places),
          "n"(kPair));
  } else {
    asm(SPARSE_PRODUCT
        "bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9, %10, %11}, {%0, %1, %2, %3}, %12, %13;"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(b[2]), "r"(b[3]), "r"(places),
          "n"(kPair));
  }
#endif
}

#undef SPARSE_PRODUCT

#else

#include "emulated_sparse.h"

#endif
