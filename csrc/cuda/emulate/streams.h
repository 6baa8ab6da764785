// What the files of the emulated runtime share: streams as lists of operations, each of which knows what must be done
// before it, and the nodes of graphs. Behind runtime.h; to be touched only by who holds `mutex`.

#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "cuda_runtime.h"

namespace emulated {

extern std::recursive_mutex mutex;  // of all that the runtime knows, and of running

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

extern thread_local int captures;  // that this thread has begun
extern GraphCounts counts;

// cudaErrorLaunchFailure once the host has waited on a failing device.
cudaError_t told(bool waits = false);

// Null for a handle of no stream.
std::shared_ptr<Stream> stream_named(cudaStream_t handle);
const std::shared_ptr<Stream>& legacy_stream();

// Adds to the graph that the stream captures, or to the stream.
cudaError_t enqueue(cudaStream_t handle, GraphNode node);
// All that any stream has been given.
void finish_all();

}  // namespace emulated
