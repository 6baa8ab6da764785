// Between plain and blocked tensors, and pixel_shuffle.
//
//   blocked[n, c / 16, p, c % 16] = plain[n, c, p],  p = h * W + w
//   y[n, c, h*r + i, w*r + j] = x[n, c*r*r + i*r + j, h, w]
//
// convert: a task is a range of strips of pixels of one block (transpose.h).
// pixel_shuffle: plain tensors, a task is a range of output rows; each interleaves r input rows.
// Measured: docs/performance.md has them by layer, docs/kernels/memory_bound.md says why.

#include "declarations.h"
#include "rows.h"
#include "transpose.h"

namespace tesela::TESELA_ISA {
namespace {

// ---------------------------------------------------------------------------------------------------- interleave

template <int factor>
void interleave(const float* x, int64_t x_stride, float* y, int64_t n) {
  for (int64_t w = 0; w < n; ++w) {
    TESELA_UNROLL(4)
    for (int j = 0; j < factor; ++j) y[w * factor + j] = x[j * x_stride + w];
  }
}

struct Strip {
  int64_t n, block, first, pixels, channels;
};

TESELA_INLINE Strip strip_of(const cpu::ConvertArgs& args, int64_t unit) {
  const PlaneRow at = plane_row(unit, args.blocks, args.strips);
  const int64_t first = at.row * args.strip;
  const int64_t pixels = smaller(args.strip, args.pixels - first);
  return {at.n, at.block, first, pixels, smaller<int64_t>(16, args.C - at.block * 16)};
}

}  // namespace

// -------------------------------------------------------------------------------------------------------- kernels

void plain_to_blocked(const cpu::ConvertArgs& args, const cpu::MapOperands& operands, int64_t task) {
  const Range units = units_of(args.units, task);
  for (int64_t unit = units.begin; unit < units.end; ++unit) {
    const Strip s = strip_of(args, unit);
    const float* x = operands.x + (s.n * args.C + s.block * 16) * args.pixels + s.first;
    float* y = operands.y + s.n * operands.y_image_stride + s.block * args.plane_stride + s.first * 16;
    transpose_to_block(x, args.pixels, s.channels, y, s.pixels);
  }
}

void blocked_to_plain(const cpu::ConvertArgs& args, const cpu::MapOperands& operands, int64_t task) {
  const Range units = units_of(args.units, task);
  for (int64_t unit = units.begin; unit < units.end; ++unit) {
    const Strip s = strip_of(args, unit);
    const float* x = operands.x + s.n * operands.x_image_stride + s.block * args.plane_stride + s.first * 16;
    float* y = operands.y + (s.n * args.C + s.block * 16) * args.pixels + s.first;
    transpose_from_block(x, s.channels, y, args.pixels, s.pixels);
  }
}

void pixel_shuffle(const cpu::PixelShuffleArgs& args, const cpu::MapOperands& operands, int64_t task) {
  const Range rows = units_of(args.rows, task);
  const int64_t r = args.factor, plane = args.H * args.W;
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const int64_t channel = row / (args.H * r), oh = row % (args.H * r);
    const float* x = operands.x + (channel * r + oh % r) * r * plane + oh / r * args.W;
    float* y = operands.y + row * args.W * r;
    switch (r) {
      case 2:
        interleave<2>(x, plane, y, args.W);
        break;
      case 3:
        interleave<3>(x, plane, y, args.W);
        break;
      case 4:
        interleave<4>(x, plane, y, args.W);
        break;
      default:
        for (int64_t w = 0; w < args.W; ++w) {
          for (int64_t j = 0; j < r; ++j) y[w * r + j] = x[j * plane + w];
        }
    }
  }
}

}  // namespace tesela::TESELA_ISA
