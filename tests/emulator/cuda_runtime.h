// CUDA's runtime on a host's processor, for tests: a launch runs the grid block by block, the threads of a block as
// fibers that give way where the hardware lets them meet. Found in place of the toolkit's header by its name.
//
// A law broken is an error of the launch: threads that wait for each other for ever, lanes of a warp that disagree on
// an instruction. `emulated_order` 0 runs threads in order and lets copies land as late as they may (a missing wait
// shows); 1 runs them in reverse and lets copies land at once (a stage overwritten too early shows). What cannot be
// shown: fences between proxies, speed, and memory orders weaker than the host's.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <tuple>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __grid_constant__
#define __shared__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define CUDART_VERSION 13000

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

namespace emulated {

constexpr int kWarp = 32, kGroup = 128, kMostThreads = 1024, kStackBytes = 64 << 10, kSharedBytes = 227 << 10;
constexpr int kMultiprocessors = 3;  // few, so that a small task passes through persistent blocks more than once

struct Copy {
  void* to;
  const void* from;  // null: zeros
  int bytes;
  void land() const { from ? std::memcpy(to, from, bytes) : std::memset(to, 0, bytes); }
};

struct Thread {
  ucontext_t first;
  jmp_buf rest;
  std::unique_ptr<char[]> stack{new char[kStackBytes]};
  bool started, done;
  std::vector<Copy> open;
  std::vector<std::vector<Copy>> closed;
};

// Where threads wait until `expected` of them are there; the last one does the work.
struct Meeting {
  std::vector<void*> operands = std::vector<void*>(kMostThreads);
  void (*work)(void**) = nullptr;
  int arrived = 0;
  unsigned generation = 0;
};

struct Block {
  std::vector<Thread> threads{kMostThreads};
  int count = 0, live = 0, current = 0;
  Meeting barrier, warps[kMostThreads / kWarp], groups[kMostThreads / kGroup];
  std::vector<std::function<void()>> late;  // what the hardware does by itself, later
  unsigned long progress = 0;
  const char* mistake = nullptr;
  std::function<void()> body;
  jmp_buf scheduler;
  alignas(1024) unsigned char shared[kSharedBytes];
};

inline Block& block() {
  static Block* one = new Block;
  return *one;
}

inline void give_way() {
  Block& b = block();
  if (!_setjmp(b.threads[b.current].rest)) _longjmp(b.scheduler, 1);
}

[[noreturn]] inline void fail(const char* mistake) {
  block().mistake = mistake;
  _longjmp(block().scheduler, 1);
}

template <typename Condition>
inline void wait_until(Condition holds) {
  while (!holds()) give_way();
  ++block().progress;
}

inline void pass_if_full(Meeting& meeting, int expected) {
  if (!meeting.arrived || meeting.arrived < expected) return;
  if (meeting.work) meeting.work(meeting.operands.data());
  meeting.work = nullptr;
  meeting.arrived = 0;
  ++meeting.generation;
}

inline void meet(Meeting& meeting, int expected, int place, void* operands, void (*work)(void**)) {
  if (meeting.arrived && meeting.work != work) fail("threads disagree on an instruction that they share");
  meeting.work = work;
  meeting.operands[place] = operands;
  ++meeting.arrived;
  ++block().progress;
  const unsigned generation = meeting.generation;
  pass_if_full(meeting, expected);
  wait_until([&] { return meeting.generation != generation; });
}

// One instruction of a whole warp: `work` gets every lane's operands.
template <typename Operands>
inline void by_warp(Operands& operands, void (*work)(void**)) {
  const int thread = block().current;
  meet(block().warps[thread / kWarp], kWarp, thread % kWarp, &operands, work);
}

inline void run_thread() {
  Block& b = block();
  b.body();
  b.threads[b.current].done = true;
  --b.live;
  ++b.progress;
  if (!b.threads[b.current].open.empty()) fail("a copy was never awaited");
  for (const auto& group : b.threads[b.current].closed) {
    if (!group.empty()) fail("a copy was never awaited");
  }
  pass_if_full(b.barrier, b.live);
  _longjmp(b.scheduler, 1);
}

inline void go_on(int index) {
  Block& b = block();
  Thread& thread = b.threads[index];
  b.current = index;
  threadIdx = dim3(static_cast<unsigned>(index), 0, 0);
  if (_setjmp(b.scheduler)) return;
  if (thread.started) _longjmp(thread.rest, 1);
  thread.started = true;
  getcontext(&thread.first);
  thread.first.uc_stack.ss_sp = thread.stack.get();
  thread.first.uc_stack.ss_size = kStackBytes;
  thread.first.uc_link = nullptr;
  makecontext(&thread.first, run_thread, 0);
  setcontext(&thread.first);
}

inline bool run_block(int count) {
  Block& b = block();
  b.count = b.live = count;
  b.barrier.arrived = 0;
  for (Meeting& one : b.warps) one.arrived = 0;
  for (Meeting& one : b.groups) one.arrived = 0;
  b.late.clear();
  b.mistake = nullptr;
  std::memset(b.shared, 0xff, kSharedBytes);
  for (int i = 0; i < count; ++i) {
    b.threads[i].started = b.threads[i].done = false;
    b.threads[i].open.clear();
    b.threads[i].closed.clear();
  }
  while (b.live) {
    const unsigned long before = b.progress;
    for (int i = 0; i < count; ++i) {
      const int index = emulated_order ? count - 1 - i : i;
      if (!b.threads[index].done) go_on(index);
      if (b.mistake) break;
    }
    if (!b.mistake && b.progress == before) {
      if (b.late.empty()) b.mistake = "threads wait for each other for ever";
      const auto late = std::exchange(b.late, {});
      for (const auto& one : late) one();
    }
    if (b.mistake) {
      std::fprintf(stderr, "emulated kernel: %s\n", b.mistake);
      return false;
    }
  }
  return true;
}

}  // namespace emulated

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
  if (config->dynamicSmemBytes > emulated::kSharedBytes) return cudaErrorInvalidConfiguration;
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
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = __CUDA_ARCH__ < 800 ? 64 << 10 : emulated::kSharedBytes;
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
inline Value __shfl_xor_sync(unsigned, Value value, int mask) { return emulated_shuffle(value, emulated_lane() ^ mask); }
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
    for (int lane = 0; lane < emulated::kWarp; ++lane) all |= (static_cast<Vote*>(lanes[lane])->given ? 1u : 0u) << lane;
    for (int lane = 0; lane < emulated::kWarp; ++lane) static_cast<Vote*>(lanes[lane])->all = all;
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
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline int __dp4a(int left, int right, int sum) {
  for (int i = 0; i < 4; ++i) sum += static_cast<int8_t>(left >> 8 * i) * static_cast<int8_t>(right >> 8 * i);
  return sum;
}
