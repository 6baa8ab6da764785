// One output row of a convolution whose groups share blocks of channels: what conv2d_depthwise.cpp and
// conv2d_grouped.cpp share. A lane is an output channel, and its inputs are in the same lane.

#pragma once

#include "../kernels.h"
#include "../simd.h"
#include "declarations.h"
#include "vector_math.h"

namespace tesela::TESELA_ISA {

using cpu::ContractionOperands;
using cpu::GroupedArgs;
using cpu::GroupedPhase;

inline constexpr int wide = lanes == 16 ? 8 : 4;  // pixels summed at once

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
  TESELA_UNROLL(8)
  for (int p = 0; p < count; ++p) {
    TESELA_UNROLL(4)
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
  // A copy in memory, so that finish() is there once and the sums above stay in registers.
  float sums[count * 16];
  TESELA_UNROLL(8)
  for (int p = 0; p < count; ++p) {
    TESELA_UNROLL(4)
    for (int v = 0; v < block_vectors; ++v) store(sums + p * 16 + v * lanes, acc[p][v]);
  }
  TESELA_UNROLL(1)
  for (int p = 0; p < count; ++p) {
    for (int v = 0; v < block_vectors; ++v) finish(row, ow + p, v, load(sums + p * 16 + v * lanes));
  }
}

TESELA_INLINE void sum_row(const Row& row, int64_t ow, int64_t end) {
  for (; ow + wide <= end; ow += wide) sum_pixels<wide>(row, ow, 0, row.kw);
  for (; ow + 2 <= end; ow += 2) sum_pixels<2>(row, ow, 0, row.kw);
  for (; ow < end; ++ow) sum_pixels<1>(row, ow, 0, row.kw);
}

// What a task computes: output rows [begin, end) of one panel of one image, for the outputs of one phase.
struct RowRange {
  const GroupedArgs& args;
  const ContractionOperands& io;
  const GroupedPhase& phase;
  int64_t image, block, begin, end;

  TESELA_INLINE static RowRange of(const GroupedArgs& a, const ContractionOperands& o, int64_t task) {
    const GroupedPhase& phase = a.phases[task % a.n_phases];
    task /= a.n_phases;
    const int64_t plane = task / a.tasks_per_plane, begin = task % a.tasks_per_plane * a.rows_per_task;
    return {a, o, phase, plane / a.blocks, plane % a.blocks, begin, smaller(begin + a.rows_per_task, phase.rows_h)};
  }

  TESELA_INLINE const float* weights() const { return phase.w + block * phase.KH * phase.KW * args.inputs * 16; }

  TESELA_INLINE Row row() const {
    return {.args = args,
            .x = nullptr,
            .kh = phase.KH,
            .kw = phase.KW,
            .tap_row = args.tap_h * args.IW * 16,
            .tap = args.tap_w * 16,
            .pixel = args.stride_w * 16,
            .inputs = 1,
            .w = weights(),
            .bias = args.bias ? args.bias + block * 16 : nullptr,
            .residual = nullptr,
            .y = nullptr,
            .y_pixel = args.step_w * 16,
            .lanes_kept = block == args.blocks - 1 ? static_cast<int>(args.last_block_lanes) : 16,
            .first = true,
            .last = true};
  }

  TESELA_INLINE void place_output(Row& row, int64_t oh) const {
    const int64_t at =
        block * args.y_plane_stride + ((phase.offset_h + oh * args.step_h) * args.OW + phase.offset_w) * 16;
    row.y = io.y + image * io.y_image_stride + at;
    row.residual = io.residual ? io.residual + image * io.residual_image_stride + at : nullptr;
  }
};

// Sums the rows of a range, depthwise or of three columns: x is where row `first_row` of its block's plane lies, or of
// the image's first block where lanes are permuted. Defined in conv2d_depthwise.cpp.
void sum_rows_in_place(const RowRange& range, const float* x, int64_t first_row);

}  // namespace tesela::TESELA_ISA
