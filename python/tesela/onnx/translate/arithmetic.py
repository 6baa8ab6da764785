"""Element by element: activations and arithmetic; what is known is computed in NumPy."""

from __future__ import annotations

import math
from functools import reduce

import numpy as np

from ..translation import Call, Translation, Value, translates

KNOWN = {
    "Relu": lambda x: np.maximum(x, 0),
    "Neg": np.negative,
    "Abs": np.abs,
    "Exp": np.exp,
    "Log": np.log,
    "Sqrt": np.sqrt,
    "Floor": np.floor,
    "Ceil": np.ceil,
    "Round": np.rint,
    "Reciprocal": lambda x: (1 / x).astype(x.dtype),
    "Sign": np.sign,
    "Not": np.logical_not,
    "Equal": np.equal,
    "Greater": np.greater,
    "Less": np.less,
    "GreaterOrEqual": np.greater_equal,
    "LessOrEqual": np.less_equal,
    "And": np.logical_and,
    "Or": np.logical_or,
    "Xor": np.logical_xor,
    "Pow": lambda x, y: np.power(x, y).astype(x.dtype),
    "Mod": lambda x, y: np.mod(x, y) if np.all(y) else _zero(),
    "Where": np.where,
    "Min": lambda *v: reduce(np.minimum, v),
    "Max": lambda *v: reduce(np.maximum, v),
}


def _zero():
    raise ValueError("division by zero")


@translates(*(name for name in KNOWN if name not in ("Relu", "Neg")))
def known(t: Translation, call: Call, *values: Value):
    return t.fold(call, KNOWN[call.op_type], *values)


_PLAIN = {"Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh", "HardSwish": "hardswish"}


@translates(*_PLAIN)
def activation(t: Translation, call: Call, x: Value):
    if x.known and call.op_type in KNOWN:
        return t.fold(call, KNOWN[call.op_type], x)
    return t(_PLAIN[call.op_type], x)


@translates("LeakyRelu")
def leaky_relu(t: Translation, call: Call, x: Value):
    return t("leaky_relu", x, negative_slope=call.number("alpha", 0.01))


@translates("Elu")
def elu(t: Translation, call: Call, x: Value):
    return t("elu", x, alpha=call.number("alpha", 1.0))


@translates("Gelu")
def gelu(t: Translation, call: Call, x: Value):
    return t("gelu", x, approximate=call.text("approximate", "none"))


@translates("Swish")
def swish(t: Translation, call: Call, x: Value):
    if call.number("alpha", 1.0) != 1.0:
        raise call.error("expected alpha 1")
    return t("silu", x)


@translates("PRelu")
def prelu(t: Translation, call: Call, x: Value, slope: Value):
    array = t.known(call, "the slope", slope)
    channels = x.dims[1] if len(x.dims) > 1 else 0
    aligned = (1,) * (len(x.dims) - array.ndim) + array.shape
    if array.size != 1 and (array.size != channels or len(aligned) < 2 or aligned[1] != channels):
        raise call.error(f"expected one slope or one for each channel of {x.dims}, got shape {array.shape}")
    return t("prelu", x, parameters={"weight": t.reshape(call, slope, (array.size,))})


@translates("Clip")
def clip(t: Translation, call: Call, x: Value, low: Value | None = None, high: Value | None = None):
    """relu and relu6 by their limits, before opset 11 attributes; other limits only for what is known."""
    if call.opset < 11:
        limits = call.number("min", -math.inf), call.number("max", math.inf)
    else:
        arrays = t.known(call, "min", low), t.known(call, "max", high)
        limits = tuple(d if a is None else a.item() for a, d in zip(arrays, (-math.inf, math.inf), strict=True))
    if x.known:
        return t.fold(call, lambda v: np.clip(v, *(None if math.isinf(a) else a for a in limits)), x)
    op = {(0.0, math.inf): "relu", (0.0, 6.0): "relu6"}.get(limits)
    if op is None:
        raise call.error(f"limits (0, inf) and (0, 6) are supported, got {limits}")
    return t(op, x)


def _legacy(t: Translation, call: Call, x: Value, y: Value) -> Value:
    """Before opset 7, y lies along the axes of x from `axis` on."""
    if call.opset >= 7 or not call.integer("broadcast", 0):
        return y
    axis = call.integer("axis", len(x.dims) - len(y.dims))
    after = len(x.dims) - len(y.dims) - axis
    if not 0 <= axis <= len(x.dims) or after < 0:
        raise call.error(f"expected an axis at which {y.dims} fits {x.dims}, got {axis}")
    return t.reshape(call, y, (*y.dims, *(1,) * after))


@translates("Add", "Mul", "Sub", "Div")
def binary(t: Translation, call: Call, x: Value, y: Value):
    y = _legacy(t, call, x, y)
    if x.known and y.known:
        return t.fold(call, {"Add": np.add, "Mul": np.multiply, "Sub": np.subtract, "Div": _divide}[call.op_type], x, y)
    if call.op_type == "Sub":
        y = _negative(t, call, y)
    if call.op_type == "Div":
        # One more rounding than a division.
        y = t.fold(call, lambda v: (1 / v.astype(np.float64)).astype(v.dtype), y)
    return t("add" if call.op_type in ("Add", "Sub") else "mul", x, y)


def _divide(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Of integers toward zero, as ONNX has it."""
    if x.dtype.kind == "f":
        return np.divide(x, y)
    if not np.all(y):
        _zero()
    quotient = np.abs(x) // np.abs(y)
    return np.where((x < 0) != (y < 0), -quotient, quotient).astype(x.dtype)


def _negative(t: Translation, call: Call, x: Value) -> Value:
    return t.fold(call, np.negative, x) if x.known else t("mul", x, np.float32(-1.0))


@translates("Neg")
def negative(t: Translation, call: Call, x: Value):
    return _negative(t, call, x)


@translates("Sum", "Mean")
def total(t: Translation, call: Call, first: Value, *rest: Value):
    y = first
    for value in rest:
        y = t.fold(call, np.add, y, value) if y.known and value.known else t("add", y, value)
    if call.op_type == "Mean" and rest:
        y = t("mul", y, np.float32(1 / (1 + len(rest))))
    return y
