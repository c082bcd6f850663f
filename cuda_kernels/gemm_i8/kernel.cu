// C = A B^T: A [m, k] and B [n, k] int8, row-major; C [m, n] int32, or fp32 = sum * scale[n] + bias[n]; ReLU on either.
//
// Operations: 2 m n k. At 8192^3 1.1e12: 0.56 ms at the 1.98e15 of Hopper's dense int8 (132 SMs, 8192 operations a
// clock each, 1.83 GHz). Bytes: m k + n k + 4 m n = 0.4 GB, of which C is two thirds: 84 us at 4.8 TB/s. Arithmetic is
// the limit as long as operands come fast enough. From L2 a tile of T x W takes (T + W) k bytes for T W k products: 128
// x 256 48 KB for 128 bytes of k, which four tensor cores multiply in 1024 clocks: 48 bytes a clock for each SM, 11.6
// TB/s in all, about twice what L2 gives where nothing is shared. Neighbouring tiles that run together read the same
// rows, which the hardware merges in part; blocks are ordered for that. From shared memory wgmma reads 2 KB of A and 8
// KB of B for 64 x 256 x 32 products, 128 clocks: 80 of the 128 bytes a clock there.
//
// mma.sync reads its operands from registers and reaches some 60 % of that rate on Hopper, all of it on older GPUs;
// dp4a does 4 products a lane, 512 operations a clock on each SM, 1/16.
#include "../launch.cuh"

#include "../copies.cuh"
#include "hopper.cuh"
#include "mma.cuh"
#include "result.cuh"

namespace {

constexpr int kWarp = 32;
constexpr int kThreads = 256;

// A thread an element, a byte a load.
__global__ void __launch_bounds__(kThreads)
    gemm_i8_naive_kernel(const int8_t* __restrict__ a, const int8_t* __restrict__ b, Result result, int64_t k) {
  const int64_t element = blockIdx.x * int64_t{kThreads} + threadIdx.x;
  if (element >= result.m * result.n) return;
  const int64_t row = element / result.n, column = element % result.n;
  int sum = 0;
  for (int64_t step = 0; step < k; ++step) sum += a[row * k + step] * b[column * k + step];
  result.put(row, column, sum);
}

// Tiles of 64 x 64 in shared memory, four values a word; a thread 4 x 4 sums, four products an instruction. Any k.
constexpr int kSide = 64, kWords = 16;

__device__ __forceinline__ int four_values(const int8_t* row, int64_t at, int64_t k, bool inside, bool aligned) {
  if (!inside || at >= k) return 0;
  if (aligned) return *reinterpret_cast<const int*>(row + at);
  uint32_t word = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i)
    if (at + i < k) word |= static_cast<uint32_t>(static_cast<uint8_t>(row[at + i])) << 8 * i;
  return static_cast<int>(word);
}

__global__ void __launch_bounds__(kThreads)
    gemm_i8_dp4a_kernel(const int8_t* __restrict__ a, const int8_t* __restrict__ b, Result result, int64_t k,
                        int aligned) {
  __shared__ int left[kWords][kSide + 1], right[kWords][kSide + 1];
  const int64_t tiles = ceil_div(result.n, kSide);
  const int64_t top = blockIdx.x / tiles * kSide, start = blockIdx.x % tiles * kSide;
  const int across = threadIdx.x % 16, down = threadIdx.x / 16;
  int sum[4][4] = {};
  for (int64_t first = 0; first < k; first += kWords * 4) {
#pragma unroll
    for (int i = 0; i < kSide; i += 16) {
      const int64_t at = first + across * 4, row = top + down + i, column = start + down + i;
      left[across][down + i] = four_values(a + row * k, at, k, row < result.m, aligned);
      right[across][down + i] = four_values(b + column * k, at, k, column < result.n, aligned);
    }
    __syncthreads();
#pragma unroll 4
    for (int word = 0; word < kWords; ++word)
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          sum[i][j] = __dp4a(left[word][down + 16 * i], right[word][across + 16 * j], sum[i][j]);
        }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < 4; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j) result.put(top + down + 16 * i, start + across + 16 * j, sum[i][j]);
}

