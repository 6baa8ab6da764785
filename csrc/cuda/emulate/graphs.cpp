// Graphs: what a stream captures instead of doing it, and may do again with other arguments.

#include <cstring>
#include <utility>

#include "streams.h"

namespace emulated {

thread_local int captures = 0;
GraphCounts counts;

struct GraphExec {
  std::vector<std::pair<std::shared_ptr<GraphNode>, std::function<void()>>> nodes;
};

namespace {

std::function<void()>* find(cudaGraphExec_t exec, cudaGraphNode_t node) {
  for (auto& [own, run] : exec->nodes) {
    if (own.get() == node) return &run;
  }
  return nullptr;
}

}  // namespace

cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode) {
  const std::lock_guard lock(mutex);
  if (const cudaError_t error = told()) return error;
  const auto stream = stream_named(handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  if (stream == legacy_stream() || stream->capture) return cudaErrorStreamCaptureUnsupported;
  stream->capture = std::make_unique<Graph>();
  stream->after_kernel = false;
  ++captures;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t* graph) {
  const std::lock_guard lock(mutex);
  const auto stream = stream_named(handle);
  *graph = nullptr;
  if (stream == nullptr || stream->capture == nullptr) return cudaErrorInvalidValue;
  *graph = stream->capture.release();
  stream->after_kernel = false;
  --captures;
  ++counts.captured;
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t handle, cudaStreamCaptureStatus* status) {
  const std::lock_guard lock(mutex);
  const auto stream = stream_named(handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  *status = stream->capture ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}

cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  thread_local cudaStreamCaptureMode current = cudaStreamCaptureModeGlobal;
  std::swap(current, *mode);
  return cudaSuccess;
}

cudaError_t last_captured(cudaStream_t handle, cudaGraphNode_t* node) {
  const std::lock_guard lock(mutex);
  const auto stream = stream_named(handle);
  if (stream == nullptr || stream->capture == nullptr || stream->capture->nodes.empty()) return cudaErrorInvalidValue;
  *node = stream->capture->nodes.back().get();
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  *exec = new GraphExec;
  for (const auto& node : graph->nodes) {
    (*exec)->nodes.push_back({node, node->call.kernel ? node->call.run_grid : node->run});
  }
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t handle) {
  const std::lock_guard lock(mutex);
  std::vector<std::function<void()>> all;
  for (const auto& [node, run] : exec->nodes) {
    all.push_back(run);
    counts.early += node->call.early;
  }
  ++counts.launched;
  GraphNode whole{};
  whole.run = [all = std::move(all)] {
    for (const auto& run : all) run();
  };
  return enqueue(handle, std::move(whole));
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  return cudaSuccess;
}

cudaError_t cudaGraphExecKernelNodeSetParams(cudaGraphExec_t exec, cudaGraphNode_t node,
                                             const cudaKernelNodeParams* params) {
  const std::lock_guard lock(mutex);
  std::function<void()>* run = find(exec, node);
  if (run == nullptr || node->call.kernel != params->func) return cudaErrorInvalidValue;
  *run = node->call.with(params->gridDim, params->blockDim, params->sharedMemBytes, params->kernelParams);
  ++counts.changed;
  return cudaSuccess;
}

cudaError_t cudaGraphExecMemsetNodeSetParams(cudaGraphExec_t exec, cudaGraphNode_t node,
                                             const cudaMemsetParams* params) {
  const std::lock_guard lock(mutex);
  std::function<void()>* run = find(exec, node);
  if (run == nullptr || node->call.kernel || params->elementSize != 1 || params->height != 1)
    return cudaErrorInvalidValue;
  *run = [p = *params] { std::memset(p.dst, static_cast<int>(p.value), p.width); };
  ++counts.changed;
  return cudaSuccess;
}

GraphCounts graph_counts() {
  const std::lock_guard lock(mutex);
  return counts;
}

}  // namespace emulated
