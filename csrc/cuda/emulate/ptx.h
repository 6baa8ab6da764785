// The instructions of ptx.cuh on the emulator: the same functions, and what each checks. See cuda_runtime.h.

#pragma once

#include <cuda.h>

#include <cstddef>
#include <cstdint>

#include "../fragments.h"

namespace emulated::ptx {

using tesela::MmaType;

// ------------------------------------------------------------------------------------------------------- cp.async
void copy_async(void* to, const void* from, size_t size, int bytes);
inline void cp_async_4(void* to, const void* from, int bytes) { copy_async(to, from, 4, bytes); }
inline void cp_async_16(void* to, const void* from, int bytes) { copy_async(to, from, 16, bytes); }
void cp_async_commit();
void wait_for_copies(size_t groups);
template <int groups>
void cp_async_wait() {
  wait_for_copies(groups);
}

// ---------------------------------------------------------------------------------------------- mbarriers and TMA
unsigned shared_address(const void* pointer);
void mbarrier_init(uint64_t* barrier, unsigned arrivals);
void fence_mbarrier_init();
void mbarrier_arrive(uint64_t* barrier);
void mbarrier_arrive_expect(uint64_t* barrier, unsigned bytes);
void mbarrier_wait(uint64_t* barrier, unsigned parity);
void fence_proxy_async();
inline void prefetch_tensor_map(const CUtensorMap*) {}
void tma_load_2d(void* to, const CUtensorMap* map, uint64_t* barrier, int c0, int c1);
void tma_load_im2col(void* to, const CUtensorMap* map, uint64_t* barrier, int c, int w, int h, int n, int offset_w,
                     int offset_h);

// --------------------------------------------------------------------------------------------------- tensor cores
uint32_t to_tf32(float x);
void multiply_fragments(MmaType type, float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
template <MmaType type>
void mma(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  multiply_fragments(type, c, a, b);
}
void ldmatrix(uint32_t (&to)[4], const void* row);

// a: four registers of each thread, or null and a descriptor.
void wgmma_issue(MmaType type, int n, float* d, const uint32_t* a, uint64_t a_descriptor, uint64_t b, bool accumulate);
template <MmaType type, int n>
void wgmma(float (&d)[n / 2], uint64_t a, uint64_t b, bool accumulate) {
  wgmma_issue(type, n, d, nullptr, a, b, accumulate);
}
template <MmaType type, int n>
void wgmma(float (&d)[n / 2], const uint32_t (&a)[4], uint64_t b, bool accumulate) {
  wgmma_issue(type, n, d, a, 0, b, accumulate);
}
void wgmma_fence();
void wgmma_commit();
void wait_for_products(size_t groups);
template <int groups>
void wgmma_wait() {
  wait_for_products(groups);
}

template <class T, int n>
void hold(T (&)[n]) {}

// ------------------------------------------------------------------------------------------------------- the rest
void set_registers(int count);
template <int count>
void registers_down_to() {
  set_registers(count);
}
template <int count>
void registers_up_to() {
  set_registers(count);
}
void wait_for_earlier_grid();  // launches run one after another, but a kernel that does not wait is found
inline void let_next_grid_start() {}
void prefetch_to_l2(const void* line);

}  // namespace emulated::ptx
