// w = z S^T for many rows, in tiles.
#pragma once

#include "instructions.cuh"
#include "layer.cuh"

namespace {

// Tiles of z and of S pass through shared memory in stages, 128 bytes of a row at a time; the eight pieces of 16 bytes
// of a row are exchanged by its number, so that eight rows' pieces of one number lie in different banks.
constexpr int kStageBytes = 128, kStages = 3;

__device__ __forceinline__ int piece_offset(int row, int piece) { return row * kStageBytes + ((piece ^ (row & 7)) << 4); }

// kTall rows of a tile from `first` on, bytes [begin, begin + 128) of each; zeros beyond the matrix.
template <int kTall, int kBlock>
__device__ __forceinline__ void load_stage(char* stage, const char* matrix, int64_t first, int64_t rows, int64_t begin,
                                           int64_t row_bytes) {
  static_assert(kTall * 8 % kBlock == 0);
#pragma unroll
  for (int i = 0; i < kTall * 8 / kBlock; ++i) {
    const int item = threadIdx.x + i * kBlock, row = item / 8, piece = item % 8;
    const int64_t at = begin + piece * 16;
    const bool inside = first + row < rows && at < row_bytes;
    copy_16_bytes(stage + piece_offset(row, piece), matrix + (inside ? (first + row) * row_bytes + at : 0), inside);
  }
}

// fp32: kDown x kAcross threads, each with every kDown-th row and every kAcross-th column of the tile, by FMA.
template <int kTall_, int kWide_, int kDown, int kAcross>
struct FmaTile {
  using Value = float;
  static constexpr int kTall = kTall_, kWide = kWide_, kBlock = kDown * kAcross;
  static constexpr int kRows = kTall / kDown, kColumns = kWide / kAcross;
  static_assert(kDown % 8 == 0 && kAcross % 8 == 0);
  float sum[kRows][kColumns] = {};

  __device__ __forceinline__ void add(const char* left, const char* right) {
    const int down = threadIdx.x / kAcross, across = threadIdx.x % kAcross;
#pragma unroll 1
    for (int piece = 0; piece < 8; ++piece) {
      float4 a[kRows];
      const char* from_left = left + piece_offset(down, piece);  // rows that are multiples of 8 apart swap alike
      const char* from_right = right + piece_offset(across, piece);
#pragma unroll
      for (int i = 0; i < kRows; ++i) a[i] = *reinterpret_cast<const float4*>(from_left + i * kDown * kStageBytes);
#pragma unroll
      for (int j = 0; j < kColumns; ++j) {
        const float4 b = *reinterpret_cast<const float4*>(from_right + j * kAcross * kStageBytes);
#pragma unroll
        for (int i = 0; i < kRows; ++i) sum[i][j] += a[i].x * b.x;
#pragma unroll
        for (int i = 0; i < kRows; ++i) sum[i][j] += a[i].y * b.y;
#pragma unroll
        for (int i = 0; i < kRows; ++i) sum[i][j] += a[i].z * b.z;
#pragma unroll
        for (int i = 0; i < kRows; ++i) sum[i][j] += a[i].w * b.w;
      }
    }
  }

  template <typename Store>
  __device__ __forceinline__ void store(Store put) const {
    const int down = threadIdx.x / kAcross, across = threadIdx.x % kAcross;
#pragma unroll
    for (int i = 0; i < kRows; ++i)
#pragma unroll
      for (int j = 0; j < kColumns; ++j) put(down + i * kDown, across + j * kAcross, sum[i][j]);
  }
};

// bf16, fp16: warps of kWarpTall x kWarpWide elements, by tensor cores.
template <typename T, int kTall_, int kWide_, int kWarpTall, int kWarpWide>
struct TensorTile {
  using Value = T;
  static constexpr int kTall = kTall_, kWide = kWide_, kWarpsAcross = kWide / kWarpWide;
  static constexpr int kBlock = kTall / kWarpTall * kWarpsAcross * kWarp;
  static constexpr int kRows = kWarpTall / 16, kColumns = kWarpWide / 8;
  static_assert(kColumns % 2 == 0);
  float sum[kRows][kColumns][4] = {};

  __device__ __forceinline__ void add(const char* left, const char* right) {
    const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
    const int top = warp / kWarpsAcross * kWarpTall, start = warp % kWarpsAcross * kWarpWide;
#pragma unroll
    for (int step = 0; step < kStageBytes / 32; ++step) {  // 16 values deep
      uint32_t a[kRows][4], b[kColumns / 2][4];
#pragma unroll
      for (int i = 0; i < kRows; ++i) {  // lanes 0-15: the rows' first 8 values; 16-31: the other 8
        load_matrices(a[i], left + piece_offset(top + i * 16 + lane % 16, step * 2 + lane / 16));
      }
#pragma unroll
      for (int j = 0; j < kColumns / 2; ++j) {  // two matrices 16 deep for the first 8 columns, two for the other 8
        const int column = start + j * 16 + lane % 8 + lane / 16 * 8;
        load_matrices(b[j], right + piece_offset(column, step * 2 + lane / 8 % 2));
      }
#pragma unroll
      for (int i = 0; i < kRows; ++i)
#pragma unroll
        for (int j = 0; j < kColumns; ++j) {
          multiply_matrices<T>(sum[i][j], a[i], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
        }
    }
  }

  template <typename Store>
  __device__ __forceinline__ void store(Store put) const {
    const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
    const int row = warp / kWarpsAcross * kWarpTall + lane / 4, column = warp % kWarpsAcross * kWarpWide + lane % 4 * 2;
#pragma unroll
    for (int i = 0; i < kRows; ++i)
#pragma unroll
      for (int j = 0; j < kColumns; ++j)
#pragma unroll
        for (int part = 0; part < 4; ++part) {
          put(row + i * 16 + part / 2 * 8, column + j * 8 + part % 2, sum[i][j][part]);
        }
  }
};

}  // namespace
