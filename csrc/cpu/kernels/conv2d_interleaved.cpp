// conv2d with few input channels: the first layer of every network (3 channels, 11x11 stride 4 or 7x7 stride 2).
//
//   y[n, oc, oh, ow] = sum over kh, kw, ic of x[n, ic, oh*SH - PT + kh*DH, ow*SW - PL + kw*DW] * w[oc, (kh, kw, ic)]
//
// Blocks of 16 channels would multiply 13 zeros for 3 values. Instead a task first copies the input rows under its
// output pixels into scratch with channels interleaved and padding written out; there the products of one kernel row
// are KW * IC contiguous floats (DW = 1), and a row of the packed slice is KH such runs. x may be plain or blocked:
// only its strides are used. One group.
//
// Measured: 9 layers at 4 to 76 % of the ceiling, median 43 %;
// AMD EPYC, avx2, 2 threads, 2026-11-23; docs/performance.md.

#include "contraction.h"

namespace tesela::TESELA_ISA {
namespace {

struct Interleaved {
  const ContractionArgs& args;
  const Contraction& problem;
  const ContractionOperands& io;
  int64_t row_begin;
  float* packed;
  float* band;                            // (band rows, band_w, IC) of one image
  float* row_buffer;                      // products of one output pixel
  int64_t band_image, band_h, band_rows;  // what band holds
  int64_t slice;

  int64_t band_width() const {
    return (problem.rows_w - 1) * args.stride_w + (args.interleaved_kw - 1) * args.dilation_w + 1;
  }

  void place(int64_t count, TileRow* rows) const { place_pixels(args, problem, io, row_begin, count, rows); }

  // Input row h of the padded image, interleaved.
  void fill_row(float* to, int64_t image, int64_t h) const {
    const int64_t width = band_width(), channels = args.IC;
    h -= args.pad_top;
    const bool inside = h >= 0 && h < args.IH;
    const int64_t begin = inside ? smaller(args.pad_left, width) : width;
    const int64_t end = inside ? smaller(width, args.pad_left + args.IW) : width;
    for (int64_t i = 0; i < begin * channels; ++i) to[i] = 0.0f;
    for (int64_t i = end * channels; i < width * channels; ++i) to[i] = 0.0f;
    if (!inside) return;
    for (int64_t c = 0; c < channels; ++c) {
      // Blocked: a channel's stride is that of its lane within its block.
      const float* from =
          io.x + image * (io.x_image_stride + args.plain_image_stride) + h * args.x_row_stride +
          (args.x_channel_stride == 1 ? c / 16 * args.x_plane_stride + c % 16 : c * args.x_channel_stride);
      for (int64_t w = begin; w < end; ++w) to[w * channels + c] = from[(w - args.pad_left) * args.x_pixel_stride];
    }
  }

  // Makes the band hold the input rows of output rows [h, last] of one image.
  void fill_band(int64_t image, int64_t h, int64_t last) {
    band_image = image;
    band_h = h * args.stride_h;
    band_rows = (last - h) * args.stride_h + (args.interleaved_kh - 1) * args.dilation_h + 1;
    const int64_t floats = band_width() * args.IC;
    for (int64_t r = 0; r < band_rows; ++r) fill_row(band + r * floats, image, band_h + r);
  }

  // All products of one output pixel, in order (kh, kw, ic).
  void gather(const Pixel& p) const {
    const int64_t channels = args.IC, run = args.interleaved_kw * channels, floats = band_width() * channels;
    float* to = row_buffer;
    for (int64_t kh = 0; kh < args.interleaved_kh; ++kh, to += run) {
      const float* from =
          band + (p.h * args.stride_h + kh * args.dilation_h - band_h) * floats + p.w * args.stride_w * channels;
      if (args.dilation_w == 1) {
        for (int64_t i = 0; i < run; i += lanes)
          store(to + i, load(from + i));  // both buffers have room for a vector more
      } else {
        for (int64_t kw = 0; kw < args.interleaved_kw; ++kw) {
          for (int64_t c = 0; c < channels; ++c) to[kw * channels + c] = from[kw * args.dilation_w * channels + c];
        }
      }
    }
  }

  void pack(const Cut& cut, int64_t k, int64_t count) {
    slice = (count + 15) / 16 * 16;
    band_image = -1;
    Pixel p(problem, row_begin);
    const Pixel end(problem, row_begin + cut.rows - 1);
    for (int64_t tile = 0; tile < cut.tiles; ++tile) {
      const int64_t begin = cut.begin(tile);
      const int height = static_cast<int>(cut.begin(tile + 1) - begin);
      float* to = packed + begin * slice;
      for (int r = 0; r < height; ++r, p.advance(problem)) {
        if (p.image != band_image) {
          fill_band(p.image, p.h, end.image == p.image ? end.h : problem.rows_h - 1);
        }
        gather(p);
        for (int64_t block = 0; block * 16 < slice; ++block) {
          for (int v = 0; v < block_vectors; ++v) {
            store(to + (block * height + r) * 16 + v * lanes, load(row_buffer + k + block * 16 + v * lanes));
          }
        }
      }
    }
  }

  const float* a(int64_t row, int64_t) const { return packed + row * slice; }
  int64_t block_stride(int height) const { return height * 16; }
};

}  // namespace

void conv2d_interleaved(const ContractionArgs& args, const ContractionOperands& io, int64_t index) {
  const ContractionTask& task = args.tasks[index];
  const Contraction& problem = args.problems[task.problem];
  const int64_t count = task.row_end - task.row_begin;
  TileRow* rows = reinterpret_cast<TileRow*>(io.scratch);
  float* packed = after_rows(rows, count);
  float* row_buffer = packed + count * ((smaller(args.kc, problem.k) + 15) / 16 * 16);
  float* band = row_buffer + (problem.k + 15) / 16 * 16 + 32;
  Interleaved source{args, problem, io, task.row_begin, packed, band, row_buffer, -1, 0, 0, 0};
  contract(args, problem, task, io, source, rows);
}

}  // namespace tesela::TESELA_ISA
