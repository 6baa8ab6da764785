// local_response_norm, softmax and log_softmax.
//
//   y[c] = x[c] / (k + scale * sum over c' in [c - before, c + after], 0 <= c' < C, of x[c']^2)^beta
//   y[i] = exp(x[i] - m) / s,  or  (x[i] - m) - log(s),  with m = max x and s = sum of exp(x - m)
//
// local_response_norm: one thread per element, which reads its neighbours in the channel; they lie in cache.
// softmax: one thread per vector where neighbouring threads then read neighbouring addresses, a warp per vector where
// the vector itself lies in one piece. It is swept three times.
// Limits: any sizes. Not measured on a GPU yet.

#include "nhwc.h"
#include "reduce.cuh"

namespace tesela::TESELA_DEVICE {
namespace {

struct LocalResponseNormArgs {
  int64_t elements, C, pixels, before, after;
  float scale, beta, k;
};

__global__ void __launch_bounds__(block_threads) local_response_norm_kernel(LocalResponseNormArgs s,
                                                                            const float* x,  // (N, C, H, W)
                                                                            float* y) {
  wait_for_earlier_kernel();
  for (int64_t item = first_item(); item < s.elements; item += item_stride()) {
    const int64_t c = item / s.pixels % s.C;
    const int64_t begin = c - s.before > 0 ? c - s.before : 0, end = c + s.after + 1 < s.C ? c + s.after + 1 : s.C;
    float sum = 0.0f;
    for (int64_t i = begin; i < end; ++i) {
      const float value = x[item + (i - c) * s.pixels];
      sum = fmaf(value, value, sum);
    }
    y[item] = x[item] / powf(fmaf(s.scale, sum, s.k), s.beta);
  }
}

struct SoftmaxArgs {
  int64_t vectors, size, inner;  // neighbours of a vector lie `inner` apart
  bool log;
};

template <int lanes>
__global__ void __launch_bounds__(block_threads) softmax_kernel(SoftmaxArgs s, const float* x, float* y) {
  wait_for_earlier_kernel();
  const Share<lanes> my = share<lanes>();
  for (int64_t item = my.first; item < s.vectors; item += my.stride) {
    const int64_t at = item / s.inner * s.size * s.inner + item % s.inner;
    float largest = -INFINITY, sum = 0.0f;
    for (int64_t i = my.lane; i < s.size; i += lanes) largest = max_propagating(largest, x[at + i * s.inner]);
    largest = max_over_lanes<lanes>(largest);
    for (int64_t i = my.lane; i < s.size; i += lanes) sum += expf(x[at + i * s.inner] - largest);
    sum = sum_over_lanes<lanes>(sum);
    const float log_sum = logf(sum);
    for (int64_t i = my.lane; i < s.size; i += lanes) {
      const float shifted = x[at + i * s.inner] - largest;
      y[at + i * s.inner] = s.log ? shifted - log_sum : expf(shifted) / sum;
    }
  }
}

}  // namespace

TensorId DeviceBackend::local_response_norm(Program& program, TensorId x, int64_t before, int64_t after, float alpha,
                                            float beta, float k) const {
  if (is_channels_last(program, x)) {
    return append_local_response_norm_nhwc(program, x, before, after, alpha, beta, k);
  }
  const Dims dims = program.spec(x).dims;
  const int64_t size = before + 1 + after;
  const LocalResponseNormArgs args{element_count(dims, "local_response_norm"),
                                   dims[1],
                                   dims[2] * dims[3],
                                   std::min(before, dims[1]),
                                   std::min(after, dims[1]),
                                   alpha / static_cast<float>(size),
                                   beta,
                                   k};
  const auto run = [=](const Operand* in, const Operand* out, void* stream) {
    launch(local_response_norm_kernel, grid_over(args.elements), stream, args, in[0].floats(), out[0].floats());
  };
  const double flops = 2.0 * static_cast<double>(args.elements) * static_cast<double>(size);
  return append(program, "across channels", {x}, {plain_spec(dims)}, 0, flops, run)[0];
}

TensorId DeviceBackend::softmax(Program& program, TensorId x, int64_t dim, bool log) const {
  if (is_channels_last(program, x) && dim == 1) return append_softmax_nhwc(program, x, log);
  x = program.in_layout(x, Layout::plain);
  const Dims dims = program.spec(x).dims;
  SoftmaxArgs args{1, dims[dim], 1, log};
  for (int64_t d = 0; d < static_cast<int64_t>(dims.size()); ++d) {
    if (d != dim) args.vectors *= dims[d];
    if (d > dim) args.inner *= dims[d];
  }
  const bool by_warps = args.inner == 1;
  const auto run = [=](const Operand* in, const Operand* out, void* stream) {
    launch(by_warps ? softmax_kernel<warp_lanes> : softmax_kernel<1>,
           by_warps ? grid_of_shares<warp_lanes>(args.vectors) : grid_of_shares<1>(args.vectors), stream, args,
           in[0].floats(), out[0].floats());
  };
  return append(program, by_warps ? "rows" : "columns", {x}, {plain_spec(dims)}, 0, 0, run)[0];
}

}  // namespace tesela::TESELA_DEVICE
