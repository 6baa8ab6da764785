// pad and upsample: every output coordinate reads one or two input coordinates.
//
//   copy:      y[oh, ow] = x[low_h[oh], low_w[ow]], or the constant where either is -1
//   bilinear:  t[iw]     = (1 - weight_h[oh]) * x[low_h[oh], iw] + weight_h[oh] * x[high_h[oh], iw]
//              y[oh, ow] = (1 - weight_w[ow]) * t[low_w[ow]]     + weight_w[ow] * t[high_w[ow]]
//
// A vector holds channels of one block. A task is a range of output rows; the row t stands in scratch.
// Limits: bilinear knows no constant, its coordinates all lie inside x.
// Measured: docs/performance.md has them by layer, docs/kernels/memory_bound.md says why.

#include "declarations.h"
#include "rows.h"

namespace tesela::TESELA_ISA {
namespace {

TESELA_INLINE void copy_pixel(const float* from, float* to) {
  TESELA_UNROLL(4)
  for (int v = 0; v < 16; v += lanes) store(to + v, load(from + v));
}

}  // namespace

void resample2d_copy(const cpu::Resample2dArgs& args, const cpu::MapOperands& operands, int64_t task) {
  const Range units = units_of(args.rows, task);
  for (int64_t unit = units.begin; unit < units.end; ++unit) {
    const PlaneRow at = plane_row(unit, args.blocks, args.OH);
    float* y = operands.y + at.n * operands.y_image_stride + at.block * args.y_plane_stride + at.row * args.OW * 16;
    float constant[16];
    fill_lanes(constant, args.constant, at.block, args.blocks, args.last_block_lanes);
    const int64_t ih = args.low_h[at.row];
    if (ih < 0) {
      for (int64_t ow = 0; ow < args.OW; ++ow) copy_pixel(constant, y + ow * 16);
      continue;
    }
    const float* x = operands.x + at.n * operands.x_image_stride + at.block * args.x_plane_stride + ih * args.IW * 16;
    for (int64_t ow = 0; ow < args.OW; ++ow) {
      const int64_t iw = args.low_w[ow];
      copy_pixel(iw < 0 ? constant : x + iw * 16, y + ow * 16);
    }
  }
}

void resample2d_bilinear(const cpu::Resample2dArgs& args, const cpu::MapOperands& operands, int64_t task) {
  const Range units = units_of(args.rows, task);
  for (int64_t unit = units.begin; unit < units.end; ++unit) {
    const PlaneRow at = plane_row(unit, args.blocks, args.OH);
    const float* x = operands.x + at.n * operands.x_image_stride + at.block * args.x_plane_stride;
    float* y = operands.y + at.n * operands.y_image_stride + at.block * args.y_plane_stride + at.row * args.OW * 16;
    const float* low = x + args.low_h[at.row] * args.IW * 16;
    const float* high = x + args.high_h[at.row] * args.IW * 16;
    float* t = operands.scratch;
    {
      const vfloat b = set1(args.weight_h[at.row]), a = set1(1.0f) - b;
      for (int64_t i = 0; i < args.IW * 16; i += lanes) store(t + i, fma(a, load(low + i), b * load(high + i)));
    }
    for (int64_t ow = 0; ow < args.OW; ++ow) {
      const vfloat b = set1(args.weight_w[ow]), a = set1(1.0f) - b;
      const float *left = t + args.low_w[ow] * 16, *right = t + args.high_w[ow] * 16;
      TESELA_UNROLL(4)
      for (int v = 0; v < 16; v += lanes) store(y + ow * 16 + v, fma(a, load(left + v), b * load(right + v)));
    }
  }
}

}  // namespace tesela::TESELA_ISA
