"""Where elements lie."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from .rules import (
    Array,
    Padding,
    Pair,
    _array,
    _pair,
    _sides,
    _two,
)


def concat(tensors: Sequence[ArrayLike], dim: int = 1) -> Array:
    """The tensors one after the other along dim. torch.cat, ONNX Concat."""
    return np.concatenate([_array(t) for t in tensors], axis=dim)


def pad(x: ArrayLike, padding: Padding, *, mode: str = "constant", value: float = 0.0) -> Array:
    """x (N, C, H, W) -> (N, C, top + H + bottom, left + W + right).

    The new cells hold `value` ("constant"), the mirror image without its edge ("reflect"), the edge ("replicate") or
    the opposite side ("circular"). torch.nn.functional.pad, though that orders its sides (left, right, top, bottom).
    """
    x, sides = _array(x, 4), _sides(padding)
    how = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
    if mode not in how:
        raise ValueError(f"expected a mode among {', '.join(how)}, got {mode!r}")
    most = {"reflect": np.subtract(x.shape[2:], 1), "circular": x.shape[2:]}.get(mode)
    if most is not None and np.any(np.max(sides, axis=1) > most):
        raise ValueError(f"expected {mode} padding of at most {tuple(map(int, most))}, got {sides}")
    fill = {"constant_values": value} if mode == "constant" else {}
    return np.pad(x, ((0, 0), (0, 0), *sides), mode=how[mode], **fill)


def upsample(
    x: ArrayLike,
    *,
    size: Pair | None = None,
    scale_factor: float | tuple[float, float] | None = None,
    mode: str = "nearest",
    align_corners: bool = False,
) -> Array:
    """x (N, C, IH, IW) resampled to (N, C, OH, OW) = size, or floor(scale_factor * (IH, IW)), along each axis alone.

    With scale = 1 / scale_factor, or IH / OH where size is given, output row oh reads the input at
        floor(oh * scale)                                     nearest
        max((oh + 1/2) * scale - 1/2, 0)                      bilinear
        oh * (IH - 1) / (OH - 1), 0 if OH is 1                bilinear, align_corners
    and bilinear weighs the two rows around that place, the last row standing in for the one after it. Where the size
    stays, or doubles in nearest, scale is IH / OH all the same.
    torch.nn.functional.interpolate, whose nearest scale is rounded to float32 while the index here is exact;
    ONNX Resize (asymmetric with floor, half_pixel, align_corners).
    """
    x = _array(x, 4)
    if (size is None) == (scale_factor is None):
        raise ValueError(f"expected either size or scale_factor, got {size} and {scale_factor}")
    if mode not in ("nearest", "bilinear") or (mode == "nearest" and align_corners):
        raise ValueError(f"expected mode 'nearest', or 'bilinear' with or without align_corners, got {mode!r}")
    FH, FW = _two(scale_factor)
    OH, OW = _pair((math.floor(x.shape[2] * FH), math.floor(x.shape[3] * FW)) if size is None else size)

    def resample(x: Array, length: int, factor: float | None) -> Array:
        n, out = x.shape[-1], np.arange(length)
        if length == n or (mode == "nearest" and length == 2 * n):
            factor = None

        def scaled(place: Array) -> Array:
            return place * n / length if factor is None else place / factor

        if mode == "nearest":
            # 33 / 2.2 falls just short of 15, because 2.2 is not exact in binary.
            return x[..., np.minimum(np.floor(scaled(out) + 1e-9).astype(int), n - 1)]
        place = out * (n - 1) / max(length - 1, 1) if align_corners else np.maximum(scaled(out + 0.5) - 0.5, 0.0)
        low = np.floor(place).astype(int)
        high = np.minimum(low + 1, n - 1)
        share = place - low
        return (1.0 - share) * x[..., low] + share * x[..., high]

    return resample(resample(x.swapaxes(2, 3), OH, FH).swapaxes(2, 3), OW, FW)


def pixel_shuffle(x: ArrayLike, upscale_factor: int) -> Array:
    """y[n, c, h*r + i, w*r + j] = x[n, c*r*r + i*r + j, h, w], where r = upscale_factor.

    x (N, C*r*r, H, W), y (N, C, H*r, W*r).
    torch.nn.functional.pixel_shuffle, ONNX DepthToSpace (mode CRD), Shi et al. 2016 (arXiv:1609.05158).
    """
    x, r = _array(x, 4), upscale_factor
    N, C, H, W = x.shape
    if r < 1 or C % (r * r):
        raise ValueError(f"expected channels in multiples of {r}^2, got {C}")
    return x.reshape(N, C // r**2, r, r, H, W).transpose(0, 1, 4, 2, 5, 3).reshape(N, C // r**2, H * r, W * r)


def flatten(x: ArrayLike, start_dim: int = 1, end_dim: int = -1) -> Array:
    """The dimensions from start_dim to end_dim, both included, as one. torch.flatten."""
    x = _array(x)
    start, end = (range(x.ndim)[d] for d in (start_dim, end_dim))
    if start > end:
        raise ValueError(f"expected start_dim before end_dim, got {start_dim} and {end_dim}")
    return x.reshape(*x.shape[:start], math.prod(x.shape[start : end + 1]), *x.shape[end + 1 :])


def dropout(x: ArrayLike, p: float = 0.5) -> Array:
    """x itself: at inference nothing is dropped. torch.nn.functional.dropout with training=False."""
    return _array(x)


def reshape(x: ArrayLike, *, shape: Sequence[int]) -> Array:
    """The same elements in row-major order under other sizes. numpy.reshape, ONNX Reshape."""
    return _array(x).reshape(tuple(shape))
