// The product of rows and panels that convolution, linear and gemm share.
//
//   y[row, panel * 16 + j] = activation((bias + sum over k of a[row, k] * w[panel, k, j]) * gate + residual)
//
// Rows are output pixels (or rows of a matrix), a panel is 16 output channels. A register tile holds MR rows x NP
// panels of accumulators; per k it loads NP panels of weights and broadcasts MR values of a. Where those values come
// from is the Source. Packed: rows of 16 consecutive k lie side by side, [k / 16][row][k % 16], which is just how a 1x1
// convolution finds a blocked tensor in memory; other sources pack a slice of `kc` products of their rows into scratch.
// Gathered: neighbouring rows are neighbouring floats, and a table says where each product's begin.
//
// Loops, outermost first: slices of kc products, panels, tiles. A panel's slice (kc x 16 floats) stays in L1 over all
// tiles, the packed rows stay in L2 over all panels. Products are summed in one order whatever the cut into tasks, so
// any number of threads gives the same bits.

#pragma once

#include "../kernels.h"
#include "../simd.h"
#include "declarations.h"

namespace tesela::TESELA_ISA {

using cpu::Contraction;
using cpu::ContractionArgs;
using cpu::ContractionOperands;
using cpu::ContractionTask;

// Register tiles. AVX2 has 16 registers: 6 rows x 2 vectors of accumulators, 2 of weights, 1 broadcast. AVX-512 has 32
// and broadcasts from memory: 14 rows x 2 panels, 2 of weights. Short tiles take more panels, so that at least eight
// independent sums hide the latency of a multiply-add; their sums, the weights and a broadcast (or the other way round)
// still fit (tests/test_disassembly.py looks).
inline constexpr int registers = lanes == 4 ? 16 : 2 * lanes;
inline constexpr int max_rows = lanes == 16 ? 14 : lanes == 8 ? 6 : 3;
constexpr bool fits_registers(int rows, int panels, int others = 0) {
  const int vectors = panels * block_vectors;
  return rows * vectors + smaller(rows, vectors) + 1 + others <= registers;
}
constexpr int tile_panels(int rows) { return fits_registers(rows, 4) ? 4 : fits_registers(rows, 2) ? 2 : 1; }

struct TileRow {  // where a row's results go, from the first panel's address
  int64_t y, residual;
};

struct Tile {
  const float* a;
  int64_t a_block_stride;  // packed: floats from 16 products of all rows to the next 16
  const int32_t* offsets;  // gathered: product k of row r is a[offsets[k] + r]
  int64_t k;               // products in this slice
  const float* w;
  int64_t w_panel_stride;
  float* y;
  const float* residual;
  int64_t y_panel_stride;
  const TileRow* rows;
  const float* bias;       // of the first panel, or null
  const float* gate;       // likewise: multiplies sum and bias
  bool first, last;        // slice: starts the sums, finishes them
  int lanes_in_last;       // channels in the tile's last panel
  const float* next_w[2];  // packed: weights to bring to L2 meanwhile, half a panel's slice each, or null
};

// Defined in tile.cpp, and more of them in linear_bfloat16.cpp and products_bfloat16.cpp, each a table as tile.h has
// it.
using TileFunction = void(const ContractionArgs&, const Tile&);
extern TileFunction* const packed_tiles[14][3];
extern TileFunction* const gathered_tiles[14][3];

// ---------------------------------------------------------------------------------------------------------- loops

// Rows are cut into tiles whose heights differ by one at most: 49 rows are 4 x 6 + 5 x 5, not 8 x 6 + 1. No tile
// crosses the end of a line.
struct Cut {
  int64_t rows, line;
  int64_t taller;  // the first so many tiles of a line ...
  int shortest;    // ... have one row more than this, the others as many

  Cut(int64_t count, int64_t line_rows) : rows(count), line(line_rows) {
    const int64_t tiles = (line + max_rows - 1) / max_rows;
    taller = line % tiles;
    shortest = static_cast<int>(line / tiles);
  }
  int64_t tiles() const { return (rows + line - 1) / line * ((line + max_rows - 1) / max_rows); }
  int height(int64_t tile_of_line) const { return shortest + (tile_of_line < taller); }
};

// Goes over the tiles of a cut, in order; finding them costs no division.
struct TileRows {
  const Cut& cut;
  int64_t begin = 0, line_end, tile_of_line = 0;
  int height;

  explicit TileRows(const Cut& c) : cut(c), line_end(c.line), height(c.height(0)) {}
  bool valid() const { return begin < cut.rows; }
  TESELA_INLINE void next() {
    begin += height;
    ++tile_of_line;
    if (begin == line_end) line_end += cut.line, tile_of_line = 0;
    height = cut.height(tile_of_line);
  }
};

// Weights that the next `width` panels will want, shared out among the tiles that are computed before: they come from
// memory while these use what is in L1, instead of all at once with the next first tile.
struct NextWeights {
  const float* w;  // null: nothing comes next
  int64_t panel_stride, k;
  int width;
  int64_t tiles;

  TESELA_INLINE void share(int64_t tile, Tile& to) const {
    const int64_t halves = 2 * width, each = tiles >= halves ? 1 : 2;
    for (int64_t i = 0; i < 2; ++i) {
      const int64_t half = tile * each + i;
      to.next_w[i] = w && i < each && half < halves ? w + half / 2 * panel_stride + half % 2 * (k / 16 * 128) : nullptr;
    }
  }
};

// Output pixel of a problem, counted over images, rows and columns. Finding one costs divisions; the next is an
// addition.
struct Pixel {
  int64_t image, h, w;

