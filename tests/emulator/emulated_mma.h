// Products of a warp by tensor cores in C++: which lane holds what is after the PTX manual's section on mma.
#pragma once

#include <cuda_runtime.h>

struct EmulatedProduct {
  const uint32_t *a, *b;
  int* sum;
};

// m16n8k32: of a, lane l holds four values from 4 (l % 4) on (registers 2, 3: from 16 on) of row l / 4 (registers 1, 3:
// + 8); of b the same places of column l / 4; of the sum, columns 2 (l % 4) and the next of row l / 4 (2, 3: + 8).
inline void multiply_bytes(int (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  const uint32_t b[2] = {b0, b1};
  EmulatedProduct mine{a, b, sum};
  emulated::by_warp(mine, [](void** lanes) {
    int8_t left[16][32], right[8][32];
    for (int lane = 0; lane < emulated::kWarp; ++lane) {
      const auto* one = static_cast<EmulatedProduct*>(lanes[lane]);
      for (int part = 0; part < 4; ++part) {
        std::memcpy(&left[lane / 4 + part % 2 * 8][part / 2 * 16 + lane % 4 * 4], one->a + part, 4);
      }
      for (int part = 0; part < 2; ++part) std::memcpy(&right[lane / 4][part * 16 + lane % 4 * 4], one->b + part, 4);
    }
    for (int lane = 0; lane < emulated::kWarp; ++lane) {
      for (int part = 0; part < 4; ++part) {
        const int row = lane / 4 + part / 2 * 8, column = lane % 4 * 2 + part % 2;
        unsigned total = 0;
        for (int k = 0; k < 32; ++k) total += static_cast<unsigned>(left[row][k] * right[column][k]);
        static_cast<EmulatedProduct*>(lanes[lane])->sum[part] += static_cast<int>(total);
      }
    }
  });
}
