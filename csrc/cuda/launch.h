// Launching kernels, and what every kernel needs: its index among all threads, shared memory, the activation.

#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include "../activation.h"
#include "../integers.h"

namespace tesela::TESELA_DEVICE {

// ----------------------------------------------------------------------------------------------------- on the host

inline void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // so that no later call reports it once more
  throw std::runtime_error(std::string("CUDA: ") + what + ": " + cudaGetErrorString(error));
}

#ifdef __CUDACC__
// The node that was captured last. Without a place for edges CUDA refuses to tell of those of overlapping kernels.
inline cudaError_t last_captured(cudaStream_t stream, cudaGraphNode_t* node) {
  cudaStreamCaptureStatus status;
  const cudaGraphNode_t* last = nullptr;
  size_t count = 0;
  const cudaGraphEdgeData* edges = nullptr;
#if CUDART_VERSION >= 13000
  const cudaError_t error = cudaStreamGetCaptureInfo(stream, &status, nullptr, nullptr, &last, &edges, &count);
#else
  const cudaError_t error = cudaStreamGetCaptureInfo_v3(stream, &status, nullptr, nullptr, &last, &edges, &count);
#endif
  if (error != cudaSuccess) return error;
  if (status != cudaStreamCaptureStatusActive || count != 1) return cudaErrorInvalidValue;
  *node = last[0];
  return cudaSuccess;
}
#endif

// Where the launches of a step go (Execution::stream). As a rule to a stream. While a graph is recorded (run.cu) that
// stream captures, and each node is noted; a step that is changed later gives its nodes new arguments instead.
struct Target {
  cudaStream_t stream = nullptr;
  std::vector<cudaGraphNode_t>* nodes = nullptr;  // of the step; null outside of graphs
  cudaGraphExec_t changed = nullptr;
  size_t next = 0;            // node to change
  bool differs = false;       // the step launches something else than was recorded
  bool after_kernel = false;  // the last that went to the stream in this run is a kernel

  void note() {
    if (nodes == nullptr) return;
    nodes->emplace_back();
    check(last_captured(stream, &nodes->back()), "capture");
  }
  // Applies `set` to the next node.
  template <class Set>
  void change(const Set& set) {
    differs = differs || next == nodes->size() || set((*nodes)[next++]) != cudaSuccess;
  }
};

// The stream of a run: the caller's, or the calling thread's own.
inline cudaStream_t stream_of(void* stream) {
  const auto* target = static_cast<const Target*>(stream);
  if (target == nullptr) return cudaStreamPerThread;
  if (target->changed) throw std::logic_error("CUDA: inside a step, only launch() and clear() can be recorded");
  return target->stream;
}

inline constexpr int device_ordinal = 0;  // the first GPU that is visible

inline constexpr int block_threads = 256;  // divides what an SM holds, 1024 threads or more, on every architecture

// Kernels walk over their work in strides of the grid, so that a grid may be smaller than it.
struct Grid {
  int64_t blocks;
  int threads = block_threads;
  size_t shared_bytes = 0;
};
inline Grid grid_over(int64_t items, int items_per_block = block_threads) { return {ceil_div(items, items_per_block)}; }

