"""Element by element: activations and arithmetic; what is known is computed in NumPy."""

from __future__ import annotations

import math
from functools import reduce

import numpy as np

from ..translation import Call, Translation, Value, translates

# ONNX's name -> operators that mean the same.
SAME = {
    **{name: name.lower() for name in (
        "Abs", "Exp", "Log", "Sqrt", "Floor", "Ceil", "Round", "Reciprocal", "Sign", "Erf", "Sin", "Cos", "Tan", "Asin",
        "Acos", "Atan", "Sinh", "Cosh", "Asinh", "Acosh", "Atanh", "Softplus", "Softsign", "Mish", "IsNaN",
        "Equal", "Greater", "Less", "Where",
    )},
    "GreaterOrEqual": "greater_equal", "LessOrEqual": "less_equal",
    "Not": "logical_not", "And": "logical_and", "Or": "logical_or", "Xor": "logical_xor",
    "BitwiseNot": "bitwise_not", "BitwiseAnd": "bitwise_and", "BitwiseOr": "bitwise_or", "BitwiseXor": "bitwise_xor",
}  # fmt: skip


@translates(*SAME)
def same(t: Translation, call: Call, *values: Value):
    return t.either(call, SAME[call.op_type], *values)


@translates("IsInf")
def is_inf(t: Translation, call: Call, x: Value):
    negative, positive = call.integer("detect_negative", 1), call.integer("detect_positive", 1)
    if negative and positive:
        return t.either(call, "isinf", x)
    if not negative and not positive:
        return t.value(np.zeros(t.reserve(x.dims, bool, call.what), bool))
    return t.either(call, "equal", x, t.constant(-np.inf if negative else np.inf, t.dtype(x)))


@translates("Pow")
def power(t: Translation, call: Call, x: Value, y: Value):
    """The result has the type of x."""
    if x.known and y.known:
        return t.fold(call, lambda v, w: np.power(v, w).astype(v.dtype), x, y)
    if t.dtype(x) == t.dtype(y):
        return t("pow", x, y)
    if y.known and t.dtype(x) == "float32":
        return t("pow", x, t.as_dtype(y, "float32"))
    wide = (t("cast", value, dtype="float64") for value in (x, y))
    return t("cast", t("pow", *wide), dtype=t.dtype(x))


@translates("Mod")
def modulo(t: Translation, call: Call, x: Value, y: Value):
    _check_divisor(call, y)
    return t.either(call, "fmod" if call.integer("fmod", 0) else "mod", x, y)


@translates("Min", "Max")
def extreme(t: Translation, call: Call, *values: Value):
    op = "minimum" if call.op_type == "Min" else "maximum"
    return reduce(lambda x, y: t.either(call, op, x, y), values)


_PLAIN = {"Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh", "HardSwish": "hardswish"}


@translates(*_PLAIN)
def activation(t: Translation, call: Call, x: Value):
    return (
        t.fold(call, lambda v: np.maximum(v, 0), x)
        if x.known and call.op_type == "Relu"
        else t(_PLAIN[call.op_type], x)
    )


def _scaled(t: Translation, x: Value, factor: float) -> Value:
    return t("mul", x, np.float32(factor))


@translates("Selu")
def selu(t: Translation, call: Call, x: Value):
    alpha, gamma = call.number("alpha", 1.67326319217681884765625), call.number("gamma", 1.05070102214813232421875)
    return _scaled(t, t("elu", x, alpha=alpha), gamma)


@translates("Celu")
def celu(t: Translation, call: Call, x: Value):
    """max(0, x) + min(0, alpha (exp(x / alpha) - 1))"""
    alpha = call.number("alpha", 1.0)
    if alpha == 0:
        raise call.error("expected alpha other than 0")
    return _scaled(t, t("elu", _scaled(t, x, 1 / alpha), alpha=1.0), alpha)


@translates("HardSigmoid")
def hard_sigmoid(t: Translation, call: Call, x: Value):
    line = t("add", _scaled(t, x, call.number("alpha", 0.2)), np.float32(call.number("beta", 0.5)))
    return t("minimum", t("relu", line), np.float32(1.0))


@translates("ThresholdedRelu")
def thresholded_relu(t: Translation, call: Call, x: Value):
    return t("where", t("greater", x, np.float32(call.number("alpha", 1.0))), x, np.float32(0.0))


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
    alpha = call.number("alpha", 1.0)
    return t("silu", x) if alpha == 1.0 else t("mul", x, t("sigmoid", t("mul", x, np.float32(alpha))))


@translates("Shrink")
def shrink(t: Translation, call: Call, x: Value):
    """x + bias below -lambd, x - bias above lambd, 0 between."""
    bias, limit, dtype = call.number("bias", 0.0), call.number("lambd", 0.5), t.dtype(x)
    if dtype not in ("float32", "float64"):
        raise call.error(f"expected float32, got {dtype}")
    low, high = (t.either(call, "add", x, t.constant(b, dtype)) for b in (bias, -bias))
    above = t.either(call, "greater", x, t.constant(limit, dtype))
    y = t.either(call, "where", above, high, t.constant(0, dtype))
    return t.either(call, "where", t.either(call, "less", x, t.constant(-limit, dtype)), low, y)


