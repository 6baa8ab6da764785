// gemm and linear: y[m, n] = activation(alpha * sum over k of a[m, k] * b[k, n] + bias[n] + beta * c[m, n]), all plain.
//
// The rows of contraction.h are the rows of op(a), its panels 16 columns of op(b), packed by the planner when b is a
// parameter and by gemm_pack_panel at run time when it is not. a is packed slice by slice: 16 products of a row are
// contiguous when a is row-major (gemm_rows) and lda apart when it is transposed (gemm_columns).
//
// Measured: 5 layers at 6 to 74 % of the ceiling, median 10 %;
// AMD EPYC, avx512, 2 threads, 2026-11-25; docs/performance.md.

#include "contraction.h"

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

template <bool transposed>
void gemm(const ContractionArgs& args, const ContractionOperands& io, int64_t index) {
  const ContractionTask& task = args.tasks[index];
  TileRow* rows = reinterpret_cast<TileRow*>(io.scratch);
  Rows<transposed> source{args, io, task.row_begin, after_rows(rows, task.row_end - task.row_begin), 0};
  Contraction problem = args.problems[task.problem];
  if (io.w) problem.w = io.w;
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
  float* to = packed + panel * args.k * 16;
  const int64_t first = panel * 16;
  const int valid = static_cast<int>(smaller<int64_t>(16, args.columns - first));
  if (args.transposed) {
    constexpr int64_t stretch = 64;  // of every column in turn: read 16 abreast, they may all fall into one set of L1
    for (int64_t begin = 0; begin < args.k; begin += stretch) {
      const int64_t end = smaller(begin + stretch, args.k);
      for (int j = 0; j < 16; ++j) {
        const float* column = b + (first + j) * args.ldb;
        for (int64_t k = begin; k < end; ++k) to[k * 16 + j] = j < valid ? column[k] : 0.0f;
      }
    }
    return;
  }
  for (int64_t k = 0; k < args.k; ++k, to += 16) {
    if (valid == 16) {
      for (int v = 0; v < block_vectors; ++v) store(to + v * lanes, load(b + k * args.ldb + first + v * lanes));
    } else {
      for (int j = 0; j < 16; ++j) to[j] = j < valid ? b[k * args.ldb + first + j] : 0.0f;
    }
  }
}

}  // namespace tesela::TESELA_ISA
