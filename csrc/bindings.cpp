// The Python module tesela._core. With dlpack.cpp the only file that knows Python: all behind it is plain C++.
//
// Python has checked types and values by the time it calls (ops.py, graph.py); what stands here is the last guard
// before memory is touched. Long work releases the GIL.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>

#include "cpu/backend.h"
#ifdef TESELA_HAVE_EMULATOR
#include "cuda/emulate/faulty.h"
#include "cuda/emulate/runtime.h"
#include "cuda/parity.h"
#include "cuda/pixels.h"
#include "cuda/windows.h"
#include "half.h"
#endif
#include "dlpack.h"
#include "program.h"
#include "threads.h"

namespace py = pybind11;
using namespace pybind11::literals;
using namespace tesela;

namespace {

using Floats = py::array_t<float, py::array::c_style>;

const float* data_or_null(const std::optional<Floats>& array) { return array ? array->data() : nullptr; }

Dims dims_of(const py::array& array) { return Dims(array.shape(), array.shape() + array.ndim()); }

DType dtype_of(const py::array& array) { return dtype_named(py::str(array.dtype())); }

void expect_size(const char* what, const std::optional<Floats>& array, int64_t count) {
  if (array && array->size() != count) {
    throw ShapeError(std::string(what) + ": expected " + std::to_string(count) + " values, got shape " +
                     to_string(dims_of(*array)));
  }
}

ActivationSpec activation_spec(const std::string& name, float parameter) {
  static const std::vector<std::pair<const char*, Activation>> names = {{"", Activation::none},
                                                                        {"relu", Activation::relu},
                                                                        {"relu6", Activation::relu6},
                                                                        {"leaky_relu", Activation::leaky_relu},
                                                                        {"elu", Activation::elu},
                                                                        {"sigmoid", Activation::sigmoid},
                                                                        {"tanh", Activation::tanh},
                                                                        {"hardswish", Activation::hardswish},
                                                                        {"silu", Activation::silu},
                                                                        {"gelu", Activation::gelu},
                                                                        {"gelu_tanh", Activation::gelu_tanh}};
  for (const auto& [known, kind] : names) {
    if (name == known) return {kind, parameter};
  }
  throw ShapeError("activation: unknown name '" + name + "'");
}

py::tuple conv_result(const Conv2dShape& s) { return py::make_tuple(s.y_dims(), s.flops()); }

void define_shapes(py::module_& m) {
  m.def(
      "conv2d_dims",
      [](const Dims& x, const Dims& weight, Pair stride, Padding padding, Pair dilation, int64_t groups) {
        return conv_result(conv2d_shape(x, weight, stride, padding, dilation, groups));
      },
      "x"_a, "weight"_a, "stride"_a, "padding"_a, "dilation"_a, "groups"_a, "Output sizes and flops of conv2d.");
  m.def(
      "conv_transpose2d_dims",
      [](const Dims& x, const Dims& weight, Pair stride, Padding padding, Pair output_padding, Pair dilation,
         int64_t groups) {
        return conv_result(conv_transpose2d_shape(x, weight, stride, padding, output_padding, dilation, groups));
      },
      "x"_a, "weight"_a, "stride"_a, "padding"_a, "output_padding"_a, "dilation"_a, "groups"_a,
      "Output sizes and flops of conv_transpose2d.");
  m.def(
      "pool2d_dims",
      [](const std::string& op, const Dims& x, Pair kernel, Pair stride, Padding padding, Pair dilation,
         bool ceil_mode) { return pool2d_shape(op, x, kernel, stride, padding, dilation, ceil_mode).y_dims(); },
      "op"_a, "x"_a, "kernel"_a, "stride"_a, "padding"_a, "dilation"_a, "ceil_mode"_a, "Output sizes of pooling.");
  m.def("max_unpool2d_dims", &max_unpool2d_dims, "x"_a, "kernel"_a, "stride"_a, "padding"_a);
  m.def("adaptive_pool2d_dims", &adaptive_pool2d_dims, "x"_a, "output"_a);
  m.def(
      "gemm_dims",
      [](const Dims& a, const Dims& b, bool trans_a, bool trans_b) {
        const GemmShape s = gemm_shape(a, b, trans_a, trans_b);
        return Dims{s.M, s.N};
      },
      "a"_a, "b"_a, "trans_a"_a, "trans_b"_a);
  m.def("linear_dims", &linear_dims, "x"_a, "weight"_a);
  m.def("broadcast_dims", &broadcast_dims, "op"_a, "x"_a, "y"_a);
  m.def("concat_dims", &concat_dims, "parts"_a, "dim"_a);
  m.def("pad2d_dims", &pad2d_dims, "x"_a, "padding"_a, "mode"_a);
  m.def("upsample_dims", &upsample_dims, "x"_a, "output"_a);
  m.def("pixel_shuffle_dims", &pixel_shuffle_dims, "x"_a, "factor"_a);
  m.def("flatten_dims", &flatten_dims, "x"_a, "start_dim"_a, "end_dim"_a);
  m.def("normalized_dim", &normalized_dim, "op"_a, "dim"_a, "rank"_a);
  m.def("element_count", &element_count, "dims"_a, "what"_a);
}

// Dense buffers in the order of the program's tensors, checked against their specs.
template <class Pointer>
std::vector<Pointer> buffers(const Program& program, const std::vector<TensorId>& ids,
                             const std::vector<py::array>& arrays, const char* what, bool writable) {
  if (arrays.size() != ids.size()) {
    throw ShapeError(std::string("program: expected ") + std::to_string(ids.size()) + " " + what + " arrays, got " +
                     std::to_string(arrays.size()));
  }
  std::vector<Pointer> pointers;
  for (size_t i = 0; i < ids.size(); ++i) {
    const TensorSpec& spec = program.spec(ids[i]);
    const py::array& array = arrays[i];
    const char* dtype = name_of(as_array(spec.dtype));
    if (std::string(py::str(array.dtype())) != dtype || dims_of(array) != spec.dims ||
        !(array.flags() & py::array::c_style) || (writable && !array.writeable())) {
      throw ShapeError(std::string("program: expected ") + what + " " + std::to_string(i) + " as a C-contiguous " +
                       dtype + " array of shape " + to_string(spec.dims) + ", got " +
                       std::string(py::str(array.dtype())) + " of shape " + to_string(dims_of(array)));
    }
    pointers.push_back(const_cast<void*>(array.data()));
  }
  return pointers;
}

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

// A Program and the ids Python has named as its inputs and outputs.
struct PyProgram {
  Program program;
  std::vector<TensorId> inputs, outputs;

