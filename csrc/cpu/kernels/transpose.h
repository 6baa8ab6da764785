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
  __m256 r[8], t[8];
  TESELA_UNROLL(8)
  for (int i = 0; i < 8; ++i) r[i] = i < in_rows ? _mm256_loadu_ps(from + i * from_stride) : _mm256_setzero_ps();
  TESELA_UNROLL(4)
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
  }
  TESELA_UNROLL(2)
  for (int i = 0; i < 8; i += 4) {
    r[i] = _mm256_shuffle_ps(t[i], t[i + 2], _MM_SHUFFLE(1, 0, 1, 0));
    r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], _MM_SHUFFLE(3, 2, 3, 2));
    r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], _MM_SHUFFLE(1, 0, 1, 0));
    r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], _MM_SHUFFLE(3, 2, 3, 2));
  }
  TESELA_UNROLL(4)
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
    t[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
  }
  TESELA_UNROLL(8)
  for (int i = 0; i < 8; ++i) {
    if (i < out_rows) _mm256_storeu_ps(to + i * to_stride, t[i]);
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
