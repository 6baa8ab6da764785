// max_pool2d and avg_pool2d.
//
//   y[n, c, oh, ow] = max over kh, kw of x[n, c, oh*SH - PT + kh*DH, ow*SW - PL + kw*DW]; taps outside x do not exist
//   y[n, c, oh, ow] = sum of x[n, c, begin_h[oh] : end_h[oh], begin_w[ow] : end_w[ow]] / count
//
// A vector holds channels of one block. A task is a range of output rows; each row is found in two sweeps: down the
// window's rows into one row of scratch (IW pixels, at most four input rows per pass over it), then along that row.
// Neighbouring windows share the first sweep, so a 3 x 3 window of stride 1 costs 4 operations an output, not 8.
// Limits: any sizes; a window that holds only padding gives -inf, or 0 when averaging. A NaN wins.
//
// Plain tensors, where nobody needs blocks of them and pool2d_rows.cpp does not serve, are pooled by the same rows: a
// band of input rows of 16 channels is transposed into scratch, and its output rows are transposed back (transpose.h).
// So both give the same bits.
// max_pool2d_indices is scalar and works on plain tensors: what reads indices (max_unpool2d) reads them there.
// Measured: docs/performance.md has them by layer, docs/kernels/memory_bound.md says why.

#include "declarations.h"
#include "pooling.h"
#include "rows.h"
#include "transpose.h"