  TESELA_INLINE Pixel(const Contraction& problem, int64_t index) {
    const int64_t plane = problem.rows_h * problem.rows_w, within = index % plane;
    image = index / plane, h = within / problem.rows_w, w = within % problem.rows_w;
  }
  TESELA_INLINE void advance(const Contraction& problem) {
    if (++w < problem.rows_w) return;
    w = 0;
    if (++h < problem.rows_h) return;
    h = 0, ++image;
  }
};

// A source of a blocked plane's pixels, which are packed already: 16 products of neighbouring pixels are contiguous,
// and the next 16 are one plane further.
struct BlockedRows {
  static constexpr bool gathered = false;
  static constexpr auto& tiles = packed_tiles;
  const float* x;  // first pixel
  int64_t plane_stride;

  void pack(const Cut&, int64_t, int64_t) const {}
  const float* a(int64_t row, int64_t k) const { return x + row * 16 + k / 16 * plane_stride; }
  int64_t block_stride(int) const { return plane_stride; }
};

// Where the results of output pixels [begin, begin + count) go.
TESELA_INLINE void place_pixels(const ContractionArgs& args, const Contraction& problem, const ContractionOperands& io,
                                int64_t begin, int64_t count, TileRow* rows) {
  Pixel p(problem, begin);
  for (int64_t i = 0; i < count; ++i, p.advance(problem)) {
    const int64_t pixel = (problem.offset_h + p.h * args.step_h) * args.OW + problem.offset_w + p.w * args.step_w;
    const int64_t within = pixel * args.y_pixel_stride;
    rows[i] = {p.image * io.y_image_stride + within, p.image * io.residual_image_stride + within};
  }
}

// One slice of products of a task: its weights, from the task's first panel on, and those that come after it.
struct Slice {
  int64_t k, count;
  const float* w;
  int64_t panel_stride;
  const float* next;  // null: nothing comes next
};

// Source: tiles is its table; place(count, rows) says where results go; pack(cut, k, count) readies a slice; a(row, k)
// is the address of a tile's first product in it. A packed one adds block_stride(height), the distance to the next 16
// products; a gathered one offsets(k), and its tiles stay within a row of pixels.
template <class Source>
TESELA_INLINE void multiply_slice(const ContractionArgs& args, const Contraction& problem, const ContractionTask& task,
                                  const ContractionOperands& io, const Source& source, const Cut& cut,
                                  const TileRow* rows, const Slice& slice) {
  const int64_t image = io.gate ? task.row_begin / (problem.rows_h * problem.rows_w) : 0;  // of all rows, with a gate
  const int widest = tile_panels(cut.height(0));
  for (int panel = task.panel_begin; panel < task.panel_end;) {
    int width = smaller(widest, task.panel_end - panel);
    if (width == 3) width = 2;
    const int64_t output_panel = problem.panel + panel;
    Tile tile;
    tile.k = slice.count;
    tile.w = slice.w + (panel - task.panel_begin) * slice.panel_stride;
    tile.w_panel_stride = slice.panel_stride;
    tile.y = io.y + output_panel * args.y_plane_stride;
    tile.residual = io.residual ? io.residual + output_panel * args.y_plane_stride : nullptr;
    tile.y_panel_stride = args.y_plane_stride;
    tile.bias = args.bias ? args.bias + output_panel * 16 : nullptr;
    tile.gate = io.gate ? io.gate + image * io.gate_image_stride + output_panel * 16 : nullptr;
    tile.first = slice.k == 0;
    tile.last = slice.k + slice.count >= problem.k;
    tile.lanes_in_last = output_panel + width == args.total_panels ? static_cast<int>(args.last_panel_lanes) : 16;
    if constexpr (Source::gathered) tile.offsets = source.offsets(slice.k);
    const float* next = panel + width < task.panel_end ? tile.w + width * slice.panel_stride : slice.next;
    const NextWeights weights{next, slice.panel_stride, slice.count, width, cut.tiles()};
    int64_t index = 0;
    for (TileRows at(cut); at.valid(); at.next()) {
      weights.share(index++, tile);
      tile.a = source.a(at.begin, slice.k);
      tile.rows = rows + at.begin;
      if constexpr (!Source::gathered) tile.a_block_stride = source.block_stride(at.height);
      Source::tiles[at.height - 1][width / 2](args, tile);
    }
    panel += width;
  }
}

template <class Source>
TESELA_INLINE void contract(const ContractionArgs& args, const Contraction& problem, const ContractionTask& task,
                            const ContractionOperands& io, Source& source, TileRow* rows) {
  const int64_t count_rows = task.row_end - task.row_begin;
  const Cut cut(count_rows, Source::gathered ? problem.rows_w : count_rows);
  source.place(cut.rows, rows);
  const float* w = problem.w + task.panel_begin * problem.panel_stride;
  for (int64_t k = 0; k < problem.k || k == 0; k += args.kc) {
    const int64_t count = smaller(args.kc, problem.k - k);
    source.pack(cut, k, count);
    const float* next = k + count < problem.k ? w + (k + count) * 16 : nullptr;
    multiply_slice(args, problem, task, io, source, cut, rows, {k, count, w + k * 16, problem.panel_stride, next});
  }
}

// Scratch of a task: its rows' places, then the packed slice.
TESELA_INLINE float* after_rows(TileRow* rows, int64_t count) {
  const uintptr_t end = reinterpret_cast<uintptr_t>(rows + count);
  return reinterpret_cast<float*>((end + 63) / 64 * 64);
}

}  // namespace tesela::TESELA_ISA
