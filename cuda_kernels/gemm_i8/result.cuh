// What becomes of the sums of a product of integers, and which tile of C a block makes.
#pragma once

#include "../launch.cuh"

namespace {

// What becomes of the sums: scale null: int32.
struct Result {
  void* c;
  const float *scale, *bias;
  int64_t m, n;
  int relu, paired;  // paired: two neighbours, the first in an even column, go by one store

  __device__ __forceinline__ int whole(int sum) const { return relu && sum < 0 ? 0 : sum; }
  __device__ __forceinline__ float scaled(int sum, int64_t column) const {
    const float value = fmaf(static_cast<float>(sum), scale[column], bias ? bias[column] : 0.0f);
    return relu && value < 0.0f ? 0.0f : value;
  }
  __device__ __forceinline__ void put(int64_t row, int64_t column, int sum) const {
    if (row >= m || column >= n) return;
    if (scale) {
      static_cast<float*>(c)[row * n + column] = scaled(sum, column);
    } else {
      static_cast<int*>(c)[row * n + column] = whole(sum);
    }
  }
  __device__ __forceinline__ void put_two(int64_t row, int64_t column, int first, int second) const {
    if (!paired) {
      put(row, column, first);
      put(row, column + 1, second);
    } else if (row < m && column < n) {
      if (scale) {
        reinterpret_cast<float2*>(c)[(row * n + column) / 2] = {scaled(first, column), scaled(second, column + 1)};
      } else {
        reinterpret_cast<int2*>(c)[(row * n + column) / 2] = {whole(first), whole(second)};
      }
    }
  }
};

// The tile of a block: blocks that run together share few rows of tiles, so that L2 holds what they read.
constexpr int64_t kTogether = 16;

struct Place {
  int64_t row, column;
};

__device__ __forceinline__ Place place_of(int64_t block, int64_t tiles_down, int64_t tiles_across) {
  const int64_t group = block / (kTogether * tiles_across), rest = block % (kTogether * tiles_across);
  const int64_t rows = tiles_down - group * kTogether < kTogether ? tiles_down - group * kTogether : kTogether;
  return {group * kTogether + rest % rows, rest / rows};
}

}  // namespace
