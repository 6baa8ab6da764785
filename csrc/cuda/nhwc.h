// Operators on channels_last tensors, each in the file of its name with _nhwc: what the methods of DeviceBackend call
// once they have found x in that layout. All results are channels_last.

#pragma once

#include "backend.h"

namespace tesela::TESELA_DEVICE {

// Not of rows of a matrix, which Program::reshaped leaves so: only products take them.
inline bool is_channels_last(const Program& program, TensorId id) {
  return program.spec(id).layout == Layout::channels_last && program.spec(id).dims.size() == 4;
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

// pool2d_nhwc.cu; averages fit where x's planes have fewer than 2^31 pixels. bounds: begin, end and count of each
// window along H, then along W; window: elements, on average.
bool pool2d_fits_nhwc(const Pool2dShape& s);
TensorId append_max_pool2d_nhwc(Program& program, const char* algorithm, TensorId x, const Pool2dShape& s);
TensorId append_avg_pool2d_nhwc(Program& program, const char* algorithm, TensorId x, const Dims& y,
                                int64_t divisor_override, DeviceBuffer bounds, double window);
// normalize_nhwc.cu
TensorId append_local_response_norm_nhwc(Program& program, TensorId x, int64_t before, int64_t after, float alpha,
                                         float beta, float k);
TensorId append_softmax_nhwc(Program& program, TensorId x, bool log);  // over channels
// layout_nhwc.cu. places: low_h, low_w, high_h, high_w; weights: along H, along W.
TensorId append_concat_nhwc(Program& program, const std::vector<TensorId>& parts, const Dims& whole);  // of channels
TensorId append_resample2d_nhwc(Program& program, TensorId x, Pair size, bool bilinear, DeviceBuffer places,
                                DeviceBuffer weights, float constant);
TensorId append_pixel_shuffle_nhwc(Program& program, TensorId x, int64_t factor);
// conv2d_grouped.cu. weight: (OC, IC/G, KH, KW)
bool conv2d_fits_grouped(const Conv2dShape& s, DType dtype);
TensorId append_conv2d_grouped(Program& program, TensorId x, const Conv2dShape& s, const float* weight,
                               const float* bias, TensorId residual, ActivationSpec activation);

}  // namespace tesela::TESELA_DEVICE
