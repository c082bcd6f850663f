// CUDA's runtime on a host's processor, for tests: a launch runs the grid block by block, the threads of a block as
// fibers that give way where the hardware lets them meet. Found in place of the toolkit's header by its name.
//
// A law broken is an error of the launch: threads that wait for each other for ever, lanes of a warp that disagree on
// an instruction. Each warp runs ahead of the others as far as barriers let it. `emulated_order` 0 begins with the first
// and lets copies land as late as they may (a missing wait shows); 1 begins with the last and lets copies land at once
// (a stage overwritten too early shows). What cannot be shown: fences between proxies, speed, and memory orders weaker
// than the host's.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <tuple>

#define __global__
#define __device__
#define __host__
#define __grid_constant__
#define __shared__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define CUDART_VERSION 13000

using std::isfinite;
using std::max;
using std::min;

struct alignas(8) int2 { int x, y; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(16) float4 { float x, y, z, w; };
struct dim3 {
  unsigned x, y, z;
  explicit dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

using cudaStream_t = void*;
enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidConfiguration = 9, cudaErrorUnknown = 999 };
enum cudaDeviceAttr {
  cudaDevAttrMultiProcessorCount, cudaDevAttrComputeCapabilityMajor, cudaDevAttrComputeCapabilityMinor,
  cudaDevAttrMaxSharedMemoryPerBlockOptin,
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
enum cudaLaunchAttributeID { cudaLaunchAttributeCooperative, cudaLaunchAttributeProgrammaticStreamSerialization };
struct cudaLaunchAttribute {
  cudaLaunchAttributeID id;
  struct { int cooperative, programmaticStreamSerializationAllowed; } val;
};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes;
  cudaStream_t stream;
  cudaLaunchAttribute* attrs;
  unsigned numAttrs;
};

inline dim3 threadIdx, blockIdx, blockDim, gridDim;
extern "C" __attribute__((visibility("default"))) inline int emulated_order = 0;

#include "emulated_block.h"

template <typename T = unsigned char>
inline T* dynamic_shared() {
  return reinterpret_cast<T*>(emulated::block().shared);
}

template <typename... Parameters, typename... Given>
inline cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...), Given... given) {
  const unsigned threads = config->blockDim.x;
  if (threads % emulated::kWarp || threads > emulated::kMostThreads || !config->gridDim.x) {
    return cudaErrorInvalidConfiguration;
  }
  if (config->dynamicSmemBytes > emulated::kSharedBytesOfTarget) return cudaErrorInvalidConfiguration;
  const std::tuple<Parameters...> parameters{given...};
  emulated::block().body = [kernel, &parameters] { std::apply(kernel, parameters); };
  gridDim = config->gridDim;
  blockDim = config->blockDim;
  for (unsigned index = 0; index < gridDim.x; ++index) {
    blockIdx = dim3(index, 0, 0);
    if (!emulated::run_block(static_cast<int>(threads))) return cudaErrorUnknown;
  }
  return cudaSuccess;
}

inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaGetDevice(int* device) { *device = 0; return cudaSuccess; }
inline cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int) { return cudaSuccess; }
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount: *value = emulated::kMultiprocessors; break;
    case cudaDevAttrComputeCapabilityMajor: *value = __CUDA_ARCH__ / 100; break;
    case cudaDevAttrComputeCapabilityMinor: *value = __CUDA_ARCH__ / 10 % 10; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = emulated::kSharedBytesOfTarget;
  }
  return cudaSuccess;
}

inline void __syncthreads() {
  emulated::Block& b = emulated::block();
  emulated::meet(b.barrier, b.live, b.current, nullptr, nullptr);
}

inline void __syncwarp() {
  int nothing = 0;
  emulated::by_warp(nothing, [](void**) {});
}

template <typename Value>
struct EmulatedShuffle {
  Value given, taken;
  int from;
};

template <typename Value>
inline Value emulated_shuffle(Value value, int from) {
  EmulatedShuffle<Value> mine{value, value, from};
  emulated::by_warp(mine, [](void** lanes) {
    for (int lane = 0; lane < emulated::kWarp; ++lane) {
      auto* const one = static_cast<EmulatedShuffle<Value>*>(lanes[lane]);
      one->taken = static_cast<EmulatedShuffle<Value>*>(lanes[one->from])->given;
    }
  });
  return mine.taken;
}

inline int emulated_lane() { return static_cast<int>(threadIdx.x % emulated::kWarp); }
template <typename Value>
inline Value __shfl_xor_sync(unsigned, Value value, int mask) {
  return emulated_shuffle(value, emulated_lane() ^ mask);
}
template <typename Value>
inline Value __shfl_sync(unsigned, Value value, int from) { return emulated_shuffle(value, from); }
template <typename Value>
inline Value __shfl_up_sync(unsigned, Value value, int up) {
  return emulated_shuffle(value, emulated_lane() < up ? emulated_lane() : emulated_lane() - up);
}
inline unsigned __ballot_sync(unsigned, int predicate) {
  struct Vote { int given; unsigned all; } mine{predicate, 0};
  emulated::by_warp(mine, [](void** lanes) {
    unsigned all = 0;
    const auto at = [&](int lane) { return static_cast<Vote*>(lanes[lane]); };
    for (int lane = 0; lane < emulated::kWarp; ++lane) all |= (at(lane)->given ? 1u : 0u) << lane;
    for (int lane = 0; lane < emulated::kWarp; ++lane) at(lane)->all = all;
  });
  return mine.all;
}

template <typename Value>
inline Value __ldg(const Value* from) { return *from; }
template <typename Value>
inline Value __ldcs(const Value* from) { return *from; }
inline float __int_as_float(int bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}
inline int __float_as_int(float value) {
  int bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}
inline int atomicMax(int* to, int value) {
  const int before = *to;
  *to = max(before, value);
  return before;
}
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline int __dp4a(int left, int right, int sum) {
  for (int i = 0; i < 4; ++i) sum += static_cast<int8_t>(left >> 8 * i) * static_cast<int8_t>(right >> 8 * i);
  return sum;
}
