// Sizes of results, as the graph asks for them.

#include "module.h"
#include "shape.h"

namespace py = pybind11;
using namespace pybind11::literals;

namespace tesela {

namespace {

py::tuple conv_result(const Conv2dShape& s) { return py::make_tuple(s.y_dims(), s.flops()); }

}  // namespace

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

}  // namespace tesela
