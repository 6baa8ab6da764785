"""Element-wise functions with NumPy's broadcasting: float32 is computed in float64, other dtypes are kept."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike


def _wide(x: ArrayLike) -> np.ndarray:
    x = np.asarray(x)
    return x.astype(np.float64) if x.dtype == np.float32 else x


def _unary(function: Callable, doc: str) -> Callable:
    def f(x: ArrayLike) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.asarray(function(_wide(x)))

    f.__doc__ = doc
    return f


def _binary(function: Callable, doc: str) -> Callable:
    def f(x: ArrayLike, y: ArrayLike) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.asarray(function(_wide(x), _wide(y)))

    f.__doc__ = doc
    return f


def _like(function: Callable) -> Callable:
    """The same with the dtype of its first operand."""
    return lambda x, *more: np.asarray(function(x, *more)).astype(np.asarray(x).dtype)


def _truncated(x, y):
    if x.dtype.kind == "f":
        return x / y
    if np.any(y == 0):
        raise ValueError("div: an integer was divided by zero")
    return np.where(np.sign(x) * np.sign(y) < 0, -(np.abs(x.astype(object)) // np.abs(y.astype(object))),
                    np.abs(x.astype(object)) // np.abs(y.astype(object))).astype(np.int64)  # fmt: skip


def _softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


_erf = _like(np.frompyfunc(math.erf, 1, 1))

exp = _unary(np.exp, "e to the x.")
log = _unary(np.log, "Natural logarithm.")
sqrt = _unary(np.sqrt, "Square root.")
reciprocal = _unary(lambda x: 1 / x, "1 / x.")
floor = _unary(np.floor, "The next integer below.")
ceil = _unary(np.ceil, "The next integer above.")
round = _unary(np.rint, "The nearest integer, of two the even one. ONNX Round.")
erf = _unary(_erf, "The error function.")
sin, cos, tan = (_unary(f, f.__name__) for f in (np.sin, np.cos, np.tan))
asin, acos, atan = (_unary(f, f.__name__) for f in (np.arcsin, np.arccos, np.arctan))
sinh, cosh = (_unary(f, f.__name__) for f in (np.sinh, np.cosh))
asinh, acosh, atanh = (_unary(f, f.__name__) for f in (np.arcsinh, np.arccosh, np.arctanh))
softplus = _unary(_softplus, "log(1 + exp(x)).")
softsign = _unary(lambda x: x / (1 + np.abs(x)), "x / (1 + |x|).")
mish = _unary(lambda x: x * np.tanh(_softplus(x)), "x * tanh(softplus(x)). Misra 2019 (arXiv:1908.08681).")
neg = _unary(np.negative, "-x; integers wrap.")
abs = _unary(np.abs, "|x|; the least integer stays.")
sign = _unary(np.sign, "-1, 0 or 1.")
isnan = _unary(np.isnan, "Whether x is NaN.")
isinf = _unary(np.isinf, "Whether x is infinite.")
logical_not = _unary(np.logical_not, "not x.")
bitwise_not = _unary(np.invert, "All bits of x inverted.")
sub = _binary(_like(np.subtract), "x - y; integers wrap.")
div = _binary(_like(_truncated), "x / y; integers are truncated toward zero.")
mod = _binary(_like(np.mod), "The remainder with the sign of y.")
fmod = _binary(_like(np.fmod), "The remainder with the sign of x.")
pow = _binary(_like(np.power), "x to the y.")
maximum = _binary(np.maximum, "The greater of two; a NaN wins.")
minimum = _binary(np.minimum, "The smaller of two; a NaN wins.")
equal = _binary(np.equal, "x == y.")
greater = _binary(np.greater, "x > y.")
greater_equal = _binary(np.greater_equal, "x >= y.")
less = _binary(np.less, "x < y.")
less_equal = _binary(np.less_equal, "x <= y.")
logical_and = _binary(np.logical_and, "x and y.")
logical_or = _binary(np.logical_or, "x or y.")
logical_xor = _binary(np.logical_xor, "Either x or y.")
bitwise_and = _binary(np.bitwise_and, "Bits in both.")
bitwise_or = _binary(np.bitwise_or, "Bits in either.")
bitwise_xor = _binary(np.bitwise_xor, "Bits in one of the two.")


def where(condition: ArrayLike, x: ArrayLike, y: ArrayLike) -> np.ndarray:
    """x where the condition holds, else y. numpy.where, ONNX Where."""
    return np.where(condition, _wide(x), _wide(y))


def cast(x: ArrayLike, dtype: str) -> np.ndarray:
    """x in another dtype: truncated to integers, clamped to what they hold, NaN to 0. ONNX Cast."""
    x, kind = np.asarray(x), np.dtype(dtype)
    if x.dtype.kind == "f" and kind.kind in "iu":
        limits = np.iinfo(kind)
        whole = np.trunc(np.nan_to_num(x.astype(np.float64), nan=0.0, posinf=np.inf, neginf=-np.inf))
        exact = np.where((whole > limits.min) & (whole < limits.max), whole, 0).astype(kind)
        return np.where(whole <= limits.min, limits.min, np.where(whole >= limits.max, limits.max, exact)).astype(kind)
    return x.astype(kind)
