// Operators as methods of a program: each plans its step where the program's device says.

#include <optional>

#include "backend.h"
#include "module.h"

namespace py = pybind11;
using namespace pybind11::literals;

namespace tesela {
namespace {

const float* data_or_null(const std::optional<Floats>& array) { return array ? array->data() : nullptr; }

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

// ------------------------------------------------------------------------------------------------------------ guards

const Dims& dims(const Program& p, TensorId id) { return p.spec(id).dims; }

void expect_dtype(const Program& p, const std::string& op, const char* what, TensorId id, DType dtype) {
  const DType got = as_array(p.spec(id).dtype);
  if (got == dtype) return;
  throw ShapeError(op + ": expected " + what + " of dtype " + name_of(dtype) + ", got " + name_of(got) + " of shape " +
                   to_string(dims(p, id)));
}

void expect(const Program& p, const std::string& op, const char* what, TensorId id, DType dtype, const Dims& shape) {
  expect_dtype(p, op, what, id, dtype);
  if (dims(p, id) == shape) return;
  throw ShapeError(op + ": expected " + what + " of shape " + to_string(shape) + ", got " + to_string(dims(p, id)));
}

void expect_floats(const Program& p, const std::string& op, const char* what, TensorId id, const Dims& shape) {
  expect(p, op, what, id, DType::float32, shape);
}

// Sizes of an operand that is read as float32.
const Dims& floats(const Program& p, const std::string& op, TensorId id, const char* what = "x") {
  expect_dtype(p, op, what, id, DType::float32);
  return dims(p, id);
}

// The same of one that is (N, C, H, W).
const Dims& images(const Program& p, const std::string& op, TensorId id) {
  const Dims& sizes = floats(p, op, id);
  if (sizes.size() != 4) throw ShapeError(op + ": expected x as (N, C, H, W), got shape " + to_string(sizes));
  return sizes;
}

}  // namespace

// --------------------------------------------------------------------------------------------------------- operators

void define_operators(ProgramClass& program) {
  program.def(
      "conv2d",
      [](Program& p, TensorId x, const Floats& weight, const std::optional<Floats>& bias, Pair stride, Padding padding,
         Pair dilation, int64_t groups, TensorId residual, TensorId gate, const std::string& activation,
         float parameter) {
        const Conv2dShape s = conv2d_shape(floats(p, "conv2d", x), dims_of(weight), stride, padding, dilation, groups);
        expect_size("conv2d bias", bias, s.OC);
        if (gate >= 0) expect_floats(p, "conv2d", "gate", gate, {s.N, s.OC, 1, 1});
        if (residual >= 0) expect_floats(p, "conv2d", "residual", residual, s.y_dims());
        const ActivationSpec last = activation_spec(activation, parameter);
        const py::gil_scoped_release unlocked;  // weights are packed
        if (gate >= 0) {
          return p.backend().gated_conv2d(p, x, s, weight.data(), data_or_null(bias), gate, residual, last);
        }
        return p.backend().conv2d(p, x, s, weight.data(), data_or_null(bias), residual, last);
      },
      "x"_a, "weight"_a, "bias"_a, "stride"_a, "padding"_a, "dilation"_a, "groups"_a, "residual"_a, "gate"_a,
      "activation"_a, "parameter"_a);
  program.def(
      "pointwise_depthwise_conv2d",
      [](Program& p, TensorId x, const Floats& pointwise_weight, const std::optional<Floats>& pointwise_bias,
         const Floats& weight, const std::optional<Floats>& bias, Pair stride, Padding padding, Pair dilation,
         const std::string& pointwise_activation, float pointwise_parameter, const std::string& activation,
         float parameter) {
        const char* op = "pointwise_depthwise_conv2d";
        images(p, op, x);
        const Conv2dShape first = conv2d_shape(floats(p, op, x), dims_of(pointwise_weight), {1, 1}, {}, {1, 1}, 1);
        const Conv2dShape second = conv2d_shape(first.y_dims(), dims_of(weight), stride, padding, dilation, first.OC);
        if (first.KH * first.KW != 1) {
          throw ShapeError(std::string(op) + ": expected pointwise_weight of shape (OC, C, 1, 1), got " +
                           to_string(dims_of(pointwise_weight)));
        }
        expect_size("pointwise_depthwise_conv2d pointwise_bias", pointwise_bias, first.OC);
        expect_size("pointwise_depthwise_conv2d bias", bias, second.OC);
        const ActivationSpec middle = activation_spec(pointwise_activation, pointwise_parameter);
        const ActivationSpec last = activation_spec(activation, parameter);
        const py::gil_scoped_release unlocked;  // weights are packed
        return p.backend().pointwise_depthwise_conv2d(
            p, x, {first, pointwise_weight.data(), data_or_null(pointwise_bias), middle},
            {second, weight.data(), data_or_null(bias), last});
      },
      "x"_a, "pointwise_weight"_a, "pointwise_bias"_a, "weight"_a, "bias"_a, "stride"_a, "padding"_a, "dilation"_a,
      "pointwise_activation"_a, "pointwise_parameter"_a, "activation"_a, "parameter"_a);
  program.def(
      "conv_transpose2d",
      [](Program& p, TensorId x, const Floats& weight, const std::optional<Floats>& bias, Pair stride, Padding padding,
         Pair output_padding, Pair dilation, int64_t groups, TensorId residual, const std::string& activation,
         float parameter) {
        const Conv2dShape s = conv_transpose2d_shape(floats(p, "conv_transpose2d", x), dims_of(weight), stride, padding,
                                                     output_padding, dilation, groups);
        expect_size("conv_transpose2d bias", bias, s.OC);
        if (residual >= 0) expect_floats(p, "conv_transpose2d", "residual", residual, s.y_dims());
        const py::gil_scoped_release unlocked;  // weights are packed
        return p.backend().conv2d(p, x, s, weight.data(), data_or_null(bias), residual,
                                  activation_spec(activation, parameter));
      },
      "x"_a, "weight"_a, "bias"_a, "stride"_a, "padding"_a, "output_padding"_a, "dilation"_a, "groups"_a, "residual"_a,
      "activation"_a, "parameter"_a);
  program.def(
      "linear",
      [](Program& p, TensorId x, const Floats& weight, const std::optional<Floats>& bias, const std::string& activation,
         float parameter) {
        const Dims y = linear_dims(floats(p, "linear", x), dims_of(weight));
        expect_size("linear bias", bias, weight.shape(0));
        int64_t rows = 1;
        for (size_t d = 0; d + 1 < y.size(); ++d) rows *= y[d];
        const GemmShape s{rows, weight.shape(0), weight.shape(1)};
        const TensorId flat = p.reshaped(x, {s.M, s.K});
        const py::gil_scoped_release unlocked;
        const TensorId result =
            p.backend().linear(p, flat, s, weight.data(), data_or_null(bias), activation_spec(activation, parameter));
        return p.reshaped(result, y);
      },
      "x"_a, "weight"_a, "bias"_a, "activation"_a, "parameter"_a);
  program.def(
      "gemm",
      [](Program& p, TensorId a, TensorId b, TensorId c, float alpha, float beta, bool trans_a, bool trans_b,
         const std::string& activation, float parameter) {
        const GemmShape s = gemm_shape(floats(p, "gemm", a), floats(p, "gemm", b), trans_a, trans_b);
        if (c >= 0) floats(p, "gemm", c);
        const bool c_is_row = c >= 0 && (dims(p, c) == Dims{s.N} || (dims(p, c) == Dims{1, s.N} && s.M != 1));
        if (c >= 0 && !c_is_row && dims(p, c) != Dims{s.M, s.N}) {
          throw ShapeError("gemm: expected c of shape " + to_string({s.M, s.N}) + " or " + to_string({s.N}) + ", got " +
                           to_string(dims(p, c)));
        }
        return p.backend().gemm(p, a, b, c, s, alpha, beta, trans_a, trans_b, c_is_row,
                                activation_spec(activation, parameter));
      },
      "a"_a, "b"_a, "c"_a, "alpha"_a, "beta"_a, "trans_a"_a, "trans_b"_a, "activation"_a, "parameter"_a);
  program.def(
      "max_pool2d",
      [](Program& p, TensorId x, Pair kernel, Pair stride, Padding padding, Pair dilation, bool ceil_mode,
         bool with_indices) {
        const Pool2dShape s =
            pool2d_shape("max_pool2d", floats(p, "max_pool2d", x), kernel, stride, padding, dilation, ceil_mode);
        return p.backend().max_pool2d(p, x, s, with_indices);
      },
      "x"_a, "kernel"_a, "stride"_a, "padding"_a, "dilation"_a, "ceil_mode"_a, "with_indices"_a);
  program.def("global_max_pool2d", [](Program& p, TensorId x) {
    images(p, "global_max_pool2d", x);
    return p.backend().global_max_pool2d(p, x);
  });
  program.def(
      "avg_pool2d",
      [](Program& p, TensorId x, std::vector<int64_t> begin_h, std::vector<int64_t> end_h, std::vector<int64_t> count_h,
         std::vector<int64_t> begin_w, std::vector<int64_t> end_w, std::vector<int64_t> count_w, int64_t divisor) {
        const AveragingWindows windows{
            std::move(begin_h), std::move(end_h), std::move(count_h), std::move(begin_w), std::move(end_w),
            std::move(count_w), divisor};
        expect_inside(windows, images(p, "avg_pool2d", x));
        return p.backend().avg_pool2d(p, x, windows);
      },
      "x"_a, "begin_h"_a, "end_h"_a, "count_h"_a, "begin_w"_a, "end_w"_a, "count_w"_a, "divisor"_a);
  program.def(
      "max_unpool2d",
      [](Program& p, TensorId x, TensorId indices, const Dims& y) {
        const Dims& from = images(p, "max_unpool2d", x);
        expect(p, "max_unpool2d", "indices", indices, DType::int64, from);
        if (y.size() != 4 || y[0] != from[0] || y[1] != from[1]) {
          throw ShapeError("max_unpool2d: expected an output with images and channels of " + to_string(from) +
                           ", got " + to_string(y));
        }
        element_count(y, "max_unpool2d output");
        return p.backend().max_unpool2d(p, x, indices, y);
      },
      "x"_a, "indices"_a, "y"_a);
  program.def(
      "activation",
      [](Program& p, TensorId x, const std::string& name, float parameter) {
        floats(p, "activation", x);
        return p.backend().activation(p, x, activation_spec(name, parameter));
      },
      "x"_a, "name"_a, "parameter"_a);
  program.def(
      "prelu",
      [](Program& p, TensorId x, const Floats& slope) {
        const Dims& from = floats(p, "prelu", x);
        if (slope.size() != 1 && (from.size() < 2 || slope.size() != from[1])) {
          throw ShapeError("prelu: expected one weight or one for each channel of x " + to_string(from) + ", got " +
                           to_string(dims_of(slope)));
        }
        return p.backend().prelu(p, x, slope.data(), slope.size());
      },
      "x"_a, "slope"_a);
  program.def(
      "channel_affine",
      [](Program& p, TensorId x, const Floats& scale, const Floats& shift, const std::string& activation,
         float parameter) {
        const Dims& from = floats(p, "batch_norm", x);
        if (from.size() < 2) throw ShapeError("batch_norm: expected x as (N, C, ...), got shape " + to_string(from));
        expect_size("batch_norm scale", scale, from[1]);
        expect_size("batch_norm shift", shift, from[1]);
        return p.backend().channel_affine(p, x, scale.data(), shift.data(), activation_spec(activation, parameter));
      },
      "x"_a, "scale"_a, "shift"_a, "activation"_a, "parameter"_a);
  program.def(
      "binary",
      [](Program& p, const std::string& op, TensorId x, TensorId y, const std::string& activation, float parameter) {
        if (op != "add" && op != "mul") throw ShapeError("binary: expected 'add' or 'mul', got '" + op + "'");
        broadcast_dims(op, floats(p, op, x), floats(p, op, y, "y"));
        return p.backend().binary(p, op == "add" ? Binary::add : Binary::mul, x, y,
                                  activation_spec(activation, parameter));
      },
      "op"_a, "x"_a, "y"_a, "activation"_a, "parameter"_a);
  program.def(
      "local_response_norm",
      [](Program& p, TensorId x, int64_t before, int64_t after, float alpha, float beta, float k) {
        images(p, "local_response_norm", x);
        if (before < 0 || after < 0) throw ShapeError("local_response_norm: expected neighbours of at least 0");
        return p.backend().local_response_norm(p, x, before, after, alpha, beta, k);
      },
      "x"_a, "before"_a, "after"_a, "alpha"_a, "beta"_a, "k"_a);
  program.def(
      "softmax",
      [](Program& p, TensorId x, int64_t dim, bool log) {
        return p.backend().softmax(p, x, normalized_dim("softmax", dim, floats(p, "softmax", x).size()), log);
      },
      "x"_a, "dim"_a, "log"_a);
  program.def(
      "concat",
      [](Program& p, const std::vector<TensorId>& parts, int64_t dim) {
        if (parts.empty()) throw ShapeError("concat: expected at least one tensor");
        return p.backend().concat(p, parts, normalized_dim("concat", dim, dims(p, parts[0]).size()));
      },
      "parts"_a, "dim"_a);
  program.def(
      "resample2d",
      [](Program& p, TensorId x, std::vector<int64_t> low_h, std::vector<int64_t> high_h, std::vector<int64_t> low_w,
         std::vector<int64_t> high_w, std::vector<float> weight_h, std::vector<float> weight_w, float constant) {
        const Resampling resampling{std::move(low_h),    std::move(high_h),   std::move(low_w), std::move(high_w),
                                    std::move(weight_h), std::move(weight_w), constant};
        expect_inside(resampling, images(p, "resample2d", x));
        return p.backend().resample2d(p, x, resampling);
      },
      "x"_a, "low_h"_a, "high_h"_a, "low_w"_a, "high_w"_a, "weight_h"_a, "weight_w"_a, "constant"_a);
  program.def("pixel_shuffle", [](Program& p, TensorId x, int64_t factor) {
    images(p, "pixel_shuffle", x);
    return p.backend().pixel_shuffle(p, x, factor);
  });
  program.def(
      "indexed_copy",
      [](Program& p, TensorId x, int64_t base, const std::vector<int64_t>& sizes, const std::vector<int64_t>& strides,
         const std::vector<std::vector<int64_t>>& tables, const std::string& fill) {
        if (strides.size() != sizes.size() || tables.size() != sizes.size()) {
          throw ShapeError("indexed_copy: expected a stride and a table for each axis");
        }
        IndexedCopy copy{base, {}, {fill.begin(), fill.end()}};
        for (size_t d = 0; d < sizes.size(); ++d) copy.axes.push_back({sizes[d], strides[d], tables[d]});
        return p.backend().indexed_copy(p, x, copy);
      },
      "x"_a, "base"_a, "sizes"_a, "strides"_a, "tables"_a, "fill"_a);
  program.def(
      "map",
      [](Program& p, const std::string& op, const std::vector<TensorId>& operands, const std::string& dtype) {
        return p.backend().map(p, op, operands, dtype_named(dtype));
      },
      "op"_a, "operands"_a, "dtype"_a);
  program.def(
      "reduce",
      [](Program& p, const std::string& op, TensorId x, const std::vector<int64_t>& axes, bool select_last) {
        return p.backend().reduce(p, op, x, axes, select_last);
      },
      "op"_a, "x"_a, "axes"_a, "select_last"_a);
  program.def("gather", [](Program& p, TensorId x, TensorId indices, int64_t axis) {
    return p.backend().gather(p, x, indices, axis);
  });
  program.def(
      "top_k",
      [](Program& p, TensorId x, int64_t k, int64_t axis, bool largest) {
        return p.backend().top_k(p, x, k, axis, largest);
      },
      "x"_a, "k"_a, "axis"_a, "largest"_a);
  program.def(
      "non_max_suppression",
      [](Program& p, TensorId boxes, TensorId scores, int64_t most, float iou_threshold,
         std::optional<float> score_threshold, bool centred) {
        constexpr const char* op = "non_max_suppression";
        const Dims& of = floats(p, op, scores, "scores");
        if (of.size() != 3) throw ShapeError(std::string(op) + ": expected scores (N, C, B), got " + to_string(of));
        expect_floats(p, op, "boxes", boxes, {of[0], of[2], 4});
        if (most < 0) throw ShapeError(std::string(op) + ": expected a number of boxes, got " + std::to_string(most));
        const Suppression rule{most, iou_threshold, score_threshold.value_or(0), score_threshold.has_value(), centred};
        return p.backend().non_max_suppression(p, boxes, scores, rule);
      },
      "boxes"_a, "scores"_a, "most"_a, "iou_threshold"_a, "score_threshold"_a, "centred"_a);
  program.def(
      "roi_align",
      [](Program& p, TensorId x, TensorId regions, TensorId image, std::array<int64_t, 2> size, int64_t sampling_ratio,
         float spatial_scale, bool half_pixel, bool maximum) {
        constexpr const char* op = "roi_align";
        images(p, op, x);
        const int64_t count = dims(p, regions).empty() ? 0 : dims(p, regions)[0];
        expect_floats(p, op, "regions", regions, {count, 4});
        expect(p, op, "images", image, DType::int64, {count});
        if (size[0] < 1 || size[1] < 1 || sampling_ratio < 0) {
          throw ShapeError("roi_align: expected bins of at least 1 and samples of at least 0, got " +
                           to_string({size[0], size[1], sampling_ratio}));
        }
        return p.backend().roi_align(p, x, regions, image,
                                     {size[0], size[1], sampling_ratio, spatial_scale, half_pixel, maximum});
      },
      "x"_a, "regions"_a, "images"_a, "output_size"_a, "sampling_ratio"_a, "spatial_scale"_a, "half_pixel"_a,
      "maximum"_a);
}

}  // namespace tesela
