"""Pooling of lines and planes."""

from __future__ import annotations

import math

import numpy as np

from ... import _core
from ...arguments import Padding, flat
from ..translation import Call, Translation, Value, translates
from .convolution import as_line, as_plane, window


def _window(call: Call, x: Value):
    kernel = call.integers("kernel_shape")
    if kernel is None:
        raise call.error("expected the attribute kernel_shape")
    return window(call, x, kernel)


def _along_one_axis(t: Translation, call: Call, x: Value):
    """A volume whose windows reach along its first axis only, as PyTorch writes local response normalization: the plane
    (D, H * W), and the call with the window of that plane."""
    kernel = call.integers("kernel_shape", ())
    ones, none = (1, 1, 1), (0,) * 6
    stride, pads, dilation = (
        call.integers("strides", ones),
        call.integers("pads", none),
        call.integers("dilations", ones),
    )
    trivial = kernel[1:] == stride[1:] == dilation[1:] == (1, 1) and pads[1:3] == pads[4:] == (0, 0)
    if len(x.dims) != 5 or len(kernel) != 3 or not trivial or call.text("auto_pad", "NOTSET") != "NOTSET":
        return x, call
    plane = t.reshape(call, x, (*x.dims[:3], x.dims[3] * x.dims[4]))
    return plane, call.with_integers(
        kernel_shape=(kernel[0], 1), strides=(stride[0], 1), dilations=(dilation[0], 1), pads=(pads[0], 0, pads[3], 0)
    )


@translates("MaxPool")
def max_pool(t: Translation, call: Call, x: Value):
    kernel, stride, padding, dilation = _window(call, x)
    plane = as_plane(t, call, t.as_dtype(x, "float32") if t.dtype(x) in ("int8", "uint8") else x)
    y = t("max_pool2d", plane, kernel_size=kernel, stride=stride, padding=padding, dilation=dilation,
          ceil_mode=bool(call.integer("ceil_mode", 0)), return_indices=call.outputs > 1)  # fmt: skip
    if call.outputs == 1:
        return t.as_dtype(as_line(t, call, y, x), t.dtype(x))
    y, at = y
    if call.integer("storage_order", 0):  # column by column
        H, W = plane.dims[2:]
        at = t("add", t("mul", t("mod", at, np.int64(W)), np.int64(H)), t("div", at, np.int64(W)))
    at = as_line(t, call, at, x)
    y = t.as_dtype(as_line(t, call, y, x), t.dtype(x))
    return y, Value(at.dims, None, at.name, in_plane=True, plane=plane.dims)


@translates("AveragePool")
def average_pool(t: Translation, call: Call, given: Value):
    x, call = _along_one_axis(t, call, given)
    kernel, stride, padding, dilation = _window(call, x)
    plane, ceil_mode = as_plane(t, call, x), bool(call.integer("ceil_mode", 0))
    with_padding = bool(call.integer("count_include_pad", 0))
    if dilation == (1, 1):
        y = t("avg_pool2d", plane, kernel_size=kernel, stride=stride, padding=padding, ceil_mode=ceil_mode,
              count_include_pad=with_padding)  # fmt: skip
    else:
        y = _window_sum(t, plane, kernel, stride, padding, dilation, ceil_mode)
        counts = [
            _counts(extent, *window, with_padding)
            for extent, *window in zip(plane.dims[2:], y.dims[2:], kernel, stride, padding, dilation, strict=True)
        ]
        y = t("mul", y, (1 / np.outer(*counts)).astype(np.float32))
    if x is not given:
        return t.reshape(call, y, (*y.dims[:3], *given.dims[3:]))
    return as_line(t, call, y, x)


