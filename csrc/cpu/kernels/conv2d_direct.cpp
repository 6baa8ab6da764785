// conv2d with any kernel, stride, padding, dilation and groups; each phase of conv_transpose2d.
//
//   y[n, oc, oh, ow] = sum over taps (th, tw) and ic of x[n, ic, oh * stride_h + th, ow * stride_w + tw] * w[oc, tap, ic]
//
// Products are ordered tap by tap, within a tap by input channel. For each slice of products a task copies the rows it
// needs, 16 channels (one cache line) at a time, zeros where a tap lies outside the image; one copy serves all output
// panels, so with 64 channels or more it costs a few percent. A problem reads the input blocks that its 16-channel
// panels need: groups smaller than a block are multiplied with zero weights for their neighbours.

#include "contraction.h"

namespace tesela::TESELA_ISA {
namespace {

struct Direct {
  const ContractionArgs& args;
  const Contraction& problem;
  const ContractionOperands& io;
  int64_t row_begin;
  float* packed;
  int64_t slice;  // products of the packed slice, a multiple of 16

  TileRow row(int64_t index) const { return output_row(args, problem, io, pixel_at(problem, index)); }

  void pack(const Cut& cut, int64_t k, int64_t count) {
    slice = count;
    for (int64_t tile = 0; tile < cut.tiles; ++tile) {
      const int64_t begin = cut.begin(tile);
      const int height = static_cast<int>(cut.begin(tile + 1) - begin);
      Pixel pixels[max_rows];
      for (int r = 0; r < height; ++r) pixels[r] = pixel_at(problem, row_begin + begin + r);
      float* to = packed + begin * slice;
      int64_t block = k / 16;
      for (const int64_t end = (k + count) / 16; block < end;) {
        const int64_t tap = block / problem.ic_blocks, first = block % problem.ic_blocks;
        const int64_t blocks = smaller(problem.ic_blocks - first, end - block);
        for (int r = 0; r < height; ++r) copy_row(to + r * 16, height * 16, pixels[r], tap, first, blocks);
        to += blocks * height * 16;
        block += blocks;
      }
    }
  }

  // `blocks` cache lines of one input pixel, from channel block `first` on.
  TESELA_INLINE void copy_row(float* to, int64_t to_stride, Pixel p, int64_t tap, int64_t first, int64_t blocks) const {
    const int64_t h = p.h * args.stride_h + problem.taps[2 * tap];
    const int64_t w = p.w * args.stride_w + problem.taps[2 * tap + 1];
    if (h < 0 || h >= args.IH || w < 0 || w >= args.IW) {
      for (int64_t b = 0; b < blocks; ++b) {
        for (int v = 0; v < block_vectors; ++v) store(to + b * to_stride + v * lanes, zero());
      }
      return;
    }
    const float* from = io.x + p.image * io.x_image_stride + (problem.ic_block + first) * args.x_plane_stride + (h * args.IW + w) * 16;
    for (int64_t b = 0; b < blocks; ++b) {
      for (int v = 0; v < block_vectors; ++v) store(to + b * to_stride + v * lanes, load(from + v * lanes));
      from += args.x_plane_stride;
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
