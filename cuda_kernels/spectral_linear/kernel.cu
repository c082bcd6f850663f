// y = C_out^T (S (C_in x)) + bias: x [batch, in], S [kept_out, kept_in], bias [out] or null, y [batch, out], all of type
// T (fp32, bf16 or fp16). C_in, C_out: the first kept rows of the orthonormal DCT-II or DST-II of that length.
//
// Bytes: x + S + bias + y. At 8192 x 8192 with a quarter of each axis kept, S is 16.8 MB in fp32 and a row 32 KB in and
// out, where the dense weight is 268 MB: S is the limit up to a batch of 16 or so (6 us from device memory, 3 us from
// L2), so that the time of a launch and of one transform (three passes with barriers between) weigh as much. Operations:
// 2 batch kept_in kept_out, 4.3e9 at a batch of 512: 70 us of fp32 FMA or some 10 us of tensor cores; a row's transforms
// are 2.5 n log2 n operations each and pass through shared memory five times, about 4 us for 512 rows on 132 SMs.
//
// Three steps: z = C_in x [batch, kept_in]; w = z S^T [splits, batch, kept_out], parts of a sum over kept_in; y. The sine
// transform is the cosine transform of x with every other sign changed, frequencies in reverse. See fft.cuh.
#include "../launch.cuh"

#include <cooperative_groups.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "fft.cuh"
#include "instructions.cuh"

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

// ---- Plain products: the bases as matrices whose entries are looked up. They take any size. ----

struct Basis {  // frequency k at position i
  Axis axis;
  __device__ float operator()(int64_t k, int64_t i) const {
    const uint64_t turns = static_cast<uint64_t>(2 * i + 1) * static_cast<uint64_t>(k + axis.sine);
    const uint64_t whole = 4 * static_cast<uint64_t>(axis.features);
    uint64_t index = whole <= 131072 ? static_cast<uint32_t>(turns) % static_cast<uint32_t>(whole) : turns % whole;
    if (axis.sine) index = index >= whole / 4 ? index - whole / 4 : index + 3 * (whole / 4);
    const bool half = k == (axis.sine ? axis.features - 1 : 0);
    return axis.cosines[index] * axis.norm * (half ? kRootHalf : 1.0f);
  }
};

template <typename T>
struct Rows {  // a row-major matrix
  const T* data;
  int64_t pitch;
  __device__ float operator()(int64_t row, int64_t column) const { return to_float(data[row * pitch + column]); }
};

template <typename Matrix>
struct Transposed {
  Matrix matrix;
  __device__ float operator()(int64_t row, int64_t column) const { return matrix(column, row); }
};

template <typename T>
struct Result {
  T* data;
  const T* bias;
  int64_t pitch;
  __device__ void operator()(int64_t row, int64_t column, float value) const {
    data[row * pitch + column] = from_float<T>(value + (bias ? to_float(bias[column]) : 0.0f));
  }
};

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

// ---- Transforms by FFT. kLog: log of the number of points, known to the compiler; 0: axis.log says. ----

template <int kLog>
__device__ __forceinline__ void transform_rows(Complex (&v)[kPointsPerThread], Complex* mine, int t, int log,
                                               const float* cosines) {
  int done = 0;
#pragma unroll(kLog ? 2 : 1)
  for (; done + 4 < log; done += 4) {
    pass<16>(v, t, done, log, cosines);
    __syncthreads();  // what lay in the buffer has been read
    scatter(v, mine, t, done);
    __syncthreads();
    gather(v, mine, t, log);
  }
  last_pass(v, t, done, log, cosines);
}

// 2^e with bound / 2^e in [2^14, 2^15): what is within the bound fits fp16 then.
__device__ __forceinline__ float fitting_scale(float bound) {
  return bound > 0.0f && isfinite(bound) ? scalbnf(1.0f, ilogbf(bound) - 14) : 1.0f;
}

