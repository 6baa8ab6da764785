// Elementary functions on vectors, and the activations made of them.
//
//   exp(x)   = 2^n * e^r, n = nearest(x / ln 2), r = x - n ln 2 in two steps, e^r by a polynomial on |r| <= ln 2 / 2
//   expm1(x) = the same without the leading 1 where n = 0
//   tanh(x)  = x + x^3 P(x^2) below 0.625, else 1 - 2 / (e^2x + 1)
//   erf(x)   = x + x P(x^2) below 0.9375, else 1 - e^(-x + x Q(x))
//
// Lanes are independent and no table is read. Coefficients are minimax fits of this project, rounded to float, for the
// relative error of the whole function; each truncation stays below 0.1 ulp. Limits: NaN and infinities come out as
// the C functions have them; exp overflows where expf does and underflows gradually, unless the thread is set to flush.

#pragma once

#include "../../activation.h"
#include "../simd.h"

namespace tesela::TESELA_ISA {

TESELA_INLINE vfloat absolute(vfloat x) { return max(x, zero() - x); }
// The magnitude of x, which is not negative, with the sign of `from`.
TESELA_INLINE vfloat with_sign_of(vfloat x, vfloat from) { return select(from < zero(), zero() - x, x); }

// -------------------------------------------------------------------------------------------------- exponentials

// e^x = 2^n * (1 + tail).
struct Exponent {
  vfloat n, tail;
};

TESELA_INLINE Exponent reduced_exp(vfloat x) {
  // The first constant has 9 significant bits, so its product with n is exact; both together are ln 2.
  const vfloat n = nearest(x * set1(1.44269504f));
  const vfloat r = fma(n, set1(2.12194440e-4f), fma(n, set1(-0.693359375f), x));
  vfloat p = set1(0.0001984588598f);
  p = fma(p, r, set1(0.00139407441f));
  p = fma(p, r, set1(0.008333389648f));
  p = fma(p, r, set1(0.04166635871f));
  p = fma(p, r, set1(0.1666666567f));
  p = fma(p, r, set1(0.5f));
  return {n, fma(p, r * r, r)};
}

// min and max return their second operand when it is NaN. Past these bounds the result is infinity or 0 anyway.
TESELA_INLINE vfloat clamped_for_exp(vfloat x) { return max(set1(-105.0f), min(set1(89.0f), x)); }

// Two factors, because 2^n itself may lie outside the normal numbers.
TESELA_INLINE vfloat value_of(Exponent e) {
  const vfloat half = nearest(e.n * set1(0.5f));
  return (set1(1.0f) + e.tail) * exp2_integer(half) * exp2_integer(e.n - half);
}

TESELA_INLINE vfloat exp(vfloat x) { return value_of(reduced_exp(clamped_for_exp(x))); }

TESELA_INLINE vfloat expm1(vfloat x) {
  const vfloat clamped = clamped_for_exp(x);
  const Exponent e = reduced_exp(clamped);
  // Below ln 2 / 2 the subtraction would cancel; there n = 0 and the tail is the answer.
  return select(absolute(clamped) < set1(0.34f), e.tail, value_of(e) - set1(1.0f));
}

TESELA_INLINE vfloat sigmoid(vfloat x) { return set1(1.0f) / (set1(1.0f) + exp(zero() - x)); }

TESELA_INLINE vfloat tanh(vfloat x) {
  const vfloat s = x * x;
  vfloat p = set1(-0.005666980054f);
  p = fma(p, s, set1(0.02060618065f));
  p = fma(p, s, set1(-0.05373000726f));
  p = fma(p, s, set1(0.1333133131f));
  p = fma(p, s, set1(-0.333332777f));
  const vfloat t = absolute(x);
  const vfloat far = set1(1.0f) - set1(2.0f) / (exp(t + t) + set1(1.0f));
  return select(t < set1(0.625f), fma(p, s * x, x), with_sign_of(far, x));
}

TESELA_INLINE vfloat erf(vfloat x) {
  const vfloat s = x * x;
  vfloat p = set1(8.20173882e-05f);
  p = fma(p, s, set1(-0.0008101871354f));
  p = fma(p, s, set1(0.005197341088f));
  p = fma(p, s, set1(-0.02685787156f));
  p = fma(p, s, set1(0.1128366739f));
  p = fma(p, s, set1(-0.3761263192f));
  p = fma(p, s, set1(0.1283791661f));
  const vfloat t = min(set1(4.0f), absolute(x));  // erf(4) rounds to 1
  vfloat q = set1(-1.151837114e-05f);
  q = fma(q, t, set1(0.000325679488f));
  q = fma(q, t, set1(-0.003654161468f));
  q = fma(q, t, set1(0.02378683724f));
  q = fma(q, t, set1(-0.1062656716f));
  q = fma(q, t, set1(-0.6351338625f));
  q = fma(q, t, set1(-0.1286527812f));
  const vfloat far = set1(1.0f) - exp(fma(q, t, zero() - t));
  return select(absolute(x) < set1(0.9375f), fma(p, x, x), with_sign_of(far, x));
}

// --------------------------------------------------------------------------------------------------- activations

// `parameter` as in ActivationSpec. A NaN comes out as NaN from each.
template <Activation kind>
TESELA_INLINE vfloat activate_as(vfloat x, vfloat parameter) {
  const vfloat one = set1(1.0f), half = set1(0.5f), six = set1(6.0f);
  switch (kind) {
    case Activation::none:
      return x;
    case Activation::relu:
      return max(zero(), x);
    case Activation::relu6:
      return min(six, max(zero(), x));
    case Activation::leaky_relu:
      return select(x > zero(), x, x * parameter);
    case Activation::elu:
      return select(x > zero(), x, parameter * expm1(x));
    case Activation::sigmoid:
      return sigmoid(x);
    case Activation::tanh:
      return tanh(x);
    case Activation::hardswish:
      return x * (min(six, max(zero(), x + set1(3.0f))) / six);
    case Activation::silu:
      return x / (one + exp(zero() - x));
    case Activation::gelu:
      return half * x * (one + erf(x * set1(0.70710678f)));
    case Activation::gelu_tanh: {  // sqrt(2 / pi) * (x + 0.044715 x^3)
      const vfloat inner = set1(0.79788456f) * fma(set1(0.044715f) * x, x * x, x);
      return half * x * (one + tanh(inner));
    }
  }
  return x;
}

// Calls body.run<kind>() for the kind at hand: the branch stands outside the caller's loop.
template <class Body>
TESELA_INLINE void with_activation(Activation kind, const Body& body) {
  switch (kind) {
    case Activation::none:
      return body.template run<Activation::none>();
    case Activation::relu:
      return body.template run<Activation::relu>();
    case Activation::relu6:
      return body.template run<Activation::relu6>();
    case Activation::leaky_relu:
      return body.template run<Activation::leaky_relu>();
    case Activation::elu:
      return body.template run<Activation::elu>();
    case Activation::sigmoid:
      return body.template run<Activation::sigmoid>();
    case Activation::tanh:
      return body.template run<Activation::tanh>();
    case Activation::hardswish:
      return body.template run<Activation::hardswish>();
    case Activation::silu:
      return body.template run<Activation::silu>();
    case Activation::gelu:
      return body.template run<Activation::gelu>();
    case Activation::gelu_tanh:
      return body.template run<Activation::gelu_tanh>();
  }
}

TESELA_INLINE vfloat activate(vfloat x, ActivationSpec spec) {
  const vfloat parameter = set1(spec.parameter);
  switch (spec.kind) {
    case Activation::none:
      return x;
    case Activation::relu:
      return activate_as<Activation::relu>(x, parameter);
    case Activation::relu6:
      return activate_as<Activation::relu6>(x, parameter);
    case Activation::leaky_relu:
      return activate_as<Activation::leaky_relu>(x, parameter);
    case Activation::elu:
      return activate_as<Activation::elu>(x, parameter);
    case Activation::sigmoid:
      return activate_as<Activation::sigmoid>(x, parameter);
    case Activation::tanh:
      return activate_as<Activation::tanh>(x, parameter);
    case Activation::hardswish:
      return activate_as<Activation::hardswish>(x, parameter);
    case Activation::silu:
      return activate_as<Activation::silu>(x, parameter);
    case Activation::gelu:
      return activate_as<Activation::gelu>(x, parameter);
    case Activation::gelu_tanh:
      return activate_as<Activation::gelu_tanh>(x, parameter);
  }
  return x;
}

// y[i] = f(x[i]) for n floats; x and y are the same or apart. Defined in elementwise.cpp.
void activate(const float* x, float* y, int64_t n, ActivationSpec spec);
inline void activate(float* p, int64_t n, ActivationSpec spec) { activate(p, p, n, spec); }

}  // namespace tesela::TESELA_ISA
