"""Normalization by statistics of the input itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .rules import Array, _array, _per_channel


def _normalized(x: Array, axes: tuple[int, ...], eps: float) -> Array:
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


def group_norm(
    x: ArrayLike, groups: int, weight: ArrayLike | None = None, bias: ArrayLike | None = None, *, eps: float = 1e-5
) -> Array:
    """Mean 0 and variance 1 over each group of channels of each image, then weight[c] and bias[c]. ONNX."""
    x = _array(x)
    y = _normalized(x.reshape(len(x), groups, -1), (2,), eps).reshape(x.shape)
    y = y if weight is None else y * _per_channel(weight, x)
    return y if bias is None else y + _per_channel(bias, x)


def instance_norm(
    x: ArrayLike, weight: ArrayLike | None = None, bias: ArrayLike | None = None, *, eps: float = 1e-5
) -> Array:
    """group_norm with each channel for itself. ONNX InstanceNormalization, Ulyanov et al. 2016 (arXiv:1607.08022)."""
    return group_norm(x, np.shape(x)[1], weight, bias, eps=eps)


def layer_norm(
    x: ArrayLike, weight: ArrayLike | None = None, bias: ArrayLike | None = None, *, axis: int = -1, eps: float = 1e-5
) -> Array:
    """Mean 0 and variance 1 over the dimensions from axis on. ONNX LayerNormalization."""
    x = _array(x)
    y = _normalized(x, tuple(range(axis % x.ndim, x.ndim)), eps)
    y = y if weight is None else y * _array(weight)
    return y if bias is None else y + _array(bias)