namespace tesela::TESELA_ISA {
namespace {

// Input rows under output rows [begin, end), and the rows of x from `first` on, blocked.
struct InputRows {
  const float* x;
  int64_t first;
  const float* row(int64_t ih, int64_t IW) const { return x + (ih - first) * IW * 16; }
};

TESELA_INLINE Range rows_under(const cpu::MaxPool2dArgs& args, int64_t begin, int64_t end) {
  const int64_t first = begin * args.SH - args.PT, last = (end - 1) * args.SH - args.PT + (args.KH - 1) * args.DH;
  return {larger<int64_t>(first, 0), smaller(last + 1, args.IH)};
}

TESELA_INLINE Range rows_under(const cpu::AvgPool2dArgs& args, int64_t begin, int64_t end) {
  Range rows = {args.IH, 0};
  for (int64_t oh = begin; oh < end; ++oh) {
    rows = {smaller(rows.begin, args.begin_h[oh]), larger(rows.end, args.end_h[oh])};
  }
  return rows;
}

// One output row of one block; `nothing` is the value of a window without taps, by lane.
TESELA_INLINE void pool_row(const cpu::MaxPool2dArgs& args, const InputRows& x, int64_t oh, const float* nothing,
                            float* scratch, float* y) {
  const int64_t ih = oh * args.SH - args.PT;
  const Range kh = taps_inside(ih, args.KH, args.DH, args.IH);
  const bool some_rows = kh.begin < kh.end;
  if (some_rows) {
    reduce_rows<Maximum>(x.row(ih + kh.begin * args.DH, args.IW), args.DH * args.IW * 16, kh.end - kh.begin,
                         args.IW * 16, scratch);
  }
  for (int64_t ow = 0; ow < args.OW; ++ow) {
    const int64_t iw = ow * args.SW - args.PL;
    const Range kw = taps_inside(iw, args.KW, args.DW, args.IW);
    const bool some = some_rows && kw.begin < kw.end;
    const float* from = scratch + (iw + kw.begin * args.DW) * 16;
    TESELA_UNROLL(4)
    for (int v = 0; v < 16; v += lanes) {
      store(y + ow * 16 + v,
            some ? reduce_pixels<Maximum>(from + v, args.DW * 16, kw.end - kw.begin) : load(nothing + v));
    }
  }
}

TESELA_INLINE void pool_row(const cpu::AvgPool2dArgs& args, const InputRows& x, int64_t oh, const float* nothing,
                            float* scratch, float* y) {
  const Range h = {args.begin_h[oh], args.end_h[oh]};
  if (h.begin < h.end) {
    reduce_rows<Sum>(x.row(h.begin, args.IW), args.IW * 16, h.end - h.begin, args.IW * 16, scratch);
  }
  for (int64_t ow = 0; ow < args.OW; ++ow) {
    const Range w = {args.begin_w[ow], args.end_w[ow]};
    const bool some = h.begin < h.end && w.begin < w.end;
    const int64_t count = args.divisor_override > 0 ? args.divisor_override : args.count_h[oh] * args.count_w[ow];
    const vfloat divisor = set1(static_cast<float>(larger<int64_t>(count, 1)));
    TESELA_UNROLL(4)
    for (int v = 0; v < 16; v += lanes) {
      store(y + ow * 16 + v,
            some ? reduce_pixels<Sum>(scratch + w.begin * 16 + v, 16, w.end - w.begin) / divisor : load(nothing + v));
    }
  }
}

template <class Args>
TESELA_INLINE void pool_blocked(const Args& args, const cpu::MapOperands& operands, float empty, int64_t last_lanes,
                                int64_t task) {
  const Range units = units_of(args.rows, task);
  for (int64_t unit = units.begin; unit < units.end; ++unit) {
    const PlaneRow at = plane_row(unit, args.blocks, args.OH);
    const float* x = operands.x + at.n * operands.x_image_stride + at.block * args.x_plane_stride;
    float* y = operands.y + at.n * operands.y_image_stride + at.block * args.y_plane_stride + at.row * args.OW * 16;
    float nothing[16];
    fill_lanes(nothing, empty, at.block, args.blocks, last_lanes);
    pool_row(args, {x, 0}, at.row, nothing, operands.scratch, y);
  }
}

// Scratch: a row of sums, the input rows of a band, its output rows.
template <class Args>
TESELA_INLINE void pool_bands(const Args& args, const cpu::MapOperands& operands, float empty, int64_t task) {
  const cpu::PoolBands& bands = args.bands;
  const int64_t bands_per_plane = (args.OH + bands.rows - 1) / bands.rows;
  float* in = operands.scratch + args.IW * 16;
  float* out = in + bands.most_rows * args.IW * 16;
  float nothing[16];
  fill_lanes(nothing, empty, 0, 1, 16);
  const Range units = units_of(bands.units, task);
  for (int64_t unit = units.begin; unit < units.end; ++unit) {
    const PlaneRow at = plane_row(unit, args.blocks, bands_per_plane);
    const int64_t channels = smaller<int64_t>(16, bands.C - at.block * 16), plane = at.n * bands.C + at.block * 16;
    const int64_t begin = at.row * bands.rows, end = smaller(begin + bands.rows, args.OH);
    const Range rows = rows_under(args, begin, end);
    if (rows.begin < rows.end) {
      transpose_to_block(operands.x + (plane * args.IH + rows.begin) * args.IW, args.IH * args.IW, channels, in,
                         (rows.end - rows.begin) * args.IW);
    }
    for (int64_t oh = begin; oh < end; ++oh) {
      pool_row(args, {in, rows.begin}, oh, nothing, operands.scratch, out + (oh - begin) * args.OW * 16);
    }
    transpose_from_block(out, channels, operands.y + (plane * args.OH + begin) * args.OW, args.OH * args.OW,
                         (end - begin) * args.OW);
  }
}

}  // namespace

// -------------------------------------------------------------------------------------------------------- kernels

void max_pool2d(const cpu::MaxPool2dArgs& args, const cpu::MapOperands& operands, int64_t task) {
  pool_blocked(args, operands, -__builtin_inff(), args.last_block_lanes, task);
}

void max_pool2d_bands(const cpu::MaxPool2dArgs& args, const cpu::MapOperands& operands, int64_t task) {
  pool_bands(args, operands, -__builtin_inff(), task);
}

void max_pool2d_indices(const cpu::MaxPool2dArgs& args, const cpu::MaxPool2dIndicesOperands& operands, int64_t task) {
  const Range units = units_of(args.rows, task);
  for (int64_t unit = units.begin; unit < units.end; ++unit) {
    const float* x = operands.x + unit / args.OH * args.IH * args.IW;
    const int64_t ih = unit % args.OH * args.SH - args.PT;
    const Range kh = taps_inside(ih, args.KH, args.DH, args.IH);
    for (int64_t ow = 0; ow < args.OW; ++ow) {
      const int64_t iw = ow * args.SW - args.PL;
      const Range kw = taps_inside(iw, args.KW, args.DW, args.IW);
      const bool some = kh.begin < kh.end && kw.begin < kw.end;
      int64_t best = some ? (ih + kh.begin * args.DH) * args.IW + iw + kw.begin * args.DW : -1;
      for (int64_t h = kh.begin; h < kh.end; ++h) {
        for (int64_t w = kw.begin; w < kw.end; ++w) {
          const int64_t here = (ih + h * args.DH) * args.IW + iw + w * args.DW;
          // Arithmetic, not a branch: which tap wins is as good as random.
          const int64_t wins = (x[here] > x[best]) | (x[here] != x[here]);
          best += (here - best) * wins;
        }
      }
      operands.y[unit * args.OW + ow] = some ? x[best] : -__builtin_inff();
      operands.indices[unit * args.OW + ow] = best;
    }
  }
}

void avg_pool2d(const cpu::AvgPool2dArgs& args, const cpu::MapOperands& operands, int64_t task) {
  pool_blocked(args, operands, 0.0f, 16, task);
}

void avg_pool2d_bands(const cpu::AvgPool2dArgs& args, const cpu::MapOperands& operands, int64_t task) {
  pool_bands(args, operands, 0.0f, task);
}

}  // namespace tesela::TESELA_ISA