// z of the rows from first_row on, as many as fill the block. narrow: z is of type T, for tensor cores; each row of fp16
// is divided by a power of two that its largest value bounds. Otherwise z is fp32.
template <typename T, int kLog>
__device__ __forceinline__ void analyse(int64_t first_row, const T* __restrict__ x, void* z, bool narrow,
                                        float* scales, int64_t batch, const Axis& axis, bool aligned,
                                        Complex* buffer) {
  const int log = kLog ? kLog : axis.log, points = 1 << log, threads = points / kPointsPerThread, n = 2 * points;
  const int local = threadIdx.x >> (log - 4), t = threadIdx.x & (threads - 1);
  const int64_t row = first_row + local;
  const bool live = row < batch;
  Complex* mine = buffer + local * padded(log);
  Complex v[kPointsPerThread];
  float peak = 0.0f;
#pragma unroll
  for (int e = 0; e < kPointsPerThread / 2; ++e) {
    const int m = t + e * threads;
    float4 four = {0.0f, 0.0f, 0.0f, 0.0f};
    if (live) four = load_four(x + row * n + 4 * m, aligned);
    if constexpr (std::is_same_v<T, __half>) {
      peak = fmaxf(peak, fmaxf(fmaxf(fabsf(four.x), fabsf(four.y)), fmaxf(fabsf(four.z), fabsf(four.w))));
    }
    const float sign = axis.sine ? -1.0f : 1.0f;
    v[e] = {four.x, four.z};
    mine[place(points - 1) - place(t) - place(e * threads)] = {sign * four.w, sign * four.y};  // point N - 1 - m
  }
  __syncthreads();
#pragma unroll
  for (int e = kPointsPerThread / 2; e < kPointsPerThread; ++e) v[e] = mine[place(t) + place(e * threads)];
  transform_rows<kLog>(v, mine, t, log, axis.cosines);
  __syncthreads();
  put_back(v, mine, t, log);
  float norm = axis.norm * 0.5f;  // cosine_sums doubles
  if constexpr (std::is_same_v<T, __half>) {
    if (narrow) {
      __shared__ int peaks[kMostRows];
      if (t == 0) peaks[local] = 0;
      __syncthreads();
      for (int d = min(threads, kWarp) / 2; d > 0; d /= 2) peak = fmaxf(peak, __shfl_xor_sync(0xffffffffu, peak, d));
      if (t % kWarp == 0) atomicMax(peaks + local, __float_as_int(peak));  // floats >= 0 are in order as integers
      __syncthreads();
      const float scale = fitting_scale(__int_as_float(peaks[local]) * sqrtf(2.0f * n));
      if (t == 0 && live) scales[row] = scale;
      norm /= scale;
    }
  }
  __syncthreads();
  if (!live) return;
  const int kept = static_cast<int>(axis.kept);
  const auto put = [&](int frequency, float value) {
    const int column = axis.sine ? n - 1 - frequency : frequency;
    if (column >= kept) return;
    const float result = value * norm * (frequency == 0 ? kRootHalf : 1.0f);
    if (narrow) {
      static_cast<T*>(z)[row * kept + column] = from_float<T>(result);
    } else {
      static_cast<float*>(z)[row * kept + column] = result;
    }
  };
  for (int k = t; k <= points / 2; k += threads) {
    const Complex mirror = mine[place((points - k) & (points - 1))];
    const Quadruple sums = cosine_sums(mine[place(k)], mirror, turn(axis.cosines, k, log));
    put(k, sums.at_k);
    if (k > 0) put(n - k, sums.at_n_less_k);
    if (k < points / 2) put(points - k, sums.at_half_less_k);
    if (k > 0 && k < points / 2) put(points + k, sums.at_half_more_k);
  }
}

// Four neighbours of a row of w, summed over the splits; zeros beyond the kept.
__device__ __forceinline__ float4 coefficients_at(int column, const float* w, int64_t row, int64_t batch, int kept,
                                                  int splits) {
  float4 sum = {0.0f, 0.0f, 0.0f, 0.0f};
  if (column >= kept) return sum;
  const float* from = w + row * kept + column;
  if (kept % 4 == 0) {
#pragma unroll 8
    for (int split = 0; split < splits; ++split) {
      const float4 part = *reinterpret_cast<const float4*>(from + split * batch * kept);
      sum = {sum.x + part.x, sum.y + part.y, sum.z + part.z, sum.w + part.w};
    }
    return sum;
  }
  for (int split = 0; split < splits; ++split, from += batch * kept) {
    sum.x += from[0];
    if (column + 1 < kept) sum.y += from[1];
    if (column + 2 < kept) sum.z += from[2];
    if (column + 3 < kept) sum.w += from[3];
  }
  return sum;
}

