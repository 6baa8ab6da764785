// conv2d of small groups, depthwise among them, on channels_last tensors: as many outputs as inputs in each group.
//
//   y[n, oh, ow, oc] = activation(b[oc] + residual[n, oh, ow, oc]
//                                 + sum over kh, kw, k of x[n, ih, iw, oc / C * C + k] * w[kh, kw, k, oc])
//
// One thread has 16 bytes of channels of STRIP outputs along a row. Groups narrower than those bytes lie side by side
// in a vector of x, and each lane picks from its own group; wider ones are taken vector by vector, whose numbers all
// lanes share. So no product is with another group's zeros, and a vector of weights serves STRIP outputs.
// depthwise, 3x3 and 5x5, stride 1 and 2, not dilated: a row's weights stay in registers, and each input is loaded once
// for all outputs of the strip that read it.
// Limits: C is 1, 2, 4 or a multiple of the vector's 4 or 8 lanes; padded coordinates below 2^31. Not measured on a GPU
// yet.

#include "nhwc.h"
#include "pixels.h"
#include "vectors.cuh"

namespace tesela::TESELA_DEVICE {
namespace {

constexpr int STRIP = 4;
constexpr int64_t widest_group = 32;  // above, a product of matrices has enough to do

struct GroupedArgs {
  PixelVectors strips;  // of y, as if it were OW / STRIP wide
  int IH, IW, OW, KH, KW, SH, SW, DH, DW, PT, PL;
  int C, chunks;  // channels of a group, and vectors of it where it is wider than one
  int64_t lanes;  // of a pixel of y
  ActivationSpec activation;
  Strides x, residual, y;
};

template <class T>
struct GroupedOperands {
  const T* x;
  const T* w;         // (KH, KW, C, lanes)
  const float* b;     // (lanes) or null
  const T* residual;  // like y, or null
  T* y;
};

template <class T>
__device__ void finish_strip(const GroupedArgs& s, const GroupedOperands<T>& p, const PixelVector& at, int oh, int ow0,
                             Lanes<T> (&sum)[STRIP]) {
  const Lanes<T> bias = p.b ? load_lanes_of<T>(p.b + at.channel) : Lanes<T>{};
  TESELA_UNROLL
  for (int j = 0; j < STRIP; ++j) {
    if (ow0 + j >= s.OW) break;
    const int64_t pixel = int64_t{oh} * s.OW + ow0 + j;
    Lanes<T> residual{};
    if (p.residual) {
      residual = load_lanes(p.residual + at.image * s.residual.image + pixel * s.residual.pixel + at.channel);
    }
    TESELA_UNROLL
    for (int i = 0; i < vector_lanes<T>; ++i) {
      sum[j].lane[i] = activate(sum[j].lane[i] + bias.lane[i] + residual.lane[i], s.activation);
    }
    store_channels(p.y + at.image * s.y.image + pixel * s.y.pixel, at.channel, s.strips.C, sum[j]);
  }
}

// own: channels of a group that lie in one vector.
template <class T, int own>
__global__ void __launch_bounds__(block_threads, 1)
    conv2d_grouped_kernel(const __grid_constant__ GroupedArgs s, GroupedOperands<T> p) {
  wait_for_earlier_kernel();
  constexpr int V = vector_lanes<T>;
  for (int64_t item = first_item(); item < s.strips.count; item += item_stride()) {
    const PixelVector at = s.strips.at(item);
    const int oh = static_cast<int>(s.strips.row(at.pixel));
    const int ow0 = static_cast<int>(at.pixel - oh * s.strips.width) * STRIP;
    const int64_t first = own < V ? at.channel : at.channel - at.channel % s.C;  // of x, in the first chunk
    const T* image = p.x + at.image * s.x.image + first;
    Lanes<T> sum[STRIP] = {};
    for (int kh = 0; kh < s.KH; ++kh) {
      const int ih = oh * s.SH - s.PT + kh * s.DH;
      if (ih < 0 || ih >= s.IH) continue;
      const T* row = image + int64_t{ih} * s.IW * s.x.pixel;
      for (int kw = 0; kw < s.KW; ++kw) {
        const T* w = p.w + int64_t{kh * s.KW + kw} * s.C * s.lanes + at.channel;
        for (int chunk = 0; chunk < s.chunks; ++chunk, w += V * s.lanes) {
          Stored<T> x[STRIP];
          TESELA_UNROLL
          for (int j = 0; j < STRIP; ++j) {
            const int iw = (ow0 + j) * s.SW - s.PL + kw * s.DW;
            const bool inside = iw >= 0 && iw < s.IW && ow0 + j < s.OW;
            x[j] = inside ? load_stored(row + iw * s.x.pixel + chunk * V) : Stored<T>{};
          }
          TESELA_UNROLL
          for (int k = 0; k < own; ++k) {
            const Lanes<T> weight = load_lanes(w + k * s.lanes);
            TESELA_UNROLL
            for (int j = 0; j < STRIP; ++j) {
              TESELA_UNROLL
              for (int i = 0; i < V; ++i) {
                sum[j].lane[i] = fmaf(as_float(x[j].lane[i / own * own + k]), weight.lane[i], sum[j].lane[i]);
              }
            }
          }
        }
      }
    }
    finish_strip(s, p, at, oh, ow0, sum);
  }
}

template <class T, int K, int S>
__global__ void __launch_bounds__(block_threads, 1)
    conv2d_depthwise_kernel(const __grid_constant__ GroupedArgs s, GroupedOperands<T> p) {
  wait_for_earlier_kernel();
  constexpr int V = vector_lanes<T>, columns = (STRIP - 1) * S + K;
  for (int64_t item = first_item(); item < s.strips.count; item += item_stride()) {
    const PixelVector at = s.strips.at(item);
    const int oh = static_cast<int>(s.strips.row(at.pixel));
    const int ow0 = static_cast<int>(at.pixel - oh * s.strips.width) * STRIP, iw0 = ow0 * S - s.PL;
    const T* image = p.x + at.image * s.x.image + at.channel;
    Lanes<T> sum[STRIP] = {};
    for (int kh = 0; kh < K; ++kh) {
      const int ih = oh * S - s.PT + kh;
      if (ih < 0 || ih >= s.IH) continue;
      const T* row = image + int64_t{ih} * s.IW * s.x.pixel;
      Lanes<T> weight[K];
      TESELA_UNROLL
      for (int kw = 0; kw < K; ++kw) weight[kw] = load_lanes(p.w + (kh * K + kw) * s.lanes + at.channel);
      TESELA_UNROLL
      for (int column = 0; column < columns; ++column) {
        const int iw = iw0 + column;
        const bool inside = iw >= 0 && iw < s.IW;
        const Lanes<T> x = inside ? load_lanes(row + iw * s.x.pixel) : Lanes<T>{};
        TESELA_UNROLL
        for (int j = 0; j < STRIP; ++j) {
          const int kw = column - j * S;
          if (kw < 0 || kw >= K) continue;
          TESELA_UNROLL
          for (int i = 0; i < V; ++i) sum[j].lane[i] = fmaf(x.lane[i], weight[kw].lane[i], sum[j].lane[i]);
        }
      }
    }
    finish_strip(s, p, at, oh, ow0, sum);
  }
}

// --------------------------------------------------------------------------------------------------------- planning

template <class T>
using GroupedKernel = void (*)(GroupedArgs, GroupedOperands<T>);

template <class T>
GroupedKernel<T> kernel_of(const Conv2dShape& s, int64_t C) {
  if (C == 1 && s.KH == s.KW && s.SH == s.SW && s.DH * s.DW == 1) {
    if (s.KH == 3 && s.SH == 1) return conv2d_depthwise_kernel<T, 3, 1>;
    if (s.KH == 3 && s.SH == 2) return conv2d_depthwise_kernel<T, 3, 2>;
    if (s.KH == 5 && s.SH == 1) return conv2d_depthwise_kernel<T, 5, 1>;
    if (s.KH == 5 && s.SH == 2) return conv2d_depthwise_kernel<T, 5, 2>;
  }
  if (C == 1) return conv2d_grouped_kernel<T, 1>;
  if (C == 2) return conv2d_grouped_kernel<T, 2>;
  if (C == 4) return conv2d_grouped_kernel<T, 4>;
  return conv2d_grouped_kernel<T, vector_lanes<T>>;
}

}  // namespace

bool conv2d_fits_grouped(const Conv2dShape& s, DType dtype) {
  const int64_t C = s.IC / s.G, vector = 16 / static_cast<int64_t>(bytes_of(dtype));
  constexpr int64_t most = int64_t{1} << 31;
  const bool narrow = s.IH + s.PT + s.PB + s.KH * s.DH < most &&
                      s.IW + s.PL + s.PR + s.KW * s.DW + STRIP * s.SW < most && s.KH * s.KW < most;
  return narrow && !s.transposed && s.G > 1 && C == s.OC / s.G && C <= widest_group &&
         (C == 1 || C == 2 || C == 4 || C % vector == 0);
}

TensorId append_conv2d_grouped(Program& program, TensorId x, const Conv2dShape& s, const float* weight,
                               const float* bias, TensorId residual, ActivationSpec activation) {
  const TensorSpec y = spec_like(program, x, s.y_dims());
  const int64_t C = s.IC / s.G, taps = s.KH * s.KW, lanes = y.lanes();
  const bool has_residual = residual >= 0;
  const auto narrow = [](int64_t size) { return static_cast<int>(size); };
  std::vector<TensorId> inputs{x};
  if (has_residual) inputs.push_back(program.in_layout(residual, Layout::channels_last));
  DeviceBuffer b = DeviceBuffer::of(padded_lanes(bias, s.OC, lanes));
  return with_stored_type(y.dtype, [&](auto stored) {
    using T = decltype(stored);
    constexpr int64_t V = vector_lanes<T>;
    std::vector<T> packed(static_cast<size_t>(taps * C * lanes), T{});
    for (int64_t oc = 0; oc < s.OC; ++oc) {
      for (int64_t k = 0; k < C; ++k) {
        for (int64_t tap = 0; tap < taps; ++tap) {
          packed[static_cast<size_t>((tap * C + k) * lanes + oc)] = as_stored<T>(weight[(oc * C + k) * taps + tap]);
        }
      }
    }
    DeviceBuffer w = DeviceBuffer::of(packed);
    const size_t weight_bytes = w.bytes() + b.bytes();
    const PixelVectors strips({s.N, s.OC, s.OH, ceil_div(s.OW, STRIP)}, V);
    auto run = [=, kernel = kernel_of<T>(s, C), w = std::move(w), b = std::move(b)](const Operand* in,
                                                                                    const Operand* out, void* stream) {
      const Strides residual_strides = has_residual ? strides_of(in[1]) : Strides{};
      const GroupedArgs args{strips,
                             narrow(s.IH),
                             narrow(s.IW),
                             narrow(s.OW),
                             narrow(s.KH),
                             narrow(s.KW),
                             narrow(s.SH),
                             narrow(s.SW),
                             narrow(s.DH),
                             narrow(s.DW),
                             narrow(s.PT),
                             narrow(s.PL),
                             narrow(C),
                             narrow(std::max<int64_t>(C / V, 1)),
                             lanes,
                             activation,
                             strides_of(in[0]),
                             residual_strides,
                             strides_of(out[0])};
      const GroupedOperands<T> operands{in[0].as<T>(), static_cast<const T*>(w.data()), b.floats(),
                                        has_residual ? in[1].as<T>() : nullptr, out[0].as<T>()};
      launch(kernel, grid_over(strips.count), stream, args, operands);
    };
    return append(program, C == 1 ? "depthwise, channels last" : "small groups, channels last", inputs, {y},
                  weight_bytes, s.flops(), std::move(run))[0];
  });
}

}  // namespace tesela::TESELA_DEVICE
