// The emulated runtime behind runtime.h. Every stream is a list of operations; each knows what must be done before it.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "cuda_runtime.h"

namespace emulated {

struct Place {  // the first `count` operations of a stream
  std::shared_ptr<Stream> stream;
  size_t count;
};

struct Operation {
  std::vector<Place> after;
  std::function<void()> run;
};

struct Stream {
  bool blocking = true, after_kernel = false;
  size_t submitted = 0, done = 0;
  std::vector<Operation> waiting;  // from `done` on
  std::unique_ptr<Graph> capture;
};

struct GraphNode {
  KernelCall call;  // kernel null: `run` is a memset or copy
  std::function<void()> run;
};

struct Graph {
  std::vector<std::shared_ptr<GraphNode>> nodes;
};

struct GraphExec {
  std::vector<std::pair<std::shared_ptr<GraphNode>, std::function<void()>>> nodes;
};

struct Event {
  Place place{nullptr, 0};
};

namespace {

constexpr int device_count = 2;

std::recursive_mutex mutex;  // of everything here, and of running
struct Allocation {
  size_t bytes;
  int device;
  bool written = false;  // by a kernel
};
std::map<uintptr_t, Allocation> allocations;
size_t allocated[device_count] = {};
std::map<cudaStream_t, std::shared_ptr<Stream>> streams;
GraphCounts counts;
thread_local int current_device = 0, captures = 0;
enum class Health { sound, failing, broken } health = Health::sound;

// cudaErrorLaunchFailure once the host has waited on a failing device.
cudaError_t told(bool waits = false) {
  if (waits && health == Health::failing) health = Health::broken;
  return health == Health::broken ? cudaErrorLaunchFailure : cudaSuccess;
}

const std::shared_ptr<Stream>& legacy() {
  static const auto stream = std::make_shared<Stream>();
  return stream;
}

std::vector<std::shared_ptr<Stream>>& streams_of_threads() {
  static std::vector<std::shared_ptr<Stream>> all;
  return all;
}

std::shared_ptr<Stream> stream_named(cudaStream_t handle) {
  if (handle == nullptr || handle == cudaStreamLegacy) return legacy();
  if (handle == cudaStreamPerThread) {
    thread_local std::shared_ptr<Stream> own;
    if (own == nullptr) streams_of_threads().push_back(own = std::make_shared<Stream>());
    return own;
  }
  const auto at = streams.find(handle);
  return at == streams.end() ? nullptr : at->second;
}

// Does what the place waits for, and it.
void advance(const Place& place) {
  Stream& stream = *place.stream;
  while (stream.done < place.count) {
    Operation next = std::move(stream.waiting.front());
    stream.waiting.erase(stream.waiting.begin());
    ++stream.done;
    for (const Place& before : next.after) advance(before);
    if (next.run) next.run();
  }
}

void submit(const std::shared_ptr<Stream>& stream, std::function<void()> run, std::vector<Place> after = {}) {
  // The legacy stream and those that are not non-blocking wait for each other.
  if (stream == legacy()) {
    for (const auto& [handle, other] : streams) {
      if (other->blocking) after.push_back({other, other->submitted});
    }
    for (const auto& other : streams_of_threads()) after.push_back({other, other->submitted});
  } else if (stream->blocking) {
    after.push_back({legacy(), legacy()->submitted});
  }
  stream->waiting.push_back({std::move(after), std::move(run)});
  ++stream->submitted;
}

void finish_all() {
  advance({legacy(), legacy()->submitted});
  for (const auto& stream : streams_of_threads()) advance({stream, stream->submitted});
  for (const auto& [handle, stream] : streams) advance({stream, stream->submitted});
}

std::pair<const uintptr_t, Allocation>* allocation_of(uintptr_t address) {
  auto after = allocations.upper_bound(address);
  if (after == allocations.begin()) return nullptr;
  --after;
  return address < after->first + std::max<size_t>(after->second.bytes, 1) ? &*after : nullptr;
}

size_t total_memory() {
  const char* text = std::getenv("TESELA_EMULATOR_MEMORY");
  return text ? std::strtoull(text, nullptr, 10) : size_t{1} << 40;
}

void release(void* memory) {
  const auto at = allocations.find(reinterpret_cast<uintptr_t>(memory));
  if (at == allocations.end()) return;
  allocated[at->second.device] -= at->second.bytes;
  allocations.erase(at);
  std::free(memory);
}

// Adds to the graph that the stream captures, or to the stream.
cudaError_t enqueue(cudaStream_t handle, GraphNode node) {
  if (const cudaError_t error = told()) return error;
  const auto stream = stream_named(handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  const bool is_kernel = node.call.kernel != nullptr;
  if (node.call.early && !stream->after_kernel) return cudaErrorInvalidValue;  // there is nothing to overlap with
  stream->after_kernel = is_kernel;
  if (stream->capture) {
    stream->capture->nodes.push_back(std::make_shared<GraphNode>(std::move(node)));
  } else {
    counts.early += node.call.early;
    submit(stream, node.call.kernel ? std::move(node.call.run_grid) : std::move(node.run));
  }
  return cudaSuccess;
}

}  // namespace

// ---------------------------------------------------------------------------------------------------------- devices

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    case cudaErrorInvalidResourceHandle:
      return "invalid resource handle";
    case cudaErrorNotReady:
      return "device not ready";
    case cudaErrorLaunchFailure:
      return "unspecified launch failure";
    case cudaErrorStreamCaptureUnsupported:
      return "operation not permitted when stream is capturing";
  }
  return "unknown error";
}