// y of the rows from first_row on, as many as fill the block.
template <typename T, int kLog>
__device__ __forceinline__ void synthesise(int64_t first_row, const float* w, int splits, const T* __restrict__ bias,
                                           T* y, int64_t batch, const Axis& axis, bool aligned, Complex* buffer) {
  const int log = kLog ? kLog : axis.log, points = 1 << log, threads = points / kPointsPerThread, n = 2 * points;
  const int local = threadIdx.x >> (log - 4), t = threadIdx.x & (threads - 1);
  const int64_t row = first_row + local;
  const bool live = row < batch;
  Complex* mine = buffer + local * padded(log);
  float* u = reinterpret_cast<float*>(mine);  // [n], later overwritten by points
  const int kept = static_cast<int>(axis.kept);
  const float norm = axis.norm * 0.5f;  // spectrum doubles
#pragma unroll
  for (int e = 0; e < kPointsPerThread / 2; ++e) {
    const int column = 4 * (t + e * threads);
    float4 four = {0.0f, 0.0f, 0.0f, 0.0f};
    if (live) four = coefficients_at(column, w, row, batch, kept, splits);
    const int at = axis.sine ? n - 1 - column : column, step = axis.sine ? -1 : 1;
    u[at] = four.x * norm * (at == 0 ? kRootHalf : 1.0f);
    u[at + step] = four.y * norm;
    u[at + 2 * step] = four.z * norm;
    u[at + 3 * step] = four.w * norm * (at + 3 * step == 0 ? kRootHalf : 1.0f);
  }
  __syncthreads();
  Complex v[kPointsPerThread];
#pragma unroll
  for (int e = 0; e < kPointsPerThread; ++e) {
    const int k = t + e * threads;
    v[e] = swapped(spectrum(u, k, log, turn(axis.cosines, k, log)));  // an inverse DFT is a DFT of swapped parts
  }
  transform_rows<kLog>(v, mine, t, log, axis.cosines);
  __syncthreads();
#pragma unroll
  for (int e = kPointsPerThread / 2; e < kPointsPerThread; ++e) mine[place(t) + place(e * threads)] = swapped(v[e]);
  __syncthreads();
  if (!live) return;
#pragma unroll
  for (int e = 0; e < kPointsPerThread / 2; ++e) {
    const int m = t + e * threads;
    const Complex low = swapped(v[e]), high = mine[place(points - 1) - place(t) - place(e * threads)];
    const float sign = axis.sine ? -1.0f : 1.0f;
    float4 four = {low.re, sign * high.im, low.im, sign * high.re};
    if (bias) {
      const float4 added = load_four(bias + 4 * m, aligned);
      four = {four.x + added.x, four.y + added.y, four.z + added.z, four.w + added.w};
    }
    store_four(y + row * n + 4 * m, four);
  }
}

template <int kLog>
__device__ __forceinline__ int rows_of_block(const Axis& axis) {
  return kPoints >> (kLog ? kLog : axis.log);
}

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

// ---- w = z S^T for few rows: S passes once. ----

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

// ---- w = z S^T for many rows, in tiles. ----

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

// ---- Launches. ----

template <typename Left, typename Right, typename Out>
int product(bool tiled, Launch kind, Left left, Right right, Out out, int64_t rows, int64_t columns, int64_t depth,
            cudaStream_t stream) {
  if (rows * columns == 0) return 0;
  if (!tiled) {
    return start(spectral_linear_naive_kernel<Left, Right, Out>, kind, ceil_div(rows * columns, kThreads), kThreads, 0,
                 stream, left, right, out, rows, columns, depth);
  }
  return start(spectral_linear_matrix_kernel<Left, Right, Out>, kind, ceil_div(rows, kSide) * ceil_div(columns, kSide),
               kThreads, 0, stream, left, right, out, rows, columns, depth);
}

