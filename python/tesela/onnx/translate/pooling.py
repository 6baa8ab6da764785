"""Pooling of lines and planes."""

from __future__ import annotations

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
    if call.integer("storage_order", 0):
        raise call.error("indices in column-major order are not supported")
    y = t("max_pool2d", as_plane(t, call, x), kernel_size=kernel, stride=stride, padding=padding, dilation=dilation,
          ceil_mode=bool(call.integer("ceil_mode", 0)), return_indices=call.outputs > 1)  # fmt: skip
    if call.outputs == 1:
        return as_line(t, call, y, x)
    if len(x.dims) != 4:
        raise call.error("indices of lines are not supported")
    return y[0], Value(y[1].dims, None, y[1].name, in_plane=True)


@translates("AveragePool")
def average_pool(t: Translation, call: Call, given: Value):
    x, call = _along_one_axis(t, call, given)
    kernel, stride, padding, dilation = _window(call, x)
    if dilation != (1, 1):
        raise call.error(f"dilated means are not supported, got {dilation}")
    y = t("avg_pool2d", as_plane(t, call, x), kernel_size=kernel, stride=stride, padding=padding,
          ceil_mode=bool(call.integer("ceil_mode", 0)),
          count_include_pad=bool(call.integer("count_include_pad", 0)))  # fmt: skip
    if x is not given:
        return t.reshape(call, y, (*y.dims[:3], *given.dims[3:]))
    return as_line(t, call, y, x)


@translates("MaxUnpool")
def max_unpool(t: Translation, call: Call, x: Value, indices: Value, shape: Value | None = None):
    kernel, stride, padding, _ = _window(call, x)
    if not indices.in_plane:
        raise call.error("expected the indices that MaxPool returned")
    size = t.integers(call, "output_shape", shape)
    return t("max_unpool2d", x, Value(indices.dims, None, indices.name), kernel_size=kernel, stride=stride,
             padding=padding, output_size=size)  # fmt: skip


@translates("GlobalAveragePool", "GlobalMaxPool")
def global_pool(t: Translation, call: Call, x: Value):
    op = "global_avg_pool2d" if call.op_type == "GlobalAveragePool" else "global_max_pool2d"
    return as_line(t, call, t(op, as_plane(t, call, x)), x)


@translates("GlobalLpPool")
def global_lp_pool(t: Translation, call: Call, x: Value):
    p = call.integer("p", 2)
    if p not in (1, 2):
        raise call.error(f"expected p 1 or 2, got {p}")
    return t(f"reduce_l{p}", x, axes=tuple(range(2, len(x.dims))), keepdims=True)