  PyProgram(const std::string& device, const std::string& accuracy, const std::string& precision,
            const std::string& weight_storage)
      : program(backend_of(device), accuracy_named(accuracy), precision_named(precision),
                weight_storage_named(weight_storage)) {}
  const Backend& backend() const { return program.backend(); }
  const Dims& dims(TensorId id) const { return program.spec(id).dims; }

  void run(const std::vector<py::array>& in, const std::vector<py::array>& out, int threads) {
    const auto from = buffers<const void*>(program, inputs, in, "input", false);
    const auto to = buffers<void*>(program, outputs, out, "output", true);
    py::gil_scoped_release release;
    program.run(from, to, threads);
  }

  // Addresses on the device, in the place of arrays.
  void run_on_device(const std::vector<uintptr_t>& in, const std::vector<uintptr_t>& out, StreamHandle stream) {
    const auto from = addresses<const void*>(inputs, in, "input");
    const auto to = addresses<void*>(outputs, out, "output");
    py::gil_scoped_release release;
    program.run_on_device(from, to, stream);
  }

  template <class Pointer>
  std::vector<Pointer> addresses(const std::vector<TensorId>& ids, const std::vector<uintptr_t>& given,
                                 const char* what) const {
    if (given.size() != ids.size()) {
      throw ShapeError(std::string("program: expected ") + std::to_string(ids.size()) + " " + what + " arrays, got " +
                       std::to_string(given.size()));
    }
    std::vector<Pointer> pointers;
    for (size_t i = 0; i < ids.size(); ++i) {
      pointers.push_back(reinterpret_cast<void*>(given[i]));
      backend().expect_memory(pointers.back(), program.spec(ids[i]).bytes(),
                              std::string(what) + " " + std::to_string(i));
    }
    return pointers;
  }

