// What the kernels of pool2d share: the reductions, and how far a window reaches.
//
// Sums run in groups of four rows and in four accumulators along the row: the error grows with H/4 + W/4, not H*W.

#pragma once

#include "rows.h"

namespace tesela::TESELA_ISA {

// `nothing` leaves every other value as it is, a zero's sign too.
struct Maximum {  // a NaN wins
  static constexpr float nothing = -__builtin_inff();
  static TESELA_INLINE vfloat of(vfloat a, vfloat b) { return max_propagating(a, b); }
};
struct Sum {
  static constexpr float nothing = -0.0f;
  static TESELA_INLINE vfloat of(vfloat a, vfloat b) { return a + b; }
};

// ------------------------------------------------------------------------------------------------- down the rows

// `first`: to is written, else it takes part. `load_at` and `store_at` are of whole vectors, or of a row's last floats.
template <class Reduce, int rows, bool first, class Load, class Store>
TESELA_INLINE void reduce_vector(const float* x, int64_t row_stride, float* to, const Load& load_at,
                                 const Store& store_at) {
  vfloat value = load_at(x);
  if constexpr (rows >= 2) value = Reduce::of(value, load_at(x + row_stride));
  if constexpr (rows == 3) value = Reduce::of(value, load_at(x + 2 * row_stride));
  if constexpr (rows == 4) {
    value = Reduce::of(value, Reduce::of(load_at(x + 2 * row_stride), load_at(x + 3 * row_stride)));
  }
  store_at(to, first ? value : Reduce::of(load_at(to), value));
}

template <class Reduce, int rows, bool first>
TESELA_INLINE void reduce_few_rows(const float* x, int64_t row_stride, int64_t floats, float* to) {
  int64_t i = 0;
  for (; i + lanes <= floats; i += lanes) {
    reduce_vector<Reduce, rows, first>(
        x + i, row_stride, to + i, [](const float* p) { return load(p); }, [](float* p, vfloat v) { store(p, v); });
  }
  if (const int rest = static_cast<int>(floats - i); rest > 0) {
    reduce_vector<Reduce, rows, first>(
        x + i, row_stride, to + i, [=](const float* p) { return load_partial(p, rest); },
        [=](float* p, vfloat v) { store_partial(p, v, rest); });
  }
}

template <class Reduce, bool first>
TESELA_INLINE void reduce_up_to_4_rows(const float* x, int64_t row_stride, int64_t rows, int64_t floats, float* to) {
  switch (rows) {
    case 1:
      return reduce_few_rows<Reduce, 1, first>(x, row_stride, floats, to);
    case 2:
      return reduce_few_rows<Reduce, 2, first>(x, row_stride, floats, to);
    case 3:
      return reduce_few_rows<Reduce, 3, first>(x, row_stride, floats, to);
    default:
      return reduce_few_rows<Reduce, 4, first>(x, row_stride, floats, to);
  }
}

// At least one row.
template <class Reduce>
TESELA_INLINE void reduce_rows(const float* x, int64_t row_stride, int64_t rows, int64_t floats, float* to) {
  reduce_up_to_4_rows<Reduce, true>(x, row_stride, rows, floats, to);
  for (int64_t row = 4; row < rows; row += 4) {
    reduce_up_to_4_rows<Reduce, false>(x + row * row_stride, row_stride, rows - row, floats, to);
  }
}

// -------------------------------------------------------------------------------------------------- along the row

// At least one pixel. Four accumulators, since a long window is otherwise bound by the latency of one addition.
template <class Reduce>
TESELA_INLINE vfloat reduce_pixels(const float* x, int64_t pixel_stride, int64_t pixels) {
  if (pixels < 4) {
    vfloat value = load(x);
    if (pixels > 1) value = Reduce::of(value, load(x + pixel_stride));
    if (pixels > 2) value = Reduce::of(value, load(x + 2 * pixel_stride));
    return value;
  }
  vfloat part[4];
  for (int j = 0; j < 4; ++j) part[j] = load(x + j * pixel_stride);
  int64_t i = 4;
  for (; i + 4 <= pixels; i += 4) {
    for (int j = 0; j < 4; ++j) part[j] = Reduce::of(part[j], load(x + (i + j) * pixel_stride));
  }
  for (; i < pixels; ++i) part[0] = Reduce::of(part[0], load(x + i * pixel_stride));
  return Reduce::of(Reduce::of(part[0], part[1]), Reduce::of(part[2], part[3]));
}

// The taps k of [0, taps) for which origin + k * dilation lies in [0, size).
TESELA_INLINE Range taps_inside(int64_t origin, int64_t taps, int64_t dilation, int64_t size) {
  if (origin >= 0 && origin + (taps - 1) * dilation < size) return {0, taps};  // nearly always; divisions are slow
  const int64_t begin = origin >= 0 ? 0 : (-origin + dilation - 1) / dilation;
  const int64_t end = origin >= size ? 0 : smaller(taps, (size - 1 - origin) / dilation + 1);
  return {begin, end};
}

}  // namespace tesela::TESELA_ISA
