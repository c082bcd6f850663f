// A block of threads as fibers of this processor: where they meet, what lands late, and how they take turns. Included by
// cuda_runtime.h, which says what it is for.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

namespace emulated {

constexpr int kWarp = 32, kGroup = 128, kMostThreads = 1024, kStackBytes = 64 << 10, kSharedBytes = 227 << 10;
// What a block of the target may have: 64 KB before compute capability 8.0, 99 of 8.6 and 8.9, else up to 227.
constexpr int kSharedBytesOfTarget =
    __CUDA_ARCH__ < 800 ? 64 << 10 : __CUDA_ARCH__ == 860 || __CUDA_ARCH__ == 890 ? 99 << 10 : kSharedBytes;
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

// A warp goes on alone as far as it can, so that the others lag behind as far as barriers let them.
inline void run_warp(int warp) {
  Block& b = block();
  unsigned long before;
  do {
    before = b.progress;
    for (int i = 0; i < kWarp && !b.mistake; ++i) {
      const int index = warp * kWarp + (emulated_order ? kWarp - 1 - i : i);
      if (!b.threads[index].done) go_on(index);
    }
  } while (b.progress != before && !b.mistake);
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
    for (int i = 0; i < count / kWarp && !b.mistake; ++i) run_warp(emulated_order ? count / kWarp - 1 - i : i);
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
