// What tests see of the emulator.

#include "cuda/emulate/faulty.h"
#include "cuda/emulate/runtime.h"
#include "module.h"

namespace py = pybind11;
using namespace pybind11::literals;

namespace tesela {

// What other libraries would do on the emulator, and what it has seen.
void define_emulator(py::module_& m) {
  m.def("run_faulty", &emulator::run_faulty, "name"_a, "Runs a kernel with a known fault on the emulator: for tests.");
  py::module_ arithmetic =
      m.def_submodule("arithmetic", "What CUDA kernels compute on indices and formats: for tests.");
  define_arithmetic(arithmetic);
  m.def(
      "emulated_memory",
      [](size_t bytes, int device) {
        void* memory = nullptr;
        emulated::cudaSetDevice(device);
        emulated::cudaMalloc(&memory, bytes);
        emulated::cudaSetDevice(0);
        return reinterpret_cast<uintptr_t>(memory);
      },
      "bytes"_a, "device"_a = 0);
  m.def(
      "emulated_stream",
      [](bool blocking) {
        emulated::cudaStream_t stream = nullptr;
        emulated::cudaStreamCreateWithFlags(&stream,
                                            blocking ? emulated::cudaStreamDefault : emulated::cudaStreamNonBlocking);
        return reinterpret_cast<uintptr_t>(stream);
      },
      "blocking"_a = true);
  m.def(
      "set_emulated_device", [](int device) { emulated::cudaSetDevice(device); }, "device"_a,
      "Makes it the calling thread's current one.");
  m.def("emulated_device", [] {
    int device = -1;
    emulated::cudaGetDevice(&device);
    return device;
  });
  m.def("destroy_emulated_stream",
        [](uintptr_t stream) { emulated::cudaStreamDestroy(reinterpret_cast<emulated::cudaStream_t>(stream)); });
  m.def(
      "capture_emulated_stream",
      [](uintptr_t handle, bool begin) {
        auto* stream = reinterpret_cast<emulated::cudaStream_t>(handle);
        emulated::cudaGraph_t graph = nullptr;
        if (begin) {
          emulated::cudaStreamBeginCapture(stream, emulated::cudaStreamCaptureModeGlobal);
        } else if (emulated::cudaStreamEndCapture(stream, &graph) == emulated::cudaSuccess) {
          emulated::cudaGraphDestroy(graph);
        }
      },
      "stream"_a, "begin"_a, "Begins to capture a graph, or ends it and throws the graph away.");
  m.def("break_emulator", &emulated::break_device, "The next wait fails, and every call after it.");
  m.def("repair_emulator", &emulated::repair_device);
  m.def("emulated_graphs", [] {
    const emulated::GraphCounts counts = emulated::graph_counts();
    return py::dict("captured"_a = counts.captured, "launched"_a = counts.launched, "changed"_a = counts.changed,
                    "early"_a = counts.early);
  });
}

}  // namespace tesela