@translates("Hardmax")
def hardmax(t: Translation, call: Call, x: Value):
    """1 at the first of the greatest along axis, 0 elsewhere. Before opset 13: along all axes from this one on."""
    rank = len(x.dims)
    axis = call.integer("axis", 1 if call.opset < 13 else -1)
    if not -rank <= axis < max(rank, 1):
        raise call.error(f"expected axis of {rank} dimensions, got {axis}")
    axis %= rank
    rows = x
    if call.opset < 13:
        rows = t.reshape(call, x, (math.prod(x.dims[:axis]), math.prod(x.dims[axis:])))
        axis = 1
    place = t.either(call, "argmax", rows, axis=axis, keepdims=True)
    steps = np.arange(rows.dims[axis]).reshape(-1, *(1,) * (len(rows.dims) - axis - 1))
    here = t.either(call, "equal", place, t.value(steps))
    return t.reshape(call, t.as_dtype(here, t.dtype(x)), x.dims)


@translates("PRelu")
def prelu(t: Translation, call: Call, x: Value, slope: Value):
    """Before opset 7 a slope for each channel; any that broadcasts to x from then on."""
    channels, count = x.dims[1] if len(x.dims) > 1 else 0, math.prod(slope.dims)
    aligned = (1,) * (len(x.dims) - len(slope.dims)) + slope.dims
    if call.opset < 7 and slope.dims == (channels,):
        aligned = (1, channels, *(1,) * (len(x.dims) - 2))
    if len(aligned) != len(x.dims) or any(n not in (1, m) for n, m in zip(aligned, x.dims, strict=True)):
        raise call.error(f"expected slopes that broadcast to {x.dims}, got shape {slope.dims}")
    if slope.name in t.graph.inputs and count <= max(channels, 1):
        t.known(call, "the slope", slope)
    if slope.known and t.dtype(x) == "float32" and (count == 1 or (len(x.dims) > 1 and count == aligned[1])):
        return t("prelu", x, parameters={"weight": t.reshape(call, slope, (count,))})
    zero = t.constant(0, t.dtype(x))
    return t("where", t("less", x, zero), t("mul", x, t.reshape(call, slope, aligned)), x)


@translates("Clip")
def clip(t: Translation, call: Call, x: Value, low: Value | None = None, high: Value | None = None):
    """Limits were attributes before opset 11."""
    if call.opset < 11:
        limits = call.number("min", -math.inf), call.number("max", math.inf)
    else:
        limits = t.scalar(call, "min", low, -math.inf), t.scalar(call, "max", high, math.inf)
    if x.known:
        return t.fold(call, lambda v: np.clip(v, *(None if math.isinf(a) else a for a in limits)), x)
    op = {(0.0, math.inf): "relu", (0.0, 6.0): "relu6"}.get(limits)
    if op is not None and t.dtype(x) == "float32":
        return t(op, x)
    for op, limit in zip(("maximum", "minimum"), limits, strict=True):
        x = x if math.isinf(limit) else t(op, x, np.array(limit, t.dtype(x)))
    return x


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
    if call.op_type == "Div":
        _check_divisor(call, y)
    if x.known and y.known:
        return t.fold(call, {"Add": np.add, "Mul": np.multiply, "Sub": np.subtract, "Div": _divide}[call.op_type], x, y)
    if call.op_type == "Sub" and y.known:
        y = _negative(t, call, y)
    elif call.op_type == "Div" and y.known and _may_multiply(t, call, y):
        # A multiplication, which is fused and takes blocked values; one more rounding than a division.
        y = t.fold(call, _reciprocal, y)
    elif call.op_type in ("Sub", "Div"):
        return t(call.op_type.lower(), x, y)
    return t("add" if call.op_type in ("Add", "Sub") else "mul", x, y)


def _reciprocal(y: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", over="ignore"):
        return (1 / y.astype(np.float64)).astype(np.float32)


def _may_multiply(t: Translation, call: Call, y: Value) -> bool:
    """Whether dividing by y may become multiplying, with one rounding more: never where that would be seen as a jump.

    x / 55 is rounded down for places of a grid, or compared. So y is a power of two, whose reciprocal is exact, or
    nothing but products is made of the quotient.
    """
    if y.array.dtype.kind != "f":
        return False
    size = np.abs(_reciprocal(y.array))
    if not np.all((size >= np.finfo(np.float32).tiny) & (size < np.inf)):
        return False
    powers_of_two = bool(np.all(np.frexp(size)[0] == 0.5)) and np.array_equal(
        size, 1 / np.abs(y.array.astype(np.float64))
    )
    return powers_of_two or t.only_multiplied(call)


def _check_divisor(call: Call, y: Value) -> None:
    if y.known and y.array.dtype.kind != "f" and not np.all(y.array):
        raise call.error("division by zero")


def _divide(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Of integers toward zero, as ONNX has it."""
    if x.dtype.kind == "f":
        return np.divide(x, y)
    quotient = np.abs(x) // np.abs(y)
    return np.where((x < 0) != (y < 0), -quotient, quotient).astype(x.dtype)


def _negative(t: Translation, call: Call, x: Value) -> Value:
    if x.known:
        return t.fold(call, np.negative, x)
    return t("mul", x, np.float32(-1.0)) if t.dtype(x) == "float32" else t("neg", x)


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
