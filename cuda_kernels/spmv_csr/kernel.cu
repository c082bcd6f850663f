// y = A x in fp32: A [rows, columns] by compressed rows (row_starts [rows + 1], columns and values [entries]), x, y
// dense.
//
// Bytes: 8 a stored entry (4 its value, 4 its column), 4 a row start, 4 a result; 2 operations an entry. At 16384^2
// with 90 % zeros that is 2.7e7 entries, 215 MB, 45 us at 4.8 TB/s: memory is the limit, so enough of it has to be in
// flight (3.4 MB at 700 ns), in loads of 16 bytes. The second limit is x, 4 bytes from anywhere for each entry, 8.4e5
// gathers of a warp. With loads of 16 bytes a gather is of every fourth of 128 entries, which lie in 1280 columns: from
// L1 it touches some 22 lines, one a clock, 70 us on 132 SMs at 1.98 GHz; in shared memory up to some 3.5 lanes meet in
// a bank, 11 us. So x goes to shared memory where it fits (up to 58 thousand columns on Hopper).
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

// A thread a row: neighbouring threads read entries a whole row apart, and a long row keeps its thread to the end.
__global__ void __launch_bounds__(kThreads)
    spmv_csr_scalar_kernel(Matrix a, const float* __restrict__ x, float* __restrict__ y, int rows) {
  const int64_t row = blockIdx.x * int64_t{kThreads} + threadIdx.x;
  if (row >= rows) return;
  const int end = a.row_starts[row + 1];
  float sum = 0.0f;
  for (int entry = a.row_starts[row]; entry < end; ++entry) sum += a.values[entry] * __ldg(x + a.columns[entry]);
  y[row] = sum;
}

// A warp a row: the 32 lanes read neighbouring entries.
__global__ void __launch_bounds__(kThreads)
    spmv_csr_warp_kernel(Matrix a, const float* __restrict__ x, float* __restrict__ y, int rows) {
  const int64_t row = blockIdx.x * int64_t{kThreads / kWarp} + threadIdx.x / kWarp;
  if (row >= rows) return;
  const int end = a.row_starts[row + 1], lane = threadIdx.x % kWarp;
  float sum = 0.0f;
  for (int64_t entry = a.row_starts[row] + int64_t{lane}; entry < end; entry += kWarp) {
    sum += a.values[entry] * __ldg(x + a.columns[entry]);
  }
  sum = warp_sum(sum);
  if (lane == 0) y[row] = sum;
}

// A row by a warp, 16 bytes a load, two quads of entries in flight a lane. Quads begin at multiples of four entries
// whatever the row; of those at its ends only the row's entries are read. at(column): x there.
template <typename At>
__device__ __forceinline__ float row_sum(const Matrix& a, int64_t row, const At& at) {
  const int begin = a.row_starts[row], end = a.row_starts[row + 1], lane = threadIdx.x % kWarp;
  const auto* const columns = reinterpret_cast<const int4*>(a.columns);
  const auto* const values = reinterpret_cast<const float4*>(a.values);
  float sum = 0.0f;
  const auto whole = [&](int quad) { return quad * int64_t{4} >= begin && quad * int64_t{4} + 4 <= end; };
  const auto add = [&](int4 column, float4 value) {
    sum += value.x * at(column.x) + value.y * at(column.y) + value.z * at(column.z) + value.w * at(column.w);
  };
  const auto add_part = [&](int quad) {
    for (int64_t entry = quad * int64_t{4}; entry < quad * int64_t{4} + 4; ++entry) {
      if (entry >= begin && entry < end) sum += a.values[entry] * at(a.columns[entry]);
    }
  };
  int quad = begin / 4 + lane;
  const int last = end > begin ? (end - 1) / 4 : -1;
  for (; quad + kWarp <= last; quad += 2 * kWarp) {
    const int other = quad + kWarp;
    if (whole(quad) && whole(other)) {
      const int4 first = __ldcs(columns + quad), second = __ldcs(columns + other);
      const float4 left = __ldcs(values + quad), right = __ldcs(values + other);
      add(first, left);
      add(second, right);
    } else {
      add_part(quad);
      add_part(other);
    }
  }
  if (quad <= last) {
    if (whole(quad)) {
      add(__ldcs(columns + quad), __ldcs(values + quad));
    } else {
      add_part(quad);
    }
  }
  return warp_sum(sum);
}

__global__ void __launch_bounds__(kThreads)
    spmv_csr_vectorised_kernel(Matrix a, const float* __restrict__ x, float* __restrict__ y, int rows) {
  const int64_t row = blockIdx.x * int64_t{kThreads / kWarp} + threadIdx.x / kWarp;
  if (row >= rows) return;
  const float sum = row_sum(a, row, [&](int column) { return __ldg(x + column); });
  if (threadIdx.x % kWarp == 0) y[row] = sum;
}

// The same by blocks that stay: each keeps all of x in its shared memory, and its warps take every so many rows.
constexpr int kStaying = 512;

