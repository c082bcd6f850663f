// y = C_out^T (S (C_in x)) + bias: x [batch, in], S [kept_out, kept_in], bias [out] or null, y [batch, out], all of type
// T (fp32, bf16 or fp16). C_in, C_out: the first kept rows of the orthonormal DCT-II or DST-II of that length.
//
// Bytes: x + S + bias + y. At 8192 x 8192 with a quarter of each axis kept, S is 16.8 MB in fp32 and a row 32 KB in and
// out, where the dense weight is 268 MB: S is the limit up to a batch of 16 or so (3.5 us at 4.8 TB/s, 3 us from
// L2), so that the time of a launch and of one transform (three passes with barriers between) weigh as much. Operations:
// 2 batch kept_in kept_out, 4.3e9 at a batch of 512: 70 us of fp32 FMA or some 10 us of tensor cores; a row's transforms
// are 2.5 n log2 n operations each and pass through shared memory five times, about 4 us for 512 rows on 132 SMs.
//
// Three steps: z = C_in x [batch, kept_in]; w = z S^T [splits, batch, kept_out], parts of a sum over kept_in; y. The sine
// transform is the cosine transform of x with every other sign changed, frequencies in reverse. See fft.cuh.
#include "../launch.cuh"

#include <cooperative_groups.h>

#include "bases.cuh"
#include "few_rows.cuh"
#include "instructions.cuh"
#include "layer.cuh"
#include "tiles.cuh"
#include "transforms.cuh"

namespace {

// ---- Plain products, of any size: see bases.cuh. ----

// A thread an element of the product.
template <typename Left, typename Right, typename Out>
__global__ void __launch_bounds__(kThreads)
    spectral_linear_naive_kernel(Left left, Right right, Out out, int64_t rows, int64_t columns, int64_t depth) {
  const int64_t element = blockIdx.x * int64_t{kThreads} + threadIdx.x;
  if (element >= rows * columns) return;
  const int64_t row = element / columns, column = element % columns;
  float sum = 0.0f;
  for (int64_t k = 0; k < depth; ++k) sum += left(row, k) * right(k, column);
  out(row, column, sum);
}

// A block a tile of 64 x 64, a thread 4 x 4 of it; each entry is looked up once a tile instead of once an element.
constexpr int kSide = 64, kDepth = 16;

template <typename Left, typename Right, typename Out>
__global__ void __launch_bounds__(kThreads)
    spectral_linear_matrix_kernel(Left left, Right right, Out out, int64_t rows, int64_t columns, int64_t depth) {
  __shared__ float tile_left[kDepth][kSide + 1], tile_right[kDepth][kSide + 1];
  const int64_t tiles = ceil_div(columns, kSide);
  const int64_t first_row = blockIdx.x / tiles * kSide, first_column = blockIdx.x % tiles * kSide;
  const int x = threadIdx.x % 16, y = threadIdx.x / 16;
  await_previous();
  float sum[4][4] = {};
  for (int64_t first = 0; first < depth; first += kDepth) {
    const int64_t k = first + x;
#pragma unroll 1
    for (int i = y; i < kSide; i += kThreads / kDepth) {
      tile_left[x][i] = k < depth && first_row + i < rows ? left(first_row + i, k) : 0.0f;
      tile_right[x][i] = k < depth && first_column + i < columns ? right(k, first_column + i) : 0.0f;
    }
    __syncthreads();
#pragma unroll
    for (int step = 0; step < kDepth; ++step)
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) sum[i][j] += tile_left[step][y + 16 * i] * tile_right[step][x + 16 * j];
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < 4; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int64_t row = first_row + y + 16 * i, column = first_column + x + 16 * j;
      if (row < rows && column < columns) out(row, column, sum[i][j]);
    }
}

// ---- Transforms by FFT: see transforms.cuh. ----

template <typename T, int kLog>
__global__ void __launch_bounds__(kThreads, 3)
    spectral_linear_analysis_kernel(const T* __restrict__ x, void* z, int narrow, float* scales, int64_t batch,
                                    Axis axis, int aligned) {
  Complex* const buffer = dynamic_shared<Complex>();
  let_next_start();
  analyse<T, kLog>(blockIdx.x * int64_t{rows_of_block<kLog>(axis)}, x, z, narrow, scales, batch, axis, aligned, buffer);
}

