// Activations, per-channel maps and broadcast sums and products on channels_last tensors.
//
//   y = f(x), f(x + b), f(x * b), f(x * b + c), or (x > 0 ? x : x * b)
//
// One thread takes 16 bytes: neighbouring threads have neighbouring channels. An operand that broadcasts over images or
// pixels has a stride of 0 there (squeeze and excitation: one vector for each image), one that broadcasts over channels
// gives its first lane to all. Parameters are floats. Every byte is read and written once.
// Limits: an operand that broadcasts along H or W alone stays with the plain kernel. Not measured on a GPU yet.

#include "nhwc.h"
#include "pixels.h"
#include "vectors.cuh"

namespace tesela::TESELA_DEVICE {
namespace {

struct ElementwiseArgs {
  Elementwise op;
  ActivationSpec activation;
  PixelVectors vectors;
  Strides x, b, y;
};

template <class T, class B>
__device__ Lanes<T> operand_lanes(const Strides& strides, const B* from, const PixelVector& at) {
  const B* pixel = from + at.image * strides.image + at.pixel * strides.pixel;
  if (strides.one_channel) return all_lanes<T>(as_float(*pixel));
  return load_lanes_of<T>(pixel + at.channel);
}

// B: float for parameters, T for a tensor.
template <class T, class B>
__global__ void __launch_bounds__(block_threads)
    elementwise_nhwc_kernel(const __grid_constant__ ElementwiseArgs s, const T* x, const B* b, const float* c, T* y) {
  wait_for_earlier_kernel();
  for (int64_t item = first_item(); item < s.vectors.count; item += item_stride()) {
    const PixelVector at = s.vectors.at(item);
    Lanes<T> value = operand_lanes<T>(s.x, x, at), other{};
    if (s.op != Elementwise::identity) other = operand_lanes<T>(s.b, b, at);
    Lanes<T> shift{};
    if (s.op == Elementwise::affine) shift = load_lanes_of<T>(c + at.channel);
    TESELA_UNROLL
    for (int i = 0; i < vector_lanes<T>; ++i) {
      float& v = value.lane[i];
      switch (s.op) {
        case Elementwise::identity:
          break;
        case Elementwise::add:
          v += other.lane[i];
          break;
        case Elementwise::mul:
          v *= other.lane[i];
          break;
        case Elementwise::affine:
          v = fmaf(v, other.lane[i], shift.lane[i]);
          break;
        case Elementwise::prelu:
          v = v > 0.0f ? v : v * other.lane[i];
          break;
      }
      v = activate(v, s.activation);
    }
    store_channels(y + at.image * s.y.image + at.pixel * s.y.pixel, at.channel, s.vectors.C, value);
  }
}

// --------------------------------------------------------------------------------------------------------- planning

Strides broadcasting(const Operand& operand, const Dims& dims, const Dims& y) {
  return {dims[0] == y[0] ? operand.image_stride : 0, dims[2] == y[2] && dims[3] == y[3] ? operand.pixel_stride : 0,
          dims[1] != y[1]};
}

}  // namespace

TensorId append_per_channel_nhwc(Program& program, Elementwise op, TensorId x, ActivationSpec activation,
                                 const float* b, const float* c, int64_t count) {
  const TensorSpec y = spec_like(program, x, program.spec(x).dims);
  DeviceBuffer b_buffer = DeviceBuffer::of(padded_lanes(b, count, y.lanes()));
  DeviceBuffer c_buffer = DeviceBuffer::of(padded_lanes(c, count, y.lanes()));
  const size_t weight_bytes = b_buffer.bytes() + c_buffer.bytes();
  const double flops = static_cast<double>(element_count(y.dims, "elementwise")) *
                       (op == Elementwise::affine ? 2 : op == Elementwise::prelu);
  return with_stored_type(y.dtype, [&](auto stored) {
    using T = decltype(stored);
    const PixelVectors vectors(y.dims, vector_lanes<T>);
    auto run = [=, b = std::move(b_buffer), c = std::move(c_buffer)](const Operand* in, const Operand* out,
                                                                     void* stream) {
      const ElementwiseArgs args{op, activation, vectors, strides_of(in[0]), {0, 0, count == 1}, strides_of(out[0])};
      launch(elementwise_nhwc_kernel<T, float>, grid_over(vectors.count), stream, args, in[0].as<T>(), b.floats(),
             c.floats(), out[0].as<T>());
    };
    return append(program, "per channel, channels last", {x}, {y}, weight_bytes, flops, std::move(run))[0];
  });
}

bool binary_fits_nhwc(const Program& program, TensorId x, TensorId y) {
  const Dims &a = program.spec(x).dims, &b = program.spec(y).dims;
  if (a.size() != 4 || b.size() != 4) return false;
  const bool planes_agree = a[2] == b[2] && a[3] == b[3];
  return planes_agree || (a[2] == 1 && a[3] == 1) || (b[2] == 1 && b[3] == 1);
}

TensorId append_binary_nhwc(Program& program, Elementwise op, TensorId x, TensorId y, ActivationSpec activation) {
  x = program.in_layout(x, Layout::channels_last), y = program.in_layout(y, Layout::channels_last);
  const Dims x_dims = program.spec(x).dims, y_dims = program.spec(y).dims;
  const TensorSpec sum = spec_like(program, x, broadcast_dims(op == Elementwise::add ? "add" : "mul", x_dims, y_dims));
  return with_stored_type(sum.dtype, [&](auto stored) {
    using T = decltype(stored);
    const PixelVectors vectors(sum.dims, vector_lanes<T>);
    const auto run = [=](const Operand* in, const Operand* out, void* stream) {
      const ElementwiseArgs args{op,
                                 activation,
                                 vectors,
                                 broadcasting(in[0], x_dims, sum.dims),
                                 broadcasting(in[1], y_dims, sum.dims),
                                 strides_of(out[0])};
      launch(elementwise_nhwc_kernel<T, T>, grid_over(vectors.count), stream, args, in[0].as<T>(), in[1].as<T>(),
             nullptr, out[0].as<T>());
    };
    return append(program, "broadcast, channels last", {x, y}, {sum}, 0,
                  static_cast<double>(element_count(sum.dims, "elementwise")), run)[0];
  });
}

}  // namespace tesela::TESELA_DEVICE
