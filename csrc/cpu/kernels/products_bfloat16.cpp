// conv2d and linear from products of bfloat16, sums in float32, on CPUs with AVX512_BF16.
//
//   y = activation(bias + sum over k of bfloat16(x[k]) * bfloat16(w[k]) + residual)
//
// An instruction multiplies two pairs of bfloat16 in each lane and adds both products to a float. So a unit of 32 bits
// holds a pair, of a channel and the one 16 further, and the register tile (tile.h) runs over half as many units as
// there are products. Tensors stay float32; rows are rounded to nearest even when they are packed. Limits: the
// instruction takes denormal numbers for zero and rounds twice; a row is packed for 1x1 kernels too.
//
// Measured: docs/kernels/bfloat16.md.

#include "bfloat16_rows.h"
#include "tile.h"

namespace tesela::TESELA_ISA {
namespace {

TESELA_INLINE __m512i rounded(vfloat x) {
  return _mm512_cvtepu16_epi32(reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x.v)));
}

struct Bfloat16Pairs {
  static constexpr bool gathered = false;
  static constexpr int halves = 1, unit_rows = 1, registers = 0;
  template <int half>
  TESELA_INLINE static vfloat weights(const float* w) {
    return load(w);
  }
  TESELA_INLINE static vfloat multiply_add(vfloat a, vfloat w, vfloat sum) {
    return {_mm512_dpbf16_ps(sum.v, reinterpret_cast<__m512bh>(a.v), reinterpret_cast<__m512bh>(w.v))};
  }
  TESELA_INLINE static void store(float* to, int64_t, vfloat first, vfloat second) {
    const __m512i pairs = _mm512_or_si512(rounded(first), _mm512_slli_epi32(rounded(second), 16));
    TESELA_ISA::store(to, {_mm512_castsi512_ps(pairs)});
  }
};

constexpr TileFunction* pair_tiles[14][3] = TESELA_ALL_TILES(Bfloat16Pairs);

struct DirectPairs {
  static constexpr bool gathered = false;
  static constexpr auto& tiles = pair_tiles;
  const ContractionArgs& args;
  const Contraction& problem;
  const ContractionOperands& io;
  int64_t row_begin;
  float* packed;
  int64_t slice;  // units of a packed row

  void place(int64_t count, TileRow* rows) const { place_pixels(args, problem, io, row_begin, count, rows); }

  void pack(const Cut& cut, int64_t k, int64_t count) {
    slice = count;
    const int64_t pairs = (problem.ic_blocks + 1) / 2;  // of blocks, in each tap
    Pixel pixel(problem, row_begin);
    for (TileRows tile(cut); tile.valid(); tile.next()) {
      const int64_t stride = tile.height * 16;
      for (int r = 0; r < tile.height; ++r, pixel.advance(problem)) {
        const float* x = io.x + pixel.image * io.x_image_stride + problem.ic_block * args.x_plane_stride;
        float* to = packed + tile.begin * slice + r * 16;
        int64_t pair = k / 16 % pairs, tap = k / 16 / pairs;
        for (int64_t left = count / 16; left > 0; ++tap, pair = 0) {
          const int64_t h = pixel.h * args.stride_h + problem.taps[2 * tap];
          const int64_t w = pixel.w * args.stride_w + problem.taps[2 * tap + 1];
          const bool inside = h >= 0 && h < args.IH && w >= 0 && w < args.IW;
          const float* from = x + (h * args.IW + w) * 16;
          for (; pair < pairs && left > 0; ++pair, --left, to += stride) {
            const float* first = from + 2 * pair * args.x_plane_stride;
            const bool both = inside && 2 * pair + 1 < problem.ic_blocks;
            Bfloat16Pairs::store(to, 0, inside ? load(first) : zero(),
                                 both ? load(first + args.x_plane_stride) : zero());
          }
        }
      }
    }
  }

  const float* a(int64_t row, int64_t) const { return packed + row * slice; }
  int64_t block_stride(int height) const { return height * 16; }
};

}  // namespace

void conv2d_products_bfloat16(const ContractionArgs& args, const ContractionOperands& io, int64_t index) {
  const ContractionTask& task = args.tasks[index];
  const Contraction& problem = args.problems[task.problem];
  TileRow* rows = reinterpret_cast<TileRow*>(io.scratch);
  DirectPairs source{args, problem, io, task.row_begin, after_rows(rows, task.row_end - task.row_begin), 0};
  contract(args, problem, task, io, source, rows);
}

void linear_products_bfloat16(const ContractionArgs& args, const ContractionOperands& io, int64_t index) {
  Bfloat16Rows<Bfloat16Pairs, pair_tiles>::run(args, io, index);
}

}  // namespace tesela::TESELA_ISA
