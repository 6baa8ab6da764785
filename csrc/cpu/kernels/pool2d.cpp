// max_pool2d and avg_pool2d.
//
//   y[n, c, oh, ow] = max over kh, kw of x[n, c, oh*SH - PT + kh*DH, ow*SW - PL + kw*DW]; taps outside x do not exist
//   y[n, c, oh, ow] = sum of x[n, c, begin_h[oh] : end_h[oh], begin_w[ow] : end_w[ow]] / count
//
// A vector holds channels of one block. A task is a range of output rows; each row is found in two sweeps: down the
// window's rows into one row of scratch (IW pixels, at most four input rows per pass over it), then along that row.
// Neighbouring windows share the first sweep, so a 3 x 3 window of stride 1 costs 4 operations an output, not 8.
// Sums run in groups of four rows and in four accumulators along the row: the error grows with H/4 + W/4, not H*W.
// Limits: any sizes; a window that holds only padding gives -inf, or 0 when averaging. A NaN wins.
//
// max_pool2d_indices is scalar and works on plain tensors: what reads indices (max_unpool2d) reads them there.
// Measured: docs/performance.md has them by layer, docs/kernels/memory_bound.md says why.

#include "declarations.h"
#include "rows.h"

namespace tesela::TESELA_ISA {
namespace {

struct Maximum {
  static TESELA_INLINE vfloat of(vfloat a, vfloat b) { return max_propagating(a, b); }
};
struct Sum {
  static TESELA_INLINE vfloat of(vfloat a, vfloat b) { return a + b; }
};

// ------------------------------------------------------------------------------------------------- down the rows

// `first`: to is written, else it takes part.
template <class Reduce, int rows, bool first>
TESELA_INLINE void reduce_few_rows(const float* x, int64_t row_stride, int64_t floats, float* to) {
  for (int64_t i = 0; i < floats; i += lanes) {
    vfloat value = load(x + i);
    if constexpr (rows >= 2) value = Reduce::of(value, load(x + row_stride + i));
    if constexpr (rows == 3) value = Reduce::of(value, load(x + 2 * row_stride + i));
    if constexpr (rows == 4) {
      value = Reduce::of(value, Reduce::of(load(x + 2 * row_stride + i), load(x + 3 * row_stride + i)));
    }
    store(to + i, first ? value : Reduce::of(load(to + i), value));
  }
}

template <class Reduce, bool first>
TESELA_INLINE void reduce_up_to_4_rows(const float* x, int64_t row_stride, int64_t rows, int64_t floats, float* to) {
  switch (rows) {
    case 1:
      return reduce_few_rows<Reduce, 1, first>(x, row_stride, floats, to);
    case 2:
      return reduce_few_rows<Reduce, 2, first>(x, row_stride, floats, to);
    case 3:
      return reduce_few_rows<Reduce, 3, first>(x, row_stride, floats, to);
    default:
      return reduce_few_rows<Reduce, 4, first>(x, row_stride, floats, to);
  }
}

// At least one row.
template <class Reduce>
TESELA_INLINE void reduce_rows(const float* x, int64_t row_stride, int64_t rows, int64_t floats, float* to) {
  reduce_up_to_4_rows<Reduce, true>(x, row_stride, rows, floats, to);
  for (int64_t row = 4; row < rows; row += 4) {
    reduce_up_to_4_rows<Reduce, false>(x + row * row_stride, row_stride, rows - row, floats, to);
  }
}

// -------------------------------------------------------------------------------------------------- along the row

// At least one pixel. Four accumulators, since a long window is otherwise bound by the latency of one addition.
template <class Reduce>
TESELA_INLINE vfloat reduce_pixels(const float* x, int64_t pixel_stride, int64_t pixels) {
  if (pixels < 4) {
    vfloat value = load(x);
    for (int64_t i = 1; i < pixels; ++i) value = Reduce::of(value, load(x + i * pixel_stride));
    return value;
  }
  vfloat part[4];
  for (int j = 0; j < 4; ++j) part[j] = load(x + j * pixel_stride);
  int64_t i = 4;
  for (; i + 4 <= pixels; i += 4) {
    for (int j = 0; j < 4; ++j) part[j] = Reduce::of(part[j], load(x + (i + j) * pixel_stride));
  }
  for (; i < pixels; ++i) part[0] = Reduce::of(part[0], load(x + i * pixel_stride));
  return Reduce::of(Reduce::of(part[0], part[1]), Reduce::of(part[2], part[3]));
}

// The taps k of [0, taps) for which origin + k * dilation lies in [0, size).
TESELA_INLINE Range taps_inside(int64_t origin, int64_t taps, int64_t dilation, int64_t size) {
  if (origin >= 0 && origin + (taps - 1) * dilation < size) return {0, taps};  // nearly always; divisions are slow
  const int64_t begin = origin >= 0 ? 0 : (-origin + dilation - 1) / dilation;
  const int64_t end = origin >= size ? 0 : smaller(taps, (size - 1 - origin) / dilation + 1);
  return {begin, end};
}

}  // namespace

// -------------------------------------------------------------------------------------------------------- kernels

void max_pool2d(const cpu::MaxPool2dArgs& args, const cpu::MapOperands& operands, int64_t task) {
  const Range units = units_of(args.rows, task);
  for (int64_t unit = units.begin; unit < units.end; ++unit) {
    const PlaneRow at = plane_row(unit, args.blocks, args.OH);
    const float* x = operands.x + at.n * operands.x_image_stride + at.block * args.x_plane_stride;
    float* y = operands.y + at.n * operands.y_image_stride + at.block * args.y_plane_stride + at.row * args.OW * 16;
    float nothing[16];
    fill_lanes(nothing, -__builtin_inff(), at.block, args.blocks, args.last_block_lanes);
    const int64_t ih = at.row * args.SH - args.PT;
    const Range kh = taps_inside(ih, args.KH, args.DH, args.IH);
    const bool some_rows = kh.begin < kh.end;
    if (some_rows) {
      reduce_rows<Maximum>(x + (ih + kh.begin * args.DH) * args.IW * 16, args.DH * args.IW * 16, kh.end - kh.begin,
                           args.IW * 16, operands.scratch);
    }
    for (int64_t ow = 0; ow < args.OW; ++ow) {
      const int64_t iw = ow * args.SW - args.PL;
      const Range kw = taps_inside(iw, args.KW, args.DW, args.IW);
      const bool some = some_rows && kw.begin < kw.end;
      const float* from = operands.scratch + (iw + kw.begin * args.DW) * 16;
      TESELA_UNROLL(4)
      for (int v = 0; v < 16; v += lanes) {
        store(y + ow * 16 + v,
              some ? reduce_pixels<Maximum>(from + v, args.DW * 16, kw.end - kw.begin) : load(nothing + v));
      }
    }
  }
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
  const Range units = units_of(args.rows, task);
  for (int64_t unit = units.begin; unit < units.end; ++unit) {
    const PlaneRow at = plane_row(unit, args.blocks, args.OH);
    const float* x = operands.x + at.n * operands.x_image_stride + at.block * args.x_plane_stride;
    float* y = operands.y + at.n * operands.y_image_stride + at.block * args.y_plane_stride + at.row * args.OW * 16;
    const Range h = {args.begin_h[at.row], args.end_h[at.row]};
    if (h.begin < h.end) {
      reduce_rows<Sum>(x + h.begin * args.IW * 16, args.IW * 16, h.end - h.begin, args.IW * 16, operands.scratch);
    }
    for (int64_t ow = 0; ow < args.OW; ++ow) {
      const Range w = {args.begin_w[ow], args.end_w[ow]};
      const bool some = h.begin < h.end && w.begin < w.end;
      const int64_t count = args.divisor_override > 0 ? args.divisor_override : args.count_h[at.row] * args.count_w[ow];
      const vfloat divisor = set1(static_cast<float>(larger<int64_t>(count, 1)));
      TESELA_UNROLL(4)
      for (int v = 0; v < 16; v += lanes) {
        store(y + ow * 16 + v,
              some ? reduce_pixels<Sum>(operands.scratch + w.begin * 16 + v, 16, w.end - w.begin) / divisor : zero());
      }
    }
  }
}

}  // namespace tesela::TESELA_ISA
