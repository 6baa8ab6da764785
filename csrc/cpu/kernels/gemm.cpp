// gemm and linear: y[m, n] = activation(alpha * sum over k of a[m, k] * b[k, n] + bias[n] + beta * c[m, n]), all plain.
//
// The rows of contraction.h are the rows of op(a), its panels 16 columns of op(b), packed by the planner when b is a
// parameter and by each task, block by block, when it is not. a is packed slice by slice: 16 products of a row are
// contiguous when a is row-major (gemm_rows) and lda apart when it is transposed (gemm_columns).
//
// Measured: 5 layers at 6 to 68 % of the ceiling, median 11 %;
// AMD EPYC, avx512, 2 threads, 2026-11-28; docs/performance.md.

#include "contraction.h"
#include "transpose.h"

namespace tesela::TESELA_ISA {
namespace {

template <bool transposed>
struct Rows {
  static constexpr bool gathered = false;
  static constexpr auto& tiles = packed_tiles;
  const ContractionArgs& args;
  const ContractionOperands& io;
  int64_t row_begin;
  float* packed;
  int64_t slice;

  void place(int64_t count, TileRow* rows) const {
    for (int64_t i = 0; i < count; ++i) {
      const int64_t y = (row_begin + i) * args.y_pixel_stride;
      rows[i] = {y, args.residual_is_row ? 0 : y};
    }
  }

  void pack(const Cut& cut, int64_t k, int64_t count) {
    slice = (count + 15) / 16 * 16;
    for (TileRows tile(cut); tile.valid(); tile.next()) {
      const int64_t begin = tile.begin;
      const int height = tile.height;
      float* to = packed + begin * slice;
      for (int64_t block = 0; block * 16 < count; ++block, to += height * 16) {
        const int valid = static_cast<int>(smaller<int64_t>(16, count - block * 16));
        for (int r = 0; r < height; ++r) copy(to + r * 16, row_begin + begin + r, k + block * 16, valid);
      }
    }
  }

  TESELA_INLINE void copy(float* to, int64_t row, int64_t k, int valid) const {
    if (transposed) {
      for (int i = 0; i < valid; ++i) to[i] = io.x[(k + i) * args.lda + row];
    } else if (valid == 16) {
      for (int v = 0; v < block_vectors; ++v) store(to + v * lanes, load(io.x + row * args.lda + k + v * lanes));
    } else {
      for (int i = 0; i < valid; ++i) to[i] = io.x[row * args.lda + k + i];
    }
  }

  const float* a(int64_t row, int64_t) const { return packed + row * slice; }
  int64_t block_stride(int height) const { return height * 16; }
};

// Products [k, k + count) of panels [panel, panel + panels) of op(b).
void pack_panels(const cpu::PackPanelArgs& args, const float* b, int64_t panel, int64_t panels, int64_t k,
                 int64_t count, float* to, int64_t panel_stride) {
  if (args.transposed) {
    for (int64_t p = 0; p < panels; ++p) {
      const int64_t first = (panel + p) * 16;
      transpose_to_block(b + first * args.ldb + k, args.ldb, smaller<int64_t>(16, args.columns - first),
                         to + p * panel_stride, count);
    }
    return;
  }
  constexpr int64_t abreast = 16;  // a kilobyte of a row of b is read on end, and 16 panels grow side by side
  for (int64_t group = 0; group < panels; group += abreast) {
    const int64_t first = (panel + group) * 16, end = smaller(group + abreast, panels);
    const int64_t full = smaller(end, args.columns / 16 - panel);
    for (int64_t i = 0; i < count; ++i) {
      const float* from = b + (k + i) * args.ldb + first;
      float* line = to + group * panel_stride + i * 16;
      const int64_t ahead = i + 8 < count ? 8 * args.ldb : 0;
      for (int64_t p = group; p < full; ++p, from += 16, line += panel_stride) {
        __builtin_prefetch(from + ahead, 0, 2);
        TESELA_UNROLL(4)
        for (int v = 0; v < 16; v += lanes) store(line + v, load(from + v));
      }
      if (full < end) {
        const int64_t valid = args.columns % 16;
        for (int64_t j = 0; j < 16; ++j) line[j] = j < valid ? from[j] : 0.0f;
      }
    }
  }
}

// With op(b) packed a block of panels and a slice of products at a time, into scratch of the task: what a thread packs
// stays in its own caches, and is read as often as the task has blocks of rows.
template <bool transposed>
void pack_and_multiply(const ContractionArgs& args, const Contraction& problem, const ContractionTask& task,
                       const ContractionOperands& io) {
  TileRow* rows = reinterpret_cast<TileRow*>(io.scratch);
  float* packed_a = after_rows(rows, args.block_rows);
  float* packed_b = packed_a + args.block_rows * args.kc;
  const int64_t count_rows = task.row_end - task.row_begin;
  const int64_t row_blocks = (count_rows + args.block_rows - 1) / args.block_rows;
  for (int64_t panel = task.panel_begin; panel < task.panel_end; panel += args.block_panels) {
    ContractionTask part = task;
    part.panel_begin = static_cast<int32_t>(panel);
    part.panel_end = static_cast<int32_t>(smaller<int64_t>(panel + args.block_panels, task.panel_end));
    for (int64_t k = 0; k < problem.k || k == 0; k += args.kc) {
      const int64_t count = smaller(args.kc, problem.k - k);
      pack_panels(args.b, io.b, panel, part.panel_end - panel, k, count, packed_b, args.block_panel_stride);
      for (int64_t block = 0; block < row_blocks; ++block) {
        part.row_begin = task.row_begin + count_rows * block / row_blocks;
        part.row_end = task.row_begin + count_rows * (block + 1) / row_blocks;
        const Cut cut(part.row_end - part.row_begin, part.row_end - part.row_begin);
        Rows<transposed> source{args, io, part.row_begin, packed_a, 0};
        source.place(cut.rows, rows);
        source.pack(cut, k, count);
        multiply_slice(args, problem, part, io, source, cut, rows,
                       {k, count, packed_b, args.block_panel_stride, nullptr});
      }
    }
  }
}

template <bool transposed>
void gemm(const ContractionArgs& args, const ContractionOperands& io, int64_t index) {
  const ContractionTask& task = args.tasks[index];
  const Contraction& problem = args.problems[task.problem];
  if (io.b) return pack_and_multiply<transposed>(args, problem, task, io);
  TileRow* rows = reinterpret_cast<TileRow*>(io.scratch);
  Rows<transposed> source{args, io, task.row_begin, after_rows(rows, task.row_end - task.row_begin), 0};
  contract(args, problem, task, io, source, rows);
}

}  // namespace

void gemm_rows(const ContractionArgs& args, const ContractionOperands& io, int64_t index) {
  gemm<false>(args, io, index);
}
void gemm_columns(const ContractionArgs& args, const ContractionOperands& io, int64_t index) {
  gemm<true>(args, io, index);
}

void gemm_pack_panel(const cpu::PackPanelArgs& args, const float* b, float* packed, int64_t panel) {
  pack_panels(args, b, panel, 1, 0, args.k, packed + panel * args.k * 16, 0);
}

}  // namespace tesela::TESELA_ISA
