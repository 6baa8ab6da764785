// Rows of a plain matrix for products with weights in bfloat16, which lie two to a unit of 32 bits: product k of a
// block of 32 in the low half of unit k, product 16 + k in its high half.

#pragma once

#include "contraction.h"

namespace tesela::TESELA_ISA {

// Form::unit_rows: 16 floats that a row takes for 16 units; Form::store(to, stride, first, second) writes them from a
// vector of the first 16 products and one of the second.
template <class Form, TileFunction* const (&table)[14][3]>
struct Bfloat16Rows {
  static constexpr bool gathered = false;
  static constexpr auto& tiles = table;
  const ContractionArgs& args;
  const ContractionOperands& io;
  int64_t row_begin;
  float* packed;
  int64_t slice;  // floats of a packed row

  void place(int64_t count, TileRow* rows) const {
    for (int64_t i = 0; i < count; ++i) rows[i] = {(row_begin + i) * args.y_pixel_stride, 0};
  }

  // k and count are units.
  void pack(const Cut& cut, int64_t k, int64_t count) {
    slice = count * Form::unit_rows;
    for (TileRows tile(cut); tile.valid(); tile.next()) {
      const int64_t stride = tile.height * 16;
      for (int r = 0; r < tile.height; ++r) {
        const float* x = io.x + (row_begin + tile.begin + r) * args.lda;
        float* to = packed + tile.begin * slice + r * 16;
        for (int64_t block = 0; block < count / 16; ++block, to += Form::unit_rows * stride) {
          const int64_t first = 2 * k + block * 32;
          for (int v = 0; v < 16; v += lanes) {
            Form::store(to + v, stride, part(x, first + v), part(x, first + 16 + v));
          }
        }
      }
    }
  }

  // A vector of products, zeros beyond the last.
  TESELA_INLINE vfloat part(const float* x, int64_t k) const {
    const int64_t left = args.lda - k;
    return left >= lanes ? load(x + k) : left > 0 ? load_partial(x + k, static_cast<int>(left)) : zero();
  }

  const float* a(int64_t row, int64_t) const { return packed + row * slice; }
  int64_t block_stride(int height) const { return height * 16; }

  static void run(const ContractionArgs& args, const ContractionOperands& io, int64_t index) {
    const ContractionTask& task = args.tasks[index];
    TileRow* rows = reinterpret_cast<TileRow*>(io.scratch);
    Bfloat16Rows source{args, io, task.row_begin, after_rows(rows, task.row_end - task.row_begin), 0};
    contract(args, args.problems[task.problem], task, io, source, rows);
  }
};

}  // namespace tesela::TESELA_ISA
