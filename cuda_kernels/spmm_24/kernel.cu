// y = x W^T + bias in bf16 or fp16: x [batch, in], W [out, in] of which two in every four neighbours are kept, y
// [batch, out]. values [out, in / 2]; places as compression.py lays them out; sums in fp32.
//
// Operations: half of the dense 2 batch out in, and sparse tensor cores do them in half of the dense time: at 4096 x
// 4096 and a batch of 4096, 6.9e10 at Hopper's 989e12: 69 us. mma.sp, by warps, reaches some 60 % of that, as dense
// mma.sync does; so against a dense product by wgmma, which cuBLAS uses there, the ratio to hope for at large batches
// is about 1, and 2 on older GPUs. Bytes: W has 1.125 of 2 bytes an element: 1 its share of a value, 0.125 its share of
// the places. At 4096 x 4096 19 MB instead of 34, 4 us at 4.8 TB/s instead of 7: at small batches, where W is the
// limit, 1.78.
//
// A block a tile of 128 outputs and 64 or 128 rows of x, 128 of `in` at a time: 16 KB of values, 2 KB of places and 16
// or 32 KB of x a stage, three of them, or two where a block has less than 102 KB (compute capability 8.6, 8.9). Of a
// step 32 deep, a warp of 32 x 32 loads 6 pieces by ldmatrix for 8 products, one of 64 x 32 8 for 16.
#include "../launch.cuh"

#include <type_traits>

#include "../copies.cuh"
#include "halves.cuh"

namespace {

constexpr int kWarp = 32;
constexpr int kThreads = 256;
constexpr int kDeep = 128;         // of `in` a stage
constexpr int kWordsOfBlock = 64;  // places of 16 outputs and kDeep of `in`

struct Layer {
  const void *x, *values, *bias;
  const uint32_t* places;
  void* y;
  int64_t batch, in, out;
};

template <typename T>
__device__ __forceinline__ T rounded(float value) {
  T result;
  from_float(value, &result);
  return result;
}

// A thread an element of y: of every four columns it reads the two that are kept.
template <typename T>
__global__ void __launch_bounds__(kThreads) spmm_24_naive_kernel(Layer layer) {
  const int64_t element = blockIdx.x * int64_t{kThreads} + threadIdx.x;
  if (element >= layer.batch * layer.out) return;
  const int64_t row = element / layer.out, output = element % layer.out;
  const T* const x = static_cast<const T*>(layer.x) + row * layer.in;
  const T* const values = static_cast<const T*>(layer.values) + output * (layer.in / 2);
  const uint32_t* const places = layer.places + output / 16 * ceil_div(layer.in, kDeep) * kWordsOfBlock;
  float sum = 0.0f;
  for (int64_t four = 0; four < layer.in / 4; ++four) {
    const uint32_t word = places[four / 32 * kWordsOfBlock + four / 16 % 2 * 32 + output % 8 * 4 + four / 4 % 4];
    const uint32_t bits = word >> (output / 8 % 2 * 16 + four % 4 * 4);
    sum += to_float(values[four * 2]) * to_float(x[four * 4 + (bits & 3)]);
    sum += to_float(values[four * 2 + 1]) * to_float(x[four * 4 + (bits >> 2 & 3)]);
  }
  if (layer.bias) sum += to_float(static_cast<const T*>(layer.bias)[output]);
  static_cast<T*>(layer.y)[element] = rounded<T>(sum);
}

// ---- Tiles. in: a multiple of 16. ----

// Rows of 128 bytes whose eight pieces of 16 bytes are exchanged by the row's number, so that eight rows' pieces of one
// number lie in different banks.
constexpr int kRowBytes = 128;

__device__ __forceinline__ int piece_offset(int row, int piece) {
  return row * kRowBytes + ((piece ^ (row & 7)) << 4);
}

// kTall rows of a matrix from `first` on, bytes [begin, begin + 128) of each; zeros beyond the matrix.
template <int kTall>
__device__ __forceinline__ void load_panel(char* panel, const void* matrix, int64_t first, int64_t rows, int64_t begin,
                                           int64_t row_bytes) {
  const int piece = threadIdx.x % 8, down = threadIdx.x / 8;
  const char* from = static_cast<const char*>(matrix) + (first + down) * row_bytes + begin + piece * 16;
#pragma unroll
  for (int i = 0; i < kTall; i += kThreads / 8, from += kThreads / 8 * row_bytes) {
    copy_16_bytes(panel + piece_offset(i + down, piece), from,
                  first + i + down < rows && begin + piece * 16 < row_bytes);
  }
}

// 128 outputs by kWide rows of x, kWarpsDown warps along the outputs.
template <int kWide_, int kWarpsDown_, int kStages_>
struct Tile {
  static constexpr int kTall = 128, kWide = kWide_, kWarpsDown = kWarpsDown_, kStages = kStages_;
  static constexpr int kWarpTall = kTall / kWarpsDown, kWarpWide = kWide / (kThreads / kWarp / kWarpsDown);
  static constexpr int kRows = kWarpTall / 16, kColumns = kWarpWide / 8;
  static constexpr int kValueBytes = kTall * kRowBytes, kPlaceBytes = kTall / 16 * kWordsOfBlock * 4;
  static constexpr int kPanelBytes = kWide * kRowBytes;  // 64 of `in`; two a stage
  static constexpr int kStageBytes = kValueBytes + 2 * kPanelBytes + kPlaceBytes;
  static constexpr int kSharedBytes = kStages * kStageBytes;
  static constexpr int kPitch = kTall + 8;  // of y in shared memory, in values
  static_assert(kWide * kPitch * 2 <= kSharedBytes);
};

template <typename TileOf>
__device__ __forceinline__ void load_stage(char* stage, const Layer& layer, int64_t top, int64_t start, int64_t step) {
  load_panel<TileOf::kTall>(stage, layer.values, top, layer.out, step * kRowBytes, layer.in);
  char* const panels = stage + TileOf::kValueBytes;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    load_panel<TileOf::kWide>(panels + half * TileOf::kPanelBytes, layer.x, start, layer.batch,
                              (step * 2 + half) * kRowBytes, layer.in * 2);
  }
  if (threadIdx.x < TileOf::kPlaceBytes / 16) {  // beyond the outputs those of the last ones, which make sense
    const int64_t last = ceil_div(layer.out, 16) - 1, block = min(top / 16 + threadIdx.x / 16, last);
    const int64_t word = (block * ceil_div(layer.in, kDeep) + step) * kWordsOfBlock + threadIdx.x % 16 * 4;
    copy_16_bytes(panels + 2 * TileOf::kPanelBytes + threadIdx.x * 16, layer.places + word, true);
  }
}

