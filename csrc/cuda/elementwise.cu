// Activations, per-channel maps and broadcast sums and products.
//
//   y = f(x), f(x + b), f(x * b), f(x * b + c), or (x > 0 ? x : x * b)
//
// One thread per element of y. Every case is the same kernel with other strides: y's dimensions are merged as far as x
// and b allow, and each operand has a stride for each of them, 0 where it broadcasts.
// Limits: any sizes.
// Not measured on a GPU yet.

#include "../arrays.h"
#include "loops.h"
#include "nhwc.h"

namespace tesela::TESELA_DEVICE {
namespace {

struct ElementwiseArgs {
  Elementwise op;
  ActivationSpec activation;
  Loops<2> loops;
};

__global__ void __launch_bounds__(block_threads)
    elementwise_kernel(const __grid_constant__ ElementwiseArgs s, const float* x, const float* b, const float* c,
                       float* y) {
  wait_for_earlier_kernel();
  for (int64_t item = first_item(); item < s.loops.steps; item += item_stride()) {
    const Places<2> at = places_of(s.loops, item);
    const int64_t b_at = at.of[1];
    float value = x[at.of[0]];
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

// b and c hold `count` values: one for each channel (axis 1), a single one, or none.
TensorId append_per_channel(Program& program, Elementwise op, TensorId x, ActivationSpec activation, const float* b,
                            const float* c, int64_t count) {
  if (is_channels_last(program, x)) return append_per_channel_nhwc(program, op, x, activation, b, c, count);
  x = program.in_layout(x, Layout::plain);  // rows of a matrix may be pixels with channels last
  const Dims dims = program.spec(x).dims;
  Dims b_dims(dims.size(), 1);
  if (count > 1) b_dims[1] = count;
  const BroadcastLoops broadcast = broadcast_loops("elementwise", {dims, b_dims});
  const ElementwiseArgs args{op, activation, loops_over<2>("elementwise", broadcast.sizes, broadcast.strides)};
  DeviceBuffer b_buffer = DeviceBuffer::of(b, count), c_buffer = DeviceBuffer::of(c, count);
  const size_t weight_bytes = b_buffer.bytes() + c_buffer.bytes();
  auto run = [=, b = std::move(b_buffer), c = std::move(c_buffer)](const Operand* in, const Operand* out,
                                                                   void* stream) {
    launch(elementwise_kernel, grid_over(args.loops.steps), stream, args, in[0].floats(), b.floats(), c.floats(),
           out[0].floats());
  };
  const double flops =
      static_cast<double>(args.loops.steps) * (op == Elementwise::affine ? 2 : op == Elementwise::prelu);
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
  const Elementwise function = kind == Binary::add ? Elementwise::add : Elementwise::mul;
  if ((is_channels_last(program, x) || is_channels_last(program, y)) && binary_fits_nhwc(program, x, y)) {
    return append_binary_nhwc(program, function, x, y, spec);
  }
  x = program.in_layout(x, Layout::plain);
  y = program.in_layout(y, Layout::plain);
  const std::string op = kind == Binary::add ? "add" : "mul";
  const BroadcastLoops loops = broadcast_loops(op, {program.spec(x).dims, program.spec(y).dims});
  const ElementwiseArgs args{function, spec, loops_over<2>(op, loops.sizes, loops.strides)};
  const auto run = [=](const Operand* in, const Operand* out, void* stream) {
    launch(elementwise_kernel, grid_over(args.loops.steps), stream, args, in[0].floats(), in[1].floats(), nullptr,
           out[0].floats());
  };
  return append(program, "broadcast", {x, y}, {plain_spec(loops.dims)}, 0, static_cast<double>(args.loops.steps),
                run)[0];
}

}  // namespace tesela::TESELA_DEVICE
