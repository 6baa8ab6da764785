// conv2d and conv_transpose2d whose groups share blocks of channels: groups of 2, 4, 8, 24 channels; for those whose
// inputs need no band see conv2d_depthwise.cpp.
//
//   y[n, c, oh, ow] = activation(bias[c] + sum over taps kh, kw and the inputs i of c's group
//                                of x[n, first[c] + i, h0 + oh*step + kh*tap, w0 + ow*step + kw*tap] * w[c, i, kh, kw]
//                                + residual)
//
// A lane is an output channel, and its inputs are brought to the same lane: nothing is multiplied with the zeros of a
// block-diagonal matrix, and no value of another group is touched. A task first copies the input rows under its output
// rows into a band of scratch, once for all taps: vector i of a band pixel holds the i-th input of each lane, with
// padding written out. Inputs are taken `chunk` at a time, so that the band stays in L1 or L2.
//
// A task is a few output rows of one panel of 16 channels. Several pixels are summed at once: enough independent sums
// to hide the latency of a multiply-add, and each weight is loaded once for all of them. Limits: one load for each
// multiply-add.
//
// Measured: no record yet; docs/performance.md.

#include "grouped_rows.h"

namespace tesela::TESELA_ISA {
namespace {

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
  const RowRange range = RowRange::of(args, io, task);
  if (range.begin >= range.end) return;
  const GroupedPhase& phase = range.phase;
  const int64_t begin = range.begin, rows = range.end - range.begin, taps = phase.KH * phase.KW;
  const float* x = io.x + range.image * io.x_image_stride;
  Row row = range.row();
  for (int64_t i = 0; i < args.inputs; i += args.chunk) {
    const Band band{args, phase, io.scratch, smaller(args.chunk, args.inputs - i)};
    band.fill(x, args.channels + (range.block * args.inputs + i) * 16, begin, rows);
    const int64_t pixel = band.chunk * 16, band_row = band.width() * pixel;
    row.tap_row = (args.dense_h ? args.tap_h : rows) * band_row;
    row.tap = (args.dense_w ? args.tap_w : phase.rows_w) * pixel;
    row.pixel = (args.dense_w ? args.stride_w : 1) * pixel;
    row.inputs = band.chunk;
    row.w = range.weights() + i * taps * 16;
    row.first = i == 0;
    row.last = i + band.chunk == args.inputs;
    for (int64_t oh = begin; oh < range.end; ++oh) {
      row.x = io.scratch + (oh - begin) * (args.dense_h ? args.stride_h : 1) * band_row;
      range.place_output(row, oh);
      sum_row(row, 0, phase.rows_w);
    }
  }
}

}  // namespace tesela::TESELA_ISA
