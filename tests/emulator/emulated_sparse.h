// 16-bit types and the sparse product of a warp in C++: which lane holds what is after the PTX manual's section on
// mma.sp.
#pragma once

#include <cuda_runtime.h>

inline float to_float(Half value) {
  _Float16 number;
  std::memcpy(&number, &value.bits, sizeof(number));
  return static_cast<float>(number);
}

inline void from_float(float value, Half* to) {
  const _Float16 number = static_cast<_Float16>(value);
  std::memcpy(&to->bits, &number, sizeof(number));
}

struct EmulatedSparseProduct {
  const uint32_t *a, *b;
  uint32_t places;
  float* sum;
};

// m16n8k32: the kept 16 of a row lie as the 16 of a dense m16n8k16; b has four registers, 8 deep each; lanes 2 kPair
// and 2 kPair + 1 of each four tell the places of their row (low half) and the row 8 below it (high half), of columns
// 0-15 and 16-31.
template <int kPair, typename T>
inline void multiply_kept(float (&sum)[4], const uint32_t (&a)[4], const uint32_t (&b)[4], uint32_t places, T) {
  EmulatedSparseProduct mine{a, b, places, sum};
  emulated::by_warp(mine, [](void** lanes) {
    T kept[16][16], right[8][32];
    float left[16][32] = {};
    const auto at = [&](int lane) { return static_cast<EmulatedSparseProduct*>(lanes[lane]); };
    for (int lane = 0; lane < emulated::kWarp; ++lane) {
      for (int part = 0; part < 4; ++part) {
        std::memcpy(&kept[lane / 4 + part % 2 * 8][part / 2 * 8 + lane % 4 * 2], at(lane)->a + part, 4);
        std::memcpy(&right[lane / 4][part * 8 + lane % 4 * 2], at(lane)->b + part, 4);
      }
    }
    for (int row = 0; row < 16; ++row) {
      for (int four = 0; four < 8; ++four) {
        const uint32_t word = at(row % 8 * 4 + 2 * kPair + four / 4)->places;
        const int bits = word >> (row / 8 * 16 + four % 4 * 4) & 15, first = bits & 3, second = bits >> 2;
        if (first >= second) emulated::fail("two places of four are not in order");
        left[row][four * 4 + first] = to_float(kept[row][four * 2]);
        left[row][four * 4 + second] = to_float(kept[row][four * 2 + 1]);
      }
    }
    for (int lane = 0; lane < emulated::kWarp; ++lane) {
      for (int part = 0; part < 4; ++part) {
        const int row = lane / 4 + part / 2 * 8, column = lane % 4 * 2 + part % 2;
        float total = 0.0f;
        for (int k = 0; k < 32; ++k) {
          if (left[row][k] != 0.0f) total += left[row][k] * to_float(right[column][k]);
        }
        at(lane)->sum[part] += total;
      }
    }
  });
}
