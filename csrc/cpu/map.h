// What the element-wise functions of map.cpp compute, on one element of any dtype.
//
// Integers wrap without undefined behaviour; division truncates toward zero, and by zero is noted and reported when
// the step has run. Numbers that an integer cannot hold are clamped to it, and NaN becomes 0.

#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

namespace tesela::cpu {

struct MapState {
  bool divided_by_zero = false;
};

// The type in which T adds and multiplies without overflow that C++ leaves undefined.
template <class T>
using Wrapping = typename std::conditional_t<
    std::is_floating_point_v<T>, std::type_identity<T>,
    std::conditional_t<(sizeof(T) < 4), std::type_identity<int>, std::make_unsigned<T>>>::type;

template <class To, class From>
To cast_to(From x) {
  if constexpr (std::is_same_v<To, bool>) {
    return x != 0;
  } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    constexpr auto low = static_cast<double>(std::numeric_limits<To>::min());
    const double value = std::trunc(static_cast<double>(x));
    if (std::isnan(value)) return 0;
    if (value <= low) return std::numeric_limits<To>::min();
    // The largest int64 is no double; the next one above it is.
    if (value >= static_cast<double>(std::numeric_limits<To>::max())) return std::numeric_limits<To>::max();
    return static_cast<To>(value);
  } else {
    return static_cast<To>(x);
  }
}

template <class T>
T divide(T a, T b, MapState& state) {
  if constexpr (std::is_floating_point_v<T>) {
    return a / b;
  } else {
    if (b == 0) return state.divided_by_zero = true, T{0};
    if (std::is_signed_v<T> && b == static_cast<T>(-1))
      return static_cast<T>(Wrapping<T>{0} - static_cast<Wrapping<T>>(a));
    return static_cast<T>(a / b);
  }
}

// The remainder of the truncated quotient, with a's sign.
template <class T>
T fmod_of(T a, T b, MapState& state) {
  if constexpr (std::is_floating_point_v<T>) {
    return std::fmod(a, b);
  } else {
    if (b == 0) return state.divided_by_zero = true, T{0};
    if (std::is_signed_v<T> && b == static_cast<T>(-1)) return 0;
    return static_cast<T>(a % b);
  }
}

// With b's sign, as in Python.
template <class T>
T mod_of(T a, T b, MapState& state) {
  const T rest = fmod_of(a, b, state);
  return rest != 0 && (rest < 0) != (b < 0) ? static_cast<T>(rest + b) : rest;
}

template <class T>
T power(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    return std::pow(a, b);
  } else {
    if (b < 0) return a == 1 || (a == static_cast<T>(-1) && b % 2 == 0) ? T{1} : a == static_cast<T>(-1) ? a : T{0};
    uint64_t result = 1, base = static_cast<uint64_t>(a);
    for (auto n = static_cast<uint64_t>(b); n > 0; n >>= 1, base *= base) {
      if (n & 1) result *= base;
    }
    return static_cast<T>(result);
  }
}

template <class T>
T larger_of(T a, T b) {
  return a > b || a != a ? a : b;  // a NaN wins
}
template <class T>
T smaller_of(T a, T b) {
  return a < b || a != a ? a : b;
}

}  // namespace tesela::cpu
