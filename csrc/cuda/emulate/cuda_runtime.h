// Stands in for <cuda_runtime.h> when a host compiler builds the .cu files: the kernels then run on the CPU.
//
// Threads of a block are fibers of one operating-system thread, switched at barriers and shuffles only, in an order
// that TESELA_EMULATOR_SEED shuffles. Blocks run one after another; so do launches (runtime.h). What it finds, as
// std::runtime_error:
//   - a barrier, shuffle or mbarrier at which threads wait for ever
//   - an asynchronous copy or product that a thread never waits for, that breaks a rule of alignment, or whose
//     descriptor makes no sense; until a thread has waited for it, its destination holds NaN
//   - two threads that meet in a word of shared memory, one of them writing, with no barrier between
//   - an access outside shared memory, device memory and the thread's own stack
// and what was never written reads as NaN. The compiler reports the accesses: the .cu files are built with
// -fsanitize=thread, whose runtime library memory.cpp replaces.
// Limits: global memory is not searched for races; blocks of a grid do not run at the same time; of the memory model
// only what is said above is checked; no speed is told.
// Shared memory is had from shared_memory<T>() (launch.h) only, so that __shared__ is not defined here.

#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <type_traits>
#include <utility>

#include "runtime.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __grid_constant__
#define __launch_bounds__(...)

namespace emulated {

// ------------------------------------------------------------------------------------------------- inside a kernel

extern dim3 threadIdx, blockIdx, blockDim, gridDim;
inline constexpr int warpSize = 32;

void* shared_memory();
void __syncthreads();
void __syncwarp(unsigned mask = ~0u);
// Every lane of `mask` shows `value` and gets that of `lane` in its place.
void exchange(unsigned mask, void* value, size_t bytes, int lane);
int lane_id();
void check_atomic(const void* address, size_t bytes);

template <class T>
T __shfl_sync(unsigned mask, T value, int lane, int width = warpSize) {
  exchange(mask, &value, sizeof(T), lane_id() / width * width + lane % width);
  return value;
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int = warpSize) {
  exchange(mask, &value, sizeof(T), lane_id() ^ lanes);
  return value;
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = warpSize) {
  const int lane = lane_id(), source = lane + static_cast<int>(delta);
  exchange(mask, &value, sizeof(T), source / width == lane / width ? source : lane);
  return value;
}

inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __uint_as_float(uint32_t bits) { return __builtin_bit_cast(float, bits); }

#define EMULATED_ATOMIC(name, result)                               \
  template <class T>                                                \
  __attribute__((no_sanitize_thread)) T name(T* address, T value) { \
    check_atomic(address, sizeof(T));                               \
    const T old = *address;                                         \
    *address = result;                                              \
    return old;                                                     \
  }
EMULATED_ATOMIC(atomicAdd, old + value)
EMULATED_ATOMIC(atomicMin, value < old ? value : old)
EMULATED_ATOMIC(atomicMax, value > old ? value : old)
EMULATED_ATOMIC(atomicExch, value)
#undef EMULATED_ATOMIC

// ----------------------------------------------------------------------------------------------------- on the host

enum cudaLaunchAttributeID { cudaLaunchAttributeProgrammaticStreamSerialization = 1 };
struct cudaLaunchAttribute {
  cudaLaunchAttributeID id;
  struct {
    int programmaticStreamSerializationAllowed;
  } val;
};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
  const cudaLaunchAttribute* attrs = nullptr;  // of the one kind there is here
  unsigned numAttrs = 0;
  bool early = false;  // what they say
};

template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel*, cudaFuncAttribute, int) {
  return cudaSuccess;
}

// Runs `thread(arguments)` for every thread of every block.
void run_grid(const cudaLaunchConfig_t& config, void (*thread)(void*), void* arguments);

template <class... Parameters>
std::function<void()> grid_of(const cudaLaunchConfig_t& config, void (*kernel)(Parameters...),
                              std::remove_cv_t<Parameters>... arguments) {
  auto thread = [=]() __attribute__((no_sanitize_thread)) { kernel(arguments...); };
  return [config, thread]() mutable {
    run_grid(
        config, [](void* body) __attribute__((no_sanitize_thread)) { (*static_cast<decltype(thread)*>(body))(); },
        &thread);
  };
}

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments... arguments) {
  cudaLaunchConfig_t kept = *config;
  kept.early = kept.numAttrs > 0 && kept.attrs->val.programmaticStreamSerializationAllowed;
  const auto with = [kernel, other = kept](const dim3& grid, const dim3& block, size_t shared, void** values) mutable {
    other.gridDim = grid, other.blockDim = block, other.dynamicSmemBytes = shared;
    return [&]<size_t... i>(std::index_sequence<i...>) {
      return grid_of(other, kernel, *static_cast<std::remove_cv_t<Parameters>*>(values[i])...);
    }(std::index_sequence_for<Parameters...>());
  };
  return enqueue_kernel({reinterpret_cast<const void*>(kernel), kept.early,
                         grid_of(kept, kernel, static_cast<std::remove_cv_t<Parameters>>(arguments)...), with},
                        config->stream);
}

}  // namespace emulated

using namespace emulated;
