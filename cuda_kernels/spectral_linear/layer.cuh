// A spectral layer as its kernels see it, and values of its type by pieces.
#pragma once

#include "../launch.cuh"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <type_traits>

#include "fft.cuh"

namespace {

constexpr int kWarp = 32;
constexpr int kThreads = 256;
constexpr int kLeastLog = 4, kMostLog = 12;  // of half the length of a row that the FFT takes
constexpr int kPoints = 1 << kMostLog;       // a block transforms as many points, in one row or in several short ones
constexpr int kBufferBytes = kPoints / 16 * 17 * int{sizeof(Complex)};
constexpr int kMostRows = kThreads;          // rows of a block

struct Axis {
  int64_t features, kept;
  const float* cosines;  // [4 features]: cos(2 pi m / 4 features)
  int sine;              // DST-II, not DCT-II
  int log;               // of features / 2; 0: the FFT does not take this length
  float norm;            // sqrt(2 / features)
};

struct Problem {
  const void *x, *coefficients, *bias;
  void* y;
  float *z, *scales, *w;  // workspace; scales [batch]: what rows of fp16 z are divided by
  int64_t batch, most_splits;
  Axis in, out;
};

__device__ __forceinline__ float to_float(float value) { return value; }
__device__ __forceinline__ float to_float(__half value) { return __half2float(value); }
__device__ __forceinline__ float to_float(__nv_bfloat16 value) { return __bfloat162float(value); }

template <typename T>
__device__ __forceinline__ T from_float(float value) {
  if constexpr (std::is_same_v<T, __half>) {
    return __float2half_rn(value);
  } else if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    return __float2bfloat16_rn(value);
  } else {
    return value;
  }
}

template <typename T, int kValues>
struct alignas(kValues * sizeof(T)) Piece {
  T value[kValues];
};

template <typename T>
__device__ __forceinline__ float4 load_four(const T* from, bool aligned) {
  if (aligned) {
    const auto four = *reinterpret_cast<const Piece<T, 4>*>(from);
    return {to_float(four.value[0]), to_float(four.value[1]), to_float(four.value[2]), to_float(four.value[3])};
  }
  return {to_float(from[0]), to_float(from[1]), to_float(from[2]), to_float(from[3])};
}

template <typename T>
__device__ __forceinline__ void store_four(T* to, float4 four) {
  *reinterpret_cast<Piece<T, 4>*>(to) = {
      {from_float<T>(four.x), from_float<T>(four.y), from_float<T>(four.z), from_float<T>(four.w)}};
}

}  // namespace
