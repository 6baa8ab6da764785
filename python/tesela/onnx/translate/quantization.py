"""Quantized tensors, computed in float32: what QuantizeLinear rounds away stays away."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from .. import tensors
from ..translation import Call, Translation, Value, translates


def _aligned(t: Translation, call: Call, x: Value, operand: Value | None, what: str) -> np.ndarray | None:
    """A scale or zero point of all elements, or of each along the attribute axis."""
    array = t.known(call, what, operand)
    if array is None or array.size == 1:
        return array if array is None else array.reshape(())
    axis = call.integer("axis", 1)
    if call.integer("block_size", 0) or array.ndim != 1 or not -len(x.dims) <= axis < len(x.dims):
        raise call.error(f"expected one {what}, or one for each element of an axis of {x.dims}, got {array.shape}")
    axis %= len(x.dims)
    if array.size != x.dims[axis]:
        raise call.error(f"expected {x.dims[axis]} of {what}, got {array.size}")
    return array.reshape(-1, *(1,) * (len(x.dims) - axis - 1))


@translates("DequantizeLinear")
def dequantize_linear(t: Translation, call: Call, x: Value, scale: Value, zero_point: Value | None = None):
    factor, zero = _aligned(t, call, x, scale, "scale"), _aligned(t, call, x, zero_point, "zero point")
    y = t.as_dtype(x, "float32")
    if zero is not None and np.any(zero):
        y = t.either(call, "add", y, t.value(-zero.astype(np.float32)))
    return t.either(call, "mul", y, t.value(factor.astype(np.float32)))


@translates("QuantizeLinear")
def quantize_linear(t: Translation, call: Call, x: Value, scale: Value, zero_point: Value | None = None):
    factor, zero = _aligned(t, call, x, scale, "scale"), _aligned(t, call, x, zero_point, "zero point")
    asked = call.integer("output_dtype", 0) or TensorProto.UINT8
    dtype = tensors.carried(asked, call.what) if zero is None else zero.dtype
    if dtype.name not in ("uint8", "int8"):
        raise call.error(f"expected a result of uint8 or int8, got {dtype}")
    y = t.either(call, "round", t.either(call, "div", t.as_dtype(x, "float32"), t.value(factor.astype(np.float32))))
    if zero is not None and np.any(zero):
        y = t.either(call, "add", y, t.value(zero.astype(np.float32)))
    return t.either(call, "cast", y, dtype=dtype.name)  # clamps