// ---- Tensor cores by warps: mma.sync, from compute capability 8.0 on. k: a multiple of 16. ----

// 128 bytes of a row at a time; its eight pieces of 16 bytes are exchanged by its number, so that eight rows' pieces of
// one number lie in different banks.
constexpr int kStageBytes = 128, kStages = 3, kMmaSide = 128;

__device__ __forceinline__ int piece_offset(int row, int piece) {
  return row * kStageBytes + ((piece ^ (row & 7)) << 4);
}

__device__ __forceinline__ void load_stage(int8_t* stage, const int8_t* matrix, int64_t first, int64_t rows,
                                           int64_t begin, int64_t k) {
  const int piece = threadIdx.x % 8, down = threadIdx.x / 8;
  const int8_t* from = matrix + (first + down) * k + begin + piece * 16;
#pragma unroll
  for (int row = down; row < kMmaSide + down; row += kThreads / 8, from += kThreads / 8 * k) {
    copy_16_bytes(stage + piece_offset(row, piece), from, first + row < rows && begin + piece * 16 < k);
  }
}

// A block a tile of 128 x 128, a warp 64 x 32 of it, copies two stages ahead.
__global__ void __launch_bounds__(kThreads, 2)
    gemm_i8_mma_kernel(const int8_t* __restrict__ a, const int8_t* __restrict__ b, Result result, int64_t k) {
  constexpr int kTileBytes = 2 * kMmaSide * kStageBytes, kRows = 4, kColumns = 4;
  int8_t* const shared = dynamic_shared<int8_t>();
  const Place place = place_of(blockIdx.x, ceil_div(result.m, kMmaSide), ceil_div(result.n, kMmaSide));
  const int64_t top = place.row * kMmaSide, start = place.column * kMmaSide;
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const int down = warp / 4 * 64, across = warp % 4 * 32;
  const int steps = static_cast<int>(ceil_div(k, kStageBytes));
  const auto load = [&](int step) {
    if (step < steps) {
      int8_t* const stage = shared + step % kStages * kTileBytes;
      load_stage(stage, a, top, result.m, int64_t{step} * kStageBytes, k);
      load_stage(stage + kMmaSide * kStageBytes, b, start, result.n, int64_t{step} * kStageBytes, k);
    }
    close_copies();  // also an empty group: the count of groups is the count of steps
  };
#pragma unroll
  for (int step = 0; step < kStages - 1; ++step) load(step);
  int sum[kRows][kColumns][4] = {};
  for (int step = 0; step < steps; ++step) {
    await_copies<kStages - 2>();
    __syncthreads();  // the step's values are there, and the stage of the step before is free
    load(step + kStages - 1);
    const int8_t* const left = shared + step % kStages * kTileBytes;
    const int8_t* const right = left + kMmaSide * kStageBytes;
#pragma unroll
    for (int part = 0; part < kStageBytes / 32; ++part) {  // 32 values deep
      uint32_t rows[kRows][4], columns[kColumns / 2][4];
#pragma unroll
      for (int i = 0; i < kRows; ++i) {  // lanes 0-15: the rows' first 16 values; 16-31: the other 16
        load_matrices(rows[i], left + piece_offset(down + i * 16 + lane % 16, part * 2 + lane / 16));
      }
#pragma unroll
      for (int j = 0; j < kColumns / 2; ++j) {  // two pieces deep for the first 8 columns, two for the other 8
        const int column = across + j * 16 + lane % 8 + lane / 16 * 8;
        load_matrices(columns[j], right + piece_offset(column, part * 2 + lane / 8 % 2));
      }
#pragma unroll
      for (int i = 0; i < kRows; ++i)
#pragma unroll
        for (int j = 0; j < kColumns; ++j) {
          multiply_bytes(sum[i][j], rows[i], columns[j / 2][j % 2 * 2], columns[j / 2][j % 2 * 2 + 1]);
        }
    }
  }
#pragma unroll
  for (int i = 0; i < kRows; ++i)
#pragma unroll
    for (int j = 0; j < kColumns; ++j) {
      const int64_t row = top + down + i * 16 + lane / 4, column = start + across + j * 8 + lane % 4 * 2;
      result.put_two(row, column, sum[i][j][0], sum[i][j][1]);
      result.put_two(row + 8, column, sum[i][j][2], sum[i][j][3]);
    }
}

