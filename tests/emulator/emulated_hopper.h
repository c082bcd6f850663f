// Barriers that count bytes, copies of tiles and products of 128 threads, in C++, after the PTX manual.
#pragma once

#include <cuda.h>
#include <cuda_runtime.h>

#include <map>

namespace emulated {

struct ByteBarrier {
  int count, missing;
  int64_t bytes;
  int parity;
};

inline std::map<const uint64_t*, ByteBarrier>& barriers() {
  static auto* all = new std::map<const uint64_t*, ByteBarrier>;
  return *all;
}

inline ByteBarrier& barrier_at(const uint64_t* barrier) {
  const auto found = barriers().find(barrier);
  if (found == barriers().end() || reinterpret_cast<uintptr_t>(barrier) % 8) fail("there is no barrier");
  return found->second;
}

inline void change(ByteBarrier& barrier, int arrivals, int64_t bytes) {
  barrier.missing -= arrivals;
  barrier.bytes += bytes;
  if (barrier.missing < 0) fail("more threads arrive at a barrier than it counts");
  if (barrier.missing == 0 && barrier.bytes == 0) {
    barrier.missing = barrier.count;
    barrier.parity ^= 1;
  }
  ++block().progress;
}

struct TileProduct {
  uint64_t a, b;
  int* sum;
};

struct Products {
  std::vector<TileProduct> open;
  std::vector<std::vector<TileProduct>> closed;
};

inline Products& products_of_thread() {
  static auto* all = new Products[kMostThreads];
  return all[block().current];
}

// A byte of an operand: eight rows lie 128 bytes apart, the next eight by the stride; bits 4-6 of the address are
// exchanged by its bits 7-9.
inline int8_t byte_of(uint64_t operand, int row, int byte) {
  const uint64_t start = (operand & 0x3fff) << 4, stride = (operand >> 32 & 0x3fff) << 4;
  if (operand >> 62 != 1 || (operand >> 49 & 7)) fail("an operand is laid out in a way that is not emulated");
  uint64_t at = start + row / 8 * stride + row % 8 * 128 + byte;
  at ^= (at >> 7 & 7) << 4;
  return static_cast<int8_t>(block().shared[at]);
}

// m64n256k32: warp w holds rows 16 w to 16 w + 15; registers 4 j to 4 j + 3 are laid out as the sums of m16n8 for
// columns 8 j to 8 j + 7.
inline void multiply_group(void** threads) {
  for (size_t index = 0; index < static_cast<std::vector<TileProduct>*>(threads[0])->size(); ++index) {
    static int8_t left[64][32], right[256][32];
    const TileProduct first = (*static_cast<std::vector<TileProduct>*>(threads[0]))[index];
    for (int byte = 0; byte < 32; ++byte) {
      for (int row = 0; row < 64; ++row) left[row][byte] = byte_of(first.a, row, byte);
      for (int row = 0; row < 256; ++row) right[row][byte] = byte_of(first.b, row, byte);
    }
    for (int thread = 0; thread < kGroup; ++thread) {
      const TileProduct one = (*static_cast<std::vector<TileProduct>*>(threads[thread]))[index];
      if (one.a != first.a || one.b != first.b) fail("threads of a warpgroup disagree on an operand");
      for (int i = 0; i < 128; ++i) {
        const int row = thread / kWarp * 16 + thread % kWarp / 4 + i / 2 % 2 * 8;
        const int column = i / 4 * 8 + thread % 4 * 2 + i % 2;
        unsigned total = 0;
        for (int k = 0; k < 32; ++k) total += static_cast<unsigned>(left[row][k] * right[column][k]);
        one.sum[i] = static_cast<int>(static_cast<unsigned>(one.sum[i]) + total);
      }
    }
  }
}

}  // namespace emulated

inline uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(static_cast<const unsigned char*>(pointer) - emulated::block().shared);
}

inline void make_barrier(uint64_t* barrier, int count) { emulated::barriers()[barrier] = {count, count, 0, 0}; }
inline void show_barriers() {}
inline void arrive(uint64_t* barrier) { emulated::change(emulated::barrier_at(barrier), 1, 0); }
inline void arrive_and_expect(uint64_t* barrier, int bytes) {
  emulated::change(emulated::barrier_at(barrier), 1, bytes);
}
inline void await(uint64_t* barrier, int parity) {
  emulated::wait_until([=] { return emulated::barrier_at(barrier).parity != parity; });
}

inline void copy_tile(void* shared, const CUtensorMap* map, int byte, int row, uint64_t* barrier) {
  if (shared_address(shared) % 1024) emulated::fail("a tile is not aligned to the pattern of its exchange");
  const CUtensorMap tiles = *map;
  const auto land = [=] {
    for (uint32_t down = 0; down < tiles.box_rows; ++down) {
      for (uint32_t at = 0; at < tiles.box_bytes; ++at) {
        const uint64_t from_row = row + down, from_byte = byte + at;
        const bool inside = from_row < tiles.rows && from_byte < tiles.bytes;
        const uint32_t to = down * tiles.box_bytes + at;
        static_cast<unsigned char*>(shared)[to ^ (to >> 7 & 7) << 4] =
            inside ? tiles.matrix[from_row * tiles.pitch + from_byte] : 0;
      }
    }
    emulated::change(emulated::barrier_at(barrier), 0, -int64_t{tiles.box_rows} * tiles.box_bytes);
  };
  if (emulated_order) {
    land();
  } else {
    emulated::block().late.push_back(land);
  }
}

inline void begin_products() {}
inline void hold(int (&)[128]) {}
inline void multiply_tiles(int (&sum)[128], uint64_t a, uint64_t b) {
  emulated::products_of_thread().open.push_back({a, b, sum});
}
inline void close_products() {
  emulated::Products& mine = emulated::products_of_thread();
  mine.closed.push_back(std::move(mine.open));
  mine.open.clear();
}
template <int kOpen>
inline void await_products() {
  emulated::Products& mine = emulated::products_of_thread();
  std::vector<emulated::TileProduct> due;
  while (mine.closed.size() > kOpen) {
    due.insert(due.end(), mine.closed.front().begin(), mine.closed.front().end());
    mine.closed.erase(mine.closed.begin());
  }
  const int thread = emulated::block().current;
  emulated::meet(emulated::block().groups[thread / emulated::kGroup], emulated::kGroup, thread % emulated::kGroup, &due,
                 emulated::multiply_group);
}
