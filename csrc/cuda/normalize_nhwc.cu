// local_response_norm and softmax over channels, on channels_last tensors.
//
//   y[c] = x[c] / (k + scale * sum over c' in [c - before, c + after], 0 <= c' < C, of x[c']^2)^beta
//   y[c] = exp(x[c] - m) / s,  or  (x[c] - m) - log(s),  with m = max x and s = sum of exp(x - m)
//
// local_response_norm: one thread has 16 bytes of channels and meets its neighbours' in cache. For the window of 5 that
// networks use, all sums come from three vectors in registers. Powers of 3/4, 1/2 and 1 are roots and quotients.
// softmax: one thread for each pixel of few channels, else a warp. A pixel is swept three times.
// Limits: softmax along other axes stays with the plain kernel. Not measured on a GPU yet.

#include "nhwc.h"
#include "pixels.h"
#include "reduce.cuh"
#include "vectors.cuh"

namespace tesela::TESELA_DEVICE {
namespace {

enum class Power : int32_t { three_quarters, half, one, any };

struct LocalResponseNormArgs {
  PixelVectors vectors;
  Strides x, y;
  int64_t before, after;
  float scale, beta, k;
  Power power;
};

__device__ float divided(float x, float base, float beta, Power power) {
  if (power == Power::any) return x / powf(base, beta);
  if (power == Power::one) return x / base;
  const float root = rsqrtf(base);
  return power == Power::half ? x * root : x * (root * sqrtf(root));
}

// The squares of a vector that may lie outside the pixel.
template <class T>
__device__ void squares(const LocalResponseNormArgs& s, const T* pixel, int64_t channel, float* to) {
  const bool exists = channel >= 0 && channel < s.vectors.vectors * vector_lanes<T>;
  const Lanes<T> x = exists ? load_lanes(pixel + channel) : Lanes<T>{};
  TESELA_UNROLL
  for (int i = 0; i < vector_lanes<T>; ++i) to[i] = x.lane[i] * x.lane[i];
}

// reach: of the window to either side; 0: before and after are not known yet.
template <class T, int reach>
__global__ void __launch_bounds__(block_threads)
    local_response_norm_nhwc_kernel(const __grid_constant__ LocalResponseNormArgs s, const T* x, T* y) {
  wait_for_earlier_kernel();
  constexpr int V = vector_lanes<T>;
  for (int64_t item = first_item(); item < s.vectors.count; item += item_stride()) {
    const PixelVector at = s.vectors.at(item);
    const T* pixel = x + at.image * s.x.image + at.pixel * s.x.pixel;
    Lanes<T> value = load_lanes(pixel + at.channel), sum{};
    if (reach > 0) {
      float square[3 * V];
      squares(s, pixel, at.channel - V, square);
      squares(s, pixel, at.channel + V, square + 2 * V);
      TESELA_UNROLL
      for (int i = 0; i < V; ++i) square[V + i] = value.lane[i] * value.lane[i];
      TESELA_UNROLL
      for (int i = 0; i < V; ++i) {
        TESELA_UNROLL
        for (int j = -reach; j <= reach; ++j) sum.lane[i] += square[V + i + j];
      }
    } else {
      TESELA_UNROLL
      for (int i = 0; i < V; ++i) {
        const int64_t c = at.channel + i, begin = c - s.before > 0 ? c - s.before : 0;
        const int64_t end = c + s.after + 1 < s.vectors.C ? c + s.after + 1 : s.vectors.C;
        for (int64_t j = begin; j < end; ++j) sum.lane[i] = fmaf(as_float(pixel[j]), as_float(pixel[j]), sum.lane[i]);
      }
    }
    TESELA_UNROLL
    for (int i = 0; i < V; ++i) {
      value.lane[i] = divided(value.lane[i], fmaf(s.scale, sum.lane[i], s.k), s.beta, s.power);
    }
    store_channels(y + at.image * s.y.image + at.pixel * s.y.pixel, at.channel, s.vectors.C, value);
  }
}

struct SoftmaxArgs {
  int64_t rows, pixels, C, vectors;  // pixels of an image, vectors of a pixel
  Strides x, y;
  bool log;
};

template <class T, int lanes>
__global__ void __launch_bounds__(block_threads)
    softmax_nhwc_kernel(const __grid_constant__ SoftmaxArgs s, const T* x, T* y) {
  wait_for_earlier_kernel();
  constexpr int V = vector_lanes<T>;
  const Share<lanes> my = share<lanes>();
  const auto exists = [&](int64_t vector, int i) { return vector * V + i < s.C; };
  for (int64_t item = my.first; item < s.rows; item += my.stride) {
    const int64_t image = item / s.pixels, at = item % s.pixels;
    const T* from = x + image * s.x.image + at * s.x.pixel;
    T* to = y + image * s.y.image + at * s.y.pixel;
    float largest = -INFINITY, sum = 0.0f;
    for (int64_t v = my.lane; v < s.vectors; v += lanes) {
      const Lanes<T> value = load_lanes(from + v * V);
      TESELA_UNROLL
      for (int i = 0; i < V; ++i) largest = exists(v, i) ? max_propagating(largest, value.lane[i]) : largest;
    }
    largest = max_over_lanes<lanes>(largest);
    for (int64_t v = my.lane; v < s.vectors; v += lanes) {
      const Lanes<T> value = load_lanes(from + v * V);
      TESELA_UNROLL
      for (int i = 0; i < V; ++i) sum += exists(v, i) ? expf(value.lane[i] - largest) : 0.0f;
    }
    sum = sum_over_lanes<lanes>(sum);
    const float log_sum = logf(sum);
    for (int64_t v = my.lane; v < s.vectors; v += lanes) {
      Lanes<T> value = load_lanes(from + v * V);
      TESELA_UNROLL
      for (int i = 0; i < V; ++i) {
        const float shifted = value.lane[i] - largest;
        value.lane[i] = s.log ? shifted - log_sum : expf(shifted) / sum;
      }
      store_channels(to, v * V, s.C, value);
    }
  }
}

}  // namespace

TensorId append_local_response_norm_nhwc(Program& program, TensorId x, int64_t before, int64_t after, float alpha,
                                         float beta, float k) {
  constexpr int reach = 2;
  const TensorSpec y = spec_like(program, x, program.spec(x).dims);
  const int64_t size = before + 1 + after, C = y.dims[1];
  const Power power = beta == 0.75f  ? Power::three_quarters
                      : beta == 0.5f ? Power::half
                      : beta == 1.0f ? Power::one
                                     : Power::any;
  return with_stored_type(y.dtype, [&](auto stored) {
    using T = decltype(stored);
    const PixelVectors vectors(y.dims, vector_lanes<T>);
    auto* kernel = before == reach && after == reach ? local_response_norm_nhwc_kernel<T, reach>
                                                     : local_response_norm_nhwc_kernel<T, 0>;
    const auto run = [=](const Operand* in, const Operand* out, void* stream) {
      const LocalResponseNormArgs args{vectors,
                                       strides_of(in[0]),
                                       strides_of(out[0]),
                                       std::min(before, C),
                                       std::min(after, C),
                                       alpha / static_cast<float>(size),
                                       beta,
                                       k,
                                       power};
      launch(kernel, grid_over(vectors.count), stream, args, in[0].as<T>(), out[0].as<T>());
    };
    const double flops = 2.0 * static_cast<double>(element_count(y.dims, "normalization")) * static_cast<double>(size);
    return append(program, "across channels, channels last", {x}, {y}, 0, flops, run)[0];
  });
}

TensorId append_softmax_nhwc(Program& program, TensorId x, bool log) {
  constexpr int64_t many_vectors = 16;  // half a warp has work
  const TensorSpec y = spec_like(program, x, program.spec(x).dims);
  return with_stored_type(y.dtype, [&](auto stored) {
    using T = decltype(stored);
    const int64_t pixels = y.dims[2] * y.dims[3], rows = y.dims[0] * pixels, vectors = y.lanes() / vector_lanes<T>;
    const bool by_warps = vectors >= many_vectors;
    const auto run = [=, C = y.dims[1]](const Operand* in, const Operand* out, void* stream) {
      const SoftmaxArgs args{rows, pixels, C, vectors, strides_of(in[0]), strides_of(out[0]), log};
      launch(by_warps ? softmax_nhwc_kernel<T, warp_lanes> : softmax_nhwc_kernel<T, 1>,
             by_warps ? grid_of_shares<warp_lanes>(rows) : grid_of_shares<1>(rows), stream, args, in[0].as<T>(),
             out[0].as<T>());
    };
    return append(program, "pixels, channels last", {x}, {y}, 0, 0, run)[0];
  });
}

}  // namespace tesela::TESELA_DEVICE
