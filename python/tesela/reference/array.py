"""Where elements go, for tensors of any rank. Any dtype, which the result keeps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike


def transpose(x: ArrayLike, axes: Sequence[int]) -> np.ndarray:
    """The axes of x in this order. numpy.transpose, ONNX Transpose."""
    return np.transpose(x, axes)


def slice(x: ArrayLike, starts, ends, axes=None, steps=None) -> np.ndarray:
    """x[start:end:step] along each of axes. ONNX Slice."""
    index = [np.s_[:]] * np.ndim(x)
    axes = range(len(starts)) if axes is None else axes
    for start, end, axis, step in zip(starts, ends, axes, steps or [1] * len(starts), strict=True):
        index[axis] = np.s_[start:end:step]
    return np.asarray(x)[tuple(index)]


def flip(x: ArrayLike, axes: Sequence[int]) -> np.ndarray:
    """x backwards along axes. numpy.flip."""
    return np.flip(x, tuple(axes))


def expand(x: ArrayLike, shape: Sequence[int]) -> np.ndarray:
    """x broadcast together with shape. ONNX Expand."""
    return np.broadcast_to(x, np.broadcast_shapes(np.shape(x), tuple(shape)))


def tile(x: ArrayLike, repeats: Sequence[int]) -> np.ndarray:
    """x side by side with itself along each axis. numpy.tile, ONNX Tile."""
    return np.tile(x, repeats)


def reshape(x: ArrayLike, shape: Sequence[int]) -> np.ndarray:
    """The same elements under other sizes. numpy.reshape, ONNX Reshape."""
    return np.reshape(x, shape)


def split(x: ArrayLike, sizes: Sequence[int], axis: int = 0) -> tuple[np.ndarray, ...]:
    """Consecutive pieces of these sizes. torch.split, ONNX Split."""
    pieces = tuple(np.split(np.asarray(x), np.cumsum(sizes)[:-1], axis))
    return pieces if len(pieces) > 1 else pieces[0]


def pad_axes(x: ArrayLike, padding, mode: str = "constant", value: float = 0.0) -> np.ndarray:
    """x cropped where padding is negative, then padded. numpy.pad, ONNX Pad."""
    x = np.asarray(x)
    x = x[
        tuple(np.s_[max(0, -before) : n - max(0, -after)] for n, (before, after) in zip(x.shape, padding, strict=True))
    ]
    sides = np.maximum(np.reshape(padding, (-1, 2)), 0)
    return np.pad(x, sides, mode, **({"constant_values": value} if mode == "constant" else {}))


def space_to_depth(x: ArrayLike, block_size: int) -> np.ndarray:
    """y[n, (i*r + j)*C + c, h, w] = x[n, c, h*r + i, w*r + j]. ONNX SpaceToDepth."""
    N, C, H, W = np.shape(x)
    r = block_size
    x = np.reshape(x, (N, C, H // r, r, W // r, r)).transpose(0, 3, 5, 1, 2, 4)
    return x.reshape(N, r * r * C, H // r, W // r)


def depth_to_space(x: ArrayLike, block_size: int, mode: str = "DCR") -> np.ndarray:
    """y[n, c, h*r + i, w*r + j] = x[n, (i*r + j)*C + c, h, w] ("DCR") or x[n, c*r*r + i*r + j, h, w]. ONNX."""
    N, C, H, W = np.shape(x)
    r = block_size
    if mode == "DCR":
        x = np.reshape(x, (N, r, r, C // r**2, H, W)).transpose(0, 3, 4, 1, 5, 2)
    else:
        x = np.reshape(x, (N, C // r**2, r, r, H, W)).transpose(0, 1, 4, 2, 5, 3)
    return x.reshape(N, C // r**2, H * r, W * r)


def gather(x: ArrayLike, indices: ArrayLike, axis: int = 0) -> np.ndarray:
    """Slices of x at indices. numpy.take, ONNX Gather."""
    return np.take(x, indices, axis)
