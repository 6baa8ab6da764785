#include "backend.h"

#include <algorithm>
#include <cstdint>

#include "cpu/backend.h"
#include "cuda/device.h"

namespace tesela {
namespace {

[[noreturn]] void lacks(const Backend& backend, const char* op) {
  throw DeviceError(std::string("device '") + backend.name() + "': it has no kernel for " + op + " yet");
}

using Table = std::vector<int64_t>;

void expect_sizes(const char* op, bool agree) {
  if (!agree) throw ShapeError(std::string(op) + ": tables of different sizes");
}

bool lie_in(const Table& places, int64_t lowest, int64_t size) {
  return std::all_of(places.begin(), places.end(), [=](int64_t place) { return lowest <= place && place < size; });
}

}  // namespace

void expect_inside(const AveragingWindows& windows, const Dims& x) {
  const auto expect = [](const Table& begin, const Table& end, const Table& count, int64_t size) {
    expect_sizes("avg_pool2d", begin.size() == end.size() && begin.size() == count.size());
    if (lie_in(begin, 0, INT64_MAX) && lie_in(end, INT64_MIN, size + 1)) return;
    throw ShapeError("avg_pool2d: a window outside of x, which has " + std::to_string(size) + " elements there");
  };
  expect(windows.begin_h, windows.end_h, windows.count_h, x[2]);
  expect(windows.begin_w, windows.end_w, windows.count_w, x[3]);
}

void expect_inside(const Resampling& r, const Dims& x) {
  const bool interpolates = !r.weight_h.empty() || !r.weight_w.empty();
  const auto expect = [&](const Table& low, const Table& high, const std::vector<float>& weight, int64_t size) {
    const size_t more = interpolates ? low.size() : 0;
    expect_sizes("resample2d", high.size() == more && weight.size() == more);
    if (lie_in(low, interpolates ? 0 : -1, size) && lie_in(high, 0, size)) return;
    throw ShapeError("resample2d: a place outside of x, which has " + std::to_string(size) + " elements there");
  };
  expect(r.low_h, r.high_h, r.weight_h, x[2]);
  expect(r.low_w, r.high_w, r.weight_w, x[3]);
}

TensorId Backend::gated_conv2d(Program& program, TensorId x, const Conv2dShape& s, const float* weight,
                               const float* bias, TensorId gate, TensorId residual, ActivationSpec activation) const {
  const bool adds = residual >= 0;
  const TensorId y = conv2d(program, x, s, weight, bias, -1, {});
  const TensorId gated = binary(program, Binary::mul, y, gate, adds ? ActivationSpec{} : activation);
  return adds ? binary(program, Binary::add, gated, residual, activation) : gated;
}

TensorId Backend::pointwise_depthwise_conv2d(Program& program, TensorId x, const Conv2dLayer& pointwise,
                                             const Conv2dLayer& depthwise) const {
  for (const Conv2dLayer* layer : {&pointwise, &depthwise}) {
    x = conv2d(program, x, layer->s, layer->weight, layer->bias, -1, layer->activation);
  }
  return x;
}

std::vector<TensorId> Backend::top_k(Program&, TensorId, int64_t, int64_t, bool) const { lacks(*this, "top_k"); }

std::vector<TensorId> Backend::non_max_suppression(Program&, TensorId, TensorId, const Suppression&) const {
  lacks(*this, "non_max_suppression");
}

TensorId Backend::roi_align(Program&, TensorId, TensorId, TensorId, const RoiAlignment&) const {
  lacks(*this, "roi_align");
}

const Backend& backend_of(const std::string& device) {
  if (device == "cpu") {
    static const cpu::CpuBackend backend;
    return backend;
  }
  if (device == "cuda") {
#ifdef TESELA_HAVE_CUDA
    const std::string obstacle = cuda::obstacle();
    if (obstacle.empty()) return cuda::backend();
    throw DeviceError("device 'cuda': " + obstacle);
#else
    throw DeviceError("device 'cuda': this build of tesela has no CUDA kernels; build it where nvcc is found");
#endif
  }
  if (device == "emulator") {
#ifdef TESELA_HAVE_EMULATOR
    return emulator::backend();
#else
    throw DeviceError("device 'emulator': this build of tesela has none; build it with TESELA_CUDA_EMULATOR=ON");
#endif
  }
  throw ShapeError("device: expected 'cpu' or 'cuda', got '" + device + "'");
}

std::vector<std::string> devices() {
  std::vector<std::string> names{"cpu"};
#ifdef TESELA_HAVE_EMULATOR
  names.push_back("emulator");
#endif
#ifdef TESELA_HAVE_CUDA
  if (cuda::obstacle().empty()) names.push_back("cuda");
#endif
  return names;
}

}  // namespace tesela
