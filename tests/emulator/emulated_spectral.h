// Products of a warp in 16 bits, in C++: which lane holds what is after the PTX manual's section on mma.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

inline float emulated_float(__half value) { return __half2float(value); }
inline float emulated_float(__nv_bfloat16 value) { return __bfloat162float(value); }

struct EmulatedHalfProduct {
  const uint32_t *a, *b;
  float* sum;
};

// m16n8k16: of a, lane l holds two values from 2 (l % 4) on (registers 2, 3: from 8 on) of row l / 4 (registers 1, 3:
// + 8); of b the same places of column l / 4; of the sum, columns 2 (l % 4) and the next of row l / 4 (2, 3: + 8).
template <typename T>
inline void multiply_matrices(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  const uint32_t b[2] = {b0, b1};
  EmulatedHalfProduct mine{a, b, sum};
  emulated::by_warp(mine, [](void** lanes) {
    T left[16][16], right[8][16];
    const auto at = [&](int lane) { return static_cast<EmulatedHalfProduct*>(lanes[lane]); };
    for (int lane = 0; lane < emulated::kWarp; ++lane) {
      for (int part = 0; part < 4; ++part) {
        std::memcpy(&left[lane / 4 + part % 2 * 8][part / 2 * 8 + lane % 4 * 2], at(lane)->a + part, 4);
      }
      for (int part = 0; part < 2; ++part) {
        std::memcpy(&right[lane / 4][part * 8 + lane % 4 * 2], at(lane)->b + part, 4);
      }
    }
    for (int lane = 0; lane < emulated::kWarp; ++lane) {
      for (int part = 0; part < 4; ++part) {
        const int row = lane / 4 + part / 2 * 8, column = lane % 4 * 2 + part % 2;
        float total = 0.0f;
        for (int k = 0; k < 16; ++k) total += emulated_float(left[row][k]) * emulated_float(right[column][k]);
        at(lane)->sum[part] += total;
      }
    }
  });
}

inline void prefetch_to_l2(const void*) {}
inline void let_next_start() {}
inline void await_previous() {}
