"""Element-wise functions with NumPy's broadcasting: float32 is computed in float64, other dtypes are kept."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike


def _wide(x: ArrayLike) -> np.ndarray:
    x = np.asarray(x)
    return x.astype(np.float64) if x.dtype == np.float32 else x


def _mapped(function: Callable, doc: str) -> Callable:
    def f(x: ArrayLike, *more: ArrayLike) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.asarray(function(*map(_wide, (x, *more))))

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

exp = _mapped(np.exp, "e to the x.")
log = _mapped(np.log, "Natural logarithm.")
sqrt = _mapped(np.sqrt, "Square root.")
reciprocal = _mapped(lambda x: 1 / x, "1 / x.")
floor = _mapped(np.floor, "The next integer below.")
ceil = _mapped(np.ceil, "The next integer above.")
round = _mapped(np.rint, "The nearest integer, of two the even one. ONNX Round.")
erf = _mapped(_erf, "The error function.")
sin, cos, tan = (_mapped(f, f.__name__) for f in (np.sin, np.cos, np.tan))
asin, acos, atan = (_mapped(f, f.__name__) for f in (np.arcsin, np.arccos, np.arctan))
sinh, cosh = (_mapped(f, f.__name__) for f in (np.sinh, np.cosh))
asinh, acosh, atanh = (_mapped(f, f.__name__) for f in (np.arcsinh, np.arccosh, np.arctanh))
softplus = _mapped(_softplus, "log(1 + exp(x)).")
softsign = _mapped(lambda x: x / (1 + np.abs(x)), "x / (1 + |x|).")
mish = _mapped(lambda x: x * np.tanh(_softplus(x)), "x * tanh(softplus(x)). Misra 2019 (arXiv:1908.08681).")
neg = _mapped(np.negative, "-x; integers wrap.")
abs = _mapped(np.abs, "|x|; the least integer stays.")
sign = _mapped(np.sign, "-1, 0 or 1.")
isnan = _mapped(np.isnan, "Whether x is NaN.")
isinf = _mapped(np.isinf, "Whether x is infinite.")
logical_not = _mapped(np.logical_not, "not x.")
bitwise_not = _mapped(np.invert, "All bits of x inverted.")
sub = _mapped(_like(np.subtract), "x - y; integers wrap.")
div = _mapped(_like(_truncated), "x / y; integers are truncated toward zero.")
mod = _mapped(_like(np.mod), "The remainder with the sign of y.")
fmod = _mapped(_like(np.fmod), "The remainder with the sign of x.")
pow = _mapped(_like(np.power), "x to the y.")
maximum = _mapped(np.maximum, "The greater of two; a NaN wins.")
minimum = _mapped(np.minimum, "The smaller of two; a NaN wins.")
equal = _mapped(np.equal, "x == y.")
greater = _mapped(np.greater, "x > y.")
greater_equal = _mapped(np.greater_equal, "x >= y.")
less = _mapped(np.less, "x < y.")
less_equal = _mapped(np.less_equal, "x <= y.")
logical_and = _mapped(np.logical_and, "x and y.")
logical_or = _mapped(np.logical_or, "x or y.")
logical_xor = _mapped(np.logical_xor, "Either x or y.")
bitwise_and = _mapped(np.bitwise_and, "Bits in both.")
bitwise_or = _mapped(np.bitwise_or, "Bits in either.")
bitwise_xor = _mapped(np.bitwise_xor, "Bits in one of the two.")


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
