// One run on the device: its order among streams, and the graph that launches all its steps at once.
//
// The graph holds the addresses of the run that it was recorded from. A run whose arrays lie elsewhere changes the
// arguments of the steps that touch them (cudaGraphExecKernelNodeSetParams), a few microseconds of the host and no
// copy; what is being executed by then keeps its own. The alternative, arrays copied to addresses that never change,
// costs memory traffic in every run, which a network of few layers feels. Not measured on a GPU yet.

#include <utility>

#include "backend.h"
#include "stream.h"

namespace tesela::TESELA_DEVICE {
namespace {

class Run final : public DeviceRun {
 public:
  ~Run() override {
    const DeviceScope scope;
    done_.wait();
    forget();
    if (capture_) cudaStreamDestroy(capture_);
  }

  void* begin(StreamHandle stream) override {
    auto scope = std::make_unique<DeviceScope>();
    check(std::exchange(unordered_, cudaSuccess), "the run before");
    target_ = {native(stream)};
    expect_no_capture(target_.stream);
    check(done_.before(target_.stream), "stream");
    scope_ = std::move(scope);
    return &target_;
  }

  void end() noexcept override {
    unordered_ = done_.record(target_.stream);
    scope_.reset();
  }

  bool recorded() const override { return graph_ != nullptr; }

  void record(size_t steps, const Step& run) override {
    forget();
    if (!capture_) check(cudaStreamCreateWithFlags(&capture_, cudaStreamNonBlocking), "stream");
    nodes_.assign(steps, {});
    check(cudaStreamBeginCapture(capture_, cudaStreamCaptureModeThreadLocal), "capture");
    cudaGraph_t captured = nullptr;
    try {
      Target target{capture_};
      for (size_t s = 0; s < steps; ++s) {
        target.nodes = &nodes_[s];
        run(s, &target);
      }
    } catch (...) {
      if (cudaStreamEndCapture(capture_, &captured) == cudaSuccess) cudaGraphDestroy(captured);
      throw;
    }
    check(cudaStreamEndCapture(capture_, &captured), "capture");
    const cudaError_t error = cudaGraphInstantiate(&graph_, captured, 0);
    if (error != cudaSuccess) cudaGraphDestroy(captured);
    check(error, "graph");
    captured_ = captured;
  }

  bool change(size_t step, const Step& run) override {
    Target target{nullptr, &nodes_[step], graph_};
    try {
      run(step, &target);
    } catch (...) {
      forget();  // steps before this one have the new arguments
      throw;
    }
    return !target.differs && target.next == nodes_[step].size();
  }

  void launch() override { check(cudaGraphLaunch(graph_, target_.stream), "graph"); }

 private:
  void forget() {
    if (graph_) cudaGraphExecDestroy(graph_);
    if (captured_) cudaGraphDestroy(captured_);
    graph_ = nullptr, captured_ = nullptr;
  }

  Event done_;                           // of the last run
  cudaError_t unordered_ = cudaSuccess;  // why it is not; for the next run to tell
  Target target_;
  std::unique_ptr<DeviceScope> scope_;
  cudaStream_t capture_ = nullptr;
  cudaGraph_t captured_ = nullptr;  // owns the nodes by which the graph is changed
  cudaGraphExec_t graph_ = nullptr;
  std::vector<std::vector<cudaGraphNode_t>> nodes_;  // of each step
};

}  // namespace

std::unique_ptr<DeviceRun> DeviceBackend::device_run() const {
  const DeviceScope scope;
  return std::make_unique<Run>();
}

void DeviceBackend::order(StreamHandle later, StreamHandle earlier) const {
  const DeviceScope scope;
  expect_no_capture(native(later));
  Event done;
  check(done.record(native(earlier)), "stream");
  check(done.before(native(later)), "stream");
}

}  // namespace tesela::TESELA_DEVICE