// One stage: four steps 32 deep, each with its pair of lanes that tell the places.
template <typename T, typename TileOf>
__device__ __forceinline__ void add_stage(float (&sum)[TileOf::kRows][TileOf::kColumns][4], const char* stage, int down,
                                          int across) {
  const int lane = threadIdx.x % kWarp;
  const char* const panels = stage + TileOf::kValueBytes;
  const auto* const words = reinterpret_cast<const uint32_t*>(panels + 2 * TileOf::kPanelBytes);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    uint32_t places[TileOf::kRows];
#pragma unroll
    for (int i = 0; i < TileOf::kRows; ++i) places[i] = words[(down / 16 + i) * kWordsOfBlock + half * 32 + lane];
#pragma unroll
    for (int pair = 0; pair < 2; ++pair) {
      uint32_t a[TileOf::kRows][4], b[TileOf::kColumns][4];
#pragma unroll
      for (int i = 0; i < TileOf::kRows; ++i) {  // lanes 0-15: the rows' first 8 kept values; 16-31: the other 8
        load_matrices(a[i], stage + piece_offset(down + i * 16 + lane % 16, half * 4 + pair * 2 + lane / 16));
      }
#pragma unroll
      for (int j = 0; j < TileOf::kColumns; ++j) {  // four pieces deep
        load_matrices(b[j], panels + half * TileOf::kPanelBytes +
                                piece_offset(across + j * 8 + lane % 8, pair * 4 + lane / 8));
      }
#pragma unroll
      for (int i = 0; i < TileOf::kRows; ++i)
#pragma unroll
        for (int j = 0; j < TileOf::kColumns; ++j) {
          if (pair == 0) {
            multiply_kept<0>(sum[i][j], a[i], b[j], places[i], T{});
          } else {
            multiply_kept<1>(sum[i][j], a[i], b[j], places[i], T{});
          }
        }
    }
  }
}

// Sums plus bias to shared memory, where they lie by rows of y, and from there to y, 16 bytes a store where it allows.
template <typename T, typename TileOf>
__device__ __forceinline__ void store_tile(const float (&sum)[TileOf::kRows][TileOf::kColumns][4], T* shared,
                                           const Layer& layer, int64_t top, int64_t start, int down, int across,
                                           bool aligned) {
  const int lane = threadIdx.x % kWarp;
  const T* const bias = static_cast<const T*>(layer.bias);
#pragma unroll
  for (int i = 0; i < TileOf::kRows; ++i)
#pragma unroll
    for (int part = 0; part < 2; ++part) {
      const int output = down + i * 16 + part * 8 + lane / 4;
      const float added = bias && top + output < layer.out ? to_float(bias[top + output]) : 0.0f;
#pragma unroll
      for (int j = 0; j < TileOf::kColumns; ++j) {
        T* const to = shared + (across + j * 8 + lane % 4 * 2) * TileOf::kPitch + output;
        to[0] = rounded<T>(sum[i][j][part * 2] + added);
        to[TileOf::kPitch] = rounded<T>(sum[i][j][part * 2 + 1] + added);
      }
    }
  __syncthreads();
  T* const y = static_cast<T*>(layer.y);
  if (aligned) {
    constexpr int kPieces = TileOf::kTall / 8;
    for (int item = threadIdx.x; item < TileOf::kWide * kPieces; item += kThreads) {
      const int64_t row = start + item / kPieces, output = top + item % kPieces * 8;
      if (row < layer.batch && output < layer.out) {
        *reinterpret_cast<uint4*>(y + row * layer.out + output) =
            *reinterpret_cast<const uint4*>(shared + item / kPieces * TileOf::kPitch + item % kPieces * 8);
      }
    }
  } else {
    for (int item = threadIdx.x; item < TileOf::kWide * TileOf::kTall; item += kThreads) {
      const int64_t row = start + item / TileOf::kTall, output = top + item % TileOf::kTall;
      if (row < layer.batch && output < layer.out) {
        y[row * layer.out + output] = shared[item / TileOf::kTall * TileOf::kPitch + item % TileOf::kTall];
      }
    }
  }
}