  std::vector<StepReport> profile(const std::vector<py::array>& in, const std::vector<py::array>& out, int threads,
                                  int repeats) {
    const auto from = buffers<const void*>(program, inputs, in, "input", false);
    const auto to = buffers<void*>(program, outputs, out, "output", true);
    py::gil_scoped_release release;
    return program.profile(from, to, threads, repeats);
  }

  double seconds(const std::vector<py::array>& in, const std::vector<py::array>& out, int threads, int repeats) {
    const auto from = buffers<const void*>(program, inputs, in, "input", false);
    const auto to = buffers<void*>(program, outputs, out, "output", true);
    if (repeats < 1) throw ShapeError("seconds: expected repeats of at least 1, got " + std::to_string(repeats));
    py::gil_scoped_release release;
    return program.seconds(from, to, threads, repeats);
  }
};

void define_program(py::module_& m) {
  py::class_<StepReport>(m, "StepReport", "One step of a program: what it is and, after profile(), how long it took.")
      .def_readonly("name", &StepReport::name)
      .def_readonly("op", &StepReport::op)
      .def_readonly("algorithm", &StepReport::algorithm)
      .def_readonly("flops", &StepReport::flops)
      .def_readonly("bytes", &StepReport::bytes)
      .def_readonly("seconds", &StepReport::seconds);

  using P = PyProgram;
  py::class_<P, std::shared_ptr<P>> program(m, "Program", "Planned steps over one block of memory.");
  program
      .def(py::init<const std::string&, const std::string&, const std::string&, const std::string&>(),
           "device"_a = "cpu", "accuracy"_a = "strict", "precision"_a = "float32", "weight_storage"_a = "float32")
      .def(
          "set_label",
          [](P& p, std::string name, std::string op, std::string algorithm) {
            p.program.set_label(std::move(name), std::move(op), std::move(algorithm));
          },
          "name"_a, "op"_a, "algorithm"_a = "")
      .def(
          "candidates", [](const P& p) { return p.program.candidates(); },
          "What the step labelled last can be computed by, the one with the best estimate first; empty: no choice.")
      .def("dims", [](const P& p, TensorId id) { return p.dims(id); })
      .def("dtype", [](const P& p, TensorId id) { return name_of(as_array(p.program.spec(id).dtype)); })
      .def(
          "input",
          [](P& p, Dims dims, const std::string& dtype) {
            p.inputs.push_back(p.program.input(std::move(dims), dtype_named(dtype)));
            return p.inputs.back();
          },
          "dims"_a, "dtype"_a = "float32")
      .def(
          "constant",
          [](P& p, const py::array& value) {
            if (!(value.flags() & py::array::c_style)) throw ShapeError("constant: expected a C-contiguous array");
            return p.program.constant(dims_of(value), dtype_of(value), value.data());
          },
          "value"_a)
      .def(
          "each_image",
          [](P& p, const std::shared_ptr<P>& each, const std::vector<TensorId>& inputs) {
            return p.program.append_each_image({each, &each->program}, inputs);
          },
          "each"_a, "inputs"_a, "Runs a finished program of one image for every image of the inputs.")
      .def(
          "finish",
          [](P& p, const std::vector<TensorId>& outputs, size_t most_bytes, const std::vector<TensorId>& kept) {
            p.outputs = outputs;
            p.program.finish(outputs, most_bytes, kept);
          },
          "outputs"_a, "most_bytes"_a = SIZE_MAX, "kept"_a = std::vector<TensorId>{})
      .def("run", &P::run, "inputs"_a, "outputs"_a, "threads"_a)
      .def("run_on_device", &P::run_on_device, "inputs"_a, "outputs"_a, "stream"_a,
           "The same for addresses in the device's memory, on a stream (1: the default one, or its address).")
      .def("profile", &P::profile, "inputs"_a, "outputs"_a, "threads"_a, "repeats"_a)
      .def("seconds", &P::seconds, "inputs"_a, "outputs"_a, "threads"_a, "repeats"_a)
      .def("steps", [](const P& p) { return p.program.steps(); })
      .def(
          "memory",
          [](const P& p) {
            return py::dict("arena"_a = p.program.arena_bytes(), "scratch"_a = p.program.scratch_bytes(),
                            "weights"_a = p.program.weight_bytes());
          },
          "Bytes: activations, scratch of each thread, packed parameters.");

  program.def(
      "conv2d",
      [](P& p, TensorId x, const Floats& weight, const std::optional<Floats>& bias, Pair stride, Padding padding,
         Pair dilation, int64_t groups, TensorId residual, TensorId gate, const std::string& activation,
         float parameter) {
        const Conv2dShape s = conv2d_shape(p.dims(x), dims_of(weight), stride, padding, dilation, groups);
        expect_size("conv2d bias", bias, s.OC);
        const Dims per_channel{s.N, s.OC, 1, 1};
        if (gate >= 0 && p.dims(gate) != per_channel) {
          throw ShapeError("conv2d: expected gate of shape " + to_string(per_channel) + ", got " +
                           to_string(p.dims(gate)));
        }
        if (residual >= 0 && p.dims(residual) != s.y_dims()) {
          throw ShapeError("conv2d: expected residual of shape " + to_string(s.y_dims()) + ", got " +
                           to_string(p.dims(residual)));
        }
        const ActivationSpec last = activation_spec(activation, parameter);
        const py::gil_scoped_release unlocked;  // weights are packed
        if (gate >= 0) {
          return p.backend().gated_conv2d(p.program, x, s, weight.data(), data_or_null(bias), gate, residual, last);
        }
        return p.backend().conv2d(p.program, x, s, weight.data(), data_or_null(bias), residual, last);
      },
      "x"_a, "weight"_a, "bias"_a, "stride"_a, "padding"_a, "dilation"_a, "groups"_a, "residual"_a, "gate"_a,
      "activation"_a, "parameter"_a);
  program.def(
      "conv_transpose2d",
      [](P& p, TensorId x, const Floats& weight, const std::optional<Floats>& bias, Pair stride, Padding padding,
         Pair output_padding, Pair dilation, int64_t groups, TensorId residual, const std::string& activation,
         float parameter) {
        const Conv2dShape s =
            conv_transpose2d_shape(p.dims(x), dims_of(weight), stride, padding, output_padding, dilation, groups);
        expect_size("conv_transpose2d bias", bias, s.OC);
        if (residual >= 0 && p.dims(residual) != s.y_dims()) {
          throw ShapeError("conv_transpose2d: expected residual of shape " + to_string(s.y_dims()) + ", got " +
                           to_string(p.dims(residual)));
        }
        const py::gil_scoped_release unlocked;  // weights are packed
        return p.backend().conv2d(p.program, x, s, weight.data(), data_or_null(bias), residual,
                                  activation_spec(activation, parameter));
      },
      "x"_a, "weight"_a, "bias"_a, "stride"_a, "padding"_a, "output_padding"_a, "dilation"_a, "groups"_a, "residual"_a,
      "activation"_a, "parameter"_a);
  program.def(
      "linear",
      [](P& p, TensorId x, const Floats& weight, const std::optional<Floats>& bias, const std::string& activation,
         float parameter) {
        const Dims y = linear_dims(p.dims(x), dims_of(weight));
        expect_size("linear bias", bias, weight.shape(0));
        int64_t rows = 1;
        for (size_t d = 0; d + 1 < y.size(); ++d) rows *= y[d];
        const GemmShape s{rows, weight.shape(0), weight.shape(1)};
        const TensorId flat = p.program.reshaped(x, {s.M, s.K});
        const py::gil_scoped_release unlocked;
        const TensorId result = p.backend().linear(p.program, flat, s, weight.data(), data_or_null(bias),
                                                   activation_spec(activation, parameter));
        return p.program.reshaped(result, y);
      },
      "x"_a, "weight"_a, "bias"_a, "activation"_a, "parameter"_a);
  program.def(
      "gemm",
      [](P& p, TensorId a, TensorId b, TensorId c, float alpha, float beta, bool trans_a, bool trans_b,
         const std::string& activation, float parameter) {
        const GemmShape s = gemm_shape(p.dims(a), p.dims(b), trans_a, trans_b);
        const bool c_is_row = c >= 0 && (p.dims(c) == Dims{s.N} || (p.dims(c) == Dims{1, s.N} && s.M != 1));
        if (c >= 0 && !c_is_row && p.dims(c) != Dims{s.M, s.N}) {
          throw ShapeError("gemm: expected c of shape " + to_string({s.M, s.N}) + " or " + to_string({s.N}) + ", got " +
                           to_string(p.dims(c)));
        }
        return p.backend().gemm(p.program, a, b, c, s, alpha, beta, trans_a, trans_b, c_is_row,
                                activation_spec(activation, parameter));
      },
      "a"_a, "b"_a, "c"_a, "alpha"_a, "beta"_a, "trans_a"_a, "trans_b"_a, "activation"_a, "parameter"_a);
  program.def(
      "max_pool2d",
      [](P& p, TensorId x, Pair kernel, Pair stride, Padding padding, Pair dilation, bool ceil_mode,
         bool with_indices) {
        const Pool2dShape s = pool2d_shape("max_pool2d", p.dims(x), kernel, stride, padding, dilation, ceil_mode);
        return p.backend().max_pool2d(p.program, x, s, with_indices);
      },
      "x"_a, "kernel"_a, "stride"_a, "padding"_a, "dilation"_a, "ceil_mode"_a, "with_indices"_a);
  program.def("global_max_pool2d", [](P& p, TensorId x) { return p.backend().global_max_pool2d(p.program, x); });
  program.def(
      "avg_pool2d",
      [](P& p, TensorId x, std::vector<int64_t> begin_h, std::vector<int64_t> end_h, std::vector<int64_t> count_h,
         std::vector<int64_t> begin_w, std::vector<int64_t> end_w, std::vector<int64_t> count_w, int64_t divisor) {
        return p.backend().avg_pool2d(p.program, x,
                                      {std::move(begin_h), std::move(end_h), std::move(count_h), std::move(begin_w),
                                       std::move(end_w), std::move(count_w), divisor});
      },
      "x"_a, "begin_h"_a, "end_h"_a, "count_h"_a, "begin_w"_a, "end_w"_a, "count_w"_a, "divisor"_a);
  program.def(
      "max_unpool2d",
      [](P& p, TensorId x, TensorId indices, const Dims& y) {
        if (p.dims(indices) != p.dims(x)) {
          throw ShapeError("max_unpool2d: expected indices of x's shape " + to_string(p.dims(x)) + ", got " +
                           to_string(p.dims(indices)));
        }
        return p.backend().max_unpool2d(p.program, x, indices, y);
      },
      "x"_a, "indices"_a, "y"_a);
  program.def(
      "activation",
      [](P& p, TensorId x, const std::string& name, float parameter) {
        return p.backend().activation(p.program, x, activation_spec(name, parameter));
      },
      "x"_a, "name"_a, "parameter"_a);
  program.def(
      "prelu",
      [](P& p, TensorId x, const Floats& slope) {
        if (slope.size() != 1 && (p.dims(x).size() < 2 || slope.size() != p.dims(x)[1])) {
          throw ShapeError("prelu: expected one weight or one for each channel of x " + to_string(p.dims(x)) +
                           ", got " + to_string(dims_of(slope)));
        }
        return p.backend().prelu(p.program, x, slope.data(), slope.size());
      },
      "x"_a, "slope"_a);
  program.def(
      "channel_affine",
      [](P& p, TensorId x, const Floats& scale, const Floats& shift, const std::string& activation, float parameter) {
        expect_size("batch_norm scale", scale, p.dims(x).at(1));
        expect_size("batch_norm shift", shift, p.dims(x).at(1));
        return p.backend().channel_affine(p.program, x, scale.data(), shift.data(),
                                          activation_spec(activation, parameter));
      },
      "x"_a, "scale"_a, "shift"_a, "activation"_a, "parameter"_a);
  program.def(
      "binary",
      [](P& p, const std::string& op, TensorId x, TensorId y, const std::string& activation, float parameter) {
        return p.backend().binary(p.program, op == "add" ? Binary::add : Binary::mul, x, y,
                                  activation_spec(activation, parameter));
      },
      "op"_a, "x"_a, "y"_a, "activation"_a, "parameter"_a);
  program.def(
      "local_response_norm",
      [](P& p, TensorId x, int64_t before, int64_t after, float alpha, float beta, float k) {
        return p.backend().local_response_norm(p.program, x, before, after, alpha, beta, k);
      },
      "x"_a, "before"_a, "after"_a, "alpha"_a, "beta"_a, "k"_a);
  program.def(
      "softmax",
      [](P& p, TensorId x, int64_t dim, bool log) {
        return p.backend().softmax(p.program, x, normalized_dim("softmax", dim, p.dims(x).size()), log);
      },
      "x"_a, "dim"_a, "log"_a);
  program.def(
      "concat",
      [](P& p, const std::vector<TensorId>& parts, int64_t dim) {
        return p.backend().concat(p.program, parts, normalized_dim("concat", dim, p.dims(parts.at(0)).size()));
      },
      "parts"_a, "dim"_a);
  program.def(
      "resample2d",
      [](P& p, TensorId x, std::vector<int64_t> low_h, std::vector<int64_t> high_h, std::vector<int64_t> low_w,
         std::vector<int64_t> high_w, std::vector<float> weight_h, std::vector<float> weight_w, float constant) {
        return p.backend().resample2d(p.program, x,
                                      {std::move(low_h), std::move(high_h), std::move(low_w), std::move(high_w),
                                       std::move(weight_h), std::move(weight_w), constant});
      },
      "x"_a, "low_h"_a, "high_h"_a, "low_w"_a, "high_w"_a, "weight_h"_a, "weight_w"_a, "constant"_a);
  program.def("pixel_shuffle",
              [](P& p, TensorId x, int64_t factor) { return p.backend().pixel_shuffle(p.program, x, factor); });
  program.def(
      "indexed_copy",
      [](P& p, TensorId x, int64_t base, const std::vector<int64_t>& sizes, const std::vector<int64_t>& strides,
         const std::vector<std::vector<int64_t>>& tables, const std::string& fill) {
        if (strides.size() != sizes.size() || tables.size() != sizes.size()) {
          throw ShapeError("indexed_copy: expected a stride and a table for each axis");
        }
        IndexedCopy copy{base, {}, {fill.begin(), fill.end()}};
        for (size_t d = 0; d < sizes.size(); ++d) copy.axes.push_back({sizes[d], strides[d], tables[d]});
        return p.backend().indexed_copy(p.program, x, copy);
      },
      "x"_a, "base"_a, "sizes"_a, "strides"_a, "tables"_a, "fill"_a);
  program.def(
      "map",
      [](P& p, const std::string& op, const std::vector<TensorId>& operands, const std::string& dtype) {
        return p.backend().map(p.program, op, operands, dtype_named(dtype));
      },
      "op"_a, "operands"_a, "dtype"_a);
  program.def(
      "reduce",
      [](P& p, const std::string& op, TensorId x, const std::vector<int64_t>& axes, bool select_last) {
        return p.backend().reduce(p.program, op, x, axes, select_last);
      },
      "op"_a, "x"_a, "axes"_a, "select_last"_a);
  program.def("gather", [](P& p, TensorId x, TensorId indices, int64_t axis) {
    return p.backend().gather(p.program, x, indices, axis);
  });
  program.def(
      "channels_last",
      [](P& p, TensorId x) {
        if (p.backend().memory_is_host()) throw ShapeError("channels_last: expected a program for CUDA");
        return p.program.in_layout(x, Layout::channels_last);
      },
      "x"_a, "The same elements with channels last, as kernels for CUDA leave them to each other: for tests.");
  program.def(
      "top_k",
      [](P& p, TensorId x, int64_t k, int64_t axis, bool largest) {
        return p.backend().top_k(p.program, x, k, axis, largest);
      },
      "x"_a, "k"_a, "axis"_a, "largest"_a);
  program.def(
      "non_max_suppression",
      [](P& p, TensorId boxes, TensorId scores, int64_t most, float iou_threshold, std::optional<float> score_threshold,
         bool centred) {
        const Suppression rule{most, iou_threshold, score_threshold.value_or(0), score_threshold.has_value(), centred};
        return p.backend().non_max_suppression(p.program, boxes, scores, rule);
      },
      "boxes"_a, "scores"_a, "most"_a, "iou_threshold"_a, "score_threshold"_a, "centred"_a);
  program.def(
      "roi_align",
      [](P& p, TensorId x, TensorId regions, TensorId images, std::array<int64_t, 2> size, int64_t sampling_ratio,
         float spatial_scale, bool half_pixel, bool maximum) {
        return p.backend().roi_align(p.program, x, regions, images,
                                     {size[0], size[1], sampling_ratio, spatial_scale, half_pixel, maximum});
      },
      "x"_a, "regions"_a, "images"_a, "output_size"_a, "sampling_ratio"_a, "spatial_scale"_a, "half_pixel"_a,
      "maximum"_a);
  program.def(
      "reshape",
      [](P& p, TensorId x, Dims dims) {
        if (element_count(dims, "reshape") != element_count(p.dims(x), "reshape")) {
          throw ShapeError("reshape: " + to_string(p.dims(x)) + " does not hold the elements of " + to_string(dims));
        }
        return p.program.reshaped(x, std::move(dims));
      },
      "x"_a, "dims"_a);
}

void define_device_memory(py::module_& m) {
  py::class_<DeviceMemory>(m, "DeviceMemory", "Memory of a device, in the order of streams.")
      .def(py::init([](const std::string& device, size_t bytes, StreamHandle stream) {
             auto memory = backend_of(device).device_memory(bytes, stream);
             if (!memory) throw DeviceError("device '" + device + "': its memory is the host's");
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
        const void* data = from.data();
        const auto bytes = static_cast<size_t>(from.nbytes());
        copy(device, stream,
             [&](const Backend& backend, void* on) { backend.upload(reinterpret_cast<void*>(to), data, bytes, on); });
      },
      "device"_a, "to"_a, "from"_a, "stream"_a, "Copies a C-contiguous array to an address, and waits.");
  m.def(
      "download",
      [copy](const std::string& device, py::array& to, uintptr_t from, StreamHandle stream) {
        void* data = to.mutable_data();
        const auto bytes = static_cast<size_t>(to.nbytes());
        copy(device, stream, [&](const Backend& backend, void* on) {
          backend.download(data, reinterpret_cast<const void*>(from), bytes, on);
        });
      },
      "device"_a, "to"_a, "from"_a, "stream"_a, "Copies to a C-contiguous array, and waits.");
}

#ifdef TESELA_HAVE_EMULATOR
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
  m.def("emulated_graphs", [] {
    const emulated::GraphCounts counts = emulated::graph_counts();
    return py::dict("captured"_a = counts.captured, "launched"_a = counts.launched, "changed"_a = counts.changed);
  });
}
#endif

}  // namespace

PYBIND11_MODULE(_core, m) {
  m.doc() = "Planned kernels and the programs that run them.";
  py::register_exception<DeviceError>(m, "DeviceError", PyExc_RuntimeError);
  define_shapes(m);
  define_program(m);
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
  m.def("available_threads", &available_threads, "CPUs this process may use: affinity mask and cgroup quota.");
  m.def("cgroup_quota", &cgroup_quota, "root"_a, "membership"_a,
        "CPUs that the files of control groups grant: for tests.");
  m.def("num_threads", &num_threads);
  m.def("set_planning_threads", &set_planning_threads, "threads"_a);
  m.def(
      "set_num_threads",
      [](int64_t threads) {
        constexpr int64_t most = 4096;
        if (threads < 0 || threads > most) {
          throw ShapeError("set_num_threads: expected threads from 0 to " + std::to_string(most) + ", got " +
                           std::to_string(threads));
        }
        set_num_threads(static_cast<int>(threads));
      },
      "threads"_a);
}
