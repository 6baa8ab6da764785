"""The forms of arguments, and what several families share."""

from __future__ import annotations

import operator
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Pair = int | tuple[int, int]  # one number for both, or (h, w)
Padding = int | tuple[int, int] | tuple[tuple[int, int], tuple[int, int]]  # the last: ((top, bottom), (left, right))
Activation = str | tuple[str, float] | None  # "relu", ("leaky_relu", 0.1), ...


def _array(x: ArrayLike, ndim: int | None = None) -> Array:
    """x in float64, with ndim dimensions if that is asked."""
    if np.iscomplexobj(x):
        raise TypeError("expected real numbers, got complex ones")
    x = np.asarray(x, dtype=np.float64)
    if ndim is not None and x.ndim != ndim:
        raise ValueError(f"expected {ndim} dimensions, got shape {x.shape}")
    return x


def _vector(v: ArrayLike, length: int) -> Array:
    """v of shape (length,): one that merely broadcasts is refused."""
    v = _array(v, 1)
    if v.shape != (length,):
        raise ValueError(f"expected shape ({length},), got {v.shape}")
    return v


def _of_shape(v: ArrayLike, shape: tuple[int, ...]) -> Array:
    """v, which must not merely broadcast to the shape."""
    if np.shape(v) != shape:
        raise ValueError(f"expected shape {shape}, got {np.shape(v)}")
    return _array(v)


def _per_channel(v: ArrayLike, x: Array) -> Array:
    """v of shape (C,), made to broadcast along axis 1 of x."""
    return _vector(v, x.shape[1]).reshape(-1, *[1] * (x.ndim - 2))


def _two(value) -> tuple:
    """a -> (a, a);  (a, b) -> (a, b)."""
    first, second = (value, value) if np.ndim(value) == 0 else value
    return first, second


def _pair(value: Pair, least: int = 1) -> tuple[int, int]:
    """An int or (h, w) as (h, w), each at least `least`."""
    h, w = map(operator.index, _two(value))
    if min(h, w) < least:
        raise ValueError(f"expected integers of at least {least}, got {value}")
    return h, w


def _sides(padding: Padding) -> tuple[tuple[int, int], tuple[int, int]]:
    """Any padding as ((top, bottom), (left, right))."""
    rows, columns = _two(padding)
    return _pair(rows, 0), _pair(columns, 0)


def _taps(x: Array, kernel: Pair, stride: Pair, dilation: Pair, size: Pair) -> Iterator[tuple[int, int, Array]]:
    """For every kernel tap, (kh, kw, view) with view[..., oh, ow] = x[..., oh*SH + kh*DH, ow*SW + kw*DW]."""
    (SH, SW), (DH, DW), (OH, OW) = stride, dilation, size
    for kh, kw in np.ndindex(*kernel):
        rows = slice(kh * DH, kh * DH + (OH - 1) * SH + 1, SH)
        columns = slice(kw * DW, kw * DW + (OW - 1) * SW + 1, SW)
        yield kh, kw, x[..., rows, columns]


def _window_count(length: int, extent: int, stride: int) -> int:
    """How many windows of `extent`, `stride` apart, fit into `length`."""
    if length < extent:
        raise ValueError(f"expected a kernel no larger than the padded input, got {extent} over {length}")
    return (length - extent) // stride + 1
