// The Python module tesela._core. This folder is the only one that knows Python: all behind it is plain C++.
//
// Python has checked types and values by the time it calls (ops.py, graph.py); what stands here is the last guard
// before memory is touched. Long work releases the GIL.

#include "module.h"

#include <algorithm>

#include "backend.h"
#include "cpu/backend.h"
#include "scaled_rows.h"
#include "threads.h"

namespace py = pybind11;
using namespace pybind11::literals;
using namespace tesela;

PYBIND11_MODULE(_core, m) {
  m.doc() = "Planned kernels and the programs that run them.";
  py::register_exception<DeviceError>(m, "DeviceError", PyExc_RuntimeError);
  define_shapes(m);
  ProgramClass program = define_program(m);
  define_operators(program);
  define_device_memory(m);
  define_dlpack(m);
  m.def(
      "build_info",
      [] {
        py::dict info("compiler"_a = TESELA_COMPILER, "build_type"_a = TESELA_BUILD_TYPE, "isas"_a = cpu::built_isas(),
                      "cuda"_a = false);
#ifdef TESELA_HAVE_CUDA
        info["cuda"] = true;
        info["nvcc"] = TESELA_NVCC;
        info["nvcc_version"] = TESELA_NVCC_VERSION;
        info["cuda_architectures"] = py::str(TESELA_CUDA_ARCHITECTURES).attr("split")();
#endif
        return info;
      },
      "What this build contains.");
#ifdef TESELA_HAVE_EMULATOR
  define_emulator(m);
#endif
  m.def(
      "hardware", [](const std::string& device) { return backend_of(device).hardware(); }, "device"_a,
      "The name of a GPU; of others that of the device.");
  m.def("devices", &devices, "Devices that this build can use.");
  m.def("has_bfloat16_products", &cpu::has_bfloat16_products,
        "Whether the instruction set in use, on this machine, multiplies bfloat16.");
  m.def("supported_isas", &cpu::supported_isas,
        "Instruction sets of this machine that tesela has kernels for, narrowest first.");
  m.def("selected_isa", &cpu::selected_isa, "The instruction set that new programs use.");
  m.def(
      "set_max_isa",
      [](const py::object& isa) {
        if (!py::isinstance<py::str>(isa))
          throw py::type_error(std::string("max_isa: expected a string, got ") + std::string(py::repr(isa)));
        cpu::set_max_isa(isa.cast<std::string>());
      },
      "isa"_a);
  m.def(
      "scaled_rows",
      [](const Floats& weight, const py::array_t<double, py::array::c_style>& factors) {
        const Dims dims = dims_of(weight);
        const int64_t rows = factors.size(), elements = weight.size();
        if (rows == 0 ? elements != 0 : elements % rows != 0) {
          throw ShapeError("scaled_rows: " + to_string(dims) + " are not " + std::to_string(rows) + " rows");
        }
        Floats scaled(dims);
        const float* from = weight.data();
        const double* by = factors.data();
        float* to = scaled.mutable_data();
        const py::gil_scoped_release unlocked;
        scale_rows(from, by, to, rows, elements / std::max<int64_t>(rows, 1));
        return scaled;
      },
      "weight"_a, "factors"_a, "A copy with each of as many rows as there are factors times its own.");
  m.def("available_threads", &available_threads, "CPUs this process may use: affinity mask and cgroup quota.");
  m.def("cgroup_quota", &cgroup_quota, "root"_a, "membership"_a,
        "CPUs that the files of control groups grant: for tests.");
  m.attr("most_threads") = most_threads;
  m.def("num_threads", &num_threads);
  const auto checked = [](const char* op, int64_t threads) {
    if (threads >= 0 && threads <= most_threads) return static_cast<int>(threads);
    throw ShapeError(std::string(op) + ": expected threads from 0 to " + std::to_string(most_threads) + ", got " +
                     std::to_string(threads));
  };
  m.def(
      "set_planning_threads",
      [checked](int64_t threads) { set_planning_threads(checked("set_planning_threads", threads)); }, "threads"_a);
  m.def(
      "set_num_threads", [checked](int64_t threads) { set_num_threads(checked("set_num_threads", threads)); },
      "threads"_a);
}
