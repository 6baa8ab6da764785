// What reduce computes, element by element, on every device.
//
// float32 and float64 are summed in double; integers wrap. A NaN wins max and min, and is the place of both.

#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "host_device.h"
#include "map_functions.h"

namespace tesela {

// clang-format off
#define TESELA_REDUCTIONS(X) \
  X(sum) X(mean) X(max) X(min) X(prod) X(l1) X(l2) X(log_sum) X(log_sum_exp) X(sum_square) X(argmax) X(argmin)
// clang-format on
#define TESELA_REDUCTION(name) name,
enum class Reduction : int32_t { TESELA_REDUCTIONS(TESELA_REDUCTION) };
#undef TESELA_REDUCTION

TESELA_HOST_DEVICE constexpr bool finds_place(Reduction kind) {
  return kind == Reduction::argmax || kind == Reduction::argmin;
}
TESELA_HOST_DEVICE constexpr bool finds_extreme(Reduction kind) {
  return kind == Reduction::max || kind == Reduction::min;
}

// ---------------------------------------------------------------------------------------------------------- extremes

template <class T>
TESELA_HOST_DEVICE T extreme_of_none(Reduction kind) {
  return kind == Reduction::max ? least<T> : most<T>;
}

template <class T>
TESELA_HOST_DEVICE T extreme_of(Reduction kind, T a, T b) {
  return kind == Reduction::max ? larger_of(a, b) : smaller_of(a, b);
}

// Whether a, at place i, is rather to be taken than b at place j.
template <class T>
TESELA_HOST_DEVICE bool takes_place(Reduction kind, bool select_last, T a, int64_t i, T b, int64_t j) {
  const bool a_nan = a != a, b_nan = b != b;
  if (a == b || (a_nan && b_nan)) return select_last ? i > j : i < j;
  if (a_nan || b_nan) return a_nan;
  return kind == Reduction::argmax ? a > b : a < b;
}

// -------------------------------------------------------------------------------------------------------------- sums

template <class T>
using Sum = std::conditional_t<std::is_floating_point_v<T>, double, uint64_t>;

template <class T>
TESELA_HOST_DEVICE Sum<T> sum_of_none(Reduction kind) {
  return kind == Reduction::prod ? 1 : 0;
}

template <class S>
TESELA_HOST_DEVICE S joined_sums(Reduction kind, S a, S b) {
  return kind == Reduction::prod ? a * b : a + b;
}

// What one element adds.
template <class T>
TESELA_HOST_DEVICE Sum<T> summand(Reduction kind, T x) {
  const auto v = static_cast<Sum<T>>(x);
  switch (kind) {
    case Reduction::l1:
      return negative(x) ? Sum<T>{0} - v : v;
    case Reduction::l2:
    case Reduction::sum_square:
      return v * v;
    default:
      return v;
  }
}

template <class T>
TESELA_HOST_DEVICE T sum_result(Reduction kind, Sum<T> sum, int64_t count) {
  if constexpr (std::is_floating_point_v<T>) {
    switch (kind) {
      case Reduction::mean:
        return static_cast<T>(sum / static_cast<double>(count));
      case Reduction::l2:
        return static_cast<T>(std::sqrt(sum));
      case Reduction::log_sum:
        return static_cast<T>(std::log(sum));
      default:
        return static_cast<T>(sum);
    }
  } else {
    const auto total = static_cast<int64_t>(sum);
    switch (kind) {
      case Reduction::mean:
        return static_cast<T>(count == 0 ? 0 : total / count);
      case Reduction::l2:
        return cast_to<T>(std::sqrt(static_cast<double>(total)));
      case Reduction::log_sum:
        return cast_to<T>(std::log(static_cast<double>(total)));
      default:
        return static_cast<T>(total);
    }
  }
}

// log_sum_exp: `total` is the sum of exp(x - largest), which is not needed where the maximum is not finite.
template <class T>
TESELA_HOST_DEVICE T log_sum_exp_result(double largest, double total) {
  return cast_to<T>(largest - largest == 0 ? largest + std::log(total) : largest);
}

}  // namespace tesela
