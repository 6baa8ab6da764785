"""Normalization with given or computed statistics."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .activation import _activate
from .rules import (
    Activation,
    Array,
    _array,
    _per_channel,
)


def batch_norm(
    x: ArrayLike,
    running_mean: ArrayLike,
    running_var: ArrayLike,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    eps: float = 1e-5,
    activation: Activation = None,
) -> Array:
    """(x - mean) / sqrt(var + eps) * weight + bias, each of shape (C,) along axis 1 of x (N, C, ...).

    Inference only: the statistics are given, never computed. torch.nn.functional.batch_norm, ONNX BatchNormalization,
    Ioffe and Szegedy 2015 (arXiv:1502.03167).
    """
    x = _array(x)
    y = (x - _per_channel(running_mean, x)) / np.sqrt(_per_channel(running_var, x) + eps)
    if weight is not None:
        y = y * _per_channel(weight, x)
    if bias is not None:
        y = y + _per_channel(bias, x)
    return _activate(y, activation)


def local_response_norm(x: ArrayLike, size: int, *, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Array:
    """x[n, c] / (k + alpha/size * sum of x[n, c']^2 over the c' from c - size//2 to c + (size - 1)//2 that exist)^beta.

    torch.nn.functional.local_response_norm; section 3.3 of Krizhevsky et al. 2012 (AlexNet), whose alpha is alpha/size
    here. ONNX LRN looks one channel further ahead, not back, for an even size.
    """
    x = _array(x)
    if size < 1:
        raise ValueError(f"expected a size of at least 1, got {size}")
    frame = [(0, 0), (size // 2, (size - 1) // 2)] + [(0, 0)] * (x.ndim - 2)
    squares = np.pad(x**2, frame)
    total = sum(squares[:, c : c + x.shape[1]] for c in range(size))
    return x / (k + alpha / size * total) ** beta


def softmax(x: ArrayLike, dim: int = -1) -> Array:
    """exp(x) / sum over dim of exp(x), x less its maximum so that nothing overflows. torch.nn.functional.softmax."""
    x = _array(x)
    e = np.exp(x - x.max(axis=dim, keepdims=True))
    return e / e.sum(axis=dim, keepdims=True)


def log_softmax(x: ArrayLike, dim: int = -1) -> Array:
    """x - log(sum over dim of exp(x)), x less its maximum likewise. torch.nn.functional.log_softmax."""
    x = _array(x)
    x = x - x.max(axis=dim, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=dim, keepdims=True))
