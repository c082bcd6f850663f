// What is launched for a layer by which way. Included where the kernels are defined, behind them.
#pragma once

#include <algorithm>
#include <cmath>

#include "bases.cuh"
#include "layer.cuh"
#include "tiles.cuh"

namespace {

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