def _window_sum(t: Translation, x: Value, kernel, stride, padding: Padding, dilation, ceil_mode: bool) -> Value:
    """Of each window of each plane, zeros around it; dilated ones by a convolution with ones."""
    if dilation == (1, 1):
        return t("avg_pool2d", x, kernel_size=kernel, stride=stride, padding=padding, ceil_mode=ceil_mode,
                 divisor_override=1)  # fmt: skip
    sizes = _core.pool2d_dims("pooling", x.dims, kernel, stride, flat(padding), dilation, ceil_mode)[2:]
    # Padded until the last window ends: convolution knows no ceil_mode.
    sides = [
        (before, max(after, (n - 1) * s + d * (k - 1) + 1 - extent - before))
        for extent, n, k, s, d, (before, after) in zip(
            x.dims[2:], sizes, kernel, stride, dilation, padding, strict=True
        )
    ]
    ones = np.ones((x.dims[1], 1, *kernel), np.float32)
    return t("conv2d", x, parameters={"weight": t.value(ones)}, stride=stride, padding=tuple(sides), dilation=dilation,
             groups=x.dims[1])  # fmt: skip


def _counts(extent: int, windows: int, kernel: int, stride: int, sides: tuple[int, int], dilation: int,
            with_padding: bool) -> np.ndarray:  # fmt: skip
    """Elements of each window along one axis that a mean divides by."""
    before, after = sides if with_padding else (0, 0)
    at = np.arange(windows)[:, None] * stride - sides[0] + np.arange(kernel) * dilation
    return np.sum((at >= -before) & (at < extent + after), 1)


@translates("LpPool")
def lp_pool(t: Translation, call: Call, x: Value):
    """The p-th root of the sum of |x| ** p. Before opset 2 p was a number; padding adds nothing."""
    kernel, stride, padding, dilation = _window(call, x)
    plane = as_plane(t, call, x)
    y = _window_sum(t, _power(t, call, plane), kernel, stride, padding, dilation, bool(call.integer("ceil_mode", 0)))
    return as_line(t, call, _root(t, call, y), x)


def _power(t: Translation, call: Call, x: Value) -> Value:
    p = call.integer("p", 2)
    if p < 1:
        raise call.error(f"expected p of at least 1, got {p}")
    if p == 2:
        return t("mul", x, x)
    return t("abs", x) if p == 1 else t("pow", t("abs", x), np.float32(p))


def _root(t: Translation, call: Call, x: Value) -> Value:
    p = call.integer("p", 2)
    if p == 1:
        return x
    return t("sqrt", x) if p == 2 else t("pow", x, np.float32(1 / p))


@translates("MaxUnpool")
def max_unpool(t: Translation, call: Call, x: Value, indices: Value, shape: Value | None = None):
    kernel, stride, padding, _ = _window(call, x)
    plane, size = as_plane(t, call, x), t.integers(call, "output_shape", shape)
    if size is not None and len(size) == 3 == len(x.dims):
        size = [*size[:2], 1, size[2]]
    y = tuple(_core.max_unpool2d_dims(plane.dims, kernel, stride, flat(padding))) if size is None else tuple(size)
    if len(y) != 4 or y[:2] != plane.dims[:2] or indices.dims != x.dims:
        raise call.error(f"expected indices and an output_shape for {x.dims}, got {indices.dims} and {size}")
    if indices.in_plane:
        at = Value(indices.dims, None, indices.name)
    else:  # counted through all planes of the result
        planes = np.arange(math.prod(y[:2]), dtype=np.int64).reshape(*y[:2], *(1,) * (len(x.dims) - 2)) * math.prod(
            y[2:]
        )
        at = t.either(call, "sub", t.as_dtype(indices, "int64"), t.value(planes))
    y = t("max_unpool2d", plane, as_plane(t, call, at), kernel_size=kernel, stride=stride, padding=padding,
          output_size=y[2:])  # fmt: skip
    return as_line(t, call, y, x)


@translates("GlobalAveragePool", "GlobalMaxPool")
def global_pool(t: Translation, call: Call, x: Value):
    op = "global_avg_pool2d" if call.op_type == "GlobalAveragePool" else "global_max_pool2d"
    return as_line(t, call, t(op, as_plane(t, call, x)), x)


@translates("GlobalLpPool")
def global_lp_pool(t: Translation, call: Call, x: Value):
    return _root(t, call, t("reduce_sum", _power(t, call, x), axes=tuple(range(2, len(x.dims))), keepdims=True))
