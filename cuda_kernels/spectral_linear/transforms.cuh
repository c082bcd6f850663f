// Transforms of whole rows by FFT. kLog: log of the number of points, known to the compiler; 0: axis.log says.
#pragma once

#include "instructions.cuh"
#include "layer.cuh"

namespace {

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

}  // namespace
