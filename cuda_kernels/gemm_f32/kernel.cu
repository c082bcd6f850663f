// C = A B in fp32: A [m, k], B [k, n], C [m, n], all row-major.
//
// Operations: 2 m n k, all by FMA. At 4096^3 that is 1.37e11; 132 SMs do 128 FMA a clock each, 6.7e13 operations/s at
// 1.98 GHz: 2.05 ms. Bytes: 4 (m k + k n + m n), 0.2 GB, 42 us at 4.8 TB/s: arithmetic is the limit, and what competes
// with FMA for issue slots and for shared memory decides.
//
// In a tile of T x W an element of A is used W times and one of B T times once it is in shared memory: tiles of 128 x
// 128 fetch 4 k (128 + 128) bytes each, 1024 tiles 4.3 GB, 1.4 TB/s in 3 ms, which L2 gives. In a thread's R x S part,
// a step of k costs (R + S) / 4 loads of 16 bytes for R S FMA: 4 for 64 at 8 x 8 (94 % of issue slots are FMA), 6 for
// 128 at 8 x 16 (96 %). A warp of 8 x 4 threads reads 64 rows and 32 columns a step, 4 loads whose lanes share
// addresses: at most 4 x 4 clocks of shared memory for 64 of issue a scheduler, so that four schedulers just fit in the
// worst case. A multiprocessor holds 512 threads with 8 x 8 (128 registers each, 64 of them sums) or 256 with 8 x 16
// (255).
#include "../launch.cuh"

#include "tile.cuh"

namespace {

constexpr int kThreads = 256;

// A thread an element: of every step's two loads one is shared by the warp, the other is 128 bytes in a row.
__global__ void __launch_bounds__(kThreads)
    gemm_f32_naive_kernel(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ c, int64_t m,
                          int64_t n, int64_t k) {
  const int64_t element = blockIdx.x * int64_t{kThreads} + threadIdx.x;
  if (element >= m * n) return;
  const int64_t row = element / n, column = element % n;
  float sum = 0.0f;
  for (int64_t step = 0; step < k; ++step) sum += a[row * k + step] * b[step * n + column];
  c[element] = sum;
}

// A block a tile of 32 x 32, a thread four elements of a column: each element fetched is used 32 times.
constexpr int kSide = 32, kPerThread = kSide * kSide / kThreads;

__global__ void __launch_bounds__(kThreads)
    gemm_f32_tiled_kernel(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ c, int64_t m,
                          int64_t n, int64_t k) {
  __shared__ float left[kSide][kSide], right[kSide][kSide];
  const int64_t tiles = ceil_div(n, kSide);
  const int64_t first_row = blockIdx.x / tiles * kSide, column = blockIdx.x % tiles * kSide + threadIdx.x % kSide;
  const int across = threadIdx.x % kSide, down = threadIdx.x / kSide;
  float sum[kPerThread] = {};
  for (int64_t first = 0; first < k; first += kSide) {
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      const int at = down + i * (kSide / kPerThread);
      left[at][across] = first_row + at < m && first + across < k ? a[(first_row + at) * k + first + across] : 0.0f;
      right[at][across] = first + at < k && column < n ? b[(first + at) * n + column] : 0.0f;
    }
    __syncthreads();
#pragma unroll 8
    for (int step = 0; step < kSide; ++step) {
#pragma unroll
      for (int i = 0; i < kPerThread; ++i) sum[i] += left[down + i * (kSide / kPerThread)][step] * right[step][across];
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const int64_t row = first_row + down + i * (kSide / kPerThread);
    if (row < m && column < n) c[row * n + column] = sum[i];
  }
}

// ---- Tiles in registers: see tile.cuh. ----

// A block a tile, a thread 8 x 8 of it. The next piece of k is fetched into registers while this one is multiplied.
using Simple = Tile<128, 128, 8, 2, 2, 4>;

__global__ void __launch_bounds__(Simple::kBlock, 2)
    gemm_f32_registers_kernel(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ c,
                              int64_t m, int64_t n, int64_t k, int aligned) {
  float* const shared = dynamic_shared<float>();
  const Place place = place_of(blockIdx.x, ceil_div(m, Simple::kTall), ceil_div(n, Simple::kWide));
  const int64_t top = place.row * Simple::kTall, start = place.column * Simple::kWide;
  const int64_t row = top + threadIdx.x / 2, column = start + threadIdx.x % 32 * 4;
  const int left_at = threadIdx.x % 2 * 4, right_at = threadIdx.x / 32;
  float left[4], right[4];
  const auto fetch = [&](int64_t first) {
    const bool whole = aligned && row < m && first + left_at + 3 < k;
    const float4 four = whole ? *reinterpret_cast<const float4*>(a + row * k + first + left_at) : float4{};
    const bool wide = aligned && first + right_at < k && column < n;
    const float4 other = wide ? *reinterpret_cast<const float4*>(b + (first + right_at) * n + column) : float4{};
    left[0] = four.x, left[1] = four.y, left[2] = four.z, left[3] = four.w;
    right[0] = other.x, right[1] = other.y, right[2] = other.z, right[3] = other.w;
    if (aligned) return;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      left[i] = row < m && first + left_at + i < k ? a[row * k + first + left_at + i] : 0.0f;
      right[i] = first + right_at < k && column + i < n ? b[(first + right_at) * n + column + i] : 0.0f;
    }
  };
  const auto put = [&](float* stage) {
#pragma unroll
    for (int i = 0; i < 4; ++i) stage[(left_at + i) * Simple::kPitch + threadIdx.x / 2] = left[i];
    *reinterpret_cast<float4*>(stage + Simple::kLeftFloats + right_at * Simple::kWide + threadIdx.x % 32 * 4) = {
        right[0], right[1], right[2], right[3]};
  };
  Simple tile;
  fetch(0);
  int current = 0;
  for (int64_t first = 0; first < k; first += Simple::kDepth) {
    float* const stage = shared + current * Simple::kStageFloats;
    put(stage);
    __syncthreads();  // of two stages the other is free: who writes it next has passed the barrier after it was read
    if (first + Simple::kDepth < k) fetch(first + Simple::kDepth);
    tile.add(stage);
    current ^= 1;
  }
  tile.store(c, top, start, m, n, aligned);
}