// What the code has that this GPU runs, which may be PTX of an older architecture than its own. backend.cu.
bool mma_is_compiled();
bool wgmma_is_compiled();
// Whether a kernel may begin while the one before it in the run is still running: every kernel waits for that one
// itself (dependent.cuh), if it was compiled for sm_90 or later.
bool kernels_overlap();

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), const Grid& grid, void* stream, Arguments... arguments) {
  constexpr int64_t most_blocks = (int64_t{1} << 31) - 1;
  constexpr size_t shared_bytes_unasked = 48 << 10;
  if (grid.blocks == 0) return;
  if (grid.shared_bytes > shared_bytes_unasked) {
    check(
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(grid.shared_bytes)),
        "shared memory");
  }
  const dim3 blocks(static_cast<unsigned>(std::min(grid.blocks, most_blocks)));
  const dim3 threads(static_cast<unsigned>(grid.threads));
  auto* target = static_cast<Target*>(stream);
  if (target && target->changed) {
    std::tuple<std::remove_cv_t<Parameters>...> values(static_cast<Parameters>(arguments)...);
    std::apply(
        [&](auto&... value) {
          void* pointers[] = {&value..., nullptr};
          const cudaKernelNodeParams to{reinterpret_cast<void*>(kernel),          blocks,   threads,
                                        static_cast<unsigned>(grid.shared_bytes), pointers, nullptr};
          target->change(
              [&](cudaGraphNode_t node) { return cudaGraphExecKernelNodeSetParams(target->changed, node, &to); });
        },
        values);
    return;
  }
  cudaLaunchConfig_t config{};
  config.gridDim = blocks;
  config.blockDim = threads;
  config.dynamicSmemBytes = grid.shared_bytes;
  config.stream = stream_of(stream);
  cudaLaunchAttribute early{};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  if (target && target->after_kernel && kernels_overlap()) config.attrs = &early, config.numAttrs = 1;
  check(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...), "launch");
  if (target) target->note(), target->after_kernel = true;
}

// Sets all bytes to `value`.
inline void clear(void* memory, int value, size_t bytes, void* stream) {
  auto* target = static_cast<Target*>(stream);
  if (target && target->changed) {
    cudaMemsetParams to{};
    to.dst = memory, to.value = static_cast<unsigned>(value), to.elementSize = 1, to.width = bytes, to.height = 1;
    target->change([&](cudaGraphNode_t node) { return cudaGraphExecMemsetNodeSetParams(target->changed, node, &to); });
    return;
  }
  check(cudaMemsetAsync(memory, value, bytes, stream_of(stream)), "clearing");
  if (target) target->note(), target->after_kernel = false;
}

// ------------------------------------------------------------------------------------------------------ in kernels

__device__ inline int64_t first_item() { return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ inline int64_t item_stride() { return static_cast<int64_t>(gridDim.x) * blockDim.x; }

// The block's shared memory, sizeof(T) bytes of which the launch has asked for. Not initialised.
template <class T>
__device__ T& shared_memory() {
#ifdef __CUDACC__
  extern __shared__ __align__(1024) unsigned char bytes[];  // as TMA's swizzle wants it
  return *reinterpret_cast<T*>(bytes);
#else
  return *static_cast<T*>(emulated::shared_memory());
#endif
}

// fmaxf and fminf drop a NaN; these let it pass.
__device__ inline float max_propagating(float a, float b) { return a > b || a != a ? a : b; }

__device__ inline float activate(float x, ActivationSpec spec) {
  switch (spec.kind) {
    case Activation::none:
      return x;
    case Activation::relu:
      return x < 0.0f ? 0.0f : x;
    case Activation::relu6:
      return x < 0.0f ? 0.0f : x > 6.0f ? 6.0f : x;
    case Activation::leaky_relu:
      return x > 0.0f ? x : x * spec.parameter;
    case Activation::elu:
      return x > 0.0f ? x : spec.parameter * expm1f(x);
    case Activation::sigmoid:
      return 1.0f / (1.0f + expf(-x));
    case Activation::tanh:
      return tanhf(x);
    case Activation::hardswish: {
      const float shifted = x + 3.0f;
      return x * (shifted < 0.0f ? 0.0f : shifted > 6.0f ? 6.0f : shifted) / 6.0f;
    }
    case Activation::silu:
      return x / (1.0f + expf(-x));
    case Activation::gelu:
      return 0.5f * x * erfcf(-0.70710678f * x);
    case Activation::gelu_tanh:
      return 0.5f * x * (1.0f + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
  }
  return x;
}

}  // namespace tesela::TESELA_DEVICE