template <typename T>
int analysis_by_basis(const Problem& p, bool tiled, cudaStream_t stream) {
  return product(tiled, Launch::kPlain, Rows<T>{static_cast<const T*>(p.x), p.in.features},
                 Transposed<Basis>{{p.in}}, Result<float>{p.z, nullptr, p.in.kept}, p.batch, p.in.kept, p.in.features,
                 stream);
}

template <typename T>
int product_of_any_size(const Problem& p, bool tiled, Launch kind, cudaStream_t stream) {
  return product(tiled, kind, Rows<float>{p.z, p.in.kept},
                 Transposed<Rows<T>>{{static_cast<const T*>(p.coefficients), p.in.kept}},
                 Result<float>{p.w, nullptr, p.out.kept}, p.batch, p.out.kept, p.in.kept, stream);
}

template <typename T>
int synthesis_by_basis(const Problem& p, bool tiled, Launch kind, cudaStream_t stream) {
  return product(tiled, kind, Rows<float>{p.w, p.out.kept}, Basis{p.out},
                 Result<T>{static_cast<T*>(p.y), static_cast<const T*>(p.bias), p.out.features}, p.batch,
                 p.out.features, p.out.kept, stream);
}

template <typename T>
int by_bases(const Problem& p, bool tiled, cudaStream_t stream) {
  if (const int status = analysis_by_basis<T>(p, tiled, stream)) return status;
  if (const int status = product_of_any_size<T>(p, tiled, Launch::kPlain, stream)) return status;
  return synthesis_by_basis<T>(p, tiled, Launch::kPlain, stream);
}

template <typename T>
int analysis(const Problem& p, bool narrow, cudaStream_t stream) {
  if (p.batch * p.in.kept == 0) return 0;
  if (!p.in.log) return analysis_by_basis<T>(p, true, stream);
  const auto kernel = p.in.log == kMostLog ? spectral_linear_analysis_kernel<T, kMostLog>
                                           : spectral_linear_analysis_kernel<T, 0>;
  return start(kernel, Launch::kPlain, ceil_div(p.batch, kPoints >> p.in.log), kThreads, kBufferBytes, stream,
               static_cast<const T*>(p.x), p.z, narrow, p.scales, p.batch, p.in, aligned_to(p.x, 4 * sizeof(T)));
}

template <typename T>
int synthesis(const Problem& p, int splits, Launch kind, cudaStream_t stream) {
  if (!p.out.log) return synthesis_by_basis<T>(p, true, kind, stream);
  const auto kernel = p.out.log == kMostLog ? spectral_linear_synthesis_kernel<T, kMostLog>
                                            : spectral_linear_synthesis_kernel<T, 0>;
  return start(kernel, kind, ceil_div(p.batch, kPoints >> p.out.log), kThreads, kBufferBytes, stream, p.w, splits,
               static_cast<const T*>(p.bias), static_cast<T*>(p.y), p.batch, p.out, aligned_to(p.bias, 4 * sizeof(T)));
}

template <typename T>
int product_of_few_rows(const Problem& p, Launch kind, cudaStream_t stream) {
  if (p.batch * p.out.kept == 0) return 0;
  const int rows = p.batch > 4 ? 8 : p.batch > 2 ? 4 : static_cast<int>(p.batch);
  const auto kernel = rows == 8   ? spectral_linear_rows_kernel<T, 8>
                      : rows == 4 ? spectral_linear_rows_kernel<T, 4>
                      : rows == 2 ? spectral_linear_rows_kernel<T, 2>
                                  : spectral_linear_rows_kernel<T, 1>;
  return start(kernel, kind, ceil_div(p.out.kept, kOutputs) * ceil_div(p.batch, rows), kThreads, 0, stream, p.z,
               static_cast<const T*>(p.coefficients), p.w, p.batch, p.in.kept, p.out.kept);
}

template <typename Tile>
constexpr int shared_bytes_of_tiles() {
  return kStages * (Tile::kTall + Tile::kWide) * kStageBytes;
}

