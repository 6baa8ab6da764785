"""Pooling: a running maximum or sum over kernel taps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .rules import (
    Array,
    Padding,
    Pair,
    _array,
    _pair,
    _sides,
    _taps,
    _two,
    _window_count,
)


def _pool_windows(size, kernel, stride, padding, dilation, ceil_mode):
    """(OH, OW) of a pooling, and how far its windows reach beyond the padded input as ((0, bottom), (0, right)).

    ceil_mode lets the last window hang over the end, as long as it starts inside the input or the leading padding.
    """
    counts, overhang = [], []
    for n, k, s, (before, after), d in zip(size, kernel, stride, padding, dilation, strict=True):
        extent, padded = d * (k - 1) + 1, n + before + after
        if max(before, after) >= extent:
            raise ValueError(f"expected padding below the kernel extent {extent}, got {(before, after)}")
        count = _window_count(padded + (s - 1 if ceil_mode else 0), extent, s)
        if ceil_mode and (count - 1) * s >= n + before:
            count -= 1
        counts.append(count)
        overhang.append((0, max(0, (count - 1) * s + extent - padded)))
    return tuple(counts), tuple(overhang)


def max_pool2d(
    x: ArrayLike,
    kernel_size: Pair,
    *,
    stride: Pair | None = None,
    padding: Padding = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Array | tuple[Array, NDArray[np.int64]]:
    """y[n, c, oh, ow] = max over kh, kw of x[n, c, oh*SH + kh*DH - top, ow*SW + kw*DW - left], -inf outside x.

    x (N, C, IH, IW), y (N, C, OH, OW) with OH = (IH + top + bottom - DH*(KH - 1) - 1) // SH + 1, or rounded up by
    ceil_mode. stride defaults to kernel_size; padding stays below the dilated kernel. A NaN wins.
    Indices are ih*IW + iw of the winner in x's plane: the first of equals, the last of NaNs, -1 where a window holds
    nothing but padding. torch.nn.functional.max_pool2d, ONNX MaxPool.
    """
    x = _array(x, 4)
    kernel, dilation, padding = _pair(kernel_size), _pair(dilation), _sides(padding)
    stride = kernel if stride is None else _pair(stride)
    size, overhang = _pool_windows(x.shape[2:], kernel, stride, padding, dilation, ceil_mode)
    frame = ((0, 0), (0, 0), *np.add(padding, overhang))

    place = np.arange(math.prod(x.shape[2:])).reshape(1, 1, *x.shape[2:])
    x_taps = _taps(np.pad(x, frame), kernel, stride, dilation, size)
    place_taps = _taps(np.pad(place, frame, constant_values=-1), kernel, stride, dilation, size)
    y = np.full(x.shape[:2] + size, -np.inf)
    indices = np.full(y.shape, -1)
    for (_, _, value), (_, _, at) in zip(x_taps, place_taps, strict=True):
        wins = (at >= 0) & ((value > y) | np.isnan(value) | (indices < 0))
        y, indices = np.where(wins, value, y), np.where(wins, at, indices)
    return (y, indices) if return_indices else y


def avg_pool2d(
    x: ArrayLike,
    kernel_size: Pair,
    *,
    stride: Pair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """y[n, c, oh, ow] = (sum over kh, kw of x[n, c, oh*SH + kh - top, ow*SW + kw - left]) / divisor, 0 outside x.

    The divisor is divisor_override, or the number of window cells inside the padded input (count_include_pad), or
    inside x. Cells that only ceil_mode reaches never count. Shapes as in max_pool2d.
    torch.nn.functional.avg_pool2d, ONNX AveragePool.
    """
    x = _array(x, 4)
    kernel, padding = _pair(kernel_size), _sides(padding)
    stride = kernel if stride is None else _pair(stride)
    if divisor_override == 0:
        raise ValueError("expected a divisor_override other than 0")
    size, overhang = _pool_windows(x.shape[2:], kernel, stride, padding, (1, 1), ceil_mode)
    batch = ((0, 0), (0, 0))

    def window_sum(planes: Array) -> Array:
        return sum(tap for _, _, tap in _taps(np.pad(planes, batch + overhang), kernel, stride, (1, 1), size))

    counted = np.pad(np.ones((1, 1, *x.shape[2:])), batch + padding, constant_values=float(count_include_pad))
    divisor = window_sum(counted) if divisor_override is None else divisor_override
    return window_sum(np.pad(x, batch + padding)) / divisor


def max_unpool2d(
    x: ArrayLike,
    indices: ArrayLike,
    kernel_size: Pair,
    *,
    stride: Pair | None = None,
    padding: Padding = 0,
    output_size: Sequence[int] | None = None,
) -> Array:
    """y[n, c].flat[indices[n, c, ih, iw]] = x[n, c, ih, iw], 0 elsewhere; of equal indices the last in row-major order.

    x and indices (N, C, IH, IW), y (N, C, OH, OW) with OH = (IH - 1)*SH - top - bottom + KH unless output_size,
    (OH, OW) or the whole shape, says otherwise. torch.nn.functional.max_unpool2d, ONNX MaxUnpool.
    """
    x, indices = _array(x, 4), np.asarray(indices)
    if indices.dtype.kind not in "iu":
        raise TypeError(f"expected integer indices, got {indices.dtype}")
    if indices.shape != x.shape:
        raise ValueError(f"expected indices of shape {x.shape}, got {indices.shape}")
    kernel, padding = _pair(kernel_size), _sides(padding)
    stride = kernel if stride is None else _pair(stride)
    if output_size is None:
        output_size = [
            (n - 1) * s - sum(p) + k for n, s, p, k in zip(x.shape[2:], stride, padding, kernel, strict=True)
        ]
    *batch, OH, OW = output_size
    if tuple(batch) not in ((), x.shape[:2]):
        raise ValueError(f"expected an output_size (H, W) or {x.shape[:2]} + (H, W), got {tuple(output_size)}")
    if x.size and not 0 <= indices.min() <= indices.max() < OH * OW:
        raise ValueError(f"expected indices from 0 to {OH * OW - 1}, got {indices.min()} to {indices.max()}")
    planes = math.prod(x.shape[:2])
    y = np.zeros((planes, OH * OW))
    np.put_along_axis(y, *(a.reshape(planes, math.prod(x.shape[2:])) for a in (indices, x)), axis=1)
    return y.reshape(*x.shape[:2], OH, OW)


def global_avg_pool2d(x: ArrayLike) -> Array:
    """(N, C, H, W) -> (N, C, 1, 1), the mean of each plane. ONNX GlobalAveragePool."""
    return _array(x, 4).mean(axis=(2, 3), keepdims=True)


def global_max_pool2d(x: ArrayLike) -> Array:
    """(N, C, H, W) -> (N, C, 1, 1), the maximum of each plane; a NaN wins. ONNX GlobalMaxPool."""
    return _array(x, 4).max(axis=(2, 3), keepdims=True)


def adaptive_avg_pool2d(x: ArrayLike, output_size: int | tuple[int | None, int | None]) -> Array:
    """Means of bins: output row oh averages the input rows from floor(oh*IH/OH) up to, not with, ceil((oh + 1)*IH/OH).

    The same for columns. x (N, C, IH, IW) -> (N, C, OH, OW); None in output_size keeps that size.
    torch.nn.functional.adaptive_avg_pool2d.
    """
    x = _array(x, 4)
    OH, OW = _two(output_size)
    OH, OW = _pair((x.shape[2] if OH is None else OH, x.shape[3] if OW is None else OW))

    def bin_means(x: Array, bins: int) -> Array:
        W = x.shape[-1]
        return np.stack([x[..., b * W // bins : -(-(b + 1) * W // bins)].mean(axis=-1) for b in range(bins)], axis=-1)

    return bin_means(bin_means(x.swapaxes(2, 3), OH).swapaxes(2, 3), OW)
