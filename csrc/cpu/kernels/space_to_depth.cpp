// The pixels that a strided convolution passes over as channels of one pixel, from a plain tensor to a blocked one.
//
//   y[n, (c * s + i) * s + j, h, w] = x[n, c, h * s + i - top, w * s + j - left], 0 outside of x;  stride s = 2 or 4
//
// In this order of channels s neighbouring lanes are s neighbouring floats of x, so that a block is 16 / s copies of s
// floats for each pixel. A task is a range of rows of blocks.
// Limits: s divides 16. Measured: docs/kernels/stems.md.

#include <string.h>

#include "declarations.h"
#include "rows.h"

namespace tesela::TESELA_ISA {
namespace {

using cpu::SpaceToDepthArgs;

// The lanes of one row of x in a row of y: `to` is the first of them.
template <int stride>
void spread_row(const SpaceToDepthArgs& args, const float* x, float* to) {
  const auto inside = [&](int64_t column) { return column >= 0 && column < args.IW; };
  for (int64_t w = 0; w < args.OW; ++w, to += 16) {
    const int64_t column = w * stride - args.pad_left;
    if (inside(column) && inside(column + stride - 1)) {
      memcpy(to, x + column, stride * sizeof(float));
    } else {
      for (int j = 0; j < stride; ++j) to[j] = inside(column + j) ? x[column + j] : 0.0f;
    }
  }
}

template <int stride>
void spread(const SpaceToDepthArgs& args, const float* x, float* y, int64_t block, int64_t h) {
  for (int lane = 0; lane < 16; lane += stride) {
    const int64_t line = (block * 16 + lane) / stride, c = line / stride;
    const int64_t row = h * stride + line % stride - args.pad_top;
    if (c < args.C && row >= 0 && row < args.IH) {
      spread_row<stride>(args, x + (c * args.IH + row) * args.IW, y + lane);
    } else {
      for (int64_t w = 0; w < args.OW; ++w) memset(y + w * 16 + lane, 0, stride * sizeof(float));
    }
  }
}

}  // namespace

void space_to_depth(const SpaceToDepthArgs& args, const cpu::MapOperands& io, int64_t task) {
  const Range range = units_of(args.rows, task);
  for (int64_t unit = range.begin; unit < range.end; ++unit) {
    const PlaneRow at = plane_row(unit, args.blocks, args.OH);
    const float* x = io.x + at.n * args.C * args.IH * args.IW;
    float* y = io.y + at.n * io.y_image_stride + at.block * args.y_plane_stride + at.row * args.OW * 16;
    args.stride == 2 ? spread<2>(args, x, y, at.block, at.row) : spread<4>(args, x, y, at.block, at.row);
  }
}

}  // namespace tesela::TESELA_ISA
