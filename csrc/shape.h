// Shapes of convolution, pooling and products: the only place that computes their sizes, and the errors it can raise.
//
// A shape is plain data with every derived size filled in. It sizes the output, feeds the kernel, and tells the
// benchmark its flops and bytes. All constructors below check their input in 64-bit arithmetic that cannot wrap and
// throw ShapeError with one sentence: operator, expected, got.

#pragma once

#include <array>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace tesela {

using Dims = std::vector<int64_t>;
using Pair = std::array<int64_t, 2>;     // (h, w)
using Padding = std::array<int64_t, 4>;  // top, bottom, left, right

// Bad shape or parameter; becomes ValueError in Python.
struct ShapeError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

std::string to_string(const Dims& dims);                           // "(1, 3, 227, 227)"
int64_t element_count(const Dims& dims, const std::string& what);  // throws when the tensor cannot be addressed

// Convolution and transposed convolution share one description: for the transposed operator I* is still its input and
// O* its output, S* its (fractional) stride, and weights are (IC, OC/G, KH, KW).
struct Conv2dShape {
  int64_t N, IC, IH, IW, OC, OH, OW, KH, KW, SH, SW, DH, DW, PT, PB, PL, PR, G;
  bool transposed;
  Dims y_dims() const { return {N, OC, OH, OW}; }
  double flops() const;  // 2 per multiply-add of the direct algorithm
};

struct Pool2dShape {
  int64_t N, C, IH, IW, OH, OW, KH, KW, SH, SW, DH, DW, PT, PB, PL, PR;
  Dims y_dims() const { return {N, C, OH, OW}; }
};

struct GemmShape {
  int64_t M, N, K;
  double flops() const { return 2.0 * M * N * K; }
};

Conv2dShape conv2d_shape(const Dims& x, const Dims& weight, Pair stride, Padding padding, Pair dilation,
                         int64_t groups);
Conv2dShape conv_transpose2d_shape(const Dims& x, const Dims& weight, Pair stride, Padding padding, Pair output_padding,
                                   Pair dilation, int64_t groups);
// `op` names the caller in errors: "max_pool2d" or "avg_pool2d".
Pool2dShape pool2d_shape(const std::string& op, const Dims& x, Pair kernel, Pair stride, Padding padding, Pair dilation,
                         bool ceil_mode);
Dims max_unpool2d_dims(const Dims& x, Pair kernel, Pair stride, Padding padding);
Dims adaptive_pool2d_dims(const Dims& x, Pair output);
GemmShape gemm_shape(const Dims& a, const Dims& b, bool trans_a, bool trans_b);
Dims linear_dims(const Dims& x, const Dims& weight);
Dims broadcast_dims(const std::string& op, const Dims& x, const Dims& y);
Dims concat_dims(const std::vector<Dims>& parts, int64_t dim);
Dims pad2d_dims(const Dims& x, Padding padding, const std::string& mode);
Dims upsample_dims(const Dims& x, Pair output);
Dims pixel_shuffle_dims(const Dims& x, int64_t factor);
Dims flatten_dims(const Dims& x, int64_t start_dim, int64_t end_dim);
// Turns a dimension counted from the end into one counted from the front.
int64_t normalized_dim(const std::string& op, int64_t dim, int64_t rank);

}  // namespace tesela
