// What tests see of the emulator, and of the arithmetic inside CUDA kernels.

#include "cuda/emulate/faulty.h"
#include "cuda/emulate/runtime.h"
#include "cuda/parity.h"
#include "cuda/pixels.h"
#include "cuda/windows.h"
#include "half.h"
#include "module.h"
#include "shape.h"

namespace py = pybind11;
using namespace pybind11::literals;

namespace tesela {

namespace {

template <class T>
void define_storage(py::module_& m, const char* name) {
  const std::string dtype = name;
  m.def(("to_" + dtype).c_str(), [](const Floats& x) {
    py::array_t<uint16_t> bits(x.size());
    for (int64_t i = 0; i < x.size(); ++i) bits.mutable_data()[i] = as_stored<T>(x.data()[i]).bits;
    return bits;
  });
  m.def(("from_" + dtype).c_str(), [](const py::array_t<uint16_t, py::array::c_style>& bits) {
    Floats x(bits.size());
    for (int64_t i = 0; i < bits.size(); ++i) x.mutable_data()[i] = as_float(T{bits.data()[i]});
    return x;
  });
}

void define_arithmetic(py::module_& m) {
  define_storage<float16>(m, "float16");
  define_storage<bfloat16>(m, "bfloat16");
  m.def("quotient", [](int64_t numerator, int64_t divisor) { return Divisor(divisor).quotient(numerator); });
  m.def("parity_taps", [](int64_t first, int64_t K, int64_t S, int64_t D, int64_t P) {
    std::vector<std::pair<int64_t, int64_t>> taps;
    for (const ParityTap& tap : parity_taps(first, K, S, D, P)) taps.emplace_back(tap.tap, tap.offset);
    return taps;
  });
  m.def("range_inside", [](int origin, int taps, int dilation, int size) {
    const Range range = range_inside(origin, taps, dilation, size);
    return std::array<int, 3>{range.first, range.count, range.step};
  });
  m.def("pixel_vectors", [](const Dims& dims, int64_t lanes) {
    const PixelVectors vectors(dims, lanes);
    std::vector<std::array<int64_t, 4>> all;
    for (int64_t item = 0; item < vectors.count; ++item) {
      const PixelVector at = vectors.at(item);
      all.push_back({at.image, vectors.row(at.pixel), at.pixel % vectors.width, at.channel});
    }
    return all;
  });
}

}  // namespace

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
  m.def("break_emulator", &emulated::break_device, "The next wait fails, and every call after it.");
  m.def("repair_emulator", &emulated::repair_device);
  m.def("emulated_graphs", [] {
    const emulated::GraphCounts counts = emulated::graph_counts();
    return py::dict("captured"_a = counts.captured, "launched"_a = counts.launched, "changed"_a = counts.changed,
                    "early"_a = counts.early);
  });
}

}  // namespace tesela
