#include "backend.h"

#include "cpu/backend.h"

namespace tesela {

const Backend& backend_of(const std::string& device) {
  if (device == "cpu") {
    static const cpu::CpuBackend backend;
    return backend;
  }
  if (device == "cuda") throw DeviceError("device 'cuda': this build of tesela has no CUDA kernels");
  throw ShapeError("device: expected 'cpu', 'cuda' or 'auto', got '" + device + "'");
}

std::vector<std::string> devices() { return {"cpu"}; }

}  // namespace tesela
