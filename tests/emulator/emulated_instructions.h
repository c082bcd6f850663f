// What copies.cuh and its like say in the assembler's words, said in C++, after the PTX manual.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <cstring>

inline void emulated_copy(void* shared, const void* global, bool valid, int bytes) {
  if (reinterpret_cast<uintptr_t>(shared) % bytes || (valid && reinterpret_cast<uintptr_t>(global) % bytes)) {
    emulated::fail("a copy is not aligned to its size");
  }
  const emulated::Copy copy{shared, valid ? global : nullptr, bytes};
#if __CUDA_ARCH__ >= 800
  emulated::block().threads[emulated::block().current].open.push_back(copy);
  if (emulated_order) copy.land();
#else
  copy.land();
#endif
}

inline void copy_16_bytes(void* shared, const void* global, bool valid) { emulated_copy(shared, global, valid, 16); }
inline void copy_4_bytes(void* shared, const void* global, bool valid) { emulated_copy(shared, global, valid, 4); }

inline void close_copies() {
#if __CUDA_ARCH__ >= 800
  emulated::Thread& thread = emulated::block().threads[emulated::block().current];
  thread.closed.push_back(std::move(thread.open));
  thread.open.clear();
#endif
}

template <int kOpen>
inline void await_copies() {
#if __CUDA_ARCH__ >= 800
  emulated::Thread& thread = emulated::block().threads[emulated::block().current];
  while (thread.closed.size() > kOpen) {
    for (const emulated::Copy& copy : thread.closed.front()) {
      if (!emulated_order) copy.land();
    }
    thread.closed.erase(thread.closed.begin());
  }
#endif
}

struct EmulatedMatrixLoad {
  const void* row;
  uint32_t part[4];
};

inline void load_matrices(uint32_t (&part)[4], const void* row) {
  if (reinterpret_cast<uintptr_t>(row) % 16) emulated::fail("a row of a matrix is not aligned to 16 bytes");
  EmulatedMatrixLoad mine{row, {}};
  emulated::by_warp(mine, [](void** lanes) {
    for (int lane = 0; lane < emulated::kWarp; ++lane) {
      for (int matrix = 0; matrix < 4; ++matrix) {
        const void* from = static_cast<EmulatedMatrixLoad*>(lanes[matrix * 8 + lane / 4])->row;
        uint32_t* to = static_cast<EmulatedMatrixLoad*>(lanes[lane])->part + matrix;
        std::memcpy(to, static_cast<const char*>(from) + lane % 4 * 4, 4);
      }
    }
  });
  std::memcpy(part, mine.part, sizeof(part));
}
