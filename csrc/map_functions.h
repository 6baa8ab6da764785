// The element-wise functions of map: their names, and what they compute on one element of any dtype, on every device.
//
// Integers wrap without undefined behaviour; division truncates toward zero, and by zero is noted and reported when
// the step has run. Numbers that an integer cannot hold are clamped to it, and NaN becomes 0.
//
// The lists call X(name, expression) for each function of one kind, with a (and b) of type T, W = Wrapping<T> and
// MapState s in scope. A device makes of them what it needs: a loop for each on the CPU, a case of a switch on a GPU.

#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "host_device.h"

namespace tesela {

struct MapState {
  bool divided_by_zero = false;
};

// The type in which T adds and multiplies without overflow that C++ leaves undefined.
template <class T>
using Wrapping = typename std::conditional_t<
    std::is_floating_point_v<T>, std::type_identity<T>,
    std::conditional_t<(sizeof(T) < 4), std::type_identity<int>, std::make_unsigned<T>>>::type;

// Constants, because a GPU may not call the host's functions that give them.
template <class T>
inline constexpr T least =
    std::numeric_limits<T>::has_infinity ? -std::numeric_limits<T>::infinity() : std::numeric_limits<T>::lowest();
template <class T>
inline constexpr T most =
    std::numeric_limits<T>::has_infinity ? std::numeric_limits<T>::infinity() : std::numeric_limits<T>::max();

template <class T>
TESELA_HOST_DEVICE bool negative(T a) {
  if constexpr (std::is_signed_v<T>) return a < 0;
  return false;
}

template <class To, class From>
TESELA_HOST_DEVICE To cast_to(From x) {
  if constexpr (std::is_same_v<To, bool>) {
    return x != 0;
  } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    const double value = std::trunc(static_cast<double>(x));
    if (value != value) return 0;
    if (value <= static_cast<double>(least<To>)) return least<To>;
    // The largest int64 is no double; the next one above it is.
    if (value >= static_cast<double>(most<To>)) return most<To>;
    return static_cast<To>(value);
  } else {
    return static_cast<To>(x);
  }
}

template <class T>
TESELA_HOST_DEVICE T divide(T a, T b, MapState& state) {
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
TESELA_HOST_DEVICE T fmod_of(T a, T b, MapState& state) {
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
TESELA_HOST_DEVICE T mod_of(T a, T b, MapState& state) {
  const T rest = fmod_of(a, b, state);
  return rest != 0 && negative(rest) != negative(b) ? static_cast<T>(rest + b) : rest;
}

template <class T>
TESELA_HOST_DEVICE T power(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    return std::pow(a, b);
  } else {
    if (negative(b))
      return a == 1 || (a == static_cast<T>(-1) && b % 2 == 0) ? T{1} : a == static_cast<T>(-1) ? a : T{0};
    uint64_t result = 1, base = static_cast<uint64_t>(a);
    for (auto n = static_cast<uint64_t>(b); n > 0; n >>= 1, base *= base) {
      if (n & 1) result *= base;
    }
    return static_cast<T>(result);
  }
}

template <class T>
TESELA_HOST_DEVICE T larger_of(T a, T b) {
  return a > b || a != a ? a : b;  // a NaN wins
}
template <class T>
TESELA_HOST_DEVICE T smaller_of(T a, T b) {
  return a < b || a != a ? a : b;
}

template <class T>
TESELA_HOST_DEVICE T absolute(T a) {
  if constexpr (std::is_floating_point_v<T>) {
    return std::fabs(a);
  } else {
    return static_cast<T>(negative(a) ? Wrapping<T>{0} - static_cast<Wrapping<T>>(a) : static_cast<Wrapping<T>>(a));
  }
}

// ------------------------------------------------------------------------------------------------------- the lists

#define TESELA_NUMBER_BINARY(X)                 \
  X(add, static_cast<W>(a) + static_cast<W>(b)) \
  X(sub, static_cast<W>(a) - static_cast<W>(b)) \
  X(mul, static_cast<W>(a) * static_cast<W>(b)) \
  X(div, divide<T>(a, b, s))                    \
  X(mod, mod_of<T>(a, b, s))                    \
  X(fmod, fmod_of<T>(a, b, s))                  \
  X(pow, power<T>(a, b))                        \
  X(maximum, larger_of<T>(a, b))                \
  X(minimum, smaller_of<T>(a, b))

#define TESELA_NUMBER_UNARY(X) \
  X(neg, -static_cast<W>(a))   \
  X(abs, absolute<T>(a))       \
  X(sign, a != a ? a : static_cast<T>((a > 0) - negative(a)))

#define TESELA_INTEGER_BINARY(X) \
  X(bitwise_and, a& b)           \
  X(bitwise_or, a | b)           \
  X(bitwise_xor, a ^ b)

#define TESELA_INTEGER_UNARY(X) X(bitwise_not, ~a)

// round: half to even, the mode that nobody here changes.
#define TESELA_REAL_UNARY(X)                                            \
  X(exp, std::exp(a))                                                   \
  X(log, std::log(a))                                                   \
  X(sqrt, std::sqrt(a))                                                 \
  X(reciprocal, T{1} / a)                                               \
  X(floor, std::floor(a))                                               \
  X(ceil, std::ceil(a))                                                 \
  X(round, std::nearbyint(a))                                           \
  X(erf, std::erf(a))                                                   \
  X(sinh, std::sinh(a))                                                 \
  X(cosh, std::cosh(a))                                                 \
  X(asin, std::asin(a))                                                 \
  X(acos, std::acos(a))                                                 \
  X(atan, std::atan(a))                                                 \
  X(asinh, std::asinh(a))                                               \
  X(acosh, std::acosh(a))                                               \
  X(atanh, std::atanh(a))                                               \
  X(softplus, larger_of<T>(a, 0) + std::log1p(std::exp(-std::fabs(a)))) \
  X(softsign, a / (T{1} + std::fabs(a)))                                \
  X(mish, a* std::tanh(larger_of<T>(a, 0) + std::log1p(std::exp(-std::fabs(a)))))

// Apart, because a GPU reduces large angles in its local memory.
#define TESELA_REAL_TRIGONOMETRIC(X) \
  X(sin, std::sin(a))                \
  X(cos, std::cos(a))                \
  X(tan, std::tan(a))

#define TESELA_REAL_PREDICATES(X) \
  X(isnan, a != a)                \
  X(isinf, std::isinf(a))

#define TESELA_COMPARISONS(X) \
  X(greater, a > b)           \
  X(greater_equal, a >= b)    \
  X(less, a < b)              \
  X(less_equal, a <= b)

#define TESELA_LOGICAL_BINARY(X) \
  X(logical_and, a&& b)          \
  X(logical_or, a || b)          \
  X(logical_xor, a != b)

}  // namespace tesela
