// Streams and events: what is submitted waits until the host does, or something that was ordered after it.

#include "streams.h"

#include <map>
#include <utility>

namespace emulated {

std::recursive_mutex mutex;

struct Event {
  Place place{nullptr, 0};
};

namespace {

std::map<cudaStream_t, std::shared_ptr<Stream>> streams;

std::vector<std::shared_ptr<Stream>>& streams_of_threads() {
  static std::vector<std::shared_ptr<Stream>> all;
  return all;
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
  if (stream == legacy_stream()) {
    for (const auto& [handle, other] : streams) {
      if (other->blocking) after.push_back({other, other->submitted});
    }
    for (const auto& other : streams_of_threads()) after.push_back({other, other->submitted});
  } else if (stream->blocking) {
    after.push_back({legacy_stream(), legacy_stream()->submitted});
  }
  stream->waiting.push_back({std::move(after), std::move(run)});
  ++stream->submitted;
}

}  // namespace

const std::shared_ptr<Stream>& legacy_stream() {
  static const auto stream = std::make_shared<Stream>();
  return stream;
}

std::shared_ptr<Stream> stream_named(cudaStream_t handle) {
  if (handle == nullptr || handle == cudaStreamLegacy) return legacy_stream();
  if (handle == cudaStreamPerThread) {
    thread_local std::shared_ptr<Stream> own;
    if (own == nullptr) streams_of_threads().push_back(own = std::make_shared<Stream>());
    return own;
  }
  const auto at = streams.find(handle);
  return at == streams.end() ? nullptr : at->second;
}

void finish_all() {
  advance({legacy_stream(), legacy_stream()->submitted});
  for (const auto& stream : streams_of_threads()) advance({stream, stream->submitted});
  for (const auto& [handle, stream] : streams) advance({stream, stream->submitted});
}

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

cudaError_t enqueue_kernel(KernelCall call, cudaStream_t handle) {
  const std::lock_guard lock(mutex);
  return enqueue(handle, {std::move(call), nullptr});
}

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

}  // namespace emulated
