// conv2d with any kernel, stride, padding and dilation; each phase of conv_transpose2d.
//
//   y[n, oc, oh, ow] = sum over taps (th, tw) and ic of x[n, ic, oh * stride_h + th, ow * stride_w + tw] * w[oc, tap,
//   ic]
//
// Products are ordered tap by tap, within a tap by input channel. For each slice of products a task copies the rows it
// needs, 16 channels (one cache line) at a time, zeros where a tap lies outside the image; one copy serves all output
// panels, so with 64 channels or more it is small beside them. Groups are whole blocks of channels (others:
// conv2d_grouped).
//
// Measured: 6 layers at 3 to 81 % of the ceiling, median 58 %;
// AMD EPYC, avx512, 2 threads, 2026-11-28; docs/performance.md.

#include "contraction.h"

namespace tesela::TESELA_ISA {
namespace {

struct Direct {
  static constexpr bool gathered = false;
  static constexpr auto& tiles = packed_tiles;
  const ContractionArgs& args;
  const Contraction& problem;
  const ContractionOperands& io;
  int64_t row_begin;
  float* packed;
  int64_t slice;  // products of the packed slice, a multiple of 16

  void place(int64_t count, TileRow* rows) const { place_pixels(args, problem, io, row_begin, count, rows); }

  void pack(const Cut& cut, int64_t k, int64_t count) {
    slice = count;
    Pixel next(problem, row_begin);
    for (TileRows tile(cut); tile.valid(); tile.next()) {
      const int64_t begin = tile.begin;
      const int height = tile.height;
      const float* images[max_rows];  // of each row: its image, and the input pixel under its first tap
      int64_t hs[max_rows], ws[max_rows];
      for (int r = 0; r < height; ++r, next.advance(problem)) {
        images[r] = io.x + next.image * io.x_image_stride + problem.ic_block * args.x_plane_stride;
        hs[r] = next.h * args.stride_h, ws[r] = next.w * args.stride_w;
      }
      float* to = packed + begin * slice;
      int64_t block = k / 16;
      for (const int64_t end = (k + count) / 16; block < end;) {
        const int64_t tap = block / problem.ic_blocks, first = block % problem.ic_blocks;
        const int64_t blocks = smaller(problem.ic_blocks - first, end - block);
        const int64_t tap_h = problem.taps[2 * tap], tap_w = problem.taps[2 * tap + 1];
        for (int r = 0; r < height; ++r) {
          const int64_t h = hs[r] + tap_h, w = ws[r] + tap_w;
          const bool inside = h >= 0 && h < args.IH && w >= 0 && w < args.IW;
          const float* from = images[r] + first * args.x_plane_stride + (h * args.IW + w) * 16;
          copy_pixel(to + r * 16, height * 16, inside ? from : nullptr, blocks);
        }
        to += blocks * height * 16;
        block += blocks;
      }
    }
  }

  // `blocks` cache lines of one input pixel, or of zeros.
  TESELA_INLINE void copy_pixel(float* to, int64_t to_stride, const float* from, int64_t blocks) const {
    for (int64_t b = 0; b < blocks; ++b, to += to_stride) {
      for (int v = 0; v < block_vectors; ++v) store(to + v * lanes, from ? load(from + v * lanes) : zero());
      if (from) from += args.x_plane_stride;
    }
  }

  const float* a(int64_t row, int64_t) const { return packed + row * slice; }
  int64_t block_stride(int height) const { return height * 16; }
};

}  // namespace

void conv2d_direct(const ContractionArgs& args, const ContractionOperands& io, int64_t index) {
  const ContractionTask& task = args.tasks[index];
  const Contraction& problem = args.problems[task.problem];
  TileRow* rows = reinterpret_cast<TileRow*>(io.scratch);
  Direct source{args, problem, io, task.row_begin, after_rows(rows, task.row_end - task.row_begin), 0};
  contract(args, problem, task, io, source, rows);
}

}  // namespace tesela::TESELA_ISA