// A block a tile, copies kStages - 1 stages ahead. Neighbouring blocks share their outputs, the larger operand.
template <typename T, typename TileOf>
__global__ void __launch_bounds__(kThreads, TileOf::kWide == 64 ? 2 : 1)
    spmm_24_tiles_kernel(Layer layer, int aligned) {
  char* const shared = dynamic_shared<char>();
  const int64_t tiles_across = ceil_div(layer.batch, TileOf::kWide);
  const int64_t top = blockIdx.x / tiles_across * TileOf::kTall, start = blockIdx.x % tiles_across * TileOf::kWide;
  const int warp = threadIdx.x / kWarp;
  const int down = warp % TileOf::kWarpsDown * TileOf::kWarpTall;
  const int across = warp / TileOf::kWarpsDown * TileOf::kWarpWide;
  const int steps = static_cast<int>(ceil_div(layer.in, kDeep));
  const auto load = [&](int step) {
    if (step < steps) {
      load_stage<TileOf>(shared + step % TileOf::kStages * TileOf::kStageBytes, layer, top, start, step);
    }
    close_copies();  // also an empty group: the count of groups is the count of steps
  };
#pragma unroll
  for (int step = 0; step < TileOf::kStages - 1; ++step) load(step);
  float sum[TileOf::kRows][TileOf::kColumns][4] = {};
  for (int step = 0; step < steps; ++step) {
    await_copies<TileOf::kStages - 2>();
    __syncthreads();  // the step's values are there, and the stage of the step before is free
    load(step + TileOf::kStages - 1);
    add_stage<T, TileOf>(sum, shared + step % TileOf::kStages * TileOf::kStageBytes, down, across);
  }
  __syncthreads();
  store_tile<T, TileOf>(sum, reinterpret_cast<T*>(shared), layer, top, start, down, across, aligned);
}

template <typename T, typename TileOf>
int tiles(const Layer& layer, cudaStream_t stream) {
  return start(spmm_24_tiles_kernel<T, TileOf>, Launch::kPlain,
               ceil_div(layer.out, TileOf::kTall) * ceil_div(layer.batch, TileOf::kWide), kThreads,
               TileOf::kSharedBytes, stream, layer, layer.out % 8 == 0 && aligned_to(layer.y, 16));
}

enum class Way { kNaive, kTiles64, kTiles128, kAuto };

template <typename T>
int run(Way way, const Layer& layer, cudaStream_t stream) {
  using Short = Tile<64, 4, 2>;
  using Narrow = Tile<64, 4, 3>;
  using Wide = Tile<128, 2, 3>;
  const bool whole = layer.in % 16 == 0 && aligned_to(layer.x, 16) && aligned_to(layer.values, 16) &&
                     aligned_to(layer.places, 16);
  const bool able = whole && capability() >= 80 && fits_a_block(Short::kSharedBytes);
  if (way == Way::kNaive || !able) {
    return start(spmm_24_naive_kernel<T>, Launch::kPlain, ceil_div(layer.batch * layer.out, kThreads), kThreads, 0,
                 stream, layer);
  }
  // Wide tiles where they still fill the multiprocessors.
  const int64_t wide = ceil_div(layer.out, Wide::kTall) * ceil_div(layer.batch, Wide::kWide);
  if (way == Way::kAuto) way = layer.batch > 64 && wide >= multiprocessors() ? Way::kTiles128 : Way::kTiles64;
  if (way == Way::kTiles128 && fits_a_block(Wide::kSharedBytes)) return tiles<T, Wide>(layer, stream);
  return fits_a_block(Narrow::kSharedBytes) ? tiles<T, Narrow>(layer, stream) : tiles<T, Short>(layer, stream);
}

}  // namespace

// bias: [out] or null; type: 0 bf16, 1 fp16.
#define SPMM_24(name, way)                                                                                             \
  KERNEL_API int spmm_24_##name(const void* x, const void* values, const uint32_t* places, const void* bias, void* y,  \
                                int64_t batch, int64_t in, int64_t out, int64_t type, cudaStream_t stream) {           \
    const Layer layer = {x, values, bias, places, y, batch, in, out};                                                  \
    return type == 0 ? run<BFloat>(way, layer, stream) : run<Half>(way, layer, stream);                                \
  }

SPMM_24(naive, Way::kNaive)
SPMM_24(tiles_64, Way::kTiles64)
SPMM_24(tiles_128, Way::kTiles128)
SPMM_24(auto, Way::kAuto)
