// pad and upsample.
//
//   y[oh, ow] = x[low_h[oh], low_w[ow]], or the constant where either is -1
//   y[oh, ow] = lerp over h of (lerp over w of x[low or high, low or high]), (1 - weight) * low + weight * high
//
// One thread per output; the coordinates of each axis were computed when the step was planned and lie on the device.
// Limits: any sizes. Not measured on a GPU yet.

#include "nhwc.h"

namespace tesela::TESELA_DEVICE {
namespace {

struct Resample2dArgs {
  int64_t elements, IH, IW, OH, OW;
  const int64_t *low_h, *high_h, *low_w, *high_w;  // (OH) and (OW), on the device
  const float *weight_h, *weight_w;
  float constant;
};

__global__ void __launch_bounds__(block_threads) resample2d_copy_kernel(Resample2dArgs s,
                                                                        const float* x,  // (N, C, IH, IW)
                                                                        float* y) {      // (N, C, OH, OW)
  wait_for_earlier_kernel();
  for (int64_t item = first_item(); item < s.elements; item += item_stride()) {
    const int64_t ih = s.low_h[item / s.OW % s.OH], iw = s.low_w[item % s.OW];
    y[item] = ih < 0 || iw < 0 ? s.constant : x[(item / s.OW / s.OH * s.IH + ih) * s.IW + iw];
  }
}

__device__ float lerp(float low, float high, float weight) { return fmaf(weight, high, (1.0f - weight) * low); }

__global__ void __launch_bounds__(block_threads) resample2d_bilinear_kernel(Resample2dArgs s,
                                                                            const float* x,  // (N, C, IH, IW)
                                                                            float* y) {      // (N, C, OH, OW)
  wait_for_earlier_kernel();
  for (int64_t item = first_item(); item < s.elements; item += item_stride()) {
    const int64_t oh = item / s.OW % s.OH, ow = item % s.OW, low = s.low_w[ow], high = s.high_w[ow];
    const float* plane = x + item / s.OW / s.OH * s.IH * s.IW;
    const float *top = plane + s.low_h[oh] * s.IW, *bottom = plane + s.high_h[oh] * s.IW;
    y[item] = lerp(lerp(top[low], top[high], s.weight_w[ow]), lerp(bottom[low], bottom[high], s.weight_w[ow]),
                   s.weight_h[oh]);
  }
}

}  // namespace

TensorId DeviceBackend::resample2d(Program& program, TensorId x, const Resampling& resampling) const {
  const Dims dims = program.spec(x).dims;
  const auto OH = static_cast<int64_t>(resampling.low_h.size()), OW = static_cast<int64_t>(resampling.low_w.size());
  const bool bilinear = !resampling.weight_h.empty() || !resampling.weight_w.empty();
  std::vector<int64_t> places;  // one after another, in one buffer
  for (const auto* list : {&resampling.low_h, &resampling.low_w, &resampling.high_h, &resampling.high_w}) {
    places.insert(places.end(), list->begin(), list->end());
  }
  std::vector<float> weights = resampling.weight_h;
  weights.insert(weights.end(), resampling.weight_w.begin(), resampling.weight_w.end());
  DeviceBuffer place_buffer = DeviceBuffer::of(places), weight_buffer = DeviceBuffer::of(weights);
  if (is_channels_last(program, x)) {
    return append_resample2d_nhwc(program, x, {OH, OW}, bilinear, std::move(place_buffer), std::move(weight_buffer),
                                  resampling.constant);
  }
  const int64_t* at = place_buffer.indices();
  const float* weight = weight_buffer.floats();
  const Resample2dArgs args{dims[0] * dims[1] * OH * OW,
                            dims[2],
                            dims[3],
                            OH,
                            OW,
                            at,
                            at + OH + OW,
                            at + OH,
                            at + OH + OW + OH,
                            weight,
                            weight + OH,
                            resampling.constant};
  auto run = [=, places = std::move(place_buffer), weights = std::move(weight_buffer)](
                 const Operand* in, const Operand* out, void* stream) {
    launch(bilinear ? resample2d_bilinear_kernel : resample2d_copy_kernel, grid_over(args.elements), stream, args,
           in[0].floats(), out[0].floats());
  };
  const double flops = bilinear ? 6.0 * static_cast<double>(args.elements) : 0.0;
  return append(program, bilinear ? "bilinear" : "copy", {x}, {plain_spec({dims[0], dims[1], OH, OW})}, 0, flops,
                std::move(run))[0];
}

}  // namespace tesela::TESELA_DEVICE
