// Depthwise conv2d: every channel has its own kernel.
//
//   y[n, c, oh, ow] = activation(bias[c] + sum over kh, kw of x[n, c, oh*SH - PT + kh*DH, ow*SW - PL + kw*DW] * w[c,
//   kh, kw]
//                                + residual)
//
// A lane is a channel, so the blocked layout needs no shuffles. A task is a few rows of one plane of 16 channels. Away
// from the left and right edge four output pixels are summed at once: enough independent sums to hide the latency of a
// multiply-add, and each weight is loaded once for four uses.

#include "../kernels.h"
#include "../simd.h"
#include "declarations.h"
#include "vector_math.h"

namespace tesela::TESELA_ISA {
namespace {

using cpu::ContractionOperands;
using cpu::DepthwiseArgs;

struct Row {
  const DepthwiseArgs& args;
  const float* x;  // plane
  const float* w;  // (KH * KW, 16) of the block
  const float* bias;
  const float* residual;  // output row, or null
  float* y;               // output row
  int64_t ih0, kh_begin, kh_end;
  int lanes_kept;
};

// Output pixels [ow, ow + count), for taps [kw_begin, kw_end) that all lie inside the image.
template <int count>
TESELA_INLINE void pixels(const Row& row, int64_t ow, int64_t kw_begin, int64_t kw_end) {
  const DepthwiseArgs& args = row.args;
  vfloat acc[count][block_vectors];
  for (int p = 0; p < count; ++p) {
    for (int v = 0; v < block_vectors; ++v) acc[p][v] = row.bias ? load(row.bias + v * lanes) : zero();
  }
  const int64_t iw0 = ow * args.SW - args.PL;
  for (int64_t kh = row.kh_begin; kh < row.kh_end; ++kh) {
    const float* x = row.x + ((row.ih0 + kh * args.DH) * args.IW + iw0) * 16;
    const float* w = row.w + kh * args.KW * 16;
    for (int64_t kw = kw_begin; kw < kw_end; ++kw) {
      TESELA_UNROLL(4)
      for (int v = 0; v < block_vectors; ++v) {
        const vfloat weight = load(w + kw * 16 + v * lanes);
        TESELA_UNROLL(4)
        for (int p = 0; p < count; ++p) {
          acc[p][v] = fma(load(x + (kw * args.DW + p * args.SW) * 16 + v * lanes), weight, acc[p][v]);
        }
      }
    }
  }
  for (int p = 0; p < count; ++p) {
    const int64_t at = (ow + p) * 16;
    for (int v = 0; v < block_vectors; ++v) {
      vfloat sum = acc[p][v];
      if (row.residual) sum = sum + load(row.residual + at + v * lanes);
      sum = activate(sum, args.activation);
      store(row.y + at + v * lanes, row.lanes_kept < 16 ? keep_lanes(sum, row.lanes_kept - v * lanes) : sum);
    }
  }
}

TESELA_INLINE int64_t ceil_div(int64_t a, int64_t b) { return a > 0 ? (a + b - 1) / b : 0; }

void run_row(const Row& row) {
  const DepthwiseArgs& args = row.args;
  // Output columns whose taps all lie inside: ow*SW - PL >= 0 and ow*SW - PL + (KW - 1)*DW < IW.
  const int64_t room = args.IW - 1 + args.PL - (args.KW - 1) * args.DW;
  const int64_t left = smaller(args.OW, ceil_div(args.PL, args.SW));
  const int64_t right = larger(left, room < 0 ? 0 : smaller(args.OW, room / args.SW + 1));
  const auto edge = [&](int64_t ow) {
    const int64_t iw0 = ow * args.SW - args.PL;
    const int64_t begin = ceil_div(-iw0, args.DW);
    const int64_t end = smaller(args.KW, ceil_div(args.IW - iw0, args.DW));
    pixels<1>(row, ow, smaller(begin, args.KW), larger(end, smaller(begin, args.KW)));
  };
  for (int64_t ow = 0; ow < left; ++ow) edge(ow);
  int64_t ow = left;
  for (; ow + 4 <= right; ow += 4) pixels<4>(row, ow, 0, args.KW);
  for (; ow < right; ++ow) pixels<1>(row, ow, 0, args.KW);
  for (; ow < args.OW; ++ow) edge(ow);
}

}  // namespace

void conv2d_depthwise(const DepthwiseArgs& args, const ContractionOperands& io, int64_t task) {
  const int64_t plane = task / args.tasks_per_plane;
  const int64_t image = plane / args.blocks, block = plane % args.blocks;
  const int64_t begin = task % args.tasks_per_plane * args.rows_per_task;
  const int64_t end = smaller(begin + args.rows_per_task, args.OH);
  const int64_t y = image * io.y_image_stride + block * args.y_plane_stride;
  const int64_t residual = image * io.residual_image_stride + block * args.y_plane_stride;
  for (int64_t oh = begin; oh < end; ++oh) {
    const int64_t ih0 = oh * args.SH - args.PT;
    const int64_t kh_begin = smaller(ceil_div(-ih0, args.DH), args.KH);
    const int64_t kh_end = larger(kh_begin, smaller(args.KH, ceil_div(args.IH - ih0, args.DH)));
    const Row row{args,
                  io.x + image * io.x_image_stride + block * args.x_plane_stride,
                  args.w + block * args.KH * args.KW * 16,
                  args.bias ? args.bias + block * 16 : nullptr,
                  io.residual ? io.residual + residual + oh * args.OW * 16 : nullptr,
                  io.y + y + oh * args.OW * 16,
                  ih0,
                  kh_begin,
                  kh_end,
                  block == args.blocks - 1 ? static_cast<int>(args.last_block_lanes) : 16};
    run_row(row);
  }
}

}  // namespace tesela::TESELA_ISA
