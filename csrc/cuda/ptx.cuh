// Every line of inline assembly, each instruction as one function. Without nvcc the emulator's functions of the same
// names take their place (emulate/cuda_runtime.h). All of it needs sm_80; for sm_75 the functions exist and do nothing,
// so that kernels compile, and no kernel that uses them is launched there (select.h).
//
// References are to the PTX ISA, sections "cp.async" and "mma.sync.aligned.m16n8k8 with .tf32".

#pragma once

#include "launch.h"

#ifdef __CUDACC__

namespace tesela::TESELA_DEVICE::ptx {

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
#define TESELA_PTX(...) asm volatile(__VA_ARGS__)
#else
#define TESELA_PTX(...)
#endif

__device__ inline unsigned shared_address(const void* pointer) {
  return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
}

// Copies `bytes` of 4 (or 16) from global to shared memory, and zeros for the rest. Not there before the group it was
// committed to has been waited for.
__device__ inline void cp_async_4([[maybe_unused]] float* to, [[maybe_unused]] const float* from,
                                  [[maybe_unused]] int bytes) {
  TESELA_PTX("cp.async.ca.shared.global [%0], [%1], 4, %2;\n" ::"r"(shared_address(to)), "l"(from),
             "r"(bytes) : "memory");
}
__device__ inline void cp_async_16([[maybe_unused]] float* to, [[maybe_unused]] const float* from,
                                   [[maybe_unused]] int bytes) {
  TESELA_PTX("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(shared_address(to)), "l"(from),
             "r"(bytes) : "memory");
}
__device__ inline void cp_async_commit() { TESELA_PTX("cp.async.commit_group;\n" :: : "memory"); }
// Until all but the last `groups` of this thread's groups are there.
template <int groups>
__device__ inline void cp_async_wait() {
  TESELA_PTX("cp.async.wait_group %0;\n" ::"n"(groups) : "memory");
}

// The nearest number of 10 mantissa bits, ties away from zero, as the bits of a float.
__device__ inline uint32_t to_tf32([[maybe_unused]] float x) {
  uint32_t y = 0;
  TESELA_PTX("cvt.rna.tf32.f32 %0, %1;\n" : "=r"(y) : "f"(x));
  return y;
}

// c += a (16 x 8) * b (8 x 8), by all lanes of a warp together; fragments as in fragments.h.
__device__ inline void mma_m16n8k8_tf32([[maybe_unused]] float (&c)[4], [[maybe_unused]] const uint32_t (&a)[4],
                                        [[maybe_unused]] const uint32_t (&b)[2]) {
  TESELA_PTX(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};\n" : "+f"(c[0]),
      "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

#undef TESELA_PTX

}  // namespace tesela::TESELA_DEVICE::ptx

#else

namespace tesela::TESELA_DEVICE {
namespace ptx = emulated::ptx;
}

#endif
