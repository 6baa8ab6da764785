// conv2d and conv_transpose2d whose groups share blocks of channels: depthwise, and groups of 2, 4, 8, 24 channels.
//
//   y[n, c, oh, ow] = activation(bias[c] + sum over taps kh, kw and the inputs i of c's group
//                                of x[n, first[c] + i, h0 + oh*step + kh*tap, w0 + ow*step + kw*tap] * w[c, i, kh, kw]
//                                + residual)
//
// A lane is an output channel, and its inputs are brought to the same lane: nothing is multiplied with the zeros of a
// block-diagonal matrix, and no value of another group is touched. Depthwise inputs are in their lanes already and are
// read in place. For larger groups a task first copies the input rows under its output rows into a band of scratch,
// once for all taps: vector i of a band pixel holds the i-th input of each lane, with padding written out. Inputs are
// taken `chunk` at a time, so that the band stays in L2.
//
// A task is a few output rows of one panel of 16 channels. Several pixels are summed at once: enough independent sums
// to hide the latency of a multiply-add, and each weight is loaded once for all of them; a 3x3 kernel's stay in
// registers. Limits: one load for each multiply-add.

#include "../kernels.h"
#include "../simd.h"
#include "declarations.h"
#include "vector_math.h"

namespace tesela::TESELA_ISA {
namespace {

using cpu::ContractionOperands;
using cpu::GroupedArgs;
using cpu::GroupedPhase;

constexpr int wide = lanes == 16 ? 8 : 4;  // pixels summed at once

// One output row, and where its inputs lie. Distances count floats.
struct Row {
  const GroupedArgs& args;
  const float* x;  // input under the first used tap row and the first tap column of the first output pixel
  int64_t kh, kw;  // taps
  int64_t tap_row, tap, pixel;
  int64_t inputs;     // vectors of a pixel
  const float* w;     // (kh, kw, inputs, 16)
  const float* bias;  // of the panel, or null
  const float* residual;
  float* y;
  int64_t y_pixel;
  int lanes_kept;
  bool first, last;  // chunk: starts the sums, finishes them
};

TESELA_INLINE vfloat start(const Row& row, int64_t ow, int v) {
  if (!row.first) return load(row.y + ow * row.y_pixel + v * lanes);
  return row.bias ? load(row.bias + v * lanes) : zero();
}

TESELA_INLINE void finish(const Row& row, int64_t ow, int v, vfloat sum) {
  const int64_t at = ow * row.y_pixel + v * lanes;
  if (row.last) {
    if (row.residual) sum = sum + load(row.residual + at);
    sum = activate(sum, row.args.activation);
    if (row.lanes_kept < 16) sum = keep_lanes(sum, row.lanes_kept - v * lanes);
  }
  store(row.y + at, sum);
}

// Output pixels [ow, ow + count), for tap columns [begin, end).
template <int count>
TESELA_INLINE void sum_pixels(const Row& row, int64_t ow, int64_t begin, int64_t end) {
  vfloat acc[count][block_vectors];
  for (int p = 0; p < count; ++p) {
    for (int v = 0; v < block_vectors; ++v) acc[p][v] = start(row, ow + p, v);
  }
  for (int64_t kh = 0; kh < row.kh; ++kh) {
    const float* x = row.x + kh * row.tap_row + ow * row.pixel + begin * row.tap;
    const float* w = row.w + (kh * row.kw + begin) * row.inputs * 16;
    for (int64_t kw = begin; kw < end; ++kw, x += row.tap) {
      for (int64_t i = 0; i < row.inputs; ++i, w += 16) {
        TESELA_UNROLL(4)
        for (int v = 0; v < block_vectors; ++v) {
          const vfloat weight = load(w + v * lanes);
          TESELA_UNROLL(8)
          for (int p = 0; p < count; ++p) {
            acc[p][v] = fma(load(x + p * row.pixel + i * 16 + v * lanes), weight, acc[p][v]);
          }
        }
      }
    }
  }
  for (int p = 0; p < count; ++p) {
    for (int v = 0; v < block_vectors; ++v) finish(row, ow + p, v, acc[p][v]);
  }
}

// The same for all nine taps of a 3x3 kernel with one input, and one vector of the block.
template <int count>
TESELA_INLINE void sum_pixels_3x3(const Row& row, const vfloat (&w)[9], int64_t ow, int v) {
  vfloat acc[count];
  for (int p = 0; p < count; ++p) acc[p] = start(row, ow + p, v);
  TESELA_UNROLL(3)
  for (int kh = 0; kh < 3; ++kh) {
    const float* x = row.x + kh * row.tap_row + ow * row.pixel + v * lanes;
    TESELA_UNROLL(3)
    for (int kw = 0; kw < 3; ++kw) {
      TESELA_UNROLL(8)
      for (int p = 0; p < count; ++p) acc[p] = fma(load(x + kw * row.tap + p * row.pixel), w[kh * 3 + kw], acc[p]);
    }
  }
  for (int p = 0; p < count; ++p) finish(row, ow + p, v, acc[p]);
}

void interior(const Row& row, int64_t ow, int64_t end) {
  if (row.kh == 3 && row.kw == 3 && row.inputs == 1) {
    for (int v = 0; v < block_vectors; ++v) {
      vfloat w[9];
      for (int tap = 0; tap < 9; ++tap) w[tap] = load(row.w + tap * 16 + v * lanes);
      int64_t p = ow;
      for (; p + wide <= end; p += wide) sum_pixels_3x3<wide>(row, w, p, v);
      for (; p + 2 <= end; p += 2) sum_pixels_3x3<2>(row, w, p, v);
      for (; p < end; ++p) sum_pixels_3x3<1>(row, w, p, v);
    }
    return;
  }
  for (; ow + wide <= end; ow += wide) sum_pixels<wide>(row, ow, 0, row.kw);
  for (; ow + 2 <= end; ow += 2) sum_pixels<2>(row, ow, 0, row.kw);
  for (; ow < end; ++ow) sum_pixels<1>(row, ow, 0, row.kw);
}

TESELA_INLINE int64_t ceil_div(int64_t a, int64_t b) { return a > 0 ? (a + b - 1) / b : 0; }

// How many of `count` places at a distance of `step`, the first at `origin`, lie below 0, and how many below `size`.
TESELA_INLINE int64_t places_below(int64_t origin, int64_t step, int64_t count, int64_t size) {
  return smaller(count, ceil_div(size - origin, step));
}

// ------------------------------------------------------------------------------------------------------- depthwise

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
  interior(row, left, right);
  for (int64_t ow = right; ow < phase.rows_w; ++ow) edge(ow);
}

// ------------------------------------------------------------------------------------------------------------ band

// Scratch row r, column c holds input row r * row_step + origin, column ... likewise: the rows (columns) between the
// first and the last tap, or where strides or dilations skip most of these, those of each tap one after the other.
struct Band {
  const GroupedArgs& args;
  const GroupedPhase& phase;
  float* to;
  int64_t chunk;  // vectors of a pixel

