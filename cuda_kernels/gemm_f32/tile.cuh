// A tile of C in the registers of a block, and how pieces of A and B come to its shared memory.
#pragma once

#include "../launch.cuh"

#include "../copies.cuh"

namespace {

constexpr int kWarp = 32;

// A tile of kTall x kWide, kDepth of k at a time, by kWarpsDown x kWarpsAcross warps; a warp's 8 x 4 threads have every
// 8th (4th) piece of four rows (columns) of its part. In shared memory A lies by k, so that both operands are read in
// pieces of four; four floats of padding spread the copies that turn A over all banks.
template <int kTall_, int kWide_, int kDepth_, int kStages_, int kWarpsDown_, int kWarpsAcross_>
struct Tile {
  static constexpr int kTall = kTall_, kWide = kWide_, kDepth = kDepth_, kStages = kStages_;
  static constexpr int kWarpsDown = kWarpsDown_, kWarpsAcross = kWarpsAcross_;
  static constexpr int kBlock = kWarpsDown * kWarpsAcross * kWarp;
  static constexpr int kWarpTall = kTall / kWarpsDown, kWarpWide = kWide / kWarpsAcross;
  static constexpr int kRowPieces = kWarpTall / 32, kColumnPieces = kWarpWide / 16;
  static constexpr int kPitch = kTall + 4;
  static constexpr int kLeftFloats = kDepth * kPitch, kStageFloats = kLeftFloats + kDepth * kWide;
  static constexpr int kSharedBytes = kStages * kStageFloats * int{sizeof(float)};
  static_assert(kRowPieces * 32 == kWarpTall && kColumnPieces * 16 == kWarpWide && kDepth % 8 == 0);
  float sum[kRowPieces * 4][kColumnPieces * 4] = {};

  static __device__ __forceinline__ int first_row() {
    const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
    return warp / kWarpsAcross * kWarpTall + lane / 4 * 4;
  }
  static __device__ __forceinline__ int first_column() {
    const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
    return warp % kWarpsAcross * kWarpWide + lane % 4 * 4;
  }

  __device__ __forceinline__ void add(const float* stage) {
    const float* const left = stage + first_row();
    const float* const right = stage + kLeftFloats + first_column();
#pragma unroll
    for (int step = 0; step < kDepth; ++step) {
      float4 a[kRowPieces], b[kColumnPieces];
#pragma unroll
      for (int i = 0; i < kRowPieces; ++i) a[i] = *reinterpret_cast<const float4*>(left + step * kPitch + i * 32);
#pragma unroll
      for (int j = 0; j < kColumnPieces; ++j) b[j] = *reinterpret_cast<const float4*>(right + step * kWide + j * 16);
#pragma unroll
      for (int i = 0; i < kRowPieces; ++i)
#pragma unroll
        for (int j = 0; j < kColumnPieces; ++j) {
          multiply(sum[i * 4] + j * 4, a[i].x, b[j]);
          multiply(sum[i * 4 + 1] + j * 4, a[i].y, b[j]);
          multiply(sum[i * 4 + 2] + j * 4, a[i].z, b[j]);
          multiply(sum[i * 4 + 3] + j * 4, a[i].w, b[j]);
        }
    }
  }

  static __device__ __forceinline__ void multiply(float* to, float left, float4 right) {
    to[0] += left * right.x;
    to[1] += left * right.y;
    to[2] += left * right.z;
    to[3] += left * right.w;
  }

  // C of this tile, 16 bytes a store where rows of C allow it.
  __device__ __forceinline__ void store(float* c, int64_t top, int64_t start, int64_t m, int64_t n,
                                        bool aligned) const {
#pragma unroll
    for (int i = 0; i < kRowPieces * 4; ++i) {
      const int64_t row = top + first_row() + i / 4 * 32 + i % 4;
      if (row >= m) continue;
#pragma unroll
      for (int j = 0; j < kColumnPieces; ++j) {
        const int64_t column = start + first_column() + j * 16;
        float* const to = c + row * n + column;
        const float* const from = sum[i] + j * 4;
        if (aligned && column < n) {
          *reinterpret_cast<float4*>(to) = {from[0], from[1], from[2], from[3]};
        } else {
#pragma unroll
          for (int part = 0; part < 4; ++part)
            if (column + part < n) to[part] = from[part];
        }
      }
    }
  }
};

// The tile of a block: blocks that run together share few rows of tiles, so that L2 holds what they read.
constexpr int64_t kTogether = 8;

struct Place {
  int64_t row, column;
};

__host__ __device__ __forceinline__ Place place_of(int64_t block, int64_t tiles_down, int64_t tiles_across) {
  const int64_t group = block / (kTogether * tiles_across), rest = block % (kTogether * tiles_across);
  const int64_t rows = tiles_down - group * kTogether < kTogether ? tiles_down - group * kTogether : kTogether;
  return {group * kTogether + rest % rows, rest / rows};
}

// kDepth of k of both operands on their way to shared memory, zeros beyond the matrices. A is turned, 4 bytes a copy: a
// warp copies 4 rows of 8 values, whole sectors of 32 bytes to 32 banks. B goes 16 bytes a copy where its rows allow
// it. a, b: where the tile's rows and columns begin, at this piece of k; rows, columns, depth: what is left there.
template <typename T>
__device__ __forceinline__ void load_stage(float* stage, const float* a, const float* b, int rows, int columns,
                                           int depth, int64_t n, int64_t k, bool aligned) {
  {
    constexpr int kRowsAtOnce = T::kBlock / 8;
    static_assert(T::kTall % kRowsAtOnce == 0);
    const int at = threadIdx.x % 8, down = threadIdx.x / 8;
    const float* from = a + down * k + at;
#pragma unroll
    for (int j = 0; j < T::kTall / kRowsAtOnce; ++j, from += kRowsAtOnce * k) {
#pragma unroll
      for (int i = 0; i < T::kDepth; i += 8) {
        const bool inside = down + j * kRowsAtOnce < rows && at + i < depth;
        copy_4_bytes(stage + (at + i) * T::kPitch + down + j * kRowsAtOnce, from + i, inside);
      }
    }
  }
  float* const right = stage + T::kLeftFloats;
  if (aligned) {
    constexpr int kPieces = T::kWide / 4, kRowsAtOnce = T::kBlock / kPieces;
    static_assert(T::kDepth % kRowsAtOnce == 0 && kRowsAtOnce * kPieces == T::kBlock);
    const int at = threadIdx.x / kPieces, across = threadIdx.x % kPieces * 4;
    const float* from = b + at * n + across;
#pragma unroll
    for (int i = 0; i < T::kDepth; i += kRowsAtOnce, from += kRowsAtOnce * n) {
      copy_16_bytes(right + (at + i) * T::kWide + across, from, at + i < depth && across < columns);
    }
  } else {
#pragma unroll 1
    for (int item = threadIdx.x; item < T::kDepth * T::kWide; item += T::kBlock) {
      const int at = item / T::kWide, across = item % T::kWide;
      copy_4_bytes(right + item, b + at * n + across, at < depth && across < columns);
    }
  }
}

}  // namespace
