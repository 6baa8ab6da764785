"""Reductions over any axes, and matmul: float32 is computed in float64, other dtypes are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from .map import _wide


def _reduced(function: Callable, doc: str) -> Callable:
    def f(x: ArrayLike, axes: Sequence[int] | None = None, keepdims: bool = True) -> np.ndarray:
        x = _wide(x)
        with np.errstate(all="ignore"):
            y = function(x, axis=None if axes is None else tuple(axes), keepdims=keepdims)
        return np.asarray(y).astype(x.dtype)

    f.__doc__ = doc
    return f


def _log_sum_exp(x, axis, keepdims):
    most = np.max(x, axis=axis, keepdims=True)
    total = np.log(np.sum(np.exp(x - most), axis=axis, keepdims=True)) + most
    return total if keepdims else np.squeeze(total, axis)


def _mean(x, axis, keepdims):
    total = np.sum(x, axis=axis, keepdims=keepdims, dtype=np.float64)
    mean = total / (x.size / total.size if total.size else 1.0)
    return np.trunc(mean) if x.dtype.kind in "iu" else mean


reduce_sum = _reduced(np.sum, "Sum. ONNX ReduceSum.")
reduce_mean = _reduced(_mean, "Mean; of integers truncated toward zero.")
reduce_max = _reduced(np.max, "The greatest; a NaN wins.")
reduce_min = _reduced(np.min, "The smallest; a NaN wins.")
reduce_prod = _reduced(np.prod, "Product.")
reduce_l1 = _reduced(lambda x, **k: np.sum(np.abs(x), **k), "Sum of |x|.")
reduce_l2 = _reduced(lambda x, **k: np.sqrt(np.sum(x * x, **k)), "Root of the sum of squares.")
reduce_log_sum = _reduced(lambda x, **k: np.log(np.sum(x, **k)), "Logarithm of the sum.")
reduce_log_sum_exp = _reduced(_log_sum_exp, "Logarithm of the sum of exponentials, the maximum subtracted first.")
reduce_sum_square = _reduced(lambda x, **k: np.sum(x * x, **k), "Sum of squares.")


def argmax(x: ArrayLike, axis: int = 0, keepdims: bool = True, select_last: bool = False) -> np.ndarray:
    """The place of the greatest along axis: the first of equals, or the last. numpy.argmax, ONNX ArgMax."""
    return _place(np.argmax, x, axis, keepdims, select_last)


def argmin(x: ArrayLike, axis: int = 0, keepdims: bool = True, select_last: bool = False) -> np.ndarray:
    """The place of the smallest along axis. numpy.argmin, ONNX ArgMin."""
    return _place(np.argmin, x, axis, keepdims, select_last)


def _place(function, x, axis, keepdims, select_last):
    x = np.asarray(x)
    if select_last:
        return x.shape[axis] - 1 - function(np.flip(x, axis), axis=axis, keepdims=keepdims)
    return function(x, axis=axis, keepdims=keepdims)


def matmul(x: ArrayLike, y: ArrayLike) -> np.ndarray:
    """x @ y. numpy.matmul, ONNX MatMul."""
    return np.asarray(_wide(x) @ _wide(y))
