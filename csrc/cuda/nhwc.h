// Operators on channels_last tensors, each in the file of its name with _nhwc: what the methods of DeviceBackend call
// once they have found x in that layout. All results are channels_last.

#pragma once

#include "backend.h"

namespace tesela::TESELA_DEVICE {

inline bool is_channels_last(const Program& program, TensorId id) {
  return program.spec(id).layout == Layout::channels_last;
}

// What the result of a step on x looks like.
inline TensorSpec spec_like(const Program& program, TensorId x, Dims dims) {
  return channels_last_spec(std::move(dims), program.spec(x).dtype);
}

// The strides of an operand, 0 along what it broadcasts.
struct Strides {
  int64_t image, pixel;
  bool one_channel = false;  // that all channels share
};
inline Strides strides_of(const Operand& operand) { return {operand.image_stride, operand.pixel_stride}; }

enum class Elementwise : int32_t { identity, add, mul, affine, prelu };

// elementwise_nhwc.cu. b and c hold `count` values: one for each channel, a single one, or none.
TensorId append_per_channel_nhwc(Program& program, Elementwise op, TensorId x, ActivationSpec activation,
                                 const float* b, const float* c, int64_t count);
// Whether x and y, in either layout, broadcast in whole images, planes and pixels.
bool binary_fits_nhwc(const Program& program, TensorId x, TensorId y);
TensorId append_binary_nhwc(Program& program, Elementwise op, TensorId x, TensorId y, ActivationSpec activation);

}  // namespace tesela::TESELA_DEVICE
