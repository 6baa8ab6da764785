// Memory of a device outside of programs, copies from and to it, and the order of streams.

#include "backend.h"
#include "module.h"

namespace py = pybind11;
using namespace pybind11::literals;

namespace tesela {

namespace {

DeviceError no_memory_of(const std::string& device) {
  return DeviceError("device '" + device + "': its memory is the host's");
}

}  // namespace

void define_device_memory(py::module_& m) {
  py::class_<DeviceMemory>(m, "DeviceMemory", "Memory of a device, in the order of streams.")
      .def(py::init([](const std::string& device, size_t bytes, StreamHandle stream) {
             auto memory = backend_of(device).device_memory(bytes, stream);
             if (!memory) throw no_memory_of(device);
             return memory;
           }),
           "device"_a, "bytes"_a, "stream"_a)
      .def_property_readonly("pointer", [](const DeviceMemory& m) { return reinterpret_cast<uintptr_t>(m.data); })
      .def("used", &DeviceMemory::used, "stream"_a, "By the work so far on the stream.")
      .def("done", &DeviceMemory::done, "Whether the work that used it is.")
      .def("before", &DeviceMemory::before, "stream"_a, "Later work on the stream comes after what has used it.");
  m.def(
      "order",
      [](const std::string& device, StreamHandle later, StreamHandle earlier) {
        backend_of(device).order(later, earlier);
      },
      "device"_a, "later"_a, "earlier"_a, "Work so far on `earlier` is done before what comes on `later`.");
  m.def(
      "expect_memory",
      [](const std::string& device, uintptr_t pointer, size_t bytes, const std::string& what) {
        backend_of(device).expect_memory(reinterpret_cast<const void*>(pointer), bytes, what);
      },
      "device"_a, "pointer"_a, "bytes"_a, "what"_a, "DeviceError where that is not memory of the device.");
  const auto copy = [](const std::string& device, StreamHandle stream, auto move) {
    const Backend& backend = backend_of(device);
    if (backend.memory_is_host()) throw no_memory_of(device);
    const py::gil_scoped_release release;
    const auto run = backend.device_run();
    void* on = run->begin(stream);
    move(backend, on);
    backend.wait(on);
    run->end();
  };
  m.def(
      "upload",
      [copy](const std::string& device, uintptr_t to, const py::array& from, StreamHandle stream) {
        if (!(from.flags() & py::array::c_style)) throw ShapeError("upload: expected a C-contiguous array");
        const void* data = from.data();
        const auto bytes = static_cast<size_t>(from.nbytes());
        copy(device, stream,
             [&](const Backend& backend, void* on) { backend.upload(reinterpret_cast<void*>(to), data, bytes, on); });
      },
      "device"_a, "to"_a, "from"_a, "stream"_a, "Copies a C-contiguous array to an address, and waits.");
  m.def(
      "download",
      [copy](const std::string& device, py::array& to, uintptr_t from, StreamHandle stream) {
        if (!(to.flags() & py::array::c_style)) throw ShapeError("download: expected a C-contiguous array");
        void* data = to.mutable_data();
        const auto bytes = static_cast<size_t>(to.nbytes());
        copy(device, stream, [&](const Backend& backend, void* on) {
          backend.download(data, reinterpret_cast<const void*>(from), bytes, on);
        });
      },
      "device"_a, "to"_a, "from"_a, "stream"_a, "Copies to a C-contiguous array, and waits.");
}

}  // namespace tesela