// Blocks of about eight warps a multiprocessor, made by splitting the sum where there are too few tiles.
template <typename Tile>
int product_in_tiles(const Problem& p, Launch kind, int* splits, cudaStream_t stream) {
  if (p.batch * p.out.kept == 0) return 0;
  constexpr int kSharedBytes = shared_bytes_of_tiles<Tile>();
  const int64_t tiles = ceil_div(p.batch, Tile::kTall) * ceil_div(p.out.kept, Tile::kWide);
  const int64_t steps = ceil_div(p.in.kept * int64_t{sizeof(typename Tile::Value)}, kStageBytes);
  const int64_t wanted = multiprocessors() * int64_t{8 * kWarp / Tile::kBlock} / tiles;
  const int64_t most = p.out.log ? std::min(p.most_splits, steps / 4) : 1;
  *splits = static_cast<int>(std::max(int64_t{1}, std::min(wanted, most)));
  return start(spectral_linear_tiles_kernel<Tile>, kind, tiles * *splits, Tile::kBlock, kSharedBytes, stream, p.z,
               p.scales, p.coefficients, p.w, p.batch, p.in.kept, p.out.kept, *splits);
}

enum class Product { kRows, kTiles32, kTiles64, kTiles128, kChosen };

template <typename T>
int product_by(Product way, const Problem& p, Launch kind, int* splits, cudaStream_t stream) {
  constexpr bool kFp32 = std::is_same_v<T, float>;
  using Tile32 = std::conditional_t<kFp32, FmaTile<32, 64, 8, 8>, TensorTile<T, 32, 64, 16, 32>>;
  using Tile64 = std::conditional_t<kFp32, FmaTile<64, 64, 8, 8>, TensorTile<T, 64, 64, 32, 32>>;
  using Tile128 = std::conditional_t<kFp32, FmaTile<128, 64, 16, 8>, TensorTile<T, 128, 64, 64, 32>>;
  if (way == Product::kTiles32) return product_in_tiles<Tile32>(p, kind, splits, stream);
  if (way == Product::kTiles128 && fits_a_block(shared_bytes_of_tiles<Tile128>())) {
    return product_in_tiles<Tile128>(p, kind, splits, stream);
  }
  if (way == Product::kTiles64 || way == Product::kTiles128) return product_in_tiles<Tile64>(p, kind, splits, stream);
  return product_of_few_rows<T>(p, kind, stream);
}

Product chosen(int64_t batch) {
  return batch <= 16    ? Product::kRows
         : batch <= 32  ? Product::kTiles32
         : batch <= 256 ? Product::kTiles64
                        : Product::kTiles128;
}

// Whether rows of S come in whole aligned pieces of 16 bytes.
template <typename T>
bool whole_pieces(const Problem& p) {
  return p.in.kept * sizeof(T) % 16 == 0 && p.in.kept < 1 << 28 && aligned_to(p.coefficients, 16);
}

// Three launches. Tensor cores need compute capability 8.0, and the z of type T that only the FFT writes.
template <typename T>
int in_steps(const Problem& p, Product way, bool overlapping, cudaStream_t stream) {
  const int architecture = capability();
  const bool pieces = whole_pieces<T>(p), fp32 = std::is_same_v<T, float>;
  if (way == Product::kChosen) way = chosen(p.batch);
  if (!fp32 && (architecture < 80 || !p.in.log)) way = Product::kRows;
  const bool narrow = !fp32 && way != Product::kRows && pieces;
  const Launch kind = overlapping && architecture >= 90 ? Launch::kOverlapping : Launch::kPlain;
  int splits = 1;
  if (const int status = analysis<T>(p, narrow, stream)) return status;
  if (const int status = pieces ? product_by<T>(way, p, kind, &splits, stream)
                                : product_of_any_size<T>(p, true, kind, stream)) {
    return status;
  }
  return synthesis<T>(p, splits, kind, stream);
}

constexpr int64_t kMostFusedRows = 64;  // beyond, the product of few rows at a time is not worth a launch saved

