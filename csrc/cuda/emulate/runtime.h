// The host's side of the emulated CUDA runtime: two devices, memory, streams, events and graphs. Part of
// cuda_runtime.h.
//
// Work is done as late as the rules of streams allow: when the host waits for it, or for what was ordered after it. So
// a missing wait between streams, or memory released too early, shows in the results. What the host hands to a copy is
// read at once, as from pageable memory. While a thread captures, it may not allocate, wait, or copy from the host,
// whatever its mode; other threads may.
// TESELA_EMULATOR_MEMORY limits the bytes of each device. Limits: a kernel's fault is told where the host waits, as an
// exception; the error of a GPU after which every call fails is had by break_device() only.

#pragma once

#include <cstddef>
#include <functional>
#include <memory>

namespace emulated {

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};

enum cudaDeviceAttr { cudaDevAttrComputeCapabilityMajor, cudaDevAttrMultiProcessorCount };
enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidDevice = 101,
  cudaErrorInvalidResourceHandle = 400,
  cudaErrorNotReady = 600,
  cudaErrorLaunchFailure = 719,
  cudaErrorStreamCaptureUnsupported = 900,
};
enum cudaMemcpyKind {
  cudaMemcpyHostToHost,
  cudaMemcpyHostToDevice,
  cudaMemcpyDeviceToHost,
  cudaMemcpyDeviceToDevice,
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
enum cudaMemoryType { cudaMemoryTypeUnregistered, cudaMemoryTypeHost, cudaMemoryTypeDevice, cudaMemoryTypeManaged };
struct cudaPointerAttributes {
  cudaMemoryType type;
  int device;
};

using cudaStream_t = struct Stream*;
#define cudaStreamLegacy (reinterpret_cast<emulated::cudaStream_t>(1))
#define cudaStreamPerThread (reinterpret_cast<emulated::cudaStream_t>(2))
inline constexpr unsigned cudaStreamDefault = 0, cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2;
using cudaEvent_t = struct Event*;
using cudaGraph_t = struct Graph*;
using cudaGraphExec_t = struct GraphExec*;
using cudaGraphNode_t = struct GraphNode*;
using cudaMemPool_t = struct MemPool*;
enum cudaStreamCaptureMode {
  cudaStreamCaptureModeGlobal,
  cudaStreamCaptureModeThreadLocal,
  cudaStreamCaptureModeRelaxed,
};
enum cudaStreamCaptureStatus { cudaStreamCaptureStatusNone, cudaStreamCaptureStatusActive };
struct cudaKernelNodeParams {
  void* func;
  dim3 gridDim, blockDim;
  unsigned sharedMemBytes;
  void** kernelParams;
  void** extra;
};
struct cudaMemsetParams {
  void* dst;
  size_t pitch;
  unsigned value, elementSize;
  size_t width, height;
};

const char* cudaGetErrorString(cudaError_t);
cudaError_t cudaGetLastError();
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);

cudaError_t cudaMalloc(void** memory, size_t bytes);
cudaError_t cudaFree(void* memory);
cudaError_t cudaMallocFromPoolAsync(void** memory, size_t bytes, cudaMemPool_t pool, cudaStream_t stream);
cudaError_t cudaFreeAsync(void* memory, cudaStream_t stream);
cudaError_t cudaMemGetInfo(size_t* free, size_t* total);
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer);
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream);

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags = 0);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventQuery(cudaEvent_t event);
cudaError_t cudaEventDestroy(cudaEvent_t event);

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph);
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status);
cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode);  // changes nothing: see above
// The node that was captured last.
cudaError_t last_captured(cudaStream_t stream, cudaGraphNode_t* node);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long flags = 0);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);
cudaError_t cudaGraphExecKernelNodeSetParams(cudaGraphExec_t exec, cudaGraphNode_t node,
                                             const cudaKernelNodeParams* params);
cudaError_t cudaGraphExecMemsetNodeSetParams(cudaGraphExec_t exec, cudaGraphNode_t node,
                                             const cudaMemsetParams* params);

// How often, since the process began, graphs were captured, launched, and had a node changed: for tests.
struct GraphCounts {
  int captured = 0, launched = 0, changed = 0;
  int early = 0;  // kernels that began before the one before them had ended, in graphs or not
};
GraphCounts graph_counts();

// The next wait of the host fails, and every call after it, until the device is repaired: for tests.
void break_device();
void repair_device();

// A kernel with its arguments. `with` puts others, one pointer for each, in their place.
struct KernelCall {
  const void* kernel;
  bool early;
  std::function<void()> run_grid;
  std::function<std::function<void()>(const dim3& grid, const dim3& block, size_t shared, void** arguments)> with;
};
cudaError_t enqueue_kernel(KernelCall call, cudaStream_t stream);

// Whether all of it lies in one allocation that is alive, of the device whose kernels run.
bool in_device_memory(const void* address, size_t bytes, bool written = false);
// Whether a kernel has written to that allocation. Weights and tables are the others.
bool kernels_write_to(const void* address);

}  // namespace emulated