__global__ void __launch_bounds__(kStaying, 2)
    spmv_csr_shared_kernel(Matrix a, const float* __restrict__ x, float* __restrict__ y, int rows, int columns) {
  float* const shared = dynamic_shared<float>();
  for (int column = threadIdx.x; column < columns; column += kStaying) copy_4_bytes(shared + column, x + column, true);
  close_copies();
  await_copies<0>();
  __syncthreads();
  const int64_t warps = gridDim.x * int64_t{kStaying / kWarp};
  for (int64_t row = blockIdx.x + threadIdx.x / kWarp * int64_t{gridDim.x}; row < rows; row += warps) {
    const float sum = row_sum(a, row, [&](int column) { return shared[column]; });
    if (threadIdx.x % kWarp == 0) y[row] = sum;
  }
}

// ---- Balanced: by merge path. ----

// Ends of rows and entries are merged into one list (a row's end comes after its entries), and every block takes kShare
// of it, every thread kItems, whatever the rows' lengths. Where a share cuts a row, its part is carried on: first from
// thread to thread, then, by a second kernel, from block to block, always in the same order.
constexpr int kItems = 8, kShare = kThreads * kItems;

// Of the first `diagonal` of the merged list, how many are ends of rows. ends(i): where row i ends; entry: the first
// one.
template <typename Ends>
__device__ __forceinline__ int rows_before(int64_t diagonal, int rows, int64_t entries, int64_t entry,
                                           const Ends& ends) {
  int low = static_cast<int>(max(int64_t{0}, diagonal - entries));
  int high = static_cast<int>(min(diagonal, int64_t{rows}));
  while (low < high) {
    const int middle = low + (high - low) / 2;
    if (ends(middle) <= entry + diagonal - 1 - middle) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

__global__ void __launch_bounds__(kThreads)
    spmv_csr_balanced_kernel(Matrix a, const float* __restrict__ x, float* __restrict__ y,
                             int* __restrict__ carried_rows, float* __restrict__ carried_sums, int rows, int entries) {
  __shared__ int ends[kShare + 1], cut[2], warp_row[kThreads / kWarp];
  __shared__ float products[kShare], sums[kShare], warp_carry[kThreads / kWarp];
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const int64_t begin = blockIdx.x * int64_t{kShare}, end = min(begin + kShare, int64_t{rows} + entries);
  if (threadIdx.x < 2) {
    cut[threadIdx.x] = rows_before(threadIdx.x ? end : begin, rows, entries, 0, [&](int row) {
      return int64_t{a.row_starts[row + 1]};
    });
  }
  __syncthreads();
  const int first_row = cut[0], count_rows = cut[1] - first_row;
  const int64_t first_entry = begin - first_row;
  const int count_entries = static_cast<int>(end - begin) - count_rows;
  for (int i = threadIdx.x; i < count_rows; i += kThreads) ends[i] = a.row_starts[first_row + i + 1];
  if (threadIdx.x == 0) ends[count_rows] = INT32_MAX;
  for (int i = threadIdx.x; i < count_entries; i += kThreads) {
    products[i] = a.values[first_entry + i] * __ldg(x + a.columns[first_entry + i]);
  }
  __syncthreads();
  const int mine = static_cast<int>(min(int64_t{threadIdx.x} * kItems, end - begin));
  const int count = static_cast<int>(min(int64_t{kItems}, end - begin - mine));
  const int start = rows_before(mine, count_rows, count_entries, first_entry, [&](int row) {
    return int64_t{ends[row]};
  });
  int row = start, entry = mine - start;
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
    if (i >= count) break;
    if (first_entry + entry < ends[row]) {
      sum += products[entry++];
    } else {
      sums[row++] = sum;
      sum = 0.0f;
    }
  }
  // What each thread carries on, summed over the threads of its warp that carry for the same row.
  float carry = sum;
#pragma unroll
  for (int distance = 1; distance < kWarp; distance *= 2) {
    const int other_row = __shfl_up_sync(0xffffffffu, row, distance);
    const float other = __shfl_up_sync(0xffffffffu, carry, distance);
    if (lane >= distance && other_row == row) carry += other;
  }
  if (lane == kWarp - 1) {
    warp_row[warp] = row;
    warp_carry[warp] = carry;
  }
  const int row_before = __shfl_up_sync(0xffffffffu, row, 1);
  const float carry_before = __shfl_up_sync(0xffffffffu, carry, 1);
  const int warp_start = __shfl_sync(0xffffffffu, start, 0);
  __syncthreads();
  float carried = lane > 0 && row_before == start ? carry_before : 0.0f;  // into the first row of this thread
  if (start == warp_start) {
    for (int other = warp - 1; other >= 0 && warp_row[other] == start; --other) carried += warp_carry[other];
  }
  if (row > start) sums[start] += carried;  // the thread that ends a row, one alone
  if (threadIdx.x == kThreads - 1) {
    carried_rows[blockIdx.x] = first_row + row;
    carried_sums[blockIdx.x] = row > start ? sum : sum + carried;
  }
  __syncthreads();
  for (int i = threadIdx.x; i < count_rows; i += kThreads) y[first_row + i] = sums[i];
}

// The thread of the first block that carries for a row adds what all of them carry to that row.
__global__ void __launch_bounds__(kThreads)
    spmv_csr_carry_kernel(const int* __restrict__ carried_rows, const float* __restrict__ carried_sums,
                          float* __restrict__ y, int rows, int64_t shares) {
  const int64_t first = blockIdx.x * int64_t{kThreads} + threadIdx.x;
  if (first >= shares) return;
  const int row = carried_rows[first];
  if (row >= rows || (first > 0 && carried_rows[first - 1] == row)) return;
  float sum = 0.0f;
  for (int64_t share = first; share < shares && carried_rows[share] == row; ++share) sum += carried_sums[share];
  y[row] += sum;
}

bool loads_16_bytes(const Matrix& a) { return aligned_to(a.columns, 16) && aligned_to(a.values, 16); }

int by_warps(bool vectorised, const Matrix& a, const float* x, float* y, int rows, cudaStream_t stream) {
  const auto kernel = vectorised && loads_16_bytes(a) ? spmv_csr_vectorised_kernel : spmv_csr_warp_kernel;
  return start(kernel, Launch::kPlain, ceil_div(rows, kThreads / kWarp), kThreads, 0, stream, a, x, y, rows);
}

int shared(const Matrix& a, const float* x, float* y, int rows, int64_t columns, cudaStream_t stream) {
  const int64_t bytes = columns * int64_t{sizeof(float)};
  if (bytes > INT32_MAX || !fits_a_block(static_cast<int>(bytes)) || !loads_16_bytes(a)) {
    return by_warps(true, a, x, y, rows, stream);
  }
  const int64_t resident = bytes <= 100 * 1024 && capability() >= 80 ? 2 : 1;
  const int64_t blocks = multiprocessors() * resident, wanted = ceil_div(rows, kStaying / kWarp);
  return start(spmv_csr_shared_kernel, Launch::kPlain, blocks < wanted ? blocks : wanted, kStaying,
               static_cast<int>(bytes), stream, a, x, y, rows, static_cast<int>(columns));
}

int balanced(const Matrix& a, const float* x, float* y, int* carried_rows, float* carried_sums, int rows, int entries,
             cudaStream_t stream) {
  const int64_t shares = ceil_div(int64_t{rows} + entries, kShare);
  if (const int status = start(spmv_csr_balanced_kernel, Launch::kPlain, shares, kThreads, 0, stream, a, x, y,
                               carried_rows, carried_sums, rows, entries)) {
    return status;
  }
  return start(spmv_csr_carry_kernel, Launch::kPlain, ceil_div(shares, kThreads), kThreads, 0, stream, carried_rows,
               carried_sums, y, rows, shares);
}

enum class Way { kScalar, kWarp, kVectorised, kShared, kBalanced, kAuto };

int run(Way way, const Matrix& a, const float* x, float* y, int* carried_rows, float* carried_sums, int rows,
        int64_t columns, int entries, cudaStream_t stream) {
  constexpr int kShort = 16;  // entries a row on average, below which a warp a row is mostly idle
  if (way == Way::kAuto) way = entries / rows < kShort ? Way::kBalanced : Way::kShared;
  switch (way) {
    case Way::kScalar:
      return start(spmv_csr_scalar_kernel, Launch::kPlain, ceil_div(rows, kThreads), kThreads, 0, stream, a, x, y,
                   rows);
    case Way::kWarp: return by_warps(false, a, x, y, rows, stream);
    case Way::kVectorised: return by_warps(true, a, x, y, rows, stream);
    case Way::kShared: return shared(a, x, y, rows, columns, stream);
    default: return balanced(a, x, y, carried_rows, carried_sums, rows, entries, stream);
  }
}

}  // namespace

// carried_rows, carried_sums: workspace, [ceil((rows + entries) / 2048)] each.
#define SPMV_CSR(name, way)                                                                                            \
  KERNEL_API int spmv_csr_##name(const int* row_starts, const int* columns, const float* values, const float* x,       \
                                 float* y, int* carried_rows, float* carried_sums, int64_t rows, int64_t width,        \
                                 int64_t entries, cudaStream_t stream) {                                               \
    return run(way, {row_starts, columns, values}, x, y, carried_rows, carried_sums, static_cast<int>(rows), width,    \
               static_cast<int>(entries), stream);                                                                     \
  }

SPMV_CSR(scalar, Way::kScalar)
SPMV_CSR(warp, Way::kWarp)
SPMV_CSR(vectorised, Way::kVectorised)
SPMV_CSR(shared, Way::kShared)
SPMV_CSR(balanced, Way::kBalanced)
SPMV_CSR(auto, Way::kAuto)