// A block a tile; copies run kStages - 1 pieces of k ahead without a stop in registers, with one barrier a piece.
template <typename T>
__device__ __forceinline__ void multiply_pipelined(const float* a, const float* b, float* c, int64_t m, int64_t n,
                                                   int64_t k, bool aligned_right, bool aligned_out) {
  float* const shared = dynamic_shared<float>();
  const Place place = place_of(blockIdx.x, ceil_div(m, T::kTall), ceil_div(n, T::kWide));
  const int64_t top = place.row * T::kTall, start = place.column * T::kWide;
  const int rows = static_cast<int>(min(m - top, int64_t{T::kTall}));
  const int columns = static_cast<int>(min(n - start, int64_t{T::kWide}));
  const int64_t steps = ceil_div(k, T::kDepth);
  const float *left_from = a + top * k, *right_from = b + start;
  int write = 0, read = 0;
  const auto load = [&](int64_t step) {
    if (step < steps) {
      const int depth = static_cast<int>(min(k - step * T::kDepth, int64_t{T::kDepth}));
      load_stage<T>(shared + write * T::kStageFloats, left_from, right_from, rows, columns, depth, n, k, aligned_right);
      left_from += T::kDepth;
      right_from += T::kDepth * n;
    }
    close_copies();  // also an empty group: the count of groups is the count of steps
    write = write + 1 == T::kStages ? 0 : write + 1;
  };
#pragma unroll
  for (int step = 0; step < T::kStages - 1; ++step) load(step);
  T tile;
  for (int64_t step = 0; step < steps; ++step) {
    await_copies<T::kStages - 2>();
    __syncthreads();  // the step's values are there, and the stage of the step before is free
    load(step + T::kStages - 1);
    tile.add(shared + read * T::kStageFloats);
    read = read + 1 == T::kStages ? 0 : read + 1;
  }
  tile.store(c, top, start, m, n, aligned_out);
}

using Small = Tile<64, 64, 16, 3, 2, 2>;
using Large = Tile<128, 128, 16, 3, 2, 4>;
using Wide = Tile<128, 256, 16, 3, 2, 4>;

