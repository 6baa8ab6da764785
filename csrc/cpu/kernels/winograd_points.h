// The transforms of Winograd's minimal filtering along one axis, for conv2d_winograd.cpp.
//
//   input: n pixels to n points, B^T d;  output: n sums to m pixels, A^T s
//
// The matrices follow from the points (../conv2d_winograd.cpp), which are symmetric, so that a pair +-a shares an even
// and an odd half, and exact in float32. F::n and F::m are their sizes, F::stride the input pixels between outputs.
// Points from F::alone on have the same weights, and are products of one matrix with so many times the rows.

#pragma once

#include "contraction.h"

namespace tesela::TESELA_ISA {

// Points 0, 1, -1 and infinity.
template <int outputs>
struct FourPoints {
  static constexpr int m = outputs, n = 4, alone = n, stride = 1, chains = 1;
  TESELA_INLINE static void input(const vfloat (&d)[n], vfloat (&t)[n]) {
    t[0] = d[2] - d[0];
    t[1] = d[1] + d[2];
    t[2] = d[2] - d[1];
    t[3] = d[3] - d[1];
  }
  TESELA_INLINE static void output(const vfloat (&s)[n], vfloat (&y)[m]) {
    const vfloat even = s[1] + s[2], odd = s[1] - s[2];
    y[0] = s[0] + even;
    for (int i = 1; i < m; ++i) y[i] = i % 2 ? odd : even;
    y[m - 1] = y[m - 1] + s[3];
  }
};

// Points +-p, +-q and infinity, p = 1/2, q = 5/4.
template <int outputs>
struct FivePoints {
  static constexpr int m = outputs, n = 5, alone = n, stride = 1, chains = 1;
  static constexpr float p = 0.5f, q = 1.25f, pp = p * p, qq = q * q;
  TESELA_INLINE static void input(const vfloat (&d)[n], vfloat (&t)[n]) {
    const vfloat odd_p = fma(set1(-qq), d[1], d[3]), even_p = set1(p) * fma(set1(-qq), d[0], d[2]);
    const vfloat odd_q = fma(set1(-pp), d[1], d[3]), even_q = set1(q) * fma(set1(-pp), d[0], d[2]);
    t[0] = odd_p + even_p;
    t[1] = odd_p - even_p;
    t[2] = odd_q + even_q;
    t[3] = odd_q - even_q;
    t[4] = fma(set1(pp * qq), d[0], fma(set1(-pp - qq), d[2], d[4]));
  }
  TESELA_INLINE static void output(const vfloat (&s)[n], vfloat (&y)[m]) {
    const vfloat even_p = s[0] + s[1], odd_p = s[0] - s[1];
    const vfloat even_q = s[2] + s[3], odd_q = s[2] - s[3];
    y[0] = even_p + even_q;
    float power_p = 1.0f, power_q = 1.0f;
    TESELA_UNROLL(4)
    for (int i = 1; i < m; ++i) {
      power_p *= p, power_q *= q;
      y[i] =
          i % 2 ? fma(set1(power_p), odd_p, set1(power_q) * odd_q) : fma(set1(power_p), even_p, set1(power_q) * even_q);
    }
    y[m - 1] = y[m - 1] + s[4];
  }
};

// Points 0, +-p, +-q and infinity, p = 5/8, q = 3/2: exact in float32, and half the error of 0, +-1, +-2.
template <int outputs>
struct SixPoints {
  static constexpr int m = outputs, n = 6, alone = n, stride = 1, chains = 1;
  static constexpr float p = 0.625f, q = 1.5f, pp = p * p, qq = q * q;
  TESELA_INLINE static void input(const vfloat (&d)[n], vfloat (&t)[n]) {
    const vfloat even_p = d[4] - set1(qq) * d[2], odd_p = set1(p) * (d[3] - set1(qq) * d[1]);
    const vfloat even_q = d[4] - set1(pp) * d[2], odd_q = set1(q) * (d[3] - set1(pp) * d[1]);
    t[0] = fma(set1(pp * qq), d[0], d[4] - set1(pp + qq) * d[2]);
    t[1] = even_p + odd_p;
    t[2] = even_p - odd_p;
    t[3] = even_q + odd_q;
    t[4] = even_q - odd_q;
    t[5] = fma(set1(pp * qq), d[1], d[5] - set1(pp + qq) * d[3]);
  }
  TESELA_INLINE static void output(const vfloat (&s)[n], vfloat (&y)[m]) {
    const vfloat even_p = s[1] + s[2], odd_p = s[1] - s[2];
    const vfloat even_q = s[3] + s[4], odd_q = s[3] - s[4];
    y[0] = (s[0] + even_p) + even_q;
    float power_p = 1.0f, power_q = 1.0f;
    TESELA_UNROLL(4)
    for (int i = 1; i < m; ++i) {
      power_p *= p, power_q *= q;
      y[i] =
          i % 2 ? fma(set1(power_p), odd_p, set1(power_q) * odd_q) : fma(set1(power_p), even_p, set1(power_q) * even_q);
    }
    y[m - 1] = y[m - 1] + s[5];
  }
};

// Points +-p, +-q, +-o and infinity, p = 5/16, q = 13/16, o = 7/4.
template <int outputs>
struct SevenPoints {
  static constexpr int m = outputs, n = 7, alone = n, stride = 1, chains = 2;
  static constexpr float p = 0.3125f, q = 0.8125f, o = 1.75f, pp = p * p, qq = q * q, oo = o * o;