template <typename T>
int fused(const Problem& p, bool repeat, cudaStream_t stream) {
  const bool longest = p.in.log == kMostLog && p.out.log == kMostLog;
  const bool fits = longest && whole_pieces<T>(p) && p.batch <= kMostFusedRows;
  if (!fits || p.batch * p.in.kept * p.out.kept == 0) return in_steps<T>(p, Product::kChosen, true, stream);
  const bool one = p.batch == 1;
  const auto kernel = one ? spectral_linear_fused_kernel<T, 1> : spectral_linear_fused_kernel<T, 8>;
  const int partial_bytes = kThreads / kWarp * (one ? 1 : 8) * kOutputs * int{sizeof(float)};
  const int least_bytes = kBufferBytes + partial_bytes, z_bytes = static_cast<int>(p.in.kept * sizeof(float));
  const bool repeats = repeat && one && fits_a_block(least_bytes + z_bytes);
  const int shared_bytes = least_bytes + (repeats ? z_bytes : 0);
  if (shared_bytes > 48 * 1024) {
    const cudaError_t status = cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                                    cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes);
    if (status != cudaSuccess) return static_cast<int>(status);
  }
  int resident = 0;  // blocks a multiprocessor: all of the grid has to run at once
  const cudaError_t status = cudaOccupancyMaxActiveBlocksPerMultiprocessor(
      &resident, reinterpret_cast<const void*>(kernel), kThreads, static_cast<size_t>(shared_bytes));
  if (status != cudaSuccess) return static_cast<int>(status);
  if (!resident) return in_steps<T>(p, Product::kChosen, true, stream);
  const int aligned = (aligned_to(p.x, 4 * sizeof(T)) ? 1 : 0) | (aligned_to(p.bias, 4 * sizeof(T)) ? 2 : 0);
  return start(kernel, Launch::kCooperative, multiprocessors() * std::min(resident, 2), kThreads, shared_bytes, stream,
               p, aligned, repeats);
}

int fft_log(int64_t features) {
  for (int log = kLeastLog; log <= kMostLog; ++log)
    if (features == int64_t{2} << log) return log;
  return 0;
}

int64_t multiple_of_4(int64_t count) { return ceil_div(count, 4) * 4; }

enum class Way { kNaive, kMatrix, kRows, kTiles32, kTiles64, kTiles128, kFast, kOverlapped, kFused, kRepeated, kAuto };

template <typename T>
int run(Way way, const Problem& p, cudaStream_t stream) {
  switch (way) {
    case Way::kNaive: return by_bases<T>(p, false, stream);
    case Way::kMatrix: return by_bases<T>(p, true, stream);
    case Way::kRows: return in_steps<T>(p, Product::kRows, true, stream);
    case Way::kTiles32: return in_steps<T>(p, Product::kTiles32, true, stream);
    case Way::kTiles64: return in_steps<T>(p, Product::kTiles64, true, stream);
    case Way::kTiles128: return in_steps<T>(p, Product::kTiles128, true, stream);
    case Way::kFast: return in_steps<T>(p, Product::kChosen, false, stream);
    case Way::kFused: return fused<T>(p, false, stream);
    case Way::kRepeated: return fused<T>(p, true, stream);
    default: return in_steps<T>(p, Product::kChosen, true, stream);
  }
}

int dispatch(Way way, const void* x, const void* coefficients, const void* bias, void* y, const float* cosines_in,
             const float* cosines_out, float* workspace, int64_t batch, int64_t in_features, int64_t kept_in,
             int64_t out_features, int64_t kept_out, int64_t in_sine, int64_t out_sine, int64_t type,
             int64_t most_splits, cudaStream_t stream) {
  if (batch * out_features == 0) return 0;
  float* const scales = workspace + multiple_of_4(batch * kept_in);
  const auto axis = [](int64_t features, int64_t kept, const float* cosines, int64_t sine) {
    const float norm = features ? static_cast<float>(std::sqrt(2.0 / static_cast<double>(features))) : 0.0f;
    return Axis{features, kept, cosines, static_cast<int>(sine), fft_log(features), norm};
  };
  const Problem p = {x,
                     coefficients,
                     bias,
                     y,
                     workspace,
                     scales,
                     scales + multiple_of_4(batch),
                     batch,
                     most_splits,
                     axis(in_features, kept_in, cosines_in, in_sine),
                     axis(out_features, kept_out, cosines_out, out_sine)};
  return type == 0 ? run<float>(way, p, stream)
                   : type == 1 ? run<__nv_bfloat16>(way, p, stream) : run<__half>(way, p, stream);
}

}  // namespace

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
