// The CPU's side of Backend: planning. Each operator's methods stand in the file of its name in this folder, its
// kernels in the file of the same name in kernels/, which is compiled once per instruction set.

#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "../backend.h"
#include "../plan.h"
#include "../program.h"
#include "kernels.h"

namespace tesela::cpu {

// ---------------------------------------------------------------------------------------------- instruction sets

std::vector<std::string> built_isas();      // that this build has kernels for, narrowest first
std::vector<std::string> supported_isas();  // those that this machine can run; "generic" always
const char* selected_isa();                 // the widest, unless TESELA_MAX_ISA or set_max_isa() forbids
void set_max_isa(const std::string& isa);   // "generic" | "avx2" | "avx512"; ShapeError for another name
const Kernels& kernels();                   // of the selected set
bool has_bfloat16_products();               // whether the selected set and this machine have them

// ------------------------------------------------------------------------------------------------------- memory

// Parameters as kernels read them: 64-byte aligned, on huge pages where the system grants them. Not initialised: who
// packs a part touches it first, on its own thread.
class PackedFloats {
 public:
  PackedFloats() = default;
  explicit PackedFloats(size_t count);
  float* data() { return data_.get(); }
  const float* data() const { return data_.get(); }
  size_t bytes() const { return count_ * sizeof(float); }

 private:
  struct Free {
    void operator()(float* p) const;
  };
  std::unique_ptr<float[], Free> data_;
  size_t count_ = 0;
};

// `values` (per channel, or null) padded with zeros to whole blocks of 16.
PackedFloats padded_channels(const float* values, int64_t count);

// -------------------------------------------------------------------------------------------------------- plans

// A plan that runs `tasks` independent calls of one kernel. Args are what the kernel reads; Owned keeps alive whatever
// they point to; Bind makes the kernel's operands from the step's: Bind(inputs, outputs, scratch).
template <class Args, class Owned, class Kernel, class Bind>
struct KernelPlan final : Plan {
  Args args;
  Owned owned;
  Kernel* kernel;
  Bind bind;
  int64_t tasks;

  KernelPlan(Args a, Owned o, Kernel* k, Bind b, int64_t t)
      : args(a), owned(std::move(o)), kernel(k), bind(b), tasks(t) {}

  void run(const Operand* inputs, const Operand* outputs, const Execution& execution) const override {
    execution.team->run(tasks, [&](int64_t task, int worker) {
      kernel(args, bind(inputs, outputs, execution.scratch_of(worker)), task);
    });
  }
};

template <class Args, class Owned, class Kernel, class Bind>
std::unique_ptr<Plan> make_plan(const char* algorithm, Args args, Owned owned, Kernel* kernel, Bind bind,
                                int64_t tasks) {
  auto plan = std::make_unique<KernelPlan<Args, Owned, Kernel, Bind>>(args, std::move(owned), kernel, bind, tasks);
  plan->algorithm = algorithm;
  return plan;
}

class CpuBackend final : public Backend {
 public:
  const char* name() const override { return "cpu"; }
  void* allocate(size_t bytes) const override;
  void release(void* memory, size_t bytes) const override;
  bool computes_in(Precision precision) const override {
    return precision == Precision::float32 || (precision == Precision::bfloat16 && has_bfloat16_products());
  }
  const char* precisions() const override { return "'float32', or 'bfloat16' where it has AVX512_BF16,"; }
  bool stores_bfloat16_weights() const override { return true; }

  // conv2d.cpp, conv2d_pointwise_depthwise.cpp, conv2d_space_to_depth.cpp, conv_transpose2d.cpp
  TensorId conv2d(Program&, TensorId x, const Conv2dShape&, const float* weight, const float* bias, TensorId residual,
                  ActivationSpec) const override;
  TensorId gated_conv2d(Program&, TensorId x, const Conv2dShape&, const float* weight, const float* bias, TensorId gate,
                        TensorId residual, ActivationSpec) const override;
  TensorId pointwise_depthwise_conv2d(Program&, TensorId x, const Conv2dLayer& pointwise,
                                      const Conv2dLayer& depthwise) const override;
  TensorId conv2d_space_to_depth(Program&, TensorId x, const Conv2dLayer&, TensorId residual) const;
  TensorId conv_transpose2d_joined(Program&, TensorId x, const Conv2dShape&, const float* weight, const float* bias,
                                   ActivationSpec) const;
  // gemm.cpp
  TensorId gemm(Program&, TensorId a, TensorId b, TensorId c, const GemmShape&, float alpha, float beta, bool trans_a,
                bool trans_b, bool c_is_row, ActivationSpec) const override;
  TensorId linear(Program&, TensorId x, const GemmShape&, const float* weight, const float* bias,
                  ActivationSpec) const override;
  // pool2d.cpp
  std::vector<TensorId> max_pool2d(Program&, TensorId x, const Pool2dShape&, bool with_indices) const override;
  TensorId global_max_pool2d(Program&, TensorId x) const override;
  TensorId avg_pool2d(Program&, TensorId x, const AveragingWindows&) const override;
  TensorId max_unpool2d(Program&, TensorId x, TensorId indices, const Dims& y) const override;
  // elementwise.cpp
  TensorId activation(Program&, TensorId x, ActivationSpec) const override;
  TensorId prelu(Program&, TensorId x, const float* slope, int64_t slopes) const override;
  TensorId channel_affine(Program&, TensorId x, const float* scale, const float* shift, ActivationSpec) const override;
  TensorId binary(Program&, Binary, TensorId x, TensorId y, ActivationSpec) const override;
  // normalize.cpp
  TensorId local_response_norm(Program&, TensorId x, int64_t before, int64_t after, float alpha, float beta,
                               float k) const override;
  TensorId softmax(Program&, TensorId x, int64_t dim, bool log) const override;
  // resample2d.cpp
  TensorId resample2d(Program&, TensorId x, const Resampling&) const override;
  // layout.cpp
  TensorId concat(Program&, const std::vector<TensorId>& parts, int64_t dim) const override;
  TensorId pixel_shuffle(Program&, TensorId x, int64_t factor) const override;
  TensorId copy(Program&, TensorId x) const override;
  // indexed_copy.cpp, map.cpp, reduce.cpp, gather.cpp
  TensorId indexed_copy(Program&, TensorId x, const IndexedCopy&) const override;
  TensorId map(Program&, const std::string& op, const std::vector<TensorId>& operands, DType y) const override;
  TensorId reduce(Program&, const std::string& op, TensorId x, const std::vector<int64_t>& axes,
                  bool select_last) const override;
  TensorId gather(Program&, TensorId x, TensorId indices, int64_t axis) const override;
  TensorId convert(Program&, TensorId x, Layout layout) const override;
  // top_k.cpp, detection.cpp
  std::vector<TensorId> top_k(Program&, TensorId x, int64_t k, int64_t axis, bool largest) const override;
  std::vector<TensorId> non_max_suppression(Program&, TensorId boxes, TensorId scores,
                                            const Suppression&) const override;
  TensorId roi_align(Program&, TensorId x, TensorId regions, TensorId images, const RoiAlignment&) const override;
};

}  // namespace tesela::cpu
