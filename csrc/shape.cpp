#include "shape.h"

#include <limits>

namespace tesela {
namespace {

// Sizes, strides and padding beyond this are mistakes or attacks; below it no sum or product of two can wrap 64 bits.
constexpr int64_t largest_extent = int64_t{1} << 31;

[[noreturn]] void fail(const std::string& message) { throw ShapeError(message); }

std::string text(int64_t value) { return std::to_string(value); }
std::string text(Pair p) { return to_string({p[0], p[1]}); }
std::string text(Padding p) {
  return std::string("(").append(text(Pair{p[0], p[1]})) + ", " + text(Pair{p[2], p[3]}) + ")";
}

void check_rank(const std::string& op, const std::string& operand, const Dims& dims, size_t rank, const char* layout) {
  if (dims.size() != rank) {
    fail(op + ": expected " + operand + " of shape " + layout + ", got " + to_string(dims));
  }
  for (int64_t size : dims) {
    if (size < 0 || size > largest_extent) fail(op + ": " + operand + " has a size out of range: " + to_string(dims));
  }
}

void check_positive(const std::string& op, const char* parameter, Pair value) {
  if (value[0] < 1 || value[1] < 1) fail(op + ": expected " + parameter + " of at least 1, got " + text(value));
  if (value[0] > largest_extent || value[1] > largest_extent) {
    fail(op + ": expected " + parameter + " of at most " + text(largest_extent) + ", got " + text(value));
  }
}

void check_padding(const std::string& op, Padding padding) {
  for (int64_t side : padding) {
    if (side < 0) fail(op + ": expected padding of at least 0, got " + text(padding));
    if (side > largest_extent)
      fail(op + ": expected padding of at most " + text(largest_extent) + ", got " + text(padding));
  }
}

int64_t checked_multiply(int64_t a, int64_t b, const std::string& what) {
  int64_t product;
  if (__builtin_mul_overflow(a, b, &product)) fail(what + ": size overflows 64 bits");
  return product;
}

// The extent that a kernel covers with its holes: dilation * (kernel - 1) + 1.
int64_t dilated(const std::string& op, int64_t kernel, int64_t dilation) {
  const int64_t extent = checked_multiply(dilation, kernel - 1, op) + 1;
  if (extent > largest_extent) {
    fail(op + ": kernel " + text(kernel) + " with dilation " + text(dilation) + " covers too large an extent");
  }
  return extent;
}

void check_groups(const std::string& op, int64_t groups, int64_t channels, const char* which) {
  if (groups < 1) fail(op + ": expected groups of at least 1, got " + text(groups));
  if (channels % groups != 0) {
    fail(op + ": groups must divide the " + which + " channels: " + text(channels) + " channels, " + text(groups) +
         " groups");
  }
}

void check_output(const std::string& op, const Dims& x, int64_t oh, int64_t ow, const std::string& reason) {
  if (oh < 1 || ow < 1) {
    fail(op + ": the output would be " + text(oh) + " x " + text(ow) + " for input " + to_string(x) + " with " +
         reason);
  }
  if (oh > largest_extent || ow > largest_extent)
    fail(op + ": the output of " + text(oh) + " x " + text(ow) + " is too large");
}

}  // namespace

std::string to_string(const Dims& dims) {
  std::string s = "(";
  for (size_t i = 0; i < dims.size(); ++i) {
    if (i > 0) s += ", ";
    s += std::to_string(dims[i]);
  }
  s += dims.size() == 1 ? ",)" : ")";
  return s;
}

int64_t element_count(const Dims& dims, const std::string& what) {
  int64_t count = 1;
  for (int64_t size : dims) count = checked_multiply(count, size, what + " of shape " + to_string(dims));
  // 8-byte elements, blocked channels and rounding must still be addressable.
  if (count > std::numeric_limits<int64_t>::max() / 256)
    fail(what + " of shape " + to_string(dims) + ": size overflows 64 bits");
  return count;
}

double Conv2dShape::flops() const {
  const double pixels = transposed ? static_cast<double>(IH) * IW : static_cast<double>(OH) * OW;
  return 2.0 * N * pixels * KH * KW * (static_cast<double>(IC) / G) * OC;
}

Conv2dShape conv2d_shape(const Dims& x, const Dims& weight, Pair stride, Padding padding, Pair dilation,
                         int64_t groups) {
  const std::string op = "conv2d";
  check_rank(op, "x", x, 4, "(N, C, H, W)");
  check_rank(op, "weight", weight, 4, "(OC, C/groups, KH, KW)");
  check_positive(op, "stride", stride);
  check_positive(op, "dilation", dilation);
  check_padding(op, padding);
  check_positive(op, "kernel size", {weight[2], weight[3]});
  check_groups(op, groups, x[1], "input");
  check_groups(op, groups, weight[0], "output");
  if (weight[0] < 1 || x[1] < 1)
    fail(op + ": expected at least one channel, got x " + to_string(x) + ", weight " + to_string(weight));
  if (weight[1] != x[1] / groups) {
    fail(op + ": weight of shape " + to_string(weight) + " with groups=" + text(groups) + " takes " +
         text(weight[1] * groups) + " input channels, x of shape " + to_string(x) + " has " + text(x[1]));
  }
  Conv2dShape s{};
  s.N = x[0], s.IC = x[1], s.IH = x[2], s.IW = x[3], s.OC = weight[0], s.KH = weight[2], s.KW = weight[3];
  s.SH = stride[0], s.SW = stride[1], s.DH = dilation[0], s.DW = dilation[1], s.G = groups;
  s.PT = padding[0], s.PB = padding[1], s.PL = padding[2], s.PR = padding[3];
  const int64_t room_h = s.IH + s.PT + s.PB - dilated(op, s.KH, s.DH);
  const int64_t room_w = s.IW + s.PL + s.PR - dilated(op, s.KW, s.DW);
  s.OH = room_h < 0 ? 0 : room_h / s.SH + 1;
  s.OW = room_w < 0 ? 0 : room_w / s.SW + 1;
  check_output(op, x, s.OH, s.OW,
               "kernel " + text(Pair{s.KH, s.KW}) + ", dilation " + text(dilation) + ", padding " + text(padding));
  element_count(s.y_dims(), "conv2d output");
  return s;
}

Conv2dShape conv_transpose2d_shape(const Dims& x, const Dims& weight, Pair stride, Padding padding, Pair output_padding,
                                   Pair dilation, int64_t groups) {
  const std::string op = "conv_transpose2d";
  check_rank(op, "x", x, 4, "(N, C, H, W)");
  check_rank(op, "weight", weight, 4, "(C, OC/groups, KH, KW)");
  check_positive(op, "stride", stride);
  check_positive(op, "dilation", dilation);
  check_padding(op, padding);
  check_positive(op, "kernel size", {weight[2], weight[3]});
  check_groups(op, groups, x[1], "input");
  if (weight[1] < 1 || x[1] < 1)
    fail(op + ": expected at least one channel, got x " + to_string(x) + ", weight " + to_string(weight));
  if (weight[0] != x[1]) {
    fail(op + ": weight of shape " + to_string(weight) + " takes " + text(weight[0]) + " input channels, x of shape " +
         to_string(x) + " has " + text(x[1]));
  }
  for (int i = 0; i < 2; ++i) {
    if (output_padding[i] < 0 || output_padding[i] >= std::max(stride[i], dilation[i])) {
      fail(op + ": expected output_padding of at least 0 and below the stride or dilation, got " +
           text(output_padding) + " with stride " + text(stride) + ", dilation " + text(dilation));
    }
  }
  if (x[2] < 1 || x[3] < 1) fail(op + ": expected x with at least one pixel, got " + to_string(x));
  Conv2dShape s{};
  s.transposed = true;
  s.N = x[0], s.IC = x[1], s.IH = x[2], s.IW = x[3], s.KH = weight[2], s.KW = weight[3];
  s.OC = checked_multiply(weight[1], groups, op);
  s.SH = stride[0], s.SW = stride[1], s.DH = dilation[0], s.DW = dilation[1], s.G = groups;
  s.PT = padding[0], s.PB = padding[1], s.PL = padding[2], s.PR = padding[3];
  s.OH = checked_multiply(s.IH - 1, s.SH, op) - s.PT - s.PB + dilated(op, s.KH, s.DH) + output_padding[0];
  s.OW = checked_multiply(s.IW - 1, s.SW, op) - s.PL - s.PR + dilated(op, s.KW, s.DW) + output_padding[1];
  check_output(op, x, s.OH, s.OW,
               "kernel " + text(Pair{s.KH, s.KW}) + ", stride " + text(stride) + ", padding " + text(padding));
  element_count(s.y_dims(), "conv_transpose2d output");
  return s;
}

Pool2dShape pool2d_shape(const std::string& op, const Dims& x, Pair kernel, Pair stride, Padding padding, Pair dilation,
                         bool ceil_mode) {
  check_rank(op, "x", x, 4, "(N, C, H, W)");
  check_positive(op, "kernel_size", kernel);
  check_positive(op, "stride", stride);
  check_positive(op, "dilation", dilation);
  check_padding(op, padding);
  Pool2dShape s{};
  s.N = x[0], s.C = x[1], s.IH = x[2], s.IW = x[3], s.KH = kernel[0], s.KW = kernel[1];
  s.SH = stride[0], s.SW = stride[1], s.DH = dilation[0], s.DW = dilation[1];
  s.PT = padding[0], s.PB = padding[1], s.PL = padding[2], s.PR = padding[3];
  const int64_t extent_h = dilated(op, s.KH, s.DH), extent_w = dilated(op, s.KW, s.DW);
  if (s.PT >= extent_h || s.PB >= extent_h || s.PL >= extent_w || s.PR >= extent_w) {
    fail(op + ": padding " + text(padding) + " must be smaller than the kernel's extent " +
         text(Pair{extent_h, extent_w}) + ", or a window would hold no input");
  }
  const auto windows = [&](int64_t input, int64_t before, int64_t after, int64_t extent, int64_t step) -> int64_t {
    const int64_t room = input + before + after - extent;
    if (room < 0) return 0;
    int64_t count = (ceil_mode ? room + step - 1 : room) / step + 1;
    // The last window must begin inside the input or the padding before it.
    if (ceil_mode && (count - 1) * step >= input + before) --count;
    return count;
  };
  s.OH = windows(s.IH, s.PT, s.PB, extent_h, s.SH);
  s.OW = windows(s.IW, s.PL, s.PR, extent_w, s.SW);
  check_output(op, x, s.OH, s.OW,
               "kernel " + text(kernel) + ", dilation " + text(dilation) + ", padding " + text(padding));
  element_count(s.y_dims(), op + " output");
  return s;
}

Dims max_unpool2d_dims(const Dims& x, Pair kernel, Pair stride, Padding padding) {
  const std::string op = "max_unpool2d";
  check_rank(op, "x", x, 4, "(N, C, H, W)");
  check_positive(op, "kernel_size", kernel);
  check_positive(op, "stride", stride);
  check_padding(op, padding);
  const int64_t oh = (x[2] - 1) * stride[0] - padding[0] - padding[1] + kernel[0];
  const int64_t ow = (x[3] - 1) * stride[1] - padding[2] - padding[3] + kernel[1];
  check_output(op, x, oh, ow, "kernel " + text(kernel) + ", stride " + text(stride) + ", padding " + text(padding));
  Dims y{x[0], x[1], oh, ow};
  element_count(y, "max_unpool2d output");
  return y;
}

Dims adaptive_pool2d_dims(const Dims& x, Pair output) {
  check_rank("adaptive_avg_pool2d", "x", x, 4, "(N, C, H, W)");
  check_positive("adaptive_avg_pool2d", "output_size", output);
  if (x[2] < 1 || x[3] < 1) fail("adaptive_avg_pool2d: expected x with at least one pixel, got " + to_string(x));
  Dims y{x[0], x[1], output[0], output[1]};
  element_count(y, "adaptive_avg_pool2d output");
  return y;
}

GemmShape gemm_shape(const Dims& a, const Dims& b, bool trans_a, bool trans_b) {
  check_rank("gemm", "a", a, 2, trans_a ? "(K, M)" : "(M, K)");
  check_rank("gemm", "b", b, 2, trans_b ? "(N, K)" : "(K, N)");
  GemmShape s{trans_a ? a[1] : a[0], trans_b ? b[0] : b[1], trans_a ? a[0] : a[1]};
  const int64_t k_of_b = trans_b ? b[1] : b[0];
  if (s.K != k_of_b) {
    fail("gemm: op(a) has " + text(s.K) + " columns and op(b) " + text(k_of_b) + " rows, for a " + to_string(a) +
         ", b " + to_string(b) + ", trans_a=" + (trans_a ? "True" : "False") +
         ", trans_b=" + (trans_b ? "True" : "False"));
  }
  element_count({s.M, s.N}, "gemm output");
  return s;
}

Dims linear_dims(const Dims& x, const Dims& weight) {
  check_rank("linear", "weight", weight, 2, "(OUT, IN)");
  if (x.empty() || x.back() != weight[1]) {
    fail("linear: weight of shape " + to_string(weight) + " takes " + text(weight[1]) + " features, x of shape " +
         to_string(x) + " has " + (x.empty() ? std::string("none") : text(x.back())));
  }
  if (weight[0] < 1 || weight[1] < 1)
    fail("linear: expected at least one feature, got weight of shape " + to_string(weight));
  Dims y = x;
  y.back() = weight[0];
  element_count(y, "linear output");
  return y;
}

Dims broadcast_dims(const std::string& op, const Dims& x, const Dims& y) {
  const size_t rank = std::max(x.size(), y.size());
  Dims result(rank);
  for (size_t i = 0; i < rank; ++i) {
    const int64_t a = i < rank - x.size() ? 1 : x[i - (rank - x.size())];
    const int64_t b = i < rank - y.size() ? 1 : y[i - (rank - y.size())];
    if (a != b && a != 1 && b != 1)
      fail(op + ": shapes " + to_string(x) + " and " + to_string(y) + " do not broadcast");
    result[i] = a == 1 ? b : a;
  }
  element_count(result, op + " output");
  return result;
}

Dims concat_dims(const std::vector<Dims>& parts, int64_t dim) {
  if (parts.empty()) fail("concat: expected at least one tensor, got none");
  dim = normalized_dim("concat", dim, static_cast<int64_t>(parts[0].size()));
  Dims whole = parts[0];
  for (size_t i = 1; i < parts.size(); ++i) {
    bool fits = parts[i].size() == whole.size();
    for (size_t d = 0; fits && d < whole.size(); ++d) {
      fits = d == static_cast<size_t>(dim) || parts[i][d] == whole[d];
    }
    if (!fits) {
      fail("concat: tensors must agree in every dimension but " + text(dim) + ", got " + to_string(parts[0]) + " and " +
           to_string(parts[i]));
    }
    if (__builtin_add_overflow(whole[dim], parts[i][dim], &whole[dim])) fail("concat: size overflows 64 bits");
  }
  element_count(whole, "concat output");
  return whole;
}

Dims pad2d_dims(const Dims& x, Padding padding, const std::string& mode) {
  check_rank("pad", "x", x, 4, "(N, C, H, W)");
  check_padding("pad", padding);
  const bool reflect = mode == "reflect", circular = mode == "circular", replicate = mode == "replicate";
  if (!reflect && !circular && !replicate && mode != "constant") {
    fail("pad: expected mode 'constant', 'reflect', 'replicate' or 'circular', got '" + mode + "'");
  }
  for (int side = 0; side < 4; ++side) {
    const int64_t size = x[2 + side / 2];
    const int64_t limit = reflect ? size - 1 : circular ? size : size > 0 ? largest_extent : 0;
    if (mode != "constant" && padding[side] > std::max<int64_t>(limit, 0)) {
      fail("pad: padding " + text(padding) + " is too large for mode '" + mode + "' and input " + to_string(x));
    }
  }
  Dims y{x[0], x[1], x[2] + padding[0] + padding[1], x[3] + padding[2] + padding[3]};
  check_output("pad", x, y[2], y[3], "padding " + text(padding));
  element_count(y, "pad output");
  return y;
}

Dims upsample_dims(const Dims& x, Pair output) {
  check_rank("upsample", "x", x, 4, "(N, C, H, W)");
  check_positive("upsample", "output size", output);
  if (x[2] < 1 || x[3] < 1) fail("upsample: expected x with at least one pixel, got " + to_string(x));
  Dims y{x[0], x[1], output[0], output[1]};
  element_count(y, "upsample output");
  return y;
}

Dims pixel_shuffle_dims(const Dims& x, int64_t factor) {
  check_rank("pixel_shuffle", "x", x, 4, "(N, C, H, W)");
  if (factor < 1 || factor > 65535) fail("pixel_shuffle: expected upscale_factor from 1 to 65535, got " + text(factor));
  if (x[1] % (factor * factor) != 0) {
    fail("pixel_shuffle: upscale_factor squared (" + text(factor * factor) + ") must divide the " + text(x[1]) +
         " channels");
  }
  return {x[0], x[1] / (factor * factor), checked_multiply(x[2], factor, "pixel_shuffle"),
          checked_multiply(x[3], factor, "pixel_shuffle")};
}

Dims flatten_dims(const Dims& x, int64_t start_dim, int64_t end_dim) {
  const int64_t rank = static_cast<int64_t>(x.size());
  if (rank == 0) return {1};
  const int64_t first = normalized_dim("flatten", start_dim, rank), last = normalized_dim("flatten", end_dim, rank);
  if (first > last) fail("flatten: start_dim " + text(start_dim) + " comes after end_dim " + text(end_dim));
  Dims y(x.begin(), x.begin() + first);
  y.push_back(element_count(Dims(x.begin() + first, x.begin() + last + 1), "flatten"));
  y.insert(y.end(), x.begin() + last + 1, x.end());
  return y;
}

int64_t normalized_dim(const std::string& op, int64_t dim, int64_t rank) {
  if (dim < -rank || dim >= rank) {
    fail(op + ": dim " + text(dim) + " is out of range for a tensor of " + text(rank) + " dimensions");
  }
  return dim < 0 ? dim + rank : dim;
}

}  // namespace tesela
