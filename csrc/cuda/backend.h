// The GPU's side of Backend. Each operator's kernel, and the method that plans it, stand in the file of its name.
//
// Kernels read plain tensors (row-major, NCHW), always float32, or channels_last ones of the program's storage format;
// a step that finds the other has it converted. Parameters are copied to the device when a step is planned.

#pragma once

#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "../backend.h"
#include "../plan.h"
#include "../program.h"
#include "dependent.cuh"
#include "launch.h"

namespace tesela::TESELA_DEVICE {

// Memory of the device that holds a copy of `count` values, or nothing.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  DeviceBuffer(const void* values, size_t bytes);
  template <class T>
  static DeviceBuffer of(const std::vector<T>& values) {
    return {values.data(), values.size() * sizeof(T)};
  }
  static DeviceBuffer of(const float* values, int64_t count) {  // null: an empty buffer
    return values ? DeviceBuffer(values, static_cast<size_t>(count) * sizeof(float)) : DeviceBuffer();
  }
  const void* data() const { return data_.get(); }
  const float* floats() const { return static_cast<const float*>(data_.get()); }
  const int64_t* indices() const { return static_cast<const int64_t*>(data_.get()); }
  size_t bytes() const { return bytes_; }

 private:
  struct Free {
    void operator()(void* memory) const;
  };
  std::unique_ptr<void, Free> data_;
  size_t bytes_ = 0;
};

struct NoCheck {
  void operator()(const Operand*, const Operand*, void*) const {}
};

// A plan of two callables: run(inputs, outputs, stream) launches the kernels, and check, called alike when the run is
// done, throws if they have noted an error.
template <class Run, class Check>
struct LaunchPlan final : Plan {
  Run launches;
  Check check;
  LaunchPlan(Run run, Check noted) : launches(std::move(run)), check(std::move(noted)) {}
  void run(const Operand* inputs, const Operand* outputs, const Execution& execution) const override {
    launches(inputs, outputs, execution.stream);
  }
  bool notes_errors() const override { return !std::is_same_v<Check, NoCheck>; }
  void throw_noted(const Operand* inputs, const Operand* outputs, const Execution& execution) const override {
    check(inputs, outputs, execution.stream);
  }
};

inline std::vector<TensorId> all_plain(Program& program, std::vector<TensorId> ids) {
  for (TensorId& id : ids) id = program.in_layout(id, Layout::plain);
  return ids;
}

// Appends the step. `bytes` of the report are those of inputs, outputs and parameters.
template <class Run, class Check = NoCheck>
std::vector<TensorId> append(Program& program, const char* algorithm, const std::vector<TensorId>& inputs,
                             std::vector<TensorSpec> outputs, size_t weight_bytes, double flops, Run run,
                             Check check = {}) {
  auto plan = std::make_unique<LaunchPlan<Run, Check>>(std::move(run), std::move(check));
  plan->algorithm = algorithm;
  plan->flops = flops;
  plan->weight_bytes = weight_bytes;
  plan->bytes = static_cast<double>(weight_bytes);
  for (TensorId id : inputs) plan->bytes += payload(program.spec(id));
  for (const TensorSpec& spec : outputs) plan->bytes += payload(spec);
  return program.append(std::move(plan), inputs, std::move(outputs));
}

class DeviceBackend final : public Backend {
 public:
  const char* name() const override;
  std::string hardware() const override;
  bool computes_in(Precision precision) const override;
  const char* precisions() const override { return "'float32' (others from compute capability 8.0 on)"; }
  void* allocate(size_t bytes) const override;
  void release(void* memory, size_t bytes) const override;
  bool memory_is_host() const override { return false; }
  void upload(void* to, const void* from, size_t bytes, void* stream) const override;
  void download(void* to, const void* from, size_t bytes, void* stream) const override;
  void transfer(void* to, const void* from, size_t bytes, void* stream) const override;
  void wait(void* stream) const override;
  // memory.cu, run.cu
  std::unique_ptr<DeviceRun> device_run() const override;
  std::unique_ptr<DeviceMemory> device_memory(size_t bytes, StreamHandle stream) const override;
  void order(StreamHandle later, StreamHandle earlier) const override;
  void expect_memory(const void* memory, size_t bytes, const std::string& what) const override;

  // conv2d.cu
  TensorId conv2d(Program&, TensorId x, const Conv2dShape&, const float* weight, const float* bias, TensorId residual,
                  ActivationSpec) const override;
  TensorId gated_conv2d(Program&, TensorId x, const Conv2dShape&, const float* weight, const float* bias, TensorId gate,
                        TensorId residual, ActivationSpec) const override;
  // gemm.cu
  TensorId gemm(Program&, TensorId a, TensorId b, TensorId c, const GemmShape&, float alpha, float beta, bool trans_a,
                bool trans_b, bool c_is_row, ActivationSpec) const override;
  TensorId linear(Program&, TensorId x, const GemmShape&, const float* weight, const float* bias,
                  ActivationSpec) const override;
  // pool2d.cu
  std::vector<TensorId> max_pool2d(Program&, TensorId x, const Pool2dShape&, bool with_indices) const override;
  TensorId global_max_pool2d(Program&, TensorId x) const override;
  TensorId avg_pool2d(Program&, TensorId x, const AveragingWindows&) const override;
  TensorId max_unpool2d(Program&, TensorId x, TensorId indices, const Dims& y) const override;
  // elementwise.cu
  TensorId activation(Program&, TensorId x, ActivationSpec) const override;
  TensorId prelu(Program&, TensorId x, const float* slope, int64_t slopes) const override;
  TensorId channel_affine(Program&, TensorId x, const float* scale, const float* shift, ActivationSpec) const override;
  TensorId binary(Program&, Binary, TensorId x, TensorId y, ActivationSpec) const override;
  // normalize.cu
  TensorId local_response_norm(Program&, TensorId x, int64_t before, int64_t after, float alpha, float beta,
                               float k) const override;
  TensorId softmax(Program&, TensorId x, int64_t dim, bool log) const override;
  // resample2d.cu
  TensorId resample2d(Program&, TensorId x, const Resampling&) const override;
  // map.cu, reduce.cu, gather.cu, indexed_copy.cu
  TensorId map(Program&, const std::string& op, const std::vector<TensorId>& operands, DType y) const override;
  TensorId reduce(Program&, const std::string& op, TensorId x, const std::vector<int64_t>& axes,
                  bool select_last) const override;
  TensorId gather(Program&, TensorId x, TensorId indices, int64_t axis) const override;
  TensorId indexed_copy(Program&, TensorId x, const IndexedCopy&) const override;
  // layout.cu
  TensorId concat(Program&, const std::vector<TensorId>& parts, int64_t dim) const override;
  TensorId pixel_shuffle(Program&, TensorId x, int64_t factor) const override;
  TensorId copy(Program&, TensorId x) const override;
  // convert.cu
  TensorId convert(Program&, TensorId x, Layout layout) const override;
};

}  // namespace tesela::TESELA_DEVICE