// ---- Tensor cores by warpgroups: wgmma, compute capability 9.0. k: a multiple of 16. ----

// Blocks stay and take tile after tile of 128 x 256. One thread of the first warpgroup has tiles of A and B copied,
// four stages ahead, also into the next tile; the other two warpgroups multiply 64 rows each.
constexpr int kTall = 128, kWide = 256, kAhead = 4, kGroup = 128;
constexpr int kLeftBytes = kTall * kStageBytes, kRightBytes = kWide * kStageBytes;
constexpr int kWgmmaBytes = kAhead * (kLeftBytes + kRightBytes + 2 * int{sizeof(uint64_t)});

__global__ void __launch_bounds__(3 * kGroup, 1)
    gemm_i8_wgmma_kernel(const __grid_constant__ CUtensorMap left, const __grid_constant__ CUtensorMap right,
                         Result result, int steps) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  int8_t* const shared = dynamic_shared<int8_t>();
  int8_t* const rights = shared + kAhead * kLeftBytes;
  uint64_t* const full = reinterpret_cast<uint64_t*>(rights + kAhead * kRightBytes);
  uint64_t* const empty = full + kAhead;
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < kAhead; ++stage) {
      make_barrier(full + stage, 1);
      make_barrier(empty + stage, 2 * kGroup / kWarp);  // the warps that multiply
    }
    show_barriers();
  }
  __syncthreads();
  const int64_t tiles_down = ceil_div(result.m, kTall), tiles_across = ceil_div(result.n, kWide);
  int stage = 0, parity = 0;
  const auto advance = [&] {
    if (++stage == kAhead) {
      stage = 0;
      parity ^= 1;
    }
  };
  if (threadIdx.x < kGroup) {
    if (threadIdx.x > 0) return;
    for (int64_t tile = blockIdx.x; tile < tiles_down * tiles_across; tile += gridDim.x) {
      const Place place = place_of(tile, tiles_down, tiles_across);
      const int top = static_cast<int>(place.row) * kTall, start = static_cast<int>(place.column) * kWide;
      for (int step = 0; step < steps; ++step) {
        await(empty + stage, parity ^ 1);
        arrive_and_expect(full + stage, kLeftBytes + kRightBytes);
        copy_tile(shared + stage * kLeftBytes, &left, step * kStageBytes, top, full + stage);
        copy_tile(rights + stage * kRightBytes, &right, step * kStageBytes, start, full + stage);
        advance();
      }
    }
    return;
  }
  const int group = threadIdx.x / kGroup - 1, lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp % 4;
  for (int64_t tile = blockIdx.x; tile < tiles_down * tiles_across; tile += gridDim.x) {
    const Place place = place_of(tile, tiles_down, tiles_across);
    int sum[128] = {};
    hold(sum);
    int before = -1;  // the stage that is still being multiplied
    for (int step = 0; step < steps; ++step) {
      await(full + stage, parity);
      begin_products();
#pragma unroll
      for (int part = 0; part < kStageBytes / 32; ++part) {
        multiply_tiles(sum, operand(shared + stage * kLeftBytes + group * 64 * kStageBytes + part * 32),
                       operand(rights + stage * kRightBytes + part * 32));
      }
      close_products();
      await_products<1>();
      if (before >= 0 && lane == 0) arrive(empty + before);
      before = stage;
      advance();
    }
    await_products<0>();
    hold(sum);
    if (before >= 0 && lane == 0) arrive(empty + before);
    const int64_t row = place.row * kTall + group * 64 + warp * 16 + lane / 4;
    const int64_t column = place.column * kWide + lane % 4 * 2;
#pragma unroll
    for (int j = 0; j < kWide / 8; ++j) {
      result.put_two(row, column + j * 8, sum[j * 4], sum[j * 4 + 1]);
      result.put_two(row + 8, column + j * 8, sum[j * 4 + 2], sum[j * 4 + 3]);
    }
  }