cudaError_t cudaGetLastError() { return cudaSuccess; }

cudaError_t cudaDriverGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
  *device = current_device;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= device_count) return cudaErrorInvalidDevice;
  current_device = device;
  return cudaSuccess;
}

// TESELA_EMULATOR_CAPABILITY: the major compute capability to stand for, 9 without it.
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  const char* capability = std::getenv("TESELA_EMULATOR_CAPABILITY");
  *value = attribute == cudaDevAttrMultiProcessorCount ? 132 : capability ? std::atoi(capability) : 9;
  return cudaSuccess;
}

// ----------------------------------------------------------------------------------------------------------- memory

bool in_device_memory(const void* memory, size_t bytes, bool written) {
  const auto address = reinterpret_cast<uintptr_t>(memory);
  const std::lock_guard lock(mutex);
  auto* of = allocation_of(address);
  if (of && written) of->second.written = true;
  return of && of->second.device == 0 && address + bytes <= of->first + of->second.bytes;
}

bool kernels_write_to(const void* address) {
  const std::lock_guard lock(mutex);
  const auto* of = allocation_of(reinterpret_cast<uintptr_t>(address));
  return of && of->second.written;
}

cudaError_t cudaMalloc(void** memory, size_t bytes) {
  const std::lock_guard lock(mutex);
  *memory = nullptr;
  if (const cudaError_t error = told()) return error;
  if (captures > 0) return cudaErrorStreamCaptureUnsupported;
  if (bytes > total_memory() - std::min(total_memory(), allocated[current_device])) return cudaErrorMemoryAllocation;
  if (posix_memalign(memory, 256, std::max<size_t>(bytes, 1)) != 0) return cudaErrorMemoryAllocation;
  std::memset(*memory, 0xff, bytes);  // NaN
  allocations[reinterpret_cast<uintptr_t>(*memory)] = {bytes, current_device};
  allocated[current_device] += bytes;
  return cudaSuccess;
}

cudaError_t cudaFree(void* memory) {
  const std::lock_guard lock(mutex);
  try {
    finish_all();
  } catch (...) {  // a kernel's fault; whoever waits for its stream gets no result
  }
  release(memory);
  return cudaSuccess;
}

cudaError_t cudaMallocFromPoolAsync(void** memory, size_t bytes, cudaMemPool_t, cudaStream_t) {
  return cudaMalloc(memory, bytes);
}