  // The rows of +-a, given the squares of the other points.
  TESELA_INLINE static void pair(const vfloat (&d)[n], float a, float bb, float cc, vfloat& plus, vfloat& minus) {
    const vfloat odd = fma(set1(bb * cc), d[1], fma(set1(-bb - cc), d[3], d[5]));
    const vfloat even = set1(a) * fma(set1(bb * cc), d[0], fma(set1(-bb - cc), d[2], d[4]));
    plus = odd + even, minus = odd - even;
  }
  TESELA_INLINE static void input(const vfloat (&d)[n], vfloat (&t)[n]) {
    pair(d, p, qq, oo, t[0], t[1]);
    pair(d, q, pp, oo, t[2], t[3]);
    pair(d, o, pp, qq, t[4], t[5]);
    const vfloat low = fma(set1(pp * qq + pp * oo + qq * oo), d[2], set1(-pp * qq * oo) * d[0]);
    t[6] = fma(set1(-pp - qq - oo), d[4], d[6]) + low;
  }
  TESELA_INLINE static void output(const vfloat (&s)[n], vfloat (&y)[m]) {
    const vfloat even_p = s[0] + s[1], odd_p = s[0] - s[1];
    const vfloat even_q = s[2] + s[3], odd_q = s[2] - s[3];
    const vfloat even_o = s[4] + s[5], odd_o = s[4] - s[5];
    y[0] = (even_p + even_q) + even_o;
    float power_p = 1.0f, power_q = 1.0f, power_o = 1.0f;
    TESELA_UNROLL(4)
    for (int i = 1; i < m; ++i) {
      power_p *= p, power_q *= q, power_o *= o;
      const vfloat first = i % 2 ? set1(power_o) * odd_o : set1(power_o) * even_o;
      y[i] = fma(set1(power_p), i % 2 ? odd_p : even_p, fma(set1(power_q), i % 2 ? odd_q : even_q, first));
    }
    y[m - 1] = y[m - 1] + s[6];
  }
};

// Three outputs of a kernel of 3 with stride 2: its outer taps see every second pixel, where they are F(3, 2) on four
// points; the tap between them sees the others, one for each output, always with the same weight.
struct StridedPoints {
  static constexpr int m = 3, n = 7, alone = 4, stride = 2, chains = 1;
  TESELA_INLINE static void input(const vfloat (&d)[n], vfloat (&t)[n]) {
    t[0] = d[4] - d[0];
    t[1] = d[2] + d[4];
    t[2] = d[4] - d[2];
    t[3] = d[6] - d[2];
    t[4] = d[1], t[5] = d[3], t[6] = d[5];
  }
  TESELA_INLINE static void output(const vfloat (&s)[n], vfloat (&y)[m]) {
    const vfloat even = s[1] + s[2], odd = s[1] - s[2];
    y[0] = (s[0] + even) + s[4];
    y[1] = odd + s[5];
    y[2] = (even + s[3]) + s[6];
  }
};

// Where the points of a tile lie, n x n of them: those that share weights side by side, as more rows of one product.
template <class F>
struct PointOrder {
  static constexpr int shared = F::n - F::alone, axis = F::alone + (shared > 0);
  static constexpr int groups = axis * axis;  // of points that share weights

  static constexpr int size(int along) { return along < F::alone ? 1 : shared; }
  static constexpr int first(int group) {
    const int r = group / axis, c = group % axis;
    return r * F::n + size(r) * c;
  }
  static constexpr int points(int group) { return size(group / axis) * size(group % axis); }
  static constexpr int group_of(int r, int c) {
    return (r < F::alone ? r : F::alone) * axis + (c < F::alone ? c : F::alone);
  }
  static constexpr int within(int r, int c) {
    return (r < F::alone ? 0 : r - F::alone) * size(c) + (c < F::alone ? 0 : c - F::alone);
  }
  static constexpr int position(int r, int c) { return first(group_of(r, c)) + within(r, c); }
};

}  // namespace tesela::TESELA_ISA
