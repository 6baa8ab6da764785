// Between plain and blocked tensors, and pixel_shuffle.
//
//   blocked[n, c / 16, p, c % 16] = plain[n, c, p],  p = h * W + w
//   y[n, c, h*r + i, w*r + j] = x[n, c*r*r + i*r + j, h, w]
//
// convert: a task is a range of strips of pixels of one block. Tiles of 8 x 8 (generic 4 x 4; AVX-512 too has 8 x 8, as
// memory is the limit) are transposed in registers, 16 pixels at a time, so that a cache line of a plain row is used up
// at once although the 16 rows often share a set of the L1 cache. The last pixels of a strip go one by one.
// pixel_shuffle: plain tensors, a task is a range of output rows; each interleaves r input rows.
// Measured: docs/performance.md has them by layer, docs/kernels/memory_bound.md says why.

#include "declarations.h"
#include "rows.h"

namespace tesela::TESELA_ISA {
namespace {

// ----------------------------------------------------------------------------------------------------- transpose

// transpose_tile: to[j * to_stride + i] = from[i * from_stride + j] for i and j below `tile`. Rows of `from` at or past
// in_rows are taken as zero, rows of `to` at or past out_rows are not written.

#if defined(TESELA_ISA_avx2) || defined(TESELA_ISA_avx512)

constexpr int64_t tile = 8;

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

constexpr int64_t tile = 4;

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

// Both do the pixels that fill whole tiles and return how many.
int64_t transpose_to_blocked(const float* x, int64_t x_stride, int64_t channels, float* y, int64_t pixels) {
  const int64_t whole = pixels / tile * tile;
  for (int64_t group = 0; group < whole; group += 16) {
    for (int64_t c = 0; c < 16; c += tile) {
      for (int64_t p = group; p < smaller(group + 16, whole); p += tile) {
        transpose_tile(x + c * x_stride + p, x_stride, channels - c, y + p * 16 + c, 16, tile);
      }
    }
  }
  return whole;
}

int64_t transpose_to_plain(const float* x, int64_t channels, float* y, int64_t y_stride, int64_t pixels) {
  const int64_t whole = pixels / tile * tile;
  for (int64_t group = 0; group < whole; group += 16) {
    for (int64_t c = 0; c < channels; c += tile) {
      for (int64_t p = group; p < smaller(group + 16, whole); p += tile) {
        transpose_tile(x + p * 16 + c, 16, tile, y + c * y_stride + p, y_stride, channels - c);
      }
    }
  }
  return whole;
}

// ---------------------------------------------------------------------------------------------------- interleave

template <int factor>
void interleave(const float* x, int64_t x_stride, float* y, int64_t n) {
  for (int64_t w = 0; w < n; ++w) {
    TESELA_UNROLL(4)
    for (int j = 0; j < factor; ++j) y[w * factor + j] = x[j * x_stride + w];
  }
}

struct Strip {
  int64_t n, block, first, pixels, channels;
};

TESELA_INLINE Strip strip_of(const cpu::ConvertArgs& args, int64_t unit) {
  const PlaneRow at = plane_row(unit, args.blocks, args.strips);
  const int64_t first = at.row * args.strip;
  const int64_t pixels = smaller(args.strip, args.pixels - first);
  return {at.n, at.block, first, pixels, smaller<int64_t>(16, args.C - at.block * 16)};
}

}  // namespace

// -------------------------------------------------------------------------------------------------------- kernels

void plain_to_blocked(const cpu::ConvertArgs& args, const cpu::MapOperands& operands, int64_t task) {
  const Range units = units_of(args.units, task);
  for (int64_t unit = units.begin; unit < units.end; ++unit) {
    const Strip s = strip_of(args, unit);
    const float* x = operands.x + (s.n * args.C + s.block * 16) * args.pixels + s.first;
    float* y = operands.y + s.n * operands.y_image_stride + s.block * args.plane_stride + s.first * 16;
    for (int64_t p = transpose_to_blocked(x, args.pixels, s.channels, y, s.pixels); p < s.pixels; ++p) {
      for (int64_t c = 0; c < s.channels; ++c) y[p * 16 + c] = x[c * args.pixels + p];
      for (int64_t c = s.channels; c < 16; ++c) y[p * 16 + c] = 0.0f;
    }
  }
}

void blocked_to_plain(const cpu::ConvertArgs& args, const cpu::MapOperands& operands, int64_t task) {
  const Range units = units_of(args.units, task);
  for (int64_t unit = units.begin; unit < units.end; ++unit) {
    const Strip s = strip_of(args, unit);
    const float* x = operands.x + s.n * operands.x_image_stride + s.block * args.plane_stride + s.first * 16;
    float* y = operands.y + (s.n * args.C + s.block * 16) * args.pixels + s.first;
    const int64_t done = transpose_to_plain(x, s.channels, y, args.pixels, s.pixels);
    for (int64_t c = 0; c < s.channels; ++c) {
      for (int64_t p = done; p < s.pixels; ++p) y[c * args.pixels + p] = x[p * 16 + c];
    }
  }
}

void pixel_shuffle(const cpu::PixelShuffleArgs& args, const cpu::MapOperands& operands, int64_t task) {
  const Range rows = units_of(args.rows, task);
  const int64_t r = args.factor, plane = args.H * args.W;
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const int64_t channel = row / (args.H * r), oh = row % (args.H * r);
    const float* x = operands.x + (channel * r + oh % r) * r * plane + oh / r * args.W;
    float* y = operands.y + row * args.W * r;
    switch (r) {
      case 2:
        interleave<2>(x, plane, y, args.W);
        break;
      case 3:
        interleave<3>(x, plane, y, args.W);
        break;
      case 4:
        interleave<4>(x, plane, y, args.W);
        break;
      default:
        for (int64_t w = 0; w < args.W; ++w) {
          for (int64_t j = 0; j < r; ++j) y[w * r + j] = x[j * plane + w];
        }
    }
  }
}

}  // namespace tesela::TESELA_ISA
