// What compute capability 9.0 has for products: barriers that count bytes, copies of whole tiles (TMA), products of 128
// threads that read shared memory (wgmma). Code for other targets holds no kernel that calls these. A host's compiler,
// which tests use, finds them in emulated_hopper.h.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "../copies.cuh"

#ifdef __CUDACC__

// A barrier in shared memory: a phase is over when `count` threads have arrived and all bytes expected have landed.
__device__ __forceinline__ void make_barrier(uint64_t* barrier, int count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(count) : "memory");
}

// After barriers are made, before __syncthreads: the copies' hardware sees them too.
__device__ __forceinline__ void show_barriers() {
#if __CUDA_ARCH__ >= 900
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  asm volatile("fence.proxy.async;" ::: "memory");
#endif
}

__device__ __forceinline__ void arrive(uint64_t* barrier) {
  asm volatile("{\n.reg .b64 state;\nmbarrier.arrive.shared::cta.b64 state, [%0];\n}" ::"r"(shared_address(barrier))
               : "memory");
}

#if __CUDA_ARCH__ >= 900

// Arrives, and the phase waits for so many bytes besides.
__device__ __forceinline__ void arrive_and_expect(uint64_t* barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
               : "memory");
}

// Waits until the phase of that parity is over; of a new barrier the first phase has parity 0, the one before it 1.
__device__ __forceinline__ void await(uint64_t* barrier, int parity) {
  asm volatile(
      "{\n.reg .pred over;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 over, [%0], %1;\n"
      "@over bra done;\n"
      "bra again;\n"
      "done:\n}" ::"r"(shared_address(barrier)),
      "r"(parity)
      : "memory");
}

// The tile of a map at (byte, row) on its way to shared memory; its bytes count for the barrier.
__device__ __forceinline__ void copy_tile(void* shared, const CUtensorMap* map, int byte, int row, uint64_t* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];" ::"r"(
          shared_address(shared)),
      "l"(map), "r"(shared_address(barrier)), "r"(byte), "r"(row)
      : "memory");
}

#endif

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

__device__ __forceinline__ void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void close_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

// Waits until at most kOpen closed groups of products are under way.
template <int kOpen>
__device__ __forceinline__ void await_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kOpen) : "memory");
}

#define SUMS_4(i) "+r"(sum[i]), "+r"(sum[i + 1]), "+r"(sum[i + 2]), "+r"(sum[i + 3])
#define SUMS_16(i) SUMS_4(i), SUMS_4(i + 4), SUMS_4(i + 8), SUMS_4(i + 12)
#define SUMS_64(i) SUMS_16(i), SUMS_16(i + 16), SUMS_16(i + 32), SUMS_16(i + 48)

// sum += a b^T by a warpgroup: a 64 x 32 int8, b 256 x 32 int8, both in shared memory.
__device__ __forceinline__ void multiply_tiles(int (&sum)[128], uint64_t a, uint64_t b) {
  asm volatile(
      "{\n.reg .pred add;\nsetp.ne.b32 add, 1, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n256k32.s32.s8.s8 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
      "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
      "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "
      "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "
      "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127}, "
      "%128, %129, add;\n}"
      : SUMS_64(0), SUMS_64(64)
      : "l"(a), "l"(b));
}

// Keeps the compiler from moving what reads or writes the sums across this place: it does not know that products which
// are under way still write them.
__device__ __forceinline__ void hold(int (&sum)[128]) { asm volatile("" : SUMS_64(0), SUMS_64(64)::"memory"); }

#undef SUMS_64
#undef SUMS_16
#undef SUMS_4

#endif

#else

#include "emulated_hopper.h"

#endif

// How wgmma finds an operand: rows of 128 bytes, eight of them 1024 bytes apart from the next eight, the 16-byte pieces
// of a row exchanged by its number, as copies of tiles lay them out. Along a row, the start moves by the bytes.
__device__ __forceinline__ uint64_t operand(const void* shared) {
  constexpr uint64_t kUnused = 1, kEightRows = 1024 >> 4, kExchanged128 = 1;
  return (shared_address(shared) & 0x3ffffu) >> 4 | kUnused << 16 | kEightRows << 32 | kExchanged128 << 62;
}

using Encode = decltype(&cuTensorMapEncodeTiled);

// The driver's function, found by name so that the library needs no driver to be loaded; null where there is none.
inline Encode encode_function() {
  void* found = nullptr;
  cudaDriverEntryPointQueryResult status;
#if CUDART_VERSION >= 12050
  cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000, cudaEnableDefault, &status);
#else
  cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &found, cudaEnableDefault, &status);
#endif
  return reinterpret_cast<Encode>(found);
}

// A map of [rows, k] bytes, k a multiple of 16, in tiles of `tall` rows of `wide` bytes, pieces of 16 exchanged in
// eight rows as `operand` wants them. Whether it could be made.
inline bool map_tiles(CUtensorMap* map, const int8_t* matrix, int64_t rows, int64_t k, int tall, int wide) {
  static const Encode encode = encode_function();
  if (!encode) return false;
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(k), static_cast<cuuint64_t>(rows)};
  const cuuint64_t pitch[] = {static_cast<cuuint64_t>(k)};
  const cuuint32_t box[] = {static_cast<cuuint32_t>(wide), static_cast<cuuint32_t>(tall)}, every[] = {1, 1};
  return encode(map, CU_TENSOR_MAP_DATA_TYPE_UINT8, 2, const_cast<int8_t*>(matrix), sizes, pitch, box, every,
                CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}
