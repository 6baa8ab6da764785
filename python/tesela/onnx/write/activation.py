"""Activations: alone, and after the operator that they are fused into."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...operators import TABLE, Activation
from ..writer import Writer, exports

ACTIVATIONS: dict[str, Callable[..., str]] = {
    "relu": lambda w, x: w("Relu", x),
    "relu6": lambda w, x: w("Clip", x, w.constant(0.0), w.constant(6.0)),
    "leaky_relu": lambda w, x, slope: w("LeakyRelu", x, alpha=slope),
    "elu": lambda w, x, alpha: w("Elu", x, alpha=alpha),
    "sigmoid": lambda w, x: w("Sigmoid", x),
    "tanh": lambda w, x: w("Tanh", x),
    "hardswish": lambda w, x: w("HardSwish", x),
    "silu": lambda w, x: w("Mul", x, w("Sigmoid", x)),
    "gelu": lambda w, x: w("Gelu", x),
    "gelu_tanh": lambda w, x: w("Gelu", x, approximate="tanh"),
}


def activated(w: Writer, activation: Any, x: str) -> str:
    if activation is None:
        return x
    name, *parameter = [activation] if isinstance(activation, str) else activation
    return ACTIVATIONS[name](w, x, *parameter)


@exports(*(name for name, operator in TABLE.items() if isinstance(operator, Activation)))
def _activation(w, a, x):
    return activated(w, TABLE[w.layer.op].fused(a), x)


@exports("prelu")
def _prelu(w, a, x, weight):
    after_channels = len(w.dims[x]) - 2
    if w.dims[weight] not in ((), (1,)) and after_channels:
        weight = w("Reshape", weight, w.constant([-1] + [1] * after_channels, np.int64))
    return w("PRelu", x, weight)
