// w = z S^T for few rows: S passes once.
#pragma once

#include "instructions.cuh"
#include "layer.cuh"

namespace {

constexpr int kOutputs = 4;  // of a block at a time

// Of kCount values, a power of two of at most 32, summed over the warp each: value lane / (32 / kCount), in v[0]. Each
// exchange halves the values that a lane holds, or, where it holds one, the lanes that hold different parts of it.
template <int kCount, int kDistance = kWarp / 2, int kSize>
__device__ __forceinline__ float spread_sum(float (&v)[kSize]) {
  if constexpr (kDistance > 0) {
    const bool upper = threadIdx.x & kDistance;
#pragma unroll
    for (int i = 0; i < kCount / 2; ++i) {
      const float given = upper ? v[i] : v[i + kCount / 2];
      v[i] = (upper ? v[i + kCount / 2] : v[i]) + __shfl_xor_sync(0xffffffffu, given, kDistance);
    }
    if constexpr (kCount == 1) v[0] += __shfl_xor_sync(0xffffffffu, v[0], kDistance);
    return spread_sum<(kCount + 1) / 2, kDistance / 2>(v);
  } else {
    return v[0];
  }
}

// The block's warps share the sum over kept_in; every thread holds a piece of four rows of S, for kRows rows of z. The
// first pieces are under way before z has to be there. kept_in: whole pieces, below 2^28.
template <typename T, int kRows>
__device__ __forceinline__ void few_rows(int64_t first_output, int64_t first_row, const float* z,
                                         const T* __restrict__ coefficients, float* w, int64_t batch, int64_t kept_in,
                                         int64_t kept_out, float (*partial)[kRows * kOutputs]) {
  constexpr int kValues = kRows > 4 ? 4 : 16 / sizeof(T);  // eight rows leave registers for no more
  constexpr int kCount = kRows * kOutputs;
  using Values = Piece<T, kValues>;
  const int pieces = static_cast<int>(kept_in / kValues);
  const int rows = static_cast<int>(min(batch - first_row, int64_t{kRows}));
  const int outputs = static_cast<int>(min(kept_out - first_output, int64_t{kOutputs}));
  const Values* const from = reinterpret_cast<const Values*>(coefficients) + first_output * pieces;
  const float4* const right_from = reinterpret_cast<const float4*>(z + first_row * kept_in);
  float sum[kCount] = {};
  Values next[kOutputs];
  int piece = threadIdx.x;
  const auto fetch = [&](int at) {
    if (at >= pieces) return;
#pragma unroll
    for (int o = 0; o < kOutputs; ++o) next[o] = from[min(o, outputs - 1) * pieces + at];  // a short group repeats
  };
  fetch(piece);
  await_previous();
  for (; piece < pieces; piece += kThreads) {
    Values now[kOutputs];
#pragma unroll
    for (int o = 0; o < kOutputs; ++o) now[o] = next[o];
    fetch(piece + kThreads);
#pragma unroll
    for (int part = 0; part < kValues; part += 4) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const float4 right = right_from[(min(r, rows - 1) * pieces + piece) * (kValues / 4) + part / 4];
#pragma unroll
        for (int o = 0; o < kOutputs; ++o) {
          const T* left = now[o].value + part;
          sum[r * kOutputs + o] += to_float(left[0]) * right.x + to_float(left[1]) * right.y +
                                   to_float(left[2]) * right.z + to_float(left[3]) * right.w;
        }
      }
    }
  }
  const int lane = threadIdx.x % kWarp;
  const float mine = spread_sum<kCount>(sum);
  if (lane % (kWarp / kCount) == 0) partial[threadIdx.x / kWarp][lane / (kWarp / kCount)] = mine;
  __syncthreads();
  if (threadIdx.x < kCount) {
    const int row = threadIdx.x / kOutputs, output = threadIdx.x % kOutputs;
    float total = 0.0f;
#pragma unroll
    for (int warp = 0; warp < kThreads / kWarp; ++warp) total += partial[warp][threadIdx.x];
    if (row < rows && output < outputs) w[(first_row + row) * kept_out + first_output + output] = total;
  }
}

}  // namespace