// kBlocks blocks of the tile a multiprocessor at least.
template <typename T, int kBlocks>
__global__ void __launch_bounds__(T::kBlock, kBlocks)
    gemm_f32_pipelined_kernel(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ c,
                              int64_t m, int64_t n, int64_t k, int aligned_right, int aligned_out) {
  multiply_pipelined<T>(a, b, c, m, n, k, aligned_right, aligned_out);
}

// The same with 8 x 16 of the tile a thread.
__global__ void __launch_bounds__(Wide::kBlock, 1)
    gemm_f32_wide_kernel(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ c, int64_t m,
                         int64_t n, int64_t k, int aligned_right, int aligned_out) {
  multiply_pipelined<Wide>(a, b, c, m, n, k, aligned_right, aligned_out);
}

template <typename T>
int64_t tiles(int64_t m, int64_t n) {
  return ceil_div(m, T::kTall) * ceil_div(n, T::kWide);
}

template <typename T, typename Kernel>
int start_tiles(Kernel kernel, const float* a, const float* b, float* c, int64_t m, int64_t n, int64_t k,
                cudaStream_t stream) {
  return start(kernel, Launch::kPlain, tiles<T>(m, n), T::kBlock, T::kSharedBytes, stream, a, b, c, m, n, k,
               n % 4 == 0 && aligned_to(b, 16), n % 4 == 0 && aligned_to(c, 16));
}

}  // namespace

KERNEL_API int gemm_f32_naive(const float* a, const float* b, float* c, int64_t m, int64_t n, int64_t k,
                              cudaStream_t stream) {
  return start(gemm_f32_naive_kernel, Launch::kPlain, ceil_div(m * n, kThreads), kThreads, 0, stream, a, b, c, m, n, k);
}

KERNEL_API int gemm_f32_tiled(const float* a, const float* b, float* c, int64_t m, int64_t n, int64_t k,
                              cudaStream_t stream) {
  return start(gemm_f32_tiled_kernel, Launch::kPlain, ceil_div(m, kSide) * ceil_div(n, kSide), kThreads, 0, stream, a,
               b, c, m, n, k);
}

KERNEL_API int gemm_f32_registers(const float* a, const float* b, float* c, int64_t m, int64_t n, int64_t k,
                                  cudaStream_t stream) {
  const bool aligned = k % 4 == 0 && n % 4 == 0 && aligned_to(a, 16) && aligned_to(b, 16) && aligned_to(c, 16);
  return start(gemm_f32_registers_kernel, Launch::kPlain, tiles<Simple>(m, n), Simple::kBlock, Simple::kSharedBytes,
               stream, a, b, c, m, n, k, aligned);
}

KERNEL_API int gemm_f32_small(const float* a, const float* b, float* c, int64_t m, int64_t n, int64_t k,
                              cudaStream_t stream) {
  return start_tiles<Small>(gemm_f32_pipelined_kernel<Small, 4>, a, b, c, m, n, k, stream);
}

KERNEL_API int gemm_f32_pipelined(const float* a, const float* b, float* c, int64_t m, int64_t n, int64_t k,
                                  cudaStream_t stream) {
  return start_tiles<Large>(gemm_f32_pipelined_kernel<Large, 2>, a, b, c, m, n, k, stream);
}

KERNEL_API int gemm_f32_wide(const float* a, const float* b, float* c, int64_t m, int64_t n, int64_t k,
                             cudaStream_t stream) {
  if (!fits_a_block(Wide::kSharedBytes)) return gemm_f32_pipelined(a, b, c, m, n, k, stream);
  return start_tiles<Wide>(gemm_f32_wide_kernel, a, b, c, m, n, k, stream);
}

// Large tiles where they fill the multiprocessors, else small ones.
KERNEL_API int gemm_f32_auto(const float* a, const float* b, float* c, int64_t m, int64_t n, int64_t k,
                             cudaStream_t stream) {
  if (tiles<Large>(m, n) < multiprocessors()) return gemm_f32_small(a, b, c, m, n, k, stream);
  return gemm_f32_pipelined(a, b, c, m, n, k, stream);
}
