// y = A x in fp32: A [rows, columns] row-major, x [columns], y [rows].
//
// Bytes: 4 rows columns of A dominate; 2 operations for each 4 bytes, so device memory is the limit and the kernel's
// only task is to keep enough loads in flight. At 16384^2 that is 1.07 GB, 224 us at 4.8 TB/s, beside 5.4e8 operations,
// 8 us of FMA on 132 SMs; 3.4 MB have to be under way at 700 ns. x is read again by every row and has to come from
// cache.
#include "../launch.cuh"

namespace {

constexpr int kWarp = 32;
constexpr int kThreads = 256;

// A thread a row: neighbouring threads read addresses a row apart, so each 32-byte sector is fetched for 4 bytes of use
// and the caches have to save the rest.
__global__ void gemv_f32_naive_kernel(const float* __restrict__ a, const float* __restrict__ x, float* __restrict__ y,
                                      int64_t rows, int64_t columns) {
  const int64_t row = blockIdx.x * int64_t{blockDim.x} + threadIdx.x;
  if (row >= rows) return;
  float sum = 0.0f;
  for (int64_t column = 0; column < columns; ++column) sum += a[row * columns + column] * x[column];
  y[row] = sum;
}

// A warp a row: the 32 lanes read neighbouring words, one load in flight each.
__global__ void gemv_f32_warp_kernel(const float* __restrict__ a, const float* __restrict__ x, float* __restrict__ y,
                                     int64_t rows, int64_t columns) {
  const int64_t row = blockIdx.x * int64_t{kThreads / kWarp} + threadIdx.x / kWarp;
  if (row >= rows) return;
  float sum = 0.0f;
  for (int64_t column = threadIdx.x % kWarp; column < columns; column += kWarp) {
    sum += a[row * columns + column] * x[column];
  }
  sum = warp_sum(sum);
  if (threadIdx.x % kWarp == 0) y[row] = sum;
}

// A warp for kRows rows, 16 bytes a load, kRows x kUnroll loads in flight: x is read once for all its rows, and A goes
// past the L1 cache, where it would push x out. Columns must be a multiple of 4 (the entry point sees to it).
template <int kRows, int kUnroll>
__global__ void __launch_bounds__(kThreads)
    gemv_f32_vectorised_kernel(const float4* __restrict__ a, const float4* __restrict__ x, float* __restrict__ y,
                               int64_t rows, int64_t quads) {
  const int lane = threadIdx.x % kWarp;
  const int64_t first = (blockIdx.x * int64_t{kThreads / kWarp} + threadIdx.x / kWarp) * kRows;
  if (first >= rows) return;
  const float4* row[kRows];
#pragma unroll
  for (int r = 0; r < kRows; ++r) row[r] = a + min(first + r, rows - 1) * quads;  // a last short group repeats its row
  float sum[kRows] = {};
  const auto add = [&](int r, float4 left, float4 right) {
    sum[r] += left.x * right.x + left.y * right.y + left.z * right.z + left.w * right.w;
  };
  int64_t quad = lane;
  for (; quad + (kUnroll - 1) * kWarp < quads; quad += kUnroll * kWarp) {
    float4 left[kUnroll][kRows];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u)
#pragma unroll
      for (int r = 0; r < kRows; ++r) left[u][r] = __ldcs(row[r] + quad + u * kWarp);
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const float4 right = __ldg(x + quad + u * kWarp);
#pragma unroll
      for (int r = 0; r < kRows; ++r) add(r, left[u][r], right);
    }
  }
  for (; quad < quads; quad += kWarp) {
    const float4 right = __ldg(x + quad);
#pragma unroll
    for (int r = 0; r < kRows; ++r) add(r, __ldcs(row[r] + quad), right);
  }
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const float total = warp_sum(sum[r]);
    if (lane == 0 && first + r < rows) y[first + r] = total;
  }
}

bool loads_16_bytes(const float* a, const float* x, int64_t columns) {
  return columns % 4 == 0 && aligned_to(a, 16) && aligned_to(x, 16);
}

}  // namespace

KERNEL_API int gemv_f32_naive(const float* a, const float* x, float* y, int64_t rows, int64_t columns,
                              cudaStream_t stream) {
  return start(gemv_f32_naive_kernel, Launch::kPlain, ceil_div(rows, kThreads), kThreads, 0, stream, a, x, y, rows,
               columns);
}

KERNEL_API int gemv_f32_warp(const float* a, const float* x, float* y, int64_t rows, int64_t columns,
                             cudaStream_t stream) {
  return start(gemv_f32_warp_kernel, Launch::kPlain, ceil_div(rows, kThreads / kWarp), kThreads, 0, stream, a, x, y,
               rows, columns);
}

template <int kRows, int kUnroll>
static int vectorised(const float* a, const float* x, float* y, int64_t rows, int64_t columns, cudaStream_t stream) {
  if (!loads_16_bytes(a, x, columns)) return gemv_f32_warp(a, x, y, rows, columns, stream);
  return start(gemv_f32_vectorised_kernel<kRows, kUnroll>, Launch::kPlain, ceil_div(rows, kRows * kThreads / kWarp),
               kThreads, 0, stream, reinterpret_cast<const float4*>(a), reinterpret_cast<const float4*>(x), y, rows,
               columns / 4);
}

KERNEL_API int gemv_f32_vectorised(const float* a, const float* x, float* y, int64_t rows, int64_t columns,
                                   cudaStream_t stream) {
  return vectorised<1, 8>(a, x, y, rows, columns, stream);
}

KERNEL_API int gemv_f32_two_rows(const float* a, const float* x, float* y, int64_t rows, int64_t columns,
                                 cudaStream_t stream) {
  return vectorised<2, 4>(a, x, y, rows, columns, stream);
}

KERNEL_API int gemv_f32_four_rows(const float* a, const float* x, float* y, int64_t rows, int64_t columns,
                                  cudaStream_t stream) {
  return vectorised<4, 2>(a, x, y, rows, columns, stream);
}
