// bf16 by its bits: the upper half of an fp32.
#pragma once

#include <cstdint>
#include <cstring>

struct __nv_bfloat16 {
  uint16_t bits;
};

inline float __bfloat162float(__nv_bfloat16 from) {
  const uint32_t bits = static_cast<uint32_t>(from.bits) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

// To the nearest, ties to even.
inline __nv_bfloat16 __float2bfloat16_rn(float from) {
  uint32_t bits;
  std::memcpy(&bits, &from, sizeof(bits));
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {0x7fff};
  return {static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}
