// conv2d with few input channels: the first layer of every network (3 channels, 11x11 stride 4 or 7x7 stride 2).
//
//   y[n, oc, oh, ow] = sum over ic, kh, kw of x[n, ic, oh*SH - PT + kh*DH, ow*SW - PL + kw*DW] * w[oc, (ic, kh, kw)]
//
// Blocks of 16 channels would multiply 13 zeros for 3 values. Instead a task copies the input rows under its output
// rows into a band, channel by channel, with padding written out and each row split by the column's remainder modulo
// SW: there the inputs of neighbouring outputs under one tap are neighbouring floats, whatever the stride, and a table
// of one offset per tap is all that the register tile needs (gathered, contraction.h). The band stays in L2, mostly in
// L1. x may be plain or blocked: only its strides are used. One group.
//
// Measured: 5 layers at 2 to 42 % of the ceiling, median 13 %;
// AMD EPYC, avx512, 2 threads, 2026-11-28; docs/performance.md.

#include "contraction.h"

namespace tesela::TESELA_ISA {
namespace {

struct Stem {
  static constexpr bool gathered = true;
  static constexpr auto& tiles = gathered_tiles;
  const ContractionArgs& args;
  const Contraction& problem;
  const ContractionOperands& io;
  int64_t row_begin;
  Pixel first;  // of the task, which begins a row of pixels
  float* band;  // (IC, band_rows, phases, phase_width)

  int64_t line() const { return args.phases * args.phase_width; }

  void place(int64_t count, TileRow* rows) const { place_pixels(args, problem, io, row_begin, count, rows); }

  TESELA_INLINE static void copy(float* to, const float* from, int64_t count, int64_t stride) {
    for (int64_t i = 0; i < count; ++i) to[i] = from[i * stride];
  }

  // Every stride-th column of an input row; a constant stride becomes shuffles.
  static void copy_columns(float* to, const float* from, int64_t count, int64_t stride) {
    switch (stride) {
      case 1:
        return copy(to, from, count, 1);
      case 2:
        return copy(to, from, count, 2);
      case 4:
        return copy(to, from, count, 4);
      default:
        return copy(to, from, count, stride);
    }
  }

  void fill_row(float* to, const float* channel, int64_t h) const {
    if (h < 0 || h >= args.IH) {
      for (int64_t i = 0; i < line(); ++i) to[i] = 0.0f;
      return;
    }
    for (int64_t phase = 0; phase < args.phases; ++phase, to += args.phase_width) {
      // Column i of the phase is column i * SW + offset of the input.
      const int64_t offset = phase - args.pad_left;
      const int64_t begin = smaller(columns_below(0, offset), args.phase_width);
      const int64_t end = larger(begin, smaller(columns_below(args.IW, offset), args.phase_width));
      for (int64_t i = 0; i < begin; ++i) to[i] = 0.0f;
      copy_columns(to + begin, channel + h * args.x_row_stride + (begin * args.stride_w + offset) * args.x_pixel_stride,
                   end - begin, args.stride_w * args.x_pixel_stride);
      for (int64_t i = end; i < args.phase_width; ++i) to[i] = 0.0f;
    }
  }

  // How many i >= 0 have i * SW + offset < limit.
  int64_t columns_below(int64_t limit, int64_t offset) const {
    return limit > offset ? (limit - offset + args.stride_w - 1) / args.stride_w : 0;
  }

  void pack(const Cut& cut, int64_t k, int64_t) const {
    if (k > 0) return;
    const int64_t rows = cut.rows / problem.rows_w;
    const int64_t used = (rows - 1) * args.stride_h + (args.kernel_h - 1) * args.dilation_h + 1;
    const float* image = io.x + first.image * (io.x_image_stride + args.plain_image_stride);
    for (int64_t c = 0; c < args.IC; ++c) {
      const float* channel = image + (args.x_channel_stride == 1 ? c / 16 * args.x_plane_stride + c % 16  // blocked
                                                                 : c * args.x_channel_stride);
      for (int64_t r = 0; r < used; ++r) {
        fill_row(band + (c * args.band_rows + r) * line(), channel, first.h * args.stride_h - args.pad_top + r);
      }
    }
  }

  const float* a(int64_t row, int64_t) const {
    return band + row / problem.rows_w * args.stride_h * line() + row % problem.rows_w;
  }
  const int32_t* offsets(int64_t k) const { return problem.taps + k; }
};

}  // namespace

void conv2d_stem(const ContractionArgs& args, const ContractionOperands& io, int64_t index) {
  const ContractionTask& task = args.tasks[index];
  const Contraction& problem = args.problems[task.problem];
  TileRow* rows = reinterpret_cast<TileRow*>(io.scratch);
  float* band = after_rows(rows, task.row_end - task.row_begin);
  Stem source{args, problem, io, task.row_begin, Pixel(problem, task.row_begin), band};
  contract(args, problem, task, io, source, rows);
}

}  // namespace tesela::TESELA_ISA