  int64_t width() const {
    return args.dense_w ? (phase.rows_w - 1) * args.stride_w + (phase.KW - 1) * args.tap_w + 1
                        : phase.rows_w * phase.KW;
  }
  int64_t height(int64_t rows) const {
    return args.dense_h ? (rows - 1) * args.stride_h + (phase.KH - 1) * args.tap_h + 1 : rows * phase.KH;
  }
  static int64_t place(bool dense, int64_t at, int64_t count, int64_t stride, int64_t tap) {
    return dense ? at : at % count * stride + at / count * tap;
  }

  // Lane j of vector i takes input channel channels[i * 16 + j].
  void fill(const float* x, const int32_t* channels, int64_t begin, int64_t rows) const {
    const int64_t columns = width(), band_rows = height(rows);
    float* pixel = to;
    for (int64_t r = 0; r < band_rows; ++r) {
      const int64_t h =
          phase.origin_h + begin * args.stride_h + place(args.dense_h, r, rows, args.stride_h, args.tap_h);
      for (int64_t c = 0; c < columns; ++c, pixel += chunk * 16) {
        const int64_t w = phase.origin_w + place(args.dense_w, c, phase.rows_w, args.stride_w, args.tap_w);
        const bool inside = h >= 0 && h < args.IH && w >= 0 && w < args.IW;
        const float* from = x + (h * args.IW + w) * 16;
        for (int64_t i = 0; i < chunk; ++i) {
          if (inside) {
            bring(pixel + i * 16, from, channels + i * 16);
          } else {
            for (int v = 0; v < block_vectors; ++v) store(pixel + i * 16 + v * lanes, zero());
          }
        }
      }
    }
  }