template <typename T, int kLog>
__global__ void __launch_bounds__(kThreads, kLog ? 3 : 2)
    spectral_linear_synthesis_kernel(const float* w, int splits, const T* __restrict__ bias, T* y, int64_t batch,
                                     Axis axis, int aligned) {
  Complex* const buffer = dynamic_shared<Complex>();
  await_previous();
  synthesise<T, kLog>(blockIdx.x * int64_t{rows_of_block<kLog>(axis)}, w, splits, bias, y, batch, axis, aligned, buffer);
}

// ---- w = z S^T for few rows, S passes once (see few_rows.cuh), and for many, in tiles (see tiles.cuh). ----

template <typename T, int kRows>
__global__ void __launch_bounds__(kThreads, 2)
    spectral_linear_rows_kernel(const float* z, const T* __restrict__ coefficients, float* w, int64_t batch,
                                int64_t kept_in, int64_t kept_out) {
  __shared__ float partial[kThreads / kWarp][kRows * kOutputs];
  let_next_start();
  const int64_t groups = ceil_div(kept_out, kOutputs);
  few_rows<T, kRows>(blockIdx.x % groups * kOutputs, blockIdx.x / groups * kRows, z, coefficients, w, batch, kept_in,
                     kept_out, partial);
}

// A block a tile of a split's part of the sum. Neighbouring blocks share a tile of S. scales: of the rows of fp16 z.
template <typename Tile>
__global__ void __launch_bounds__(Tile::kBlock, kThreads / Tile::kBlock)
    spectral_linear_tiles_kernel(const void* z, const float* scales, const void* __restrict__ coefficients, float* w,
                                 int64_t batch, int64_t kept_in, int64_t kept_out, int splits) {
  using Value = typename Tile::Value;
  constexpr int kTileBytes = (Tile::kTall + Tile::kWide) * kStageBytes;
  char* const shared = dynamic_shared<char>();
  let_next_start();
  const int64_t tiles_down = ceil_div(batch, Tile::kTall), tiles_across = ceil_div(kept_out, Tile::kWide);
  const int64_t first_row = blockIdx.x % tiles_down * Tile::kTall;
  const int64_t first_column = blockIdx.x / tiles_down % tiles_across * Tile::kWide;
  const int64_t split = blockIdx.x / (tiles_down * tiles_across);
  const int64_t row_bytes = kept_in * int64_t{sizeof(Value)};
  const int64_t all_steps = ceil_div(row_bytes, kStageBytes), share = ceil_div(all_steps, splits);
  const int64_t begin = split * share;
  const int steps = static_cast<int>(max(int64_t{0}, min(share, all_steps - begin)));
  const auto load = [&](int step) {
    if (step < steps) {
      char* const stage = shared + step % kStages * kTileBytes;
      const int64_t at = (begin + step) * kStageBytes;
      load_stage<Tile::kTall, Tile::kBlock>(stage, static_cast<const char*>(z), first_row, batch, at, row_bytes);
      load_stage<Tile::kWide, Tile::kBlock>(stage + Tile::kTall * kStageBytes, static_cast<const char*>(coefficients),
                                            first_column, kept_out, at, row_bytes);
    }
    close_copies();  // also an empty group: the count of groups is the count of steps
  };
  await_previous();
#pragma unroll
  for (int step = 0; step < kStages - 1; ++step) load(step);
  Tile tile;
  for (int step = 0; step < steps; ++step) {
    await_copies<kStages - 2>();
    __syncthreads();  // the step's tiles are there, and the stage of the step before is free
    load(step + kStages - 1);
    const char* const stage = shared + step % kStages * kTileBytes;
    tile.add(stage, stage + Tile::kTall * kStageBytes);
  }
  float* const to = w + split * batch * kept_out;
  tile.store([&](int down, int across, float value) {
    const int64_t row = first_row + down, column = first_column + across;
    if (row >= batch || column >= kept_out) return;
    if constexpr (std::is_same_v<Value, __half>) value *= scales[row];
    to[row * kept_out + column] = value;
  });
}

// ---- All three steps in one cooperative launch. ----

