// Rows of floats to blocks of 16 lanes, and back: block[p * 16 + c] = row c[p].
//
// Tiles of 8 x 8 (generic 4 x 4; AVX-512 too has 8 x 8, as memory is the limit) are transposed in registers, 16 pixels
// at a time, so that a cache line of a row is used up at once although the 16 rows often share a set of the L1 cache.
// The last pixels go one by one.

#pragma once

#include "../simd.h"

namespace tesela::TESELA_ISA {
namespace {

// transpose_tile: to[j * to_stride + i] = from[i * from_stride + j] for i and j below transpose_side. Rows of `from` at
// or past in_rows are taken as zero, rows of `to` at or past out_rows are not written.

#if defined(TESELA_ISA_avx2) || defined(TESELA_ISA_avx512)

constexpr int64_t transpose_side = 8;

TESELA_INLINE void transpose_tile(const float* from, int64_t from_stride, int64_t in_rows, float* to, int64_t to_stride,
                                  int64_t out_rows) {
  // Rows i and i + 4 in the halves of a vector from the start, so that no shuffle crosses them.
  const auto halves = [&](int i, int column) {
    const float* row = from + i * from_stride + column;
    const __m128 low = i < in_rows ? _mm_loadu_ps(row) : _mm_setzero_ps();
    const __m128 high = i + 4 < in_rows ? _mm_loadu_ps(row + 4 * from_stride) : _mm_setzero_ps();
    return _mm256_insertf128_ps(_mm256_castps128_ps256(low), high, 1);
  };
  TESELA_UNROLL(2)
  for (int column = 0; column < 8; column += 4) {
    const __m256 r0 = halves(0, column), r1 = halves(1, column), r2 = halves(2, column), r3 = halves(3, column);
    const __m256 low01 = _mm256_unpacklo_ps(r0, r1), low23 = _mm256_unpacklo_ps(r2, r3);
    const __m256 high01 = _mm256_unpackhi_ps(r0, r1), high23 = _mm256_unpackhi_ps(r2, r3);
    const __m256 columns[4] = {_mm256_shuffle_ps(low01, low23, _MM_SHUFFLE(1, 0, 1, 0)),
                               _mm256_shuffle_ps(low01, low23, _MM_SHUFFLE(3, 2, 3, 2)),
                               _mm256_shuffle_ps(high01, high23, _MM_SHUFFLE(1, 0, 1, 0)),
                               _mm256_shuffle_ps(high01, high23, _MM_SHUFFLE(3, 2, 3, 2))};
    TESELA_UNROLL(4)
    for (int i = 0; i < 4; ++i) {
      if (column + i < out_rows) _mm256_storeu_ps(to + (column + i) * to_stride, columns[i]);
    }
  }
}

#else

constexpr int64_t transpose_side = 4;

TESELA_INLINE void transpose_tile(const float* from, int64_t from_stride, int64_t in_rows, float* to, int64_t to_stride,
                                  int64_t out_rows) {
  typedef float quad __attribute__((vector_size(16)));
  quad r[4] = {};
  TESELA_UNROLL(4)
  for (int i = 0; i < 4; ++i) {
    if (i < in_rows) __builtin_memcpy(&r[i], from + i * from_stride, sizeof r[i]);
  }
  const quad low01 = __builtin_shufflevector(r[0], r[1], 0, 4, 1, 5);
  const quad low23 = __builtin_shufflevector(r[2], r[3], 0, 4, 1, 5);
  const quad high01 = __builtin_shufflevector(r[0], r[1], 2, 6, 3, 7);
  const quad high23 = __builtin_shufflevector(r[2], r[3], 2, 6, 3, 7);
  r[0] = __builtin_shufflevector(low01, low23, 0, 1, 4, 5);
  r[1] = __builtin_shufflevector(low01, low23, 2, 3, 6, 7);
  r[2] = __builtin_shufflevector(high01, high23, 0, 1, 4, 5);
  r[3] = __builtin_shufflevector(high01, high23, 2, 3, 6, 7);
  TESELA_UNROLL(4)
  for (int i = 0; i < 4; ++i) {
    if (i < out_rows) __builtin_memcpy(to + i * to_stride, &r[i], sizeof r[i]);
  }
}

#endif

// Lanes past the rows that there are become zero.
TESELA_INLINE void transpose_to_block(const float* x, int64_t x_stride, int64_t channels, float* y, int64_t pixels) {
  const int64_t whole = pixels / transpose_side * transpose_side;
  for (int64_t group = 0; group < whole; group += 16) {
    for (int64_t c = 0; c < 16; c += transpose_side) {
      for (int64_t p = group; p < smaller(group + 16, whole); p += transpose_side) {
        transpose_tile(x + c * x_stride + p, x_stride, channels - c, y + p * 16 + c, 16, transpose_side);
      }
    }
  }
  for (int64_t p = whole; p < pixels; ++p) {
    for (int64_t c = 0; c < channels; ++c) y[p * 16 + c] = x[c * x_stride + p];
    for (int64_t c = channels; c < 16; ++c) y[p * 16 + c] = 0.0f;
  }
}

TESELA_INLINE void transpose_from_block(const float* x, int64_t channels, float* y, int64_t y_stride, int64_t pixels) {
  const int64_t whole = pixels / transpose_side * transpose_side;
  for (int64_t group = 0; group < whole; group += 16) {
    for (int64_t c = 0; c < channels; c += transpose_side) {
      for (int64_t p = group; p < smaller(group + 16, whole); p += transpose_side) {
        transpose_tile(x + p * 16 + c, 16, transpose_side, y + c * y_stride + p, y_stride, channels - c);
      }
    }
  }
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t p = whole; p < pixels; ++p) y[c * y_stride + p] = x[p * 16 + c];
  }
}

}  // namespace
}  // namespace tesela::TESELA_ISA
