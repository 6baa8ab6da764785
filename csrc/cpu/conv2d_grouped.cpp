// Planning of convolutions whose groups share blocks of channels (kernels/conv2d_grouped.cpp).

#include <numeric>
#include <string_view>

#include "conv2d.h"

namespace tesela::cpu {
namespace {

// Taps of one axis that one phase sees: `first`, `first + skip`, ... in the order of their input pixels, the first of
// which lies `origin` from the phase's first output.
struct Axis {
  int64_t offset, rows, first, skip, taps, origin;
};

std::vector<Axis> axes_of(int64_t out, int64_t kernel, int64_t stride, int64_t dilation, int64_t padding,
                          bool transposed) {
  if (!transposed) return {{0, out, 0, 1, kernel, -padding}};
  std::vector<Axis> axes;
  for (int64_t o = 0; o < std::min(stride, out); ++o) {
    // y[o + i * stride] takes x[i + (o + padding - k * dilation) / stride] * w[k] where that quotient is whole.
    Axis axis{o, ceil_div(out - o, stride), 0, -(stride / std::gcd(stride, dilation)), 0, 0};
    for (int64_t k = 0; k < kernel; ++k) {
      if ((o + padding - k * dilation) % stride != 0) continue;
      axis.first = k;  // the last of them reads the first pixel
      axis.origin = (o + padding - k * dilation) / stride;
      ++axis.taps;
    }
    axes.push_back(axis);
  }
  return axes;
}

// Whether the band holds all pixels from the first tap's to the last one's, or those of each tap for itself.
bool is_dense(const std::vector<Axis>& axes, int64_t stride, int64_t tap) {
  bool dense = true;
  for (const Axis& a : axes) {
    const double rows = static_cast<double>(a.rows), taps = static_cast<double>(a.taps);
    dense =
        dense && (rows - 1) * static_cast<double>(stride) + (taps - 1) * static_cast<double>(tap) + 1 <= rows * taps;
  }
  return dense;
}

// Pixels of the band along one axis.
double band_extent(bool dense, int64_t rows, int64_t taps, int64_t stride, int64_t tap) {
  const auto r = static_cast<double>(rows), t = static_cast<double>(taps);
  return dense ? (r - 1) * static_cast<double>(stride) + (t - 1) * static_cast<double>(tap) + 1 : r * t;
}

// (blocks, chunks, taps, inputs of the chunk, 16); zero in lanes without an output channel.
void pack_weights(float* to, const Conv2dLayer& r, const Axis& h, const Axis& w, int64_t chunk) {
  const Conv2dShape& s = r.s;
  const int64_t ics = s.IC / s.G, ocs = s.OC / s.G, taps = h.taps * w.taps;
  std::fill_n(to, ceil_div(s.OC, 16) * taps * ics * 16, 0.0f);
  for (int64_t oc = 0; oc < s.OC; ++oc) {
    float* lane = to + oc / 16 * taps * ics * 16 + oc % 16;
    for (int64_t i = 0; i < ics; ++i) {
      const int64_t kernel = s.transposed ? (oc / ocs * ics + i) * ocs + oc % ocs : oc * ics + i;
      const int64_t begin = i / chunk * chunk, inputs = std::min(chunk, ics - begin);
      for (int64_t th = 0; th < h.taps; ++th) {
        for (int64_t tw = 0; tw < w.taps; ++tw) {
          lane[(begin * taps + (th * w.taps + tw) * inputs + i - begin) * 16] =
              r.weight[(kernel * s.KH + h.first + th * h.skip) * s.KW + w.first + tw * w.skip];
        }
      }
    }
  }
}

// (blocks, ics, 16): the input channel of each lane. Lanes without an output channel do as the last that has one.
std::vector<int32_t> lane_channels(const Conv2dShape& s, int64_t blocks) {
  const int64_t ics = s.IC / s.G, ocs = s.OC / s.G;
  std::vector<int32_t> channels;
  channels.reserve(static_cast<size_t>(blocks * ics * 16));
  for (int64_t block = 0; block < blocks; ++block) {
    for (int64_t i = 0; i < ics; ++i) {
      for (int64_t oc = block * 16; oc < block * 16 + 16; ++oc) {
        channels.push_back(static_cast<int32_t>(std::min(oc, s.OC - 1) / ocs * ics + i));
      }
    }
  }
  return channels;
}

// Whether each vector of lanes finds its i-th inputs in one vector of x.
bool is_permutation(const std::vector<int32_t>& channels) {
  const auto lanes = static_cast<size_t>(kernels().lanes);
  for (size_t j = 0; j < channels.size(); ++j) {
    if (channels[j] / kernels().lanes != channels[j / lanes * lanes] / kernels().lanes) return false;
  }
  return true;
}

// Whether a kernel is three columns wide and at most its first and its last column lie in the padding.
bool has_three_columns(const Conv2dShape& s) {
  return !s.transposed && s.KW == 3 && s.DW == 1 && s.SW <= 2 && s.PL <= 1 && (s.OW - 1) * s.SW - s.PL + 2 <= s.IW;
}

}  // namespace

bool is_grouped(const Conv2dShape& s) {
  return s.G > 1 && (s.IC / s.G % channel_block != 0 || s.OC / s.G % channel_block != 0);
}

bool is_grouped_by_vector(const Conv2dShape& s) {
  return s.G > 1 && !is_grouped(s) && s.IC == s.OC && s.IC / s.G == kernels().lanes && has_three_columns(s);
}

bool is_depthwise(const Conv2dShape& s) { return s.IC == s.G && s.OC == s.G; }

const char* grouped_algorithm(const Conv2dShape& s) {
  if (is_depthwise(s)) return "depthwise";
  const bool in_place =
      has_three_columns(s) && s.IC / s.G <= 16 && is_permutation(lane_channels(s, ceil_div(s.OC, channel_block)));
  return in_place ? "grouped in place" : "grouped";
}

GroupedArgs grouped_args(const Conv2dLayer& r, const TensorSpec& x, const TensorSpec& y, GroupedData& data) {
  const Conv2dShape& s = r.s;
  GroupedArgs args{};
  args.IH = s.IH, args.IW = s.IW, args.OW = s.OW;
  args.stride_h = s.transposed ? 1 : s.SH, args.stride_w = s.transposed ? 1 : s.SW;
  args.step_h = s.transposed ? s.SH : 1, args.step_w = s.transposed ? s.SW : 1;
  args.tap_h = s.transposed ? s.DH / std::gcd(s.SH, s.DH) : s.DH;
  args.tap_w = s.transposed ? s.DW / std::gcd(s.SW, s.DW) : s.DW;
  args.blocks = y.blocks();
  args.x_plane_stride = x.plane_stride, args.y_plane_stride = y.plane_stride;
  args.last_block_lanes = s.OC - (y.blocks() - 1) * channel_block;
  args.inputs = s.IC / s.G;
  args.chunk = std::min(args.inputs, channel_block);
  args.activation = r.activation;

  const std::vector<Axis> axes_h = axes_of(s.OH, s.KH, s.SH, s.DH, s.PT, s.transposed);
  const std::vector<Axis> axes_w = axes_of(s.OW, s.KW, s.SW, s.DW, s.PL, s.transposed);
  args.dense_h = is_dense(axes_h, args.stride_h, args.tap_h);
  args.dense_w = is_dense(axes_w, args.stride_w, args.tap_w);
  size_t floats = 0;
  for (const Axis& h : axes_h) {
    for (const Axis& w : axes_w) floats += static_cast<size_t>(h.taps * w.taps * y.blocks() * args.inputs) * 16;
  }
  data.weights = PackedFloats(floats);
  data.bias = padded_channels(r.bias, s.OC);
  float* to = data.weights.data();
  for (const Axis& h : axes_h) {
    for (const Axis& w : axes_w) {
      data.phases.push_back({h.rows, w.rows, h.offset, w.offset, h.taps, w.taps, h.origin, w.origin, to});
      pack_weights(to, r, h, w, args.chunk);
      to += h.taps * w.taps * y.blocks() * args.inputs * 16;
    }
  }
  if (!is_depthwise(s)) data.channels = lane_channels(s, y.blocks());
  args.three_columns = has_three_columns(s);
  args.phases = data.phases.data(), args.n_phases = static_cast<int64_t>(data.phases.size());
  args.channels = data.channels.empty() ? nullptr : data.channels.data();
  args.bias = data.bias.data();
  return args;
}

std::unique_ptr<Plan> plan_grouped(const Conv2dLayer& r, const TensorSpec& x, const TensorSpec& y, bool has_residual) {
  const Conv2dShape& s = r.s;
  GroupedData data;
  GroupedArgs args = grouped_args(r, x, y, data);
  const std::string_view algorithm = grouped_algorithm(s);
  const bool in_place = algorithm != "grouped";
  const std::vector<Axis> axes_h = axes_of(s.OH, s.KH, s.SH, s.DH, s.PT, s.transposed);
  const std::vector<Axis> axes_w = axes_of(s.OW, s.KW, s.SW, s.DW, s.PL, s.transposed);

  constexpr int64_t most_scratch = int64_t{1} << 40;  // floats, beyond any memory
  // Several tasks a thread; a band of at most 256 KB, if that is two output rows or more.
  const Axis &h = axes_h[0], &w = axes_w[0];  // no other phase has more rows; one may have a tap more
  const int64_t most_kh = (s.KH - 1) / (axes_h.size() > 1 ? -h.skip : 1) + 1, planes = s.N * y.blocks();
  const int64_t most_kw = (s.KW - 1) / (axes_w.size() > 1 ? -w.skip : 1) + 1;
  const double row = band_extent(args.dense_w, w.rows, most_kw, args.stride_w, args.tap_w) * 16.0 * args.chunk;
  const auto band = [&](int64_t rows) {
    return in_place ? 0.0 : row * band_extent(args.dense_h, rows, most_kh, args.stride_h, args.tap_h);
  };
  int64_t rows =
      ceil_div(h.rows, std::clamp<int64_t>(ceil_div(4 * planning_threads(), planes * args.n_phases), 1, h.rows));
  while (rows > 2 && band(rows) > 65536) rows = rows / 2;
  args.rows_per_task = rows;
  args.tasks_per_plane = ceil_div(h.rows, rows);
  if (band(rows) > static_cast<double>(most_scratch)) {
    throw ShapeError(std::string(s.transposed ? "conv_transpose2d" : "conv2d") + ": a task of kernel " +
                     to_string({s.KH, s.KW}) + " with dilation " + to_string({s.DH, s.DW}) + " into " +
                     to_string(s.y_dims()) + " needs more than " + std::to_string(most_scratch) + " floats of scratch");
  }

  const size_t weight_bytes = data.weights.bytes() + data.bias.bytes();
  auto plan = make_plan(algorithm.data(), args, std::move(data),
                        in_place ? kernels().conv2d_depthwise : kernels().conv2d_grouped,
                        contraction_binding(has_residual), planes * args.tasks_per_plane * args.n_phases);
  plan->weight_bytes = weight_bytes;
  plan->scratch_bytes = static_cast<size_t>(band(rows)) * sizeof(float);
  return plan;
}

}  // namespace tesela::cpu
