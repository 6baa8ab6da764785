"""Products of matrices."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .activation import _activate
from .rules import (
    Activation,
    Array,
    _array,
    _vector,
)


def gemm(
    a: ArrayLike,
    b: ArrayLike,
    c: ArrayLike | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    trans_a: bool = False,
    trans_b: bool = False,
    activation: Activation = None,
) -> Array:
    """activation(alpha * op(a) @ op(b) + beta * c), op being the transpose where trans_a or trans_b says so.

    op(a) (M, K), op(b) (K, N), c anything that broadcasts to (M, N). ONNX Gemm.
    """
    a, b = _array(a, 2), _array(b, 2)
    y = alpha * ((a.T if trans_a else a) @ (b.T if trans_b else b))
    if c is not None:
        y = y + beta * np.broadcast_to(_array(c), y.shape)
    return _activate(y, activation)


def linear(x: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None, *, activation: Activation = None) -> Array:
    """activation(x @ weight.T + bias): x (..., IN), weight (OUT, IN), bias (OUT,). torch.nn.functional.linear."""
    x, weight = _array(x), _array(weight, 2)
    y = x @ weight.T
    if bias is not None:
        y = y + _vector(bias, len(weight))
    return _activate(y, activation)
