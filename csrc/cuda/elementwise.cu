// Activations, per-channel maps and broadcast sums and products.
//
//   y = f(x), f(x + b), f(x * b), f(x * b + c), or (x > 0 ? x : x * b)
//
// One thread per element of y. Every case is the same kernel with other strides: y's dimensions are merged as far as x
// and b allow, and each operand has a stride for each of them, 0 where it broadcasts.
// Limits: any sizes. One 64-bit division for each dimension but one that is left after merging.
// Not measured on a GPU yet.

#include "backend.h"

namespace tesela::TESELA_DEVICE {
namespace {

enum class Elementwise : int32_t { identity, add, mul, affine, prelu };

struct ElementwiseArgs {
  static constexpr int max_rank = 64;  // sizes are at least 2, so no addressable tensor has more
  Elementwise op;
  ActivationSpec activation;
  int rank;
  int64_t elements;
  int64_t sizes[max_rank], x_strides[max_rank], b_strides[max_rank];  // innermost first
};

__global__ void __launch_bounds__(block_threads)
    elementwise_kernel(const __grid_constant__ ElementwiseArgs s, const float* x, const float* b, const float* c,
                       float* y) {
  for (int64_t item = first_item(); item < s.elements; item += item_stride()) {
    int64_t rest = item, x_at = 0, b_at = 0;
    for (int d = 0; d < s.rank; ++d) {
      const bool last = d + 1 == s.rank;
      const int64_t quotient = last ? 0 : rest / s.sizes[d], i = rest - quotient * s.sizes[d];
      x_at += i * s.x_strides[d];
      b_at += i * s.b_strides[d];
      rest = quotient;
    }
    float value = x[x_at];
    switch (s.op) {
      case Elementwise::identity:
        break;
      case Elementwise::add:
        value += b[b_at];
        break;
      case Elementwise::mul:
        value *= b[b_at];
        break;
      case Elementwise::affine:
        value = fmaf(value, b[b_at], c[b_at]);
        break;
      case Elementwise::prelu:
        value = value > 0.0f ? value : value * b[b_at];
        break;
    }
    y[item] = activate(value, s.activation);
  }
}

// --------------------------------------------------------------------------------------------------------- planning

// Strides of a dense tensor of `dims` seen as one of `rank` dimensions that broadcasts: 0 where its size is 1.
std::vector<int64_t> broadcast_strides(const Dims& dims, size_t rank) {
  std::vector<int64_t> strides(rank, 0);
  int64_t stride = 1;
  for (size_t i = 0; i < dims.size(); ++i) {
    const int64_t size = dims[dims.size() - 1 - i];
    if (size != 1) strides[rank - 1 - i] = stride;
    stride *= size;
  }
  return strides;
}

ElementwiseArgs elementwise_args(Elementwise op, ActivationSpec activation, const Dims& dims,
                                 const std::vector<int64_t>& x_strides, const std::vector<int64_t>& b_strides) {
  ElementwiseArgs args{};
  args.op = op;
  args.activation = activation;
  args.elements = element_count(dims, "elementwise");
  for (size_t d = dims.size(); d-- > 0;) {
    if (dims[d] == 1) continue;
    const int last = args.rank - 1;
    if (last >= 0 && x_strides[d] == args.x_strides[last] * args.sizes[last] &&
        b_strides[d] == args.b_strides[last] * args.sizes[last]) {
      args.sizes[last] *= dims[d];
      continue;
    }
    args.sizes[args.rank] = dims[d];
    args.x_strides[args.rank] = x_strides[d];
    args.b_strides[args.rank] = b_strides[d];
    ++args.rank;
  }
  return args;
}

// b and c hold `count` values: one for each channel (axis 1), a single one, or none.
TensorId append_per_channel(Program& program, Elementwise op, TensorId x, ActivationSpec activation, const float* b,
                            const float* c, int64_t count) {
  const Dims dims = program.spec(x).dims;
  std::vector<int64_t> b_strides(dims.size(), 0);
  if (count > 1) b_strides[1] = 1;
  const ElementwiseArgs args = elementwise_args(op, activation, dims, broadcast_strides(dims, dims.size()), b_strides);
  DeviceBuffer b_buffer = DeviceBuffer::of(b, count), c_buffer = DeviceBuffer::of(c, count);
  const size_t weight_bytes = b_buffer.bytes() + c_buffer.bytes();
  auto run = [=, b = std::move(b_buffer), c = std::move(c_buffer)](const Operand* in, const Operand* out,
                                                                   void* stream) {
    launch(elementwise_kernel, grid_over(args.elements), stream, args, in[0].floats(), b.floats(), c.floats(),
           out[0].floats());
  };
  const double flops = static_cast<double>(args.elements) * (op == Elementwise::affine ? 2 : op == Elementwise::prelu);
  return append(program, "per channel", {x}, {plain_spec(dims)}, weight_bytes, flops, std::move(run))[0];
}

}  // namespace

TensorId DeviceBackend::activation(Program& program, TensorId x, ActivationSpec spec) const {
  return append_per_channel(program, Elementwise::identity, x, spec, nullptr, nullptr, 0);
}

TensorId DeviceBackend::prelu(Program& program, TensorId x, const float* slope, int64_t slopes) const {
  return append_per_channel(program, Elementwise::prelu, x, {}, slope, nullptr, slopes);
}

TensorId DeviceBackend::channel_affine(Program& program, TensorId x, const float* scale, const float* shift,
                                       ActivationSpec spec) const {
  return append_per_channel(program, Elementwise::affine, x, spec, scale, shift, program.spec(x).dims[1]);
}

TensorId DeviceBackend::binary(Program& program, Binary kind, TensorId x, TensorId y, ActivationSpec spec) const {
  const Dims x_dims = program.spec(x).dims, y_dims = program.spec(y).dims;
  const Dims dims = broadcast_dims(kind == Binary::add ? "add" : "mul", x_dims, y_dims);
  const ElementwiseArgs args =
      elementwise_args(kind == Binary::add ? Elementwise::add : Elementwise::mul, spec, dims,
                       broadcast_strides(x_dims, dims.size()), broadcast_strides(y_dims, dims.size()));
  const auto run = [=](const Operand* in, const Operand* out, void* stream) {
    launch(elementwise_kernel, grid_over(args.elements), stream, args, in[0].floats(), in[1].floats(), nullptr,
           out[0].floats());
  };
  return append(program, "broadcast", {x, y}, {plain_spec(dims)}, 0, static_cast<double>(args.elements), run)[0];
}

}  // namespace tesela::TESELA_DEVICE