  TESELA_INLINE void bring(float* lane, const float* from, const int32_t* channel) const {
    if (channel[0] / 16 == channel[15] / 16) {  // they ascend
      pick_lanes(lane, from + channel[0] / 16 * args.x_plane_stride, channel);
    } else {
      for (int j = 0; j < 16; ++j) lane[j] = from[channel[j] / 16 * args.x_plane_stride + channel[j] % 16];
    }
  }
};

}  // namespace

void conv2d_grouped(const GroupedArgs& args, const ContractionOperands& io, int64_t task) {
  const GroupedPhase& phase = args.phases[task % args.n_phases];
  task /= args.n_phases;
  const int64_t plane = task / args.tasks_per_plane;
  const int64_t image = plane / args.blocks, block = plane % args.blocks;
  const int64_t begin = task % args.tasks_per_plane * args.rows_per_task;
  const int64_t end = smaller(begin + args.rows_per_task, phase.rows_h);
  if (begin >= end) return;
  const int64_t taps = phase.KH * phase.KW;
  const float* x = io.x + image * io.x_image_stride;
  const float* w = phase.w + block * taps * args.inputs * 16;
  Row row{.args = args,
          .x = nullptr,
          .kh = phase.KH,
          .kw = phase.KW,
          .tap_row = args.tap_h * args.IW * 16,
          .tap = args.tap_w * 16,
          .pixel = args.stride_w * 16,
          .inputs = 1,
          .w = w,
          .bias = args.bias ? args.bias + block * 16 : nullptr,
          .residual = nullptr,
          .y = nullptr,
          .y_pixel = args.step_w * 16,
          .lanes_kept = block == args.blocks - 1 ? static_cast<int>(args.last_block_lanes) : 16,
          .first = true,
          .last = true};
  const auto place_output = [&](int64_t oh) {
    const int64_t at =
        block * args.y_plane_stride + ((phase.offset_h + oh * args.step_h) * args.OW + phase.offset_w) * 16;
    row.y = io.y + image * io.y_image_stride + at;
    row.residual = io.residual ? io.residual + image * io.residual_image_stride + at : nullptr;
  };

  if (args.channels == nullptr) {
    x += block * args.x_plane_stride;
    for (int64_t oh = begin; oh < end; ++oh) {
      const int64_t ih = phase.origin_h + oh * args.stride_h;
      const int64_t kh = places_below(ih, args.tap_h, phase.KH, 0);
      row.kh = larger<int64_t>(0, places_below(ih, args.tap_h, phase.KH, args.IH) - kh);
      row.x = x + ((ih + kh * args.tap_h) * args.IW + phase.origin_w) * 16;
      row.w = w + kh * phase.KW * 16;
      place_output(oh);
      run_in_place(args, phase, row);
    }
    return;
  }

  for (int64_t i = 0; i < args.inputs; i += args.chunk) {
    const Band band{args, phase, io.scratch, smaller(args.chunk, args.inputs - i)};
    band.fill(x, args.channels + (block * args.inputs + i) * 16, begin, end - begin);
    const int64_t pixel = band.chunk * 16, band_row = band.width() * pixel;
    row.tap_row = (args.dense_h ? args.tap_h : end - begin) * band_row;
    row.tap = (args.dense_w ? args.tap_w : phase.rows_w) * pixel;
    row.pixel = (args.dense_w ? args.stride_w : 1) * pixel;
    row.inputs = band.chunk;
    row.w = w + i * taps * 16;
    row.first = i == 0;
    row.last = i + band.chunk == args.inputs;
    for (int64_t oh = begin; oh < end; ++oh) {
      row.x = io.scratch + (oh - begin) * (args.dense_h ? args.stride_h : 1) * band_row;
      place_output(oh);
      interior(row, 0, phase.rows_w);
    }
  }
}

}  // namespace tesela::TESELA_ISA
