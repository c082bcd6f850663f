// C = A B in fp32: A [rows, width] by compressed rows, columns ascending within each (row_starts [rows + 1], columns
// and values [entries]); B [width, n] and C [rows, n] dense, row-major.
//
// Operations: 2 n an entry. At 4096 x 4096 x 256 with 90 % zeros 1.7e6 entries, 8.6e8 operations: 13 us of FMA on 132
// SMs (dense: 8.6e9, 128 us at least). Bytes: 8 an entry and 4 (width n + rows n), 22 MB, 5 us at 4.8 TB/s. The limit
// is neither: every entry needs its row of B, 4 n bytes. That is 1.7 GB here: 0.3 ms from L2 at some 5.5 TB/s, 58 us
// from shared memory, which gives 128 bytes a clock on each SM. Two rows of A share a row of B in registers only where
// both have that column, 1 % of places, so shared memory is the limit of this approach; half of it at 95 % zeros.
//
// Tiles: blocks of 128 rows read each slice of B, 64 columns wide, through shared memory: rows / 128 times B, 134 MB
// from L2, 24 us, while earlier tiles are multiplied; A is read n / 64 times, 54 MB. An entry of a warp's row costs 2
// clocks of shared memory for B and half a one for the entry itself (two in a broadcast of 16 bytes): 73 us in all.
#include "../launch.cuh"

#include "../copies.cuh"