// Both axes 8192 long, so that a row takes a block. S is called to L2 while the first rows are transformed; two barriers
// of the whole grid lie between the steps. repeat: every block transforms the one row for itself, which saves the first.
template <typename T, int kRows>
__global__ void __launch_bounds__(kThreads, 2) spectral_linear_fused_kernel(Problem p, int aligned, int repeat) {
  Complex* const buffer = dynamic_shared<Complex>();
  float* const after = reinterpret_cast<float*>(buffer) + kBufferBytes / int{sizeof(float)};
  float(*const partial)[kRows * kOutputs] = reinterpret_cast<float(*)[kRows * kOutputs]>(after);
  float* const z = repeat ? after + kThreads / kWarp * kRows * kOutputs : p.z;
  const T* const coefficients = static_cast<const T*>(p.coefficients);
  const int64_t groups = ceil_div(p.out.kept, kOutputs), tasks = groups * ceil_div(p.batch, kRows);
  const int64_t values = p.out.kept * p.in.kept, share = p.in.kept * kOutputs;
  for (int64_t group = blockIdx.x; group < groups; group += gridDim.x) {
    constexpr int64_t kLine = 128 / sizeof(T);
    const int64_t end = min(values, (group + 1) * share);
    for (int64_t at = group * share + threadIdx.x * kLine; at < end; at += kThreads * kLine) {
      prefetch_to_l2(coefficients + at);
    }
  }
  for (int64_t row = repeat ? 0 : blockIdx.x; row < p.batch; row += gridDim.x) {
    analyse<T, kMostLog>(row, static_cast<const T*>(p.x), z, false, nullptr, p.batch, p.in, aligned & 1, buffer);
    __syncthreads();
  }
  if (!repeat) cooperative_groups::this_grid().sync();
  for (int64_t task = blockIdx.x; task < tasks; task += gridDim.x) {
    few_rows<T, kRows>(task % groups * kOutputs, task / groups * kRows, z, coefficients, p.w, p.batch, p.in.kept,
                       p.out.kept, partial);
    __syncthreads();
  }
  cooperative_groups::this_grid().sync();
  for (int64_t row = blockIdx.x; row < p.batch; row += gridDim.x) {
    synthesise<T, kMostLog>(row, p.w, 1, static_cast<const T*>(p.bias), static_cast<T*>(p.y), p.batch, p.out,
                            aligned & 2, buffer);
    __syncthreads();
  }
}

}  // namespace

#include "launches.cuh"

// cosines_in [4 in_features], cosines_out [4 out_features]; in_sine, out_sine: 1 for DST-II; type: 0 fp32, 1 bf16, 2
// fp16. workspace: fp32 from a 16-byte boundary, [batch kept_in] and [batch], each rounded up to a multiple of four, and
// [most_splits batch kept_out].
#define SPECTRAL_LINEAR(name, way)                                                                                   \
  KERNEL_API int spectral_linear_##name(                                                                             \
      const void* x, const void* coefficients, const void* bias, void* y, const float* cosines_in,                   \
      const float* cosines_out, float* workspace, int64_t batch, int64_t in_features, int64_t kept_in,               \
      int64_t out_features, int64_t kept_out, int64_t in_sine, int64_t out_sine, int64_t type, int64_t most_splits,  \
      cudaStream_t stream) {                                                                                         \
    return dispatch(way, x, coefficients, bias, y, cosines_in, cosines_out, workspace, batch, in_features, kept_in,  \
                    out_features, kept_out, in_sine, out_sine, type, most_splits, stream);                           \
  }

SPECTRAL_LINEAR(naive, Way::kNaive)
SPECTRAL_LINEAR(matrix, Way::kMatrix)
SPECTRAL_LINEAR(rows, Way::kRows)
SPECTRAL_LINEAR(tiles_32, Way::kTiles32)
SPECTRAL_LINEAR(tiles_64, Way::kTiles64)
SPECTRAL_LINEAR(tiles_128, Way::kTiles128)
SPECTRAL_LINEAR(fast, Way::kFast)
SPECTRAL_LINEAR(overlapped, Way::kOverlapped)
SPECTRAL_LINEAR(fused, Way::kFused)
SPECTRAL_LINEAR(fused_repeat, Way::kRepeated)
SPECTRAL_LINEAR(auto, Way::kAuto)
