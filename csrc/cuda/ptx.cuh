// Every line of inline assembly, each instruction as one function. Without nvcc the emulator's functions of the same
// names take their place (emulate/ptx.h). For architectures that do not have an instruction its function exists and
// does nothing, so that kernels compile, and no kernel that uses it is launched there (select.h).
//
// References are to the PTX ISA, in sections of the instructions' names.

#pragma once

#include "launch.h"

#ifdef __CUDACC__

#include <type_traits>

#include "fragments.h"

using CUtensorMap = struct CUtensorMap_st;  // of <cuda.h>, which takes the compiler long to read

namespace tesela::TESELA_DEVICE::ptx {

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
#define TESELA_PTX(...) asm volatile(__VA_ARGS__)
#else
#define TESELA_PTX(...)
#endif
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#define TESELA_PTX_SM90(...) asm volatile(__VA_ARGS__)
#else
#define TESELA_PTX_SM90(...)
#endif
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define TESELA_PTX_SM90A(...) asm volatile(__VA_ARGS__)
#else
#define TESELA_PTX_SM90A(...)
#endif

__device__ inline unsigned shared_address(const void* pointer) {
  return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
}

// ---------------------------------------------------------------------------------------------------- cp.async, sm_80

// Copies `bytes` of 4 (or 16) from global to shared memory, and zeros for the rest; of 0 nothing is read. Not there
// before the group it was committed to has been waited for.
__device__ inline void cp_async_4([[maybe_unused]] void* to, [[maybe_unused]] const void* from,
                                  [[maybe_unused]] int bytes) {
  TESELA_PTX("cp.async.ca.shared.global [%0], [%1], 4, %2;\n" ::"r"(shared_address(to)), "l"(from),
             "r"(bytes) : "memory");
}
__device__ inline void cp_async_16([[maybe_unused]] void* to, [[maybe_unused]] const void* from,
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

// --------------------------------------------------------------------------------------------------------- mma, sm_80

// The nearest number of 10 mantissa bits, ties away from zero, as the bits of a float.
__device__ inline uint32_t to_tf32([[maybe_unused]] float x) {
  uint32_t y = 0;
  TESELA_PTX("cvt.rna.tf32.f32 %0, %1;\n" : "=r"(y) : "f"(x));
  return y;
}

// c += a * b, 16 x 8 of 32 bytes of k, by all lanes of a warp together; fragments as in fragments.h.
#define TESELA_MMA(kinds)                                                                       \
  TESELA_PTX("mma.sync.aligned." kinds                                                          \
             " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\n" : "+f"(c[0]), \
             "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))
template <MmaType type>
__device__ inline void mma([[maybe_unused]] float (&c)[4], [[maybe_unused]] const uint32_t (&a)[4],
                           [[maybe_unused]] const uint32_t (&b)[2]) {
  if constexpr (type == MmaType::bfloat16) {
    TESELA_MMA("m16n8k16.row.col.f32.bf16.bf16.f32");
  } else if constexpr (type == MmaType::float16) {
    TESELA_MMA("m16n8k16.row.col.f32.f16.f16.f32");
  } else {
    TESELA_MMA("m16n8k8.row.col.f32.tf32.tf32.f32");
  }
}

// Four matrices of 8 rows of 16 bytes, of which each lane names one; which bytes a lane gets says fragments.h.
__device__ inline void ldmatrix([[maybe_unused]] uint32_t (&to)[4], [[maybe_unused]] const void* row) {
  TESELA_PTX("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n" : "=r"(to[0]), "=r"(to[1]),
             "=r"(to[2]), "=r"(to[3]) : "r"(shared_address(row)) : "memory");
}

// ---------------------------------------------------------------------------------------------- mbarrier, TMA, sm_90a

// A phase of a barrier ends when so many have arrived and as many bytes have come as were expected.
__device__ inline void mbarrier_init([[maybe_unused]] uint64_t* barrier, [[maybe_unused]] unsigned arrivals) {
  TESELA_PTX_SM90A("mbarrier.init.shared::cta.b64 [%0], %1;\n" ::"r"(shared_address(barrier)),
                   "r"(arrivals) : "memory");
}
// Makes barriers known to asynchronous copies.
__device__ inline void fence_mbarrier_init() {
  TESELA_PTX_SM90A("fence.mbarrier_init.release.cluster;\n" :: : "memory");
}
__device__ inline void mbarrier_arrive([[maybe_unused]] uint64_t* barrier) {
  TESELA_PTX_SM90A("mbarrier.arrive.shared::cta.b64 _, [%0];\n" ::"r"(shared_address(barrier)) : "memory");
}
__device__ inline void mbarrier_arrive_expect([[maybe_unused]] uint64_t* barrier, [[maybe_unused]] unsigned bytes) {
  TESELA_PTX_SM90A("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;\n" ::"r"(shared_address(barrier)),
                   "r"(bytes) : "memory");
}
// Until the phase of that parity has ended: 0 for the first, third, ...
__device__ inline void mbarrier_wait([[maybe_unused]] uint64_t* barrier, [[maybe_unused]] unsigned parity) {
  TESELA_PTX_SM90A(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@done bra there;\n"
      "bra again;\n"
      "there:\n"
      "}\n" ::"r"(shared_address(barrier)),
      "r"(parity) : "memory");
}
// What this thread wrote to shared memory becomes visible to asynchronous copies and products.
__device__ inline void fence_proxy_async() { TESELA_PTX_SM90A("fence.proxy.async.shared::cta;\n" :: : "memory"); }

__device__ inline void prefetch_tensor_map([[maybe_unused]] const CUtensorMap* map) {
  TESELA_PTX_SM90A("prefetch.tensormap [%0];\n" ::"l"(map) : "memory");
}
// The map's box from (c0, c1) on, c0 the contiguous coordinate; zeros outside the tensor.
__device__ inline void tma_load_2d([[maybe_unused]] void* to, [[maybe_unused]] const CUtensorMap* map,
                                   [[maybe_unused]] uint64_t* barrier, [[maybe_unused]] int c0,
                                   [[maybe_unused]] int c1) {
  TESELA_PTX_SM90A(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];\n" ::"r"(
          shared_address(to)),
      "l"(map), "r"(shared_address(barrier)), "r"(c0), "r"(c1) : "memory");
}
// The map's channels from c on, of its number of pixels from (w, h, n) on in steps through its bounding box, each read
// at (w + offset_w, h + offset_h); zeros outside the tensor.
__device__ inline void tma_load_im2col([[maybe_unused]] void* to, [[maybe_unused]] const CUtensorMap* map,
                                       [[maybe_unused]] uint64_t* barrier, [[maybe_unused]] int c,
                                       [[maybe_unused]] int w, [[maybe_unused]] int h, [[maybe_unused]] int n,
                                       [[maybe_unused]] int offset_w, [[maybe_unused]] int offset_h) {
  TESELA_PTX_SM90A(
      "cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, "
      "%6}], [%2], {%7, %8};\n" ::"r"(shared_address(to)),
      "l"(map), "r"(shared_address(barrier)), "r"(c), "r"(w), "r"(h), "r"(n), "h"(static_cast<uint16_t>(offset_w)),
      "h"(static_cast<uint16_t>(offset_h)) : "memory");
}

// ------------------------------------------------------------------------------------------------------ wgmma, sm_90a

// Before the first product, and after registers of one were written.
__device__ inline void wgmma_fence() { TESELA_PTX_SM90A("wgmma.fence.sync.aligned;\n" :: : "memory"); }
__device__ inline void wgmma_commit() { TESELA_PTX_SM90A("wgmma.commit_group.sync.aligned;\n" :: : "memory"); }
// Until all but the last `groups` groups of products are done. Their registers may not be touched before.
template <int groups>
__device__ inline void wgmma_wait() {
  TESELA_PTX_SM90A("wgmma.wait_group.sync.aligned %0;\n" ::"n"(groups) : "memory");
}

#define TESELA_D8(i)                                                                                          \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), \
      "+f"(d[i + 7])
#define TESELA_D32_AT(i) TESELA_D8(i), TESELA_D8(i + 8), TESELA_D8(i + 16), TESELA_D8(i + 24)
#define TESELA_D32() TESELA_D32_AT(0)
#define TESELA_D64() TESELA_D32(), TESELA_D32_AT(32)
#define TESELA_D96() TESELA_D64(), TESELA_D32_AT(64)
#define TESELA_D128() TESELA_D96(), TESELA_D32_AT(96)
#define TESELA_R32                                                                                                 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, " \
  "%24, "                                                                                                          \
  "%25, %26, %27, %28, %29, %30, %31"
#define TESELA_R64                                                                                                   \
  TESELA_R32                                                                                                         \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, " \
  "%54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define TESELA_R96                                                                                                   \
  TESELA_R64                                                                                                         \
  ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84, %85, " \
  "%86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define TESELA_R128                                                                                                  \
  TESELA_R96                                                                                                         \
  ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, %112, %113, %114, " \
  "%115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
// Factors of 1, no transposition. accumulate: d += a * b, else d = a * b.
#define TESELA_WGMMA(n, kinds, sums, d, a, b, accumulated, signs, ...)                                               \
  TESELA_PTX_SM90A("{\n.reg .pred p;\nsetp.ne.b32 p, " accumulated ", 0;\nwgmma.mma_async.sync.aligned.m64n" n kinds \
                   " {" sums "}, " a ", " b ", p, 1, 1" signs ";\n}\n" : d() : __VA_ARGS__,                          \
                   "r"(int{accumulate}))
#define TESELA_WGMMA_OF_TYPE(n, sums, d, a, b, accumulated)                                               \
  if constexpr (type == MmaType::bfloat16) {                                                              \
    TESELA_WGMMA(n, "k16.f32.bf16.bf16", sums, d, a, b, accumulated, ", 0, 0", "l"(a_tile), "l"(b_tile)); \
  } else if constexpr (type == MmaType::float16) {                                                        \
    TESELA_WGMMA(n, "k16.f32.f16.f16", sums, d, a, b, accumulated, ", 0, 0", "l"(a_tile), "l"(b_tile));   \
  } else {                                                                                                \
    TESELA_WGMMA(n, "k8.f32.tf32.tf32", sums, d, a, b, accumulated, "", "l"(a_tile), "l"(b_tile));        \
  }

// d (64 x n) (+)= a (64 x 32 bytes) * b (32 bytes x n), by the 128 threads of a warpgroup together, of tiles that are
// in shared memory (wgmma_descriptor). Under way until it has been waited for.
template <MmaType type, int n>
__device__ inline void wgmma([[maybe_unused]] float (&d)[n / 2], [[maybe_unused]] uint64_t a_tile,
                             [[maybe_unused]] uint64_t b_tile, [[maybe_unused]] bool accumulate) {
  if constexpr (n == 64) {
    TESELA_WGMMA_OF_TYPE("64", TESELA_R32, TESELA_D32, "%32", "%33", "%34")
  } else if constexpr (n == 128) {
    TESELA_WGMMA_OF_TYPE("128", TESELA_R64, TESELA_D64, "%64", "%65", "%66")
  } else if constexpr (n == 192) {
    TESELA_WGMMA_OF_TYPE("192", TESELA_R96, TESELA_D96, "%96", "%97", "%98")
  } else {
    static_assert(n == 256);
    TESELA_WGMMA_OF_TYPE("256", TESELA_R128, TESELA_D128, "%128", "%129", "%130")
  }
}

// The same with a of tf32 from registers, four of each thread.
template <MmaType type, int n>
__device__ inline void wgmma([[maybe_unused]] float (&d)[n / 2], [[maybe_unused]] const uint32_t (&a)[4],
                             [[maybe_unused]] uint64_t b_tile, [[maybe_unused]] bool accumulate) {
  static_assert(type == MmaType::tf32 && (n == 64 || n == 128));
  if constexpr (n == 64) {
    TESELA_WGMMA("64", "k8.f32.tf32.tf32", TESELA_R32, TESELA_D32, "{%32, %33, %34, %35}", "%36", "%37", "", "r"(a[0]),
                 "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b_tile));
  } else {
    TESELA_WGMMA("128", "k8.f32.tf32.tf32", TESELA_R64, TESELA_D64, "{%64, %65, %66, %67}", "%68", "%69", "", "r"(a[0]),
                 "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b_tile));
  }
}

// Keeps the compiler from moving what uses these registers across this place, that of a wait or a fence.
template <class T, int n>
__device__ inline void hold([[maybe_unused]] T (&registers)[n]) {
  TESELA_UNROLL
  for (int i = 0; i < n; ++i) {
    if constexpr (sizeof(T) == sizeof(float) && std::is_floating_point_v<T>) {
      TESELA_PTX_SM90A("" : "+f"(registers[i])::"memory");
    } else {
      TESELA_PTX_SM90A("" : "+r"(registers[i])::"memory");
    }
  }
}

// -------------------------------------------------------------------------------------------------- registers, sm_90a

// By all warps of a warpgroup: gives registers back, or waits for as many.
template <int count>
__device__ inline void registers_down_to() {
  TESELA_PTX_SM90A("setmaxnreg.dec.sync.aligned.u32 %0;\n" ::"n"(count));
}
template <int count>
__device__ inline void registers_up_to() {
  TESELA_PTX_SM90A("setmaxnreg.inc.sync.aligned.u32 %0;\n" ::"n"(count));
}

// ------------------------------------------------------------------------------------------------------- grids, sm_90

// A grid that was launched to overlap with the one before it: until that one has ended and its writes are visible.
__device__ inline void wait_for_earlier_grid() { TESELA_PTX_SM90("griddepcontrol.wait;\n" :: : "memory"); }
// Has done its part when each block of the grid has, or has ended.
__device__ inline void let_next_grid_start() { TESELA_PTX_SM90("griddepcontrol.launch_dependents;\n" :: : "memory"); }

// Brings the line of global memory to L2.
__device__ inline void prefetch_to_l2([[maybe_unused]] const void* line) {
  TESELA_PTX_SM90("prefetch.global.L2 [%0];\n" ::"l"(line) : "memory");
}

#undef TESELA_PTX
#undef TESELA_PTX_SM90
#undef TESELA_PTX_SM90A
#undef TESELA_MMA
#undef TESELA_WGMMA
#undef TESELA_WGMMA_OF_TYPE
#undef TESELA_D8
#undef TESELA_D32
#undef TESELA_D32_AT
#undef TESELA_D64
#undef TESELA_D96
#undef TESELA_D128
#undef TESELA_R32
#undef TESELA_R64
#undef TESELA_R96
#undef TESELA_R128

}  // namespace tesela::TESELA_DEVICE::ptx

#else

#include "emulate/ptx.h"

namespace tesela::TESELA_DEVICE {
namespace ptx = emulated::ptx;
}

#endif
