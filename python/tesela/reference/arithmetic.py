"""Sums and products that broadcast."""

from __future__ import annotations

from numpy.typing import ArrayLike

from .activation import _activate
from .rules import (
    Activation,
    Array,
    _array,
)


def add(x: ArrayLike, y: ArrayLike, *, activation: Activation = None) -> Array:
    """activation(x + y), with NumPy broadcasting. ONNX Add."""
    return _activate(_array(x) + _array(y), activation)


def mul(x: ArrayLike, y: ArrayLike, *, activation: Activation = None) -> Array:
    """activation(x * y), with NumPy broadcasting. ONNX Mul."""
    return _activate(_array(x) * _array(y), activation)