cudaError_t cudaFreeAsync(void* memory, cudaStream_t handle) {
  const std::lock_guard lock(mutex);
  return enqueue(handle, {{}, [memory] { release(memory); }});
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  const std::lock_guard lock(mutex);
  *total = total_memory();
  *free = *total - std::min(*total, allocated[current_device]);
  return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
  const std::lock_guard lock(mutex);
  const auto* of = allocation_of(reinterpret_cast<uintptr_t>(pointer));
  *attributes = {of ? cudaMemoryTypeDevice : cudaMemoryTypeUnregistered, of ? of->second.device : -2};
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t handle) {
  const std::lock_guard lock(mutex);
  if (kind != cudaMemcpyDeviceToDevice && captures > 0) return cudaErrorStreamCaptureUnsupported;
  if (kind == cudaMemcpyHostToDevice) {
    const auto* first = static_cast<const char*>(from);
    return enqueue(handle, {{}, [to, kept = std::vector<char>(first, first + bytes)] {
                              std::memcpy(to, kept.data(), kept.size());
                            }});
  }
  const cudaError_t error = enqueue(handle, {{}, [=] { std::memcpy(to, from, bytes); }});
  return error == cudaSuccess && kind == cudaMemcpyDeviceToHost ? cudaStreamSynchronize(handle) : error;
}

cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t handle) {
  const std::lock_guard lock(mutex);
  return enqueue(handle, {{}, [=] { std::memset(to, value, bytes); }});
}

// ---------------------------------------------------------------------------------------------- streams and events

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* handle, unsigned flags) {
  const std::lock_guard lock(mutex);
  auto stream = std::make_shared<Stream>();
  stream->blocking = flags != cudaStreamNonBlocking;
  *handle = stream.get();
  streams[*handle] = std::move(stream);
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t handle) {
  const std::lock_guard lock(mutex);
  const auto stream = stream_named(handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  advance({stream, stream->submitted});
  streams.erase(handle);
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  const std::lock_guard lock(mutex);
  if (const cudaError_t error = told(true)) return error;
  const auto stream = stream_named(handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  if (captures > 0) return cudaErrorStreamCaptureUnsupported;
  advance({stream, stream->submitted});
  return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned) {
  const std::lock_guard lock(mutex);
  if (const cudaError_t error = told()) return error;
  const auto stream = stream_named(handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  if (event->place.stream) submit(stream, nullptr, {event->place});
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new Event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t handle) {
  const std::lock_guard lock(mutex);
  if (const cudaError_t error = told()) return error;
  const auto stream = stream_named(handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  submit(stream, nullptr);
  event->place = {stream, stream->submitted};
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const std::lock_guard lock(mutex);
  if (const cudaError_t error = told(true)) return error;
  if (captures > 0) return cudaErrorStreamCaptureUnsupported;
  if (event->place.stream) advance(event->place);
  return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  const std::lock_guard lock(mutex);
  return event->place.stream && event->place.stream->done < event->place.count ? cudaErrorNotReady : cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  const std::lock_guard lock(mutex);
  delete event;
  return cudaSuccess;
}

// ----------------------------------------------------------------------------------------------------------- graphs

cudaError_t enqueue_kernel(KernelCall call, cudaStream_t handle) {
  const std::lock_guard lock(mutex);
  return enqueue(handle, {std::move(call), nullptr});
}

cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode) {
  const std::lock_guard lock(mutex);
  if (const cudaError_t error = told()) return error;
  const auto stream = stream_named(handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  if (stream == legacy() || stream->capture) return cudaErrorStreamCaptureUnsupported;
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
  return enqueue(handle, {{}, [all = std::move(all)] {
                            for (const auto& run : all) run();
                          }});
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  return cudaSuccess;
}

namespace {

std::function<void()>* find(cudaGraphExec_t exec, cudaGraphNode_t node) {
  for (auto& [own, run] : exec->nodes) {
    if (own.get() == node) return &run;
  }
  return nullptr;
}

}  // namespace

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

void break_device() {
  const std::lock_guard lock(mutex);
  health = Health::failing;
}

void repair_device() {
  const std::lock_guard lock(mutex);
  health = Health::sound;
}

}  // namespace emulated
