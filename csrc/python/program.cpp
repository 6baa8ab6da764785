// Programs as Python builds and runs them: inputs, constants, outputs, arrays of NumPy and addresses on a device.

#include "program.h"

#include <string>
#include <vector>

#include "module.h"

namespace py = pybind11;
using namespace pybind11::literals;

namespace tesela {
namespace {

using Arrays = std::vector<py::array>;
using Addresses = std::vector<uintptr_t>;

// ---------------------------------------------------------------------------------------------------------- options

Accuracy accuracy_named(const std::string& name) {
  if (name == "strict") return Accuracy::strict;
  if (name == "default") return Accuracy::standard;
  throw ShapeError("accuracy: expected 'strict' or 'default', got '" + name + "'");
}

Precision precision_named(const std::string& name) {
  for (Precision p : {Precision::float32, Precision::tf32, Precision::bfloat16, Precision::float16}) {
    if (name == name_of(p)) return p;
  }
  throw ShapeError("precision: expected 'float32', 'tf32', 'bfloat16' or 'float16', got '" + name + "'");
}

DType weight_storage_named(const std::string& name) {
  if (name == "float32") return DType::float32;
  if (name == "bfloat16") return DType::bfloat16;
  throw ShapeError("weight_storage: expected 'float32' or 'bfloat16', got '" + name + "'");
}

// ----------------------------------------------------------------------------------------------------------- arrays

std::string dtype_text(const py::array& array) { return py::str(array.dtype()); }

// Without its text, which takes NumPy longer than all else that a call of a small network does here.
bool has_dtype(const py::array& array, DType dtype) {
  const py::dtype got = array.dtype();
  const bool native = got.byteorder() == '=' || got.byteorder() == '|';
  return native && got.kind() == name_of(dtype)[0] && static_cast<size_t>(got.itemsize()) == bytes_of(dtype);
}

// Dense buffers in the order of the program's tensors, checked against their specs.
template <class Pointer>
std::vector<Pointer> buffers(const Program& program, const std::vector<TensorId>& ids, const Arrays& arrays,
                             const char* what, bool writable) {
  std::vector<Pointer> pointers;
  for (size_t i = 0; i < ids.size(); ++i) {
    const TensorSpec& spec = program.spec(ids[i]);
    const py::array& array = arrays[i];
    const DType dtype = as_array(spec.dtype);
    if (!has_dtype(array, dtype) || dims_of(array) != spec.dims || !(array.flags() & py::array::c_style) ||
        (writable && !array.writeable())) {
      throw ShapeError(std::string("program: expected ") + what + " " + std::to_string(i) + " as a C-contiguous " +
                       name_of(dtype) + " array of shape " + to_string(spec.dims) + ", got " + dtype_text(array) +
                       " of shape " + to_string(dims_of(array)));
    }
    pointers.push_back(const_cast<void*>(array.data()));
  }
  return pointers;
}

// Calls `run` with the addresses of the arrays, without the GIL.
template <class Run>
auto with_buffers(Program& program, const Arrays& in, const Arrays& out, const Run& run) {
  program.expect_counts(in.size(), out.size());
  const auto from = buffers<const void*>(program, program.inputs(), in, "input", false);
  const auto to = buffers<void*>(program, program.outputs(), out, "output", true);
  const py::gil_scoped_release release;
  return run(from, to);
}

// Addresses on the device, in the place of arrays.
template <class Pointer>
std::vector<Pointer> addresses(const Program& program, const std::vector<TensorId>& ids, const Addresses& given,
                               const char* what) {
  std::vector<Pointer> pointers;
  for (size_t i = 0; i < ids.size(); ++i) {
    pointers.push_back(reinterpret_cast<void*>(given[i]));
    program.backend().expect_memory(pointers.back(), program.spec(ids[i]).bytes(),
                                    std::string(what) + " " + std::to_string(i));
  }
  return pointers;
}

void run_on_device(Program& program, const Addresses& in, const Addresses& out, StreamHandle stream) {
  program.expect_counts(in.size(), out.size());
  const auto from = addresses<const void*>(program, program.inputs(), in, "input");
  const auto to = addresses<void*>(program, program.outputs(), out, "output");
  const py::gil_scoped_release release;
  program.run_on_device(from, to, stream);
}

// On a device it waits for its last run, and what that one waits for may need the GIL.
void delete_without_gil(Program* program) {
  if (!Py_IsInitialized() || !PyGILState_Check()) {
    delete program;
    return;
  }
  const py::gil_scoped_release release;
  delete program;
}

}  // namespace

ProgramClass define_program(py::module_& m) {
  py::class_<StepReport>(m, "StepReport", "One step of a program: what it is and, after profile(), how long it took.")
      .def_readonly("name", &StepReport::name)
      .def_readonly("op", &StepReport::op)
      .def_readonly("algorithm", &StepReport::algorithm)
      .def_readonly("flops", &StepReport::flops)
      .def_readonly("bytes", &StepReport::bytes)
      .def_readonly("seconds", &StepReport::seconds);

  ProgramClass program(m, "Program", "Planned steps over one block of memory.");
  program
      .def(py::init([](const std::string& device, const std::string& accuracy, const std::string& precision,
                       const std::string& weight_storage) {
             return std::shared_ptr<Program>(
                 new Program(backend_of(device), accuracy_named(accuracy), precision_named(precision),
                             weight_storage_named(weight_storage)),
                 &delete_without_gil);
           }),
           "device"_a = "cpu", "accuracy"_a = "strict", "precision"_a = "float32", "weight_storage"_a = "float32")
      .def("set_label", &Program::set_label, "name"_a, "op"_a, "algorithm"_a = "")
      .def("candidates", &Program::candidates,
           "What the step labelled last can be computed by, the one with the best estimate first; empty: no choice.")
      .def("dims", [](const Program& p, TensorId id) { return p.spec(id).dims; })
      .def("dtype", [](const Program& p, TensorId id) { return name_of(as_array(p.spec(id).dtype)); })
      .def(
          "input",
          [](Program& p, Dims dims, const std::string& dtype) { return p.input(std::move(dims), dtype_named(dtype)); },
          "dims"_a, "dtype"_a = "float32")
      .def(
          "constant",
          [](Program& p, const py::array& value) {
            if (!(value.flags() & py::array::c_style)) throw ShapeError("constant: expected a C-contiguous array");
            return p.constant(dims_of(value), dtype_named(dtype_text(value)), value.data());
          },
          "value"_a)
      .def("each_image", &Program::append_each_image, "each"_a, "inputs"_a,
           "Runs a finished program of one image for every image of the inputs.")
      .def("finish", &Program::finish, "outputs"_a, "most_bytes"_a = SIZE_MAX, "kept"_a = std::vector<TensorId>{})
      .def(
          "run",
          [](Program& p, const Arrays& in, const Arrays& out, int threads) {
            with_buffers(p, in, out, [&](const auto& from, const auto& to) { p.run(from, to, threads); });
          },
          "inputs"_a, "outputs"_a, "threads"_a)
      .def("run_on_device", &run_on_device, "inputs"_a, "outputs"_a, "stream"_a,
           "The same for addresses in the device's memory, on a stream (1: the default one, or its address).")
      .def(
          "profile",
          [](Program& p, const Arrays& in, const Arrays& out, int threads, int repeats) {
            return with_buffers(
                p, in, out, [&](const auto& from, const auto& to) { return p.profile(from, to, threads, repeats); });
          },
          "inputs"_a, "outputs"_a, "threads"_a, "repeats"_a)
      .def(
          "seconds",
          [](Program& p, const Arrays& in, const Arrays& out, int threads, int repeats) {
            return with_buffers(
                p, in, out, [&](const auto& from, const auto& to) { return p.seconds(from, to, threads, repeats); });
          },
          "inputs"_a, "outputs"_a, "threads"_a, "repeats"_a)
      .def("steps", &Program::steps)
      .def(
          "memory",
          [](const Program& p) {
            return py::dict("arena"_a = p.arena_bytes(), "scratch"_a = p.scratch_bytes(),
                            "weights"_a = p.weight_bytes());
          },
          "Bytes: activations, scratch of each thread, packed parameters.")
      .def(
          "channels_last",
          [](Program& p, TensorId x) {
            if (p.backend().memory_is_host()) throw ShapeError("channels_last: expected a program for CUDA");
            return p.in_layout(x, Layout::channels_last);
          },
          "x"_a, "The same elements with channels last, as kernels for CUDA leave them to each other: for tests.")
      .def(
          "reshape",
          [](Program& p, TensorId x, Dims dims) {
            const Dims& from = p.spec(x).dims;
            if (element_count(dims, "reshape") != element_count(from, "reshape")) {
              throw ShapeError("reshape: " + to_string(from) + " does not hold the elements of " + to_string(dims));
            }
            return p.reshaped(x, std::move(dims));
          },
          "x"_a, "dims"_a);
  return program;
}

}  // namespace tesela