namespace {

constexpr int kWarp = 32;
constexpr int kThreads = 256;

struct Matrix {
  const int* row_starts;
  const int* columns;
  const float* values;
};

// A thread an element of C: neighbouring threads read the same entries and neighbouring elements of B.
__global__ void __launch_bounds__(kThreads)
    spmm_csr_element_kernel(Matrix a, const float* __restrict__ b, float* __restrict__ c, int rows, int64_t n) {
  const int64_t element = blockIdx.x * int64_t{kThreads} + threadIdx.x;
  if (element >= rows * n) return;
  const int64_t row = element / n, column = element % n;
  const int end = a.row_starts[row + 1];
  float sum = 0.0f;
  for (int entry = a.row_starts[row]; entry < end; ++entry) {
    sum += a.values[entry] * __ldg(b + a.columns[entry] * n + column);
  }
  c[element] = sum;
}

// A warp 128 columns of a row of C: entries are read once for all of them, 32 at a time, and handed round.
constexpr int kSpan = 128;

template <bool kAligned>
__global__ void __launch_bounds__(kThreads)
    spmm_csr_row_split_kernel(Matrix a, const float* __restrict__ b, float* __restrict__ c, int rows, int64_t n) {
  const int lane = threadIdx.x % kWarp;
  const int64_t task = blockIdx.x * int64_t{kThreads / kWarp} + threadIdx.x / kWarp, spans = ceil_div(n, kSpan);
  const int64_t row = task / spans, first = task % spans * kSpan + lane * (kAligned ? 4 : 1);
  if (row >= rows) return;
  const int end = a.row_starts[row + 1];
  float sum[4] = {};
  for (int64_t entry = a.row_starts[row]; entry < end; entry += kWarp) {
    const bool mine = entry + lane < end;
    const int column = mine ? a.columns[entry + lane] : 0;
    const float value = mine ? a.values[entry + lane] : 0.0f;
    const int count = static_cast<int>(min(int64_t{kWarp}, end - entry));
#pragma unroll 4
    for (int i = 0; i < count; ++i) {
      const float left = __shfl_sync(0xffffffffu, value, i);
      const float* const from = b + __shfl_sync(0xffffffffu, column, i) * n + first;
      if constexpr (kAligned) {
        const float4 right = first < n ? __ldg(reinterpret_cast<const float4*>(from)) : float4{};
        sum[0] += left * right.x;
        sum[1] += left * right.y;
        sum[2] += left * right.z;
        sum[3] += left * right.w;
      } else {
#pragma unroll
        for (int part = 0; part < 4; ++part) {
          if (first + part * kWarp < n) sum[part] += left * __ldg(from + part * kWarp);
        }
      }
    }
  }
  float* const to = c + row * n + first;
  if constexpr (kAligned) {
    if (first < n) *reinterpret_cast<float4*>(to) = {sum[0], sum[1], sum[2], sum[3]};
  } else {
#pragma unroll
    for (int part = 0; part < 4; ++part)
      if (first + part * kWarp < n) to[part * kWarp] = sum[part];
  }
}

// ---- Tiles of B in shared memory. ----

// A block kRows rows of C and kSlice columns; a warp kRowsOfWarp of the rows, a lane two columns of each.
constexpr int kSlice = 64, kBlock = 512, kWarps = kBlock / kWarp, kRowsOfWarp = 8, kRows = kWarps * kRowsOfWarp;

struct Staged {  // an entry on its way to all lanes
  int offset;    // of its row of B in the tile, in floats
  float value;
};

// kDepth rows of B at a time, the next on their way meanwhile, and a row of zeros for what fills up groups of entries.
template <int kDepth>
struct Tile {
  static constexpr int kStageFloats = (kDepth + 1) * kSlice;
  static constexpr int kSharedBytes =
      2 * kStageFloats * int{sizeof(float)} + kWarps * 2 * kWarp * int{sizeof(Staged)};
};

template <int kDepth>
__device__ __forceinline__ void load_tile(float* stage, const float* b, int first, int start, int width, int n,
                                          bool aligned) {
  if (aligned) {
    constexpr int kPieces = kSlice / 4, kRowsAtOnce = kBlock / kPieces;
    const int down = threadIdx.x / kPieces, across = threadIdx.x % kPieces * 4;
    const int left = start + across < n ? min(width - first, kDepth) : 0;
    const float* from = b + (first + down) * int64_t{n} + start + across;
    float* to = stage + down * kSlice + across;
#pragma unroll 2
    for (int i = 0; i < kDepth; i += kRowsAtOnce, from += kRowsAtOnce * int64_t{n}, to += kRowsAtOnce * kSlice) {
      copy_16_bytes(to, from, i + down < left);
    }
  } else {
#pragma unroll 1
    for (int item = threadIdx.x; item < kDepth * kSlice; item += kBlock) {
      const int down = item / kSlice, across = item % kSlice;
      copy_4_bytes(stage + item, b + (first + down) * int64_t{n} + start + across,
                   first + down < width && start + across < n);
    }
  }
}

// Every warp goes through its rows' entries tile after tile: as many as lie in the tile, 32 at a time, are laid out for
// all lanes to read, and before they are multiplied the next 32, of this row or the next, are on their way.
template <int kDepth>
__global__ void __launch_bounds__(kBlock, 256 / kDepth)
    spmm_csr_tiles_kernel(Matrix a, const float* __restrict__ b, float* __restrict__ c, int rows, int width, int n,
                          int aligned) {
  constexpr int kStageFloats = Tile<kDepth>::kStageFloats;
  float* const shared = dynamic_shared<float>();
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  Staged* staged = reinterpret_cast<Staged*>(shared + 2 * kStageFloats) + warp * 2 * kWarp;
  int flipped = 0;
  const int slices = static_cast<int>(ceil_div(n, kSlice));
  const int top = static_cast<int>(blockIdx.x) / slices * kRows, start = static_cast<int>(blockIdx.x) % slices * kSlice;
  float sum[kRowsOfWarp][2] = {};
  const int mine = top + lane % kRowsOfWarp * kWarps + warp;  // lane r keeps how far the warp's row r is
  int cursor = mine < rows ? a.row_starts[mine] : 0;
  const int end = mine < rows ? a.row_starts[mine + 1] : 0;
  if (threadIdx.x < 2 * kSlice) {
    shared[threadIdx.x / kSlice * kStageFloats + kDepth * kSlice + threadIdx.x % kSlice] = 0.0f;
  }
  int column;
  float value;
  const auto fetch = [&](int r) {
    const int at = __shfl_sync(0xffffffffu, cursor, r), limit = __shfl_sync(0xffffffffu, end, r);
    const bool there = limit - at > lane;
    column = there ? a.columns[int64_t{at} + lane] : INT32_MAX;
    value = there ? a.values[int64_t{at} + lane] : 0.0f;
  };
  const int tiles = static_cast<int>(ceil_div(width, kDepth));
  if (tiles > 0) load_tile<kDepth>(shared, b, 0, start, width, n, aligned);
  close_copies();
  fetch(0);
  for (int tile = 0; tile < tiles; ++tile) {
    await_copies<0>();
    __syncthreads();  // the tile is there, and the one before has been read
    if (tile + 1 < tiles) {
      load_tile<kDepth>(shared + (tile + 1) % 2 * kStageFloats, b, (tile + 1) * kDepth, start, width, n, aligned);
    }
    close_copies();
    const float* const stage = shared + tile % 2 * kStageFloats + lane * 2;
    const int first = tile * kDepth;
#pragma unroll
    for (int r = 0; r < kRowsOfWarp; ++r) {
      bool more = true;
      while (more) {
        const bool inside = column - first < kDepth;
        const int count = __popc(__ballot_sync(0xffffffffu, inside));
        Staged* const now = staged + flipped * kWarp;
        now[lane] = {inside ? (column - first) * kSlice : kDepth * kSlice, inside ? value : 0.0f};
        flipped ^= 1;
        more = count == kWarp;
        if (lane == r) cursor += count;
        fetch(more ? r : (r + 1) % kRowsOfWarp);
        __syncwarp();  // the entries lie there; of two places the other one has been read by all lanes
#pragma unroll 1
        for (int i = 0; i < count; i += 4) {
          const int4 two = *reinterpret_cast<const int4*>(now + i);
          const int4 others = *reinterpret_cast<const int4*>(now + i + 2);
          const auto add = [&](int offset, int bits) {
            const float2 right = *reinterpret_cast<const float2*>(stage + offset);
            sum[r][0] += __int_as_float(bits) * right.x;
            sum[r][1] += __int_as_float(bits) * right.y;
          };
          add(two.x, two.y);
          add(two.z, two.w);
          add(others.x, others.y);
          add(others.z, others.w);
        }
      }
    }
  }
#pragma unroll
  for (int r = 0; r < kRowsOfWarp; ++r) {
    const int row = top + r * kWarps + warp, at = start + lane * 2;
    if (row >= rows) continue;
    float* const to = c + int64_t{row} * n + at;
    if (aligned && at < n) {
      *reinterpret_cast<float2*>(to) = {sum[r][0], sum[r][1]};
    } else {
      if (at < n) to[0] = sum[r][0];
      if (at + 1 < n) to[1] = sum[r][1];
    }
  }
}

bool rows_of_16_bytes(const float* b, const float* c, int64_t n) {
  return n % 4 == 0 && aligned_to(b, 16) && aligned_to(c, 16);
}

int element(const Matrix& a, const float* b, float* c, int rows, int64_t n, cudaStream_t stream) {
  return start(spmm_csr_element_kernel, Launch::kPlain, ceil_div(rows * n, kThreads), kThreads, 0, stream, a, b, c,
               rows, n);
}

int row_split(const Matrix& a, const float* b, float* c, int rows, int64_t n, cudaStream_t stream) {
  const auto kernel = rows_of_16_bytes(b, c, n) ? spmm_csr_row_split_kernel<true> : spmm_csr_row_split_kernel<false>;
  return start(kernel, Launch::kPlain, ceil_div(rows * ceil_div(n, kSpan), kThreads / kWarp), kThreads, 0, stream, a, b,
               c, rows, n);
}

template <int kDepth>
int tiles(const Matrix& a, const float* b, float* c, int rows, int64_t width, int64_t n, cudaStream_t stream) {
  constexpr int kSharedBytes = Tile<kDepth>::kSharedBytes;
  if (!fits_a_block(kSharedBytes)) {
    if constexpr (kDepth > 128) return tiles<128>(a, b, c, rows, width, n, stream);
    return row_split(a, b, c, rows, n, stream);
  }
  return start(spmm_csr_tiles_kernel<kDepth>, Launch::kPlain, ceil_div(rows, kRows) * ceil_div(n, kSlice), kBlock,
               kSharedBytes, stream, a, b, c, rows, width, n, rows_of_16_bytes(b, c, n));
}

enum class Way { kElement, kRowSplit, kTiles128, kTiles256, kAuto };

// Tiles pay where a row has several entries in each.
Way chosen(int rows, int64_t width, int64_t n, int64_t entries) {
  const int64_t places = rows * width;
  if (n < kWarp) return Way::kElement;
  return entries * 128 >= 2 * places && rows >= kRows ? Way::kTiles128 : Way::kRowSplit;
}

int run(Way way, const Matrix& a, const float* b, float* c, int rows, int64_t width, int64_t n, int64_t entries,
        cudaStream_t stream) {
  if (way == Way::kAuto) way = chosen(rows, width, n, entries);
  switch (way) {
    case Way::kElement: return element(a, b, c, rows, n, stream);
    case Way::kTiles128: return tiles<128>(a, b, c, rows, width, n, stream);
    case Way::kTiles256: return tiles<256>(a, b, c, rows, width, n, stream);
    default: return row_split(a, b, c, rows, n, stream);
  }
}

}  // namespace

#define SPMM_CSR(name, way)                                                                                            \
  KERNEL_API int spmm_csr_##name(const int* row_starts, const int* columns, const float* values, const float* b,       \
                                 float* c, int64_t rows, int64_t width, int64_t n, int64_t entries,                    \
                                 cudaStream_t stream) {                                                                \
    return run(way, {row_starts, columns, values}, b, c, static_cast<int>(rows), width, n, entries, stream);           \
  }

SPMM_CSR(element, Way::kElement)
SPMM_CSR(row_split, Way::kRowSplit)
SPMM_CSR(tiles_128, Way::kTiles128)
SPMM_CSR(tiles_256, Way::kTiles256)
SPMM_CSR(auto, Way::kAuto)
