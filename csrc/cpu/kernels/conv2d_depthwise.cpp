// Depthwise conv2d and conv_transpose2d, and conv2d with kernels three columns wide whose groups lie within a vector.
//
//   y[n, c, oh, ow] = activation(bias[c] + sum over taps kh, kw and the inputs i of c's group
//                                of x[n, first[c] + i, h0 + oh*step + kh*tap, w0 + ow*step + kw*tap] * w[c, i, kh, kw]
//                                + residual)
//
// A lane is an output channel. x is read in place: a depthwise input is in its lane already, and the i-th inputs of
// groups of 2, 4, 8 (16 with AVX-512) are a permutation of the vector that they lie in.
//
// Three columns: up to 14 outputs of a row (8 with AVX2, 9 with stride 2) are summed at once. Each input column is
// loaded, and permuted, once for the up to three outputs that it takes part in; three weights stay in registers. Other
// depthwise kernels load an input for every product. A task is a few output rows of one panel of 16 channels.
//
// Measured: 6 layers at 13 to 58 % of the ceiling, median 22 %;
// AMD EPYC, avx512, 2 threads, 2026-11-28; docs/performance.md.

#include "grouped_rows.h"

namespace tesela::TESELA_ISA {
namespace {

TESELA_INLINE int64_t ceil_div(int64_t a, int64_t b) { return a > 0 ? (a + b - 1) / b : 0; }

// How many of `count` places at a distance of `step`, the first at `origin`, lie below 0, and how many below `size`.
TESELA_INLINE int64_t places_below(int64_t origin, int64_t step, int64_t count, int64_t size) {
  return smaller(count, ceil_div(size - origin, step));
}

// ---------------------------------------------------------------------------------------------------- any kernel

// Rows are read in place: near the left and right edge, tap columns outside the image are left out.
void run_in_place(const GroupedArgs& args, const GroupedPhase& phase, const Row& row) {
  const int64_t span = (phase.KW - 1) * args.tap_w;
  // Output columns whose taps all lie inside.
  const int64_t left = places_below(phase.origin_w, args.stride_w, phase.rows_w, 0);
  const int64_t right = larger(left, places_below(phase.origin_w, args.stride_w, phase.rows_w, args.IW - span));
  const auto edge = [&](int64_t ow) {
    const int64_t iw = phase.origin_w + ow * args.stride_w;
    const int64_t begin = places_below(iw, args.tap_w, phase.KW, 0);
    sum_pixels<1>(row, ow, begin, larger(begin, places_below(iw, args.tap_w, phase.KW, args.IW)));
  };
  for (int64_t ow = 0; ow < left; ++ow) edge(ow);
  sum_row(row, left, right);
  for (int64_t ow = right; ow < phase.rows_w; ++ow) edge(ow);
}

// ------------------------------------------------------------------------------------------------ three columns

// More with stride 2, and GCC loads so many columns ahead that it spills them.
constexpr int most_outputs(int64_t stride) { return lanes == 16 ? (stride == 1 ? 14 : 9) : lanes == 8 ? 8 : 4; }

// Up to most_outputs neighbouring outputs of one vector of channels.
struct Segment {
  const Row& row;
  const int32_t* channels;  // (inputs, 16): of the panel's lanes; null for depthwise
  int64_t plane_stride;     // of x, whose block 0 row.x stands in (depthwise: the panel's block)
  int64_t ow;
  int v;
  bool skip_left, skip_right;  // the first or the last column lies in the padding
};

// An activation that is no clamp, or lanes to be cleared.
__attribute__((noinline)) void finish_slowly(const Row& row, int64_t ow, int count, int v) {
  for (int p = 0; p < count; ++p) finish(row, ow + p, v, load(row.y + (ow + p) * row.y_pixel + v * lanes));
}

template <int count, int stride, bool permuted>
void sum_segment(const Segment& s) {
  const Row& row = s.row;
  constexpr int columns = (count - 1) * stride + 3;
  vfloat acc[count];
  const vfloat bias = row.bias ? load(row.bias + s.v * lanes) : zero();
  TESELA_UNROLL(16)
  for (int p = 0; p < count; ++p) acc[p] = bias;
  for (int64_t kh = 0; kh < row.kh; ++kh) {
    for (int64_t i = 0; i < row.inputs; ++i) {
      const float* x = row.x + kh * row.tap_row + s.ow * row.pixel;
      const float* w = row.w + (kh * 3 * row.inputs + i) * 16 + s.v * lanes;
      vindex index{};
      if constexpr (permuted) {
        const int32_t* channel = s.channels + i * 16 + s.v * lanes;
        index = load_index(channel);
        x += channel[0] / 16 * s.plane_stride + channel[0] % 16 / lanes * lanes;
      } else {
        x += s.v * lanes;
      }
      const vfloat w0 = load(w), w1 = load(w + row.inputs * 16), w2 = load(w + row.inputs * 32);
      TESELA_UNROLL(32)
      for (int c = 0; c < columns; ++c) {
        if ((c == 0 && s.skip_left) || (c == columns - 1 && s.skip_right)) continue;
        vfloat value = load(x + c * 16);
        if constexpr (permuted) value = permute(value, index);
        if (c % stride == 0 && c / stride < count) acc[c / stride] = fma(value, w0, acc[c / stride]);
        if (c >= 1 && (c - 1) % stride == 0 && (c - 1) / stride < count) {
          acc[(c - 1) / stride] = fma(value, w1, acc[(c - 1) / stride]);
        }
        if (c >= 2 && (c - 2) % stride == 0) acc[(c - 2) / stride] = fma(value, w2, acc[(c - 2) / stride]);
      }
    }
  }
  const Activation kind = row.args.activation.kind;
  const bool relu = kind == Activation::relu || kind == Activation::relu6;
  float* y = row.y + s.ow * 16 + s.v * lanes;
  if ((kind != Activation::none && !relu) || row.lanes_kept < 16) {
    TESELA_UNROLL(16)
    for (int p = 0; p < count; ++p) store(y + p * 16, acc[p]);
    return finish_slowly(row, s.ow, count, s.v);
  }
  if (row.residual) {
    const float* residual = row.residual + s.ow * 16 + s.v * lanes;
    TESELA_UNROLL(16)
    for (int p = 0; p < count; ++p) acc[p] = acc[p] + load(residual + p * 16);
  }
  if (relu) {
    TESELA_UNROLL(16)
    for (int p = 0; p < count; ++p) acc[p] = max(zero(), acc[p]);  // in this order a NaN passes through
  }
  if (kind == Activation::relu6) {
    TESELA_UNROLL(16)
    for (int p = 0; p < count; ++p) acc[p] = min(set1(6.0f), acc[p]);
  }
  TESELA_UNROLL(16)
  for (int p = 0; p < count; ++p) store(y + p * 16, acc[p]);
}

using SegmentFunction = void(const Segment&);

template <int count, int stride, bool permuted>
constexpr SegmentFunction* segment_or_null() {
  if constexpr (count <= most_outputs(stride)) return sum_segment<count, stride, permuted>;
  return nullptr;
}

#define TESELA_SEGMENTS(stride, permuted)                                            \
  {segment_or_null<1, stride, permuted>(),  segment_or_null<2, stride, permuted>(),  \
   segment_or_null<3, stride, permuted>(),  segment_or_null<4, stride, permuted>(),  \
   segment_or_null<5, stride, permuted>(),  segment_or_null<6, stride, permuted>(),  \
   segment_or_null<7, stride, permuted>(),  segment_or_null<8, stride, permuted>(),  \
   segment_or_null<9, stride, permuted>(),  segment_or_null<10, stride, permuted>(), \
   segment_or_null<11, stride, permuted>(), segment_or_null<12, stride, permuted>(), \
   segment_or_null<13, stride, permuted>(), segment_or_null<14, stride, permuted>()}
constexpr SegmentFunction* segments[2][2][14] = {{TESELA_SEGMENTS(1, false), TESELA_SEGMENTS(1, true)},
                                                 {TESELA_SEGMENTS(2, false), TESELA_SEGMENTS(2, true)}};
#undef TESELA_SEGMENTS

// A row in segments whose widths differ by one at most. At most one column on either side lies in the padding.
void sum_three_columns(const GroupedArgs& args, const GroupedPhase& phase, const Row& row, const int32_t* channels) {
  const int64_t most = most_outputs(args.stride_w), count = (phase.rows_w + most - 1) / most;
  const auto& functions = segments[args.stride_w - 1][channels != nullptr];
  for (int v = 0; v < block_vectors; ++v) {
    for (int64_t i = 0; i < count; ++i) {
      const int64_t ow = phase.rows_w * i / count, end = phase.rows_w * (i + 1) / count;
      const bool skip_left = ow == 0 && phase.origin_w < 0;
      const bool skip_right = (end - 1) * args.stride_w + phase.origin_w + 2 >= args.IW;
      functions[end - ow - 1]({row, channels, args.x_plane_stride, ow, v, skip_left, skip_right});
    }
  }
}

}  // namespace

void sum_rows_in_place(const RowRange& range, const float* x, int64_t first_row) {
  const GroupedArgs& args = range.args;
  const GroupedPhase& phase = range.phase;
  const int32_t* channels = args.channels ? args.channels + range.block * args.inputs * 16 : nullptr;
  Row row = range.row();
  row.inputs = args.inputs;
  for (int64_t oh = range.begin; oh < range.end; ++oh) {
    const int64_t ih = phase.origin_h + oh * args.stride_h;
    const int64_t kh = places_below(ih, args.tap_h, phase.KH, 0);
    row.kh = larger<int64_t>(0, places_below(ih, args.tap_h, phase.KH, args.IH) - kh);
    row.x = x + ((ih + kh * args.tap_h - first_row) * args.IW + phase.origin_w) * 16;
    row.w = range.weights() + kh * phase.KW * args.inputs * 16;
    range.place_output(row, oh);
    if (args.three_columns) {
      sum_three_columns(args, phase, row, channels);
    } else {
      run_in_place(args, phase, row);
    }
  }
}

void conv2d_depthwise(const GroupedArgs& args, const ContractionOperands& io, int64_t task) {
  const RowRange range = RowRange::of(args, io, task);
  sum_rows_in_place(
      range, io.x + range.image * io.x_image_stride + (args.channels ? 0 : range.block * args.x_plane_stride), 0);
}

}  // namespace tesela::TESELA_ISA
