// Planning of strided convolutions of few channels as convolutions of stride 1.
//
// With kh = r * s + i, a kernel of K taps and stride s is one of ceil(K / s) taps over the rows h * s + i, i < s, which
// become channels of their own; taps beyond the last are zero.

#include "conv2d.h"
#include "planning.h"

namespace tesela::cpu {
namespace {

// Sums of fewer are so exact that the transforms' roundings would be more than twice the error; so would those for more
// taps, whose two chains (kernels/winograd_points.h) want more channels.
constexpr int64_t fewest_products = 128, most_taps = 4;

// The convolution of stride 1; no output channels where there is none.
Conv2dShape of_stride_one(const Conv2dShape& s) {
  Conv2dShape one{};
  const int64_t stride = s.SH, taps = ceil_div(s.KH, stride), channels = s.IC * stride * stride;
  if (s.transposed || s.G != 1 || s.SW != stride || (stride != 2 && stride != 4) || s.DH != 1 || s.DW != 1 ||
      ceil_div(s.KW, stride) != taps || taps > most_taps || channels > 4 * channel_block) {
    return one;
  }
  one.N = s.N, one.IC = channels, one.OC = s.OC, one.OH = s.OH, one.OW = s.OW, one.G = 1;
  one.IH = s.OH + taps - 1, one.IW = s.OW + taps - 1;
  one.KH = one.KW = taps;
  one.SH = one.SW = one.DH = one.DW = 1;
  return one;
}

}  // namespace

bool suits_space_to_depth(const Conv2dShape& s) {
  Conv2dShape one = of_stride_one(s);
  if (one.OC == 0 || !is_stem(s) || s.IC * s.KH * s.KW < fewest_products) return false;
  one.IC = round_up(one.IC, channel_block);  // lanes without a channel are multiplied too
  const auto [filter, cost] = cheapest_filter(one);
  return filter && cost < direct_cost(s);
}

TensorId CpuBackend::conv2d_space_to_depth(Program& program, TensorId x, const Conv2dLayer& r,
                                           TensorId residual) const {
  const Conv2dShape &s = r.s, one = of_stride_one(s);
  const int64_t stride = s.SH, kernel = one.KH * one.KW;
  x = program.in_layout(x, Layout::plain);
  const TensorSpec y = blocked_spec({one.N, one.IC, one.IH, one.IW});
  SpaceToDepthArgs args{};
  args.C = s.IC, args.IH = s.IH, args.IW = s.IW, args.OH = one.IH, args.OW = one.IW;
  args.stride = stride, args.pad_top = s.PT, args.pad_left = s.PL;
  args.blocks = y.blocks(), args.y_plane_stride = y.plane_stride;
  args.rows = cut(one.N * y.blocks() * one.IH, 2.0 * static_cast<double>(one.IW * channel_block));
  x = append_map(program, "space to depth", args, Nothing{}, kernels().space_to_depth, args.rows, x, y);

  std::vector<float> weight(static_cast<size_t>(one.OC * one.IC * kernel));
  for (int64_t oc = 0; oc < s.OC; ++oc) {
    for (int64_t ic = 0; ic < s.IC; ++ic) {
      for (int64_t kh = 0; kh < s.KH; ++kh) {
        for (int64_t kw = 0; kw < s.KW; ++kw) {
          const int64_t channel = (ic * stride + kh % stride) * stride + kw % stride;
          weight[static_cast<size_t>((oc * one.IC + channel) * kernel + kh / stride * one.KW + kw / stride)] =
              r.weight[((oc * s.IC + ic) * s.KH + kh) * s.KW + kw];
        }
      }
    }
  }
  const MinimalFilter& filter = *cheapest_filter(one).first;
  const auto plan = [&filter](const auto&... to) { return plan_winograd(filter, to...); };
  return append_candidate(program, {filter.name, plan}, x, {one, weight.data(), r.bias, r.activation}, residual, &s);
}

}  // namespace tesela::cpu
