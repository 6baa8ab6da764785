"""Activations, alone or after another operator."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from .rules import (
    Activation,
    Array,
    _array,
    _per_channel,
)


def relu(x: ArrayLike) -> Array:
    """max(x, 0)."""
    return np.maximum(_array(x), 0.0)


def leaky_relu(x: ArrayLike, negative_slope: float = 0.01) -> Array:
    """x where x > 0, else negative_slope * x."""
    x = _array(x)
    return np.where(x > 0, x, negative_slope * x)


def prelu(x: ArrayLike, weight: ArrayLike) -> Array:
    """x where x > 0, else weight * x: weight (1,) for all or (C,) along axis 1. He et al. 2015 (arXiv:1502.01852)."""
    x, weight = _array(x), _array(weight)
    slope = weight.reshape(()) if weight.size == 1 else _per_channel(weight, x)
    return np.where(x > 0, x, slope * x)


def relu6(x: ArrayLike) -> Array:
    """min(max(x, 0), 6)."""
    return np.clip(_array(x), 0.0, 6.0)


def elu(x: ArrayLike, alpha: float = 1.0) -> Array:
    """x where x > 0, else alpha * (exp(x) - 1). Clevert et al. 2015 (arXiv:1511.07289)."""
    x = _array(x)
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0)))


def sigmoid(x: ArrayLike) -> Array:
    """1 / (1 + exp(-x)), with the exponent never positive so that nothing overflows."""
    x = _array(x)
    e = np.exp(-np.abs(x))
    return np.where(x > 0, 1.0, e) / (1.0 + e)


def tanh(x: ArrayLike) -> Array:
    """(exp(x) - exp(-x)) / (exp(x) + exp(-x))."""
    return np.tanh(_array(x))


def hardswish(x: ArrayLike) -> Array:
    """x * min(max(x + 3, 0), 6) / 6. Howard et al. 2019 (arXiv:1905.02244)."""
    x = _array(x)
    return x * np.clip(x + 3.0, 0.0, 6.0) / 6.0


def silu(x: ArrayLike) -> Array:
    """x * sigmoid(x)."""
    return _array(x) * sigmoid(x)


def gelu(x: ArrayLike, approximate: str = "none") -> Array:
    """x * P(Z <= x), Z standard normal, or its tanh approximation. Hendrycks and Gimpel 2016 (arXiv:1606.08415)."""
    x = _array(x)
    if approximate == "none":
        return 0.5 * x * np.asarray(_erfc(-x / math.sqrt(2.0)), dtype=np.float64)
    if approximate == "tanh":
        return 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))
    raise ValueError(f"expected approximate 'none' or 'tanh', got {approximate!r}")


# erfc, not 1 + erf: for x below -6 the sum has lost every digit that erfc keeps.
_erfc = np.frompyfunc(math.erfc, 1, 1)

_ACTIVATIONS = {f.__name__: f for f in (relu, relu6, leaky_relu, elu, sigmoid, tanh, hardswish, silu, gelu)}
_ACTIVATIONS["gelu_tanh"] = partial(gelu, approximate="tanh")


def _activate(y: Array, activation: Activation) -> Array:
    """activation: None, a name, or (name, parameter) for leaky_relu and elu."""
    if activation is None:
        return y
    name, *parameter = (activation,) if isinstance(activation, str) else activation
    if name not in _ACTIVATIONS or len(parameter) > (name in ("leaky_relu", "elu")):
        raise ValueError(f"expected an activation among {', '.join(_ACTIVATIONS)}, got {activation}")
    return _ACTIVATIONS[name](y, *parameter)
