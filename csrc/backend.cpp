#include "backend.h"

#include "cpu/backend.h"
#include "cuda/device.h"

namespace tesela {
namespace {

[[noreturn]] void lacks(const Backend& backend, const char* op) {
  throw DeviceError(std::string("device '") + backend.name() + "': it has no kernel for " + op + " yet");
}

}  // namespace

TensorId Backend::gated_conv2d(Program& program, TensorId x, const Conv2dShape& s, const float* weight,
                               const float* bias, TensorId gate, TensorId residual, ActivationSpec activation) const {
  const bool adds = residual >= 0;
  const TensorId y = conv2d(program, x, s, weight, bias, -1, {});
  const TensorId gated = binary(program, Binary::mul, y, gate, adds ? ActivationSpec{} : activation);
  return adds ? binary(program, Binary::add, gated, residual, activation) : gated;
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