#endif
}

// ---- Launches. ----

enum class Way { kNaive, kDp4a, kMma, kWgmma, kAuto };

int run(Way way, const int8_t* a, const int8_t* b, const Result& result, int64_t k, cudaStream_t stream) {
  const int64_t m = result.m, n = result.n;
  const bool pieces = k % 16 == 0 && k > 0 && aligned_to(a, 16) && aligned_to(b, 16);
  if (way == Way::kNaive) {
    return start(gemm_i8_naive_kernel, Launch::kPlain, ceil_div(m * n, kThreads), kThreads, 0, stream, a, b, result, k);
  }
  const bool small = ceil_div(m, kTall) * ceil_div(n, kWide) * 2 < multiprocessors();  // half of them would be idle
  const bool counted = m <= INT32_MAX && n <= INT32_MAX;  // copies of tiles take 32-bit places
  if ((way == Way::kWgmma || (way == Way::kAuto && !small)) && pieces && counted && capability() == 90) {
    CUtensorMap left, right;
    if (map_tiles(&left, a, m, k, kTall, kStageBytes) && map_tiles(&right, b, n, k, kWide, kStageBytes)) {
      const int64_t tiles = ceil_div(m, kTall) * ceil_div(n, kWide);
      return start(gemm_i8_wgmma_kernel, Launch::kPlain, tiles < multiprocessors() ? tiles : multiprocessors(),
                   3 * kGroup, kWgmmaBytes, stream, left, right, result,
                   static_cast<int>(ceil_div(k, kStageBytes)));
    }
  }
  constexpr int kMmaBytes = kStages * 2 * kMmaSide * kStageBytes;
  if (way != Way::kDp4a && pieces && capability() >= 80 && fits_a_block(kMmaBytes)) {
    return start(gemm_i8_mma_kernel, Launch::kPlain, ceil_div(m, kMmaSide) * ceil_div(n, kMmaSide), kThreads, kMmaBytes,
                 stream, a, b, result, k);
  }
  const bool words = k % 4 == 0 && aligned_to(a, 4) && aligned_to(b, 4);
  return start(gemm_i8_dp4a_kernel, Launch::kPlain, ceil_div(m, kSide) * ceil_div(n, kSide), kThreads, 0, stream, a, b,
               result, k, words);
}

}  // namespace

// scale, bias: [n] or null; without a scale c is int32.
#define GEMM_I8(name, way)                                                                                             \
  KERNEL_API int gemm_i8_##name(const int8_t* a, const int8_t* b, const float* scale, const float* bias, void* c,      \
                                int64_t m, int64_t n, int64_t k, int64_t relu, cudaStream_t stream) {                  \
    const Result result = {c, scale, bias, m, n, static_cast<int>(relu), n % 2 == 0 && aligned_to(c, 8)};              \
    return run(way, a, b, result, k, stream);                                                                          \
  }

GEMM_I8(naive, Way::kNaive)
GEMM_I8(dp4a, Way::kDp4a)
GEMM_I8(mma, Way::kMma)
GEMM_I8(wgmma, Way::kWgmma)
GEMM_I8(auto, Way::kAuto)
