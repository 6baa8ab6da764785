// Planning of conv_transpose2d where it is another operator in disguise: with few output channels, its phases are
// channels of one convolution; of single pixels, it is one product.

#include "conv2d.h"

namespace tesela::cpu {
namespace {

// All phases of a transposed convolution as one: over the union of their taps, with a channel for each pair of channel
// and phase, and the phases shuffled into place afterwards. Three channels leave 13 of 16 lanes empty; with the phases
// of stride 2 they fill 12. Taps that a phase does not see are multiplied by zero, which spreads a NaN to all phases.
struct JoinedPhases {
  Conv2dShape s;         // of the convolution; OC is that of the result times SH * SW
  int64_t tap_h, tap_w;  // offset of the first tap
};

// The convolution that computes all phases, if that is fewer products and all phases have the same size; OC = 0 if not.
JoinedPhases join_phases(const Conv2dShape& s) {
  JoinedPhases none{s, 0, 0};
  none.s.OC = 0;
  if (!s.transposed || (s.IH == 1 && s.IW == 1) || s.G > 1 || s.SH != s.SW || s.SH == 1 || s.OH % s.SH != 0 ||
      s.OW % s.SW != 0)
    return none;
  if (s.SH * s.SW * s.OC > channel_block) return none;
  int64_t low_h = s.IH, high_h = -s.KH, low_w = s.IW, high_w = -s.KW, separate = 0;
  for (const Phase& phase : phases_of(s)) {
    separate += static_cast<int64_t>(phase.taps.size());
    for (const Tap& tap : phase.taps) {
      low_h = std::min<int64_t>(low_h, tap.h), high_h = std::max<int64_t>(high_h, tap.h);
      low_w = std::min<int64_t>(low_w, tap.w), high_w = std::max<int64_t>(high_w, tap.w);
    }
  }
  const int64_t kh = high_h - low_h + 1, kw = high_w - low_w + 1;
  // The shuffle costs about as much as a few products per output.
  if (kh < 1 || kw < 1 || static_cast<double>(kh) * static_cast<double>(kw) * 1.2 > static_cast<double>(separate)) {
    return none;
  }
  const int64_t rows_h = s.OH / s.SH, rows_w = s.OW / s.SW;
  const Conv2dShape joined{s.N,
                           s.IC,
                           s.IH,
                           s.IW,
                           s.OC * s.SH * s.SW,
                           rows_h,
                           rows_w,
                           kh,
                           kw,
                           1,
                           1,
                           1,
                           1,
                           -low_h,
                           rows_h - s.IH + low_h + kh - 1,
                           -low_w,
                           rows_w - s.IW + low_w + kw - 1,
                           1,
                           false};
  return {joined, low_h, low_w};
}

}  // namespace

// Every output pixel sees one tap, and the plane has no line to spare: then a panel for each block of channels and
// pixel lies in the order of blocked memory.
bool is_product_of_pixels(const Conv2dLayer& r, const TensorSpec& y) {
  const Conv2dShape& s = r.s;
  const Activation kind = r.activation.kind;
  const bool keeps_zero = kind == Activation::none || kind == Activation::relu || kind == Activation::relu6;
  return s.transposed && s.IH == 1 && s.IW == 1 && s.G == 1 && s.DH == 1 && s.DW == 1 && s.OH + s.PT <= s.KH &&
         s.OW + s.PL <= s.KW && y.plane_stride == s.OH * s.OW * channel_block &&
         (s.OC % channel_block == 0 || keeps_zero);
}

std::unique_ptr<Plan> plan_product_of_pixels(const Conv2dLayer& r, const TensorSpec& x, const TensorSpec&,
                                             bool has_residual) {
  const Conv2dShape& s = r.s;
  const int64_t pixels = s.OH * s.OW, channels = round_up(s.OC, channel_block) * pixels;
  std::vector<float> weight(static_cast<size_t>(channels * s.IC)), bias(r.bias ? static_cast<size_t>(channels) : 0);
  for (int64_t oc = 0; oc < s.OC; ++oc) {
    for (int64_t h = 0; h < s.OH; ++h) {
      for (int64_t w = 0; w < s.OW; ++w) {
        const int64_t to = (oc / channel_block * pixels + h * s.OW + w) * channel_block + oc % channel_block;
        const int64_t kh = h + s.PT, kw = w + s.PL;
        if (r.bias) bias[static_cast<size_t>(to)] = r.bias[oc];
        for (int64_t ic = 0; ic < s.IC; ++ic) {
          weight[static_cast<size_t>(to * s.IC + ic)] = r.weight[((ic * s.OC + oc) * s.KH + kh) * s.KW + kw];
        }
      }
    }
  }
  const Conv2dShape product{s.N, s.IC, 1, 1, channels, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1, false};
  return plan_direct({product, weight.data(), r.bias ? bias.data() : nullptr, r.activation}, x,
                     blocked_spec(product.y_dims()), has_residual);
}

bool joins_phases(const Conv2dShape& s) { return join_phases(s).s.OC > 0; }

TensorId CpuBackend::conv_transpose2d_joined(Program& program, TensorId x, const Conv2dShape& s, const float* weight,
                                             const float* bias, ActivationSpec activation) const {
  const JoinedPhases joined = join_phases(s);
  const int64_t phases = s.SH * s.SW, kernel = joined.s.KH * joined.s.KW;
  std::vector<float> weights(static_cast<size_t>(joined.s.OC * s.IC * kernel)), biases;
  for (const Phase& phase : phases_of(s)) {
    for (const Tap& tap : phase.taps) {
      const int64_t at = (tap.h - joined.tap_h) * joined.s.KW + tap.w - joined.tap_w;
      for (int64_t oc = 0; oc < s.OC; ++oc) {
        const int64_t channel = oc * phases + phase.offset_h * s.SW + phase.offset_w;
        for (int64_t ic = 0; ic < s.IC; ++ic) {
          weights[static_cast<size_t>((channel * s.IC + ic) * kernel + at)] =
              weight[((ic * s.OC + oc) * s.KH + tap.kh) * s.KW + tap.kw];
        }
      }
    }
  }
  for (int64_t channel = 0; bias != nullptr && channel < joined.s.OC; ++channel) {
    biases.push_back(bias[channel / phases]);
  }
  const Conv2dLayer request{joined.s, weights.data(), bias ? biases.data() : nullptr, activation};
  const Candidate best = candidates_of(request, program.accuracy(), program.precision())[0];
  const TensorId y = append_candidate(program, best, x, request, -1, &s);
  return pixel_shuffle(program, y, s.SH);
}

}  // namespace tesela::cpu
