"""Pooling and unpooling of planes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ... import reference
from ...arguments import Padding
from ...operators import Dims
from ..writer import Writer, exports
from .layout import padded, pads, resampled


def _explicit_padding(w: Writer, a: Mapping[str, Any], x: str) -> Padding:
    """`padding` long enough after the plane that the windows of ceil_mode exist without it."""
    sides = []
    for axis, (before, after) in enumerate(a["padding"]):
        extent, windows = w.dims[x][2 + axis], w.dims[w.layer.outputs[0]][2 + axis]
        reach = a.get("dilation", (1, 1))[axis] * (a["kernel_size"][axis] - 1) + 1
        end = (windows - 1) * a["stride"][axis] + reach
        sides.append((before, max(after, end - before - extent)))
    return tuple(sides)


@exports("max_pool2d")
def _max_pool2d(w, a, x):
    kernel, sides = a["kernel_size"], _explicit_padding(w, a, x)
    place = np.arange(np.prod(w.dims[x][2:])).reshape(w.dims[x][2:])
    # Dilated windows may be padded by more than the kernel's size, which onnxruntime refuses.
    beyond = any(max(side) >= k for side, k in zip(sides, kernel, strict=True))
    if beyond:
        x = padded(w, x, sides, "constant", -np.inf)
        place, sides = np.pad(place, sides, constant_values=-1), ((0, 0), (0, 0))
    pooling = {"kernel_shape": kernel, "strides": a["stride"], "pads": pads(sides), "dilations": a["dilation"]}
    if not a["return_indices"]:
        return w("MaxPool", x, **pooling)

    y, flat = w("MaxPool", x, outputs=2, **pooling)
    indices = w.layer.outputs[1]
    if not beyond and _only_undone(w, indices, place.shape):
        w.flat.add(indices)
        return y, flat
    in_plane = w("Mod", flat, w.constant(place.size, np.int64))
    return y, w("Gather", w.constant(place.ravel(), np.int64), in_plane) if beyond else in_plane


def _only_undone(w: Writer, indices: str, plane: Dims) -> bool:
    """Whether all that reads the indices is unpooling to the plane that they count in."""
    readers = w.graph.uses()[indices]
    return indices not in w.graph.outputs and all(
        node.op == "max_unpool2d" and w.dims[node.outputs[0]][2:] == plane for node in readers
    )


@exports("avg_pool2d")
def _avg_pool2d(w, a, x):
    kernel, stride, divisor = a["kernel_size"], a["stride"], a["divisor_override"]
    sides = _explicit_padding(w, a, x)
    window = {"strides": stride, "pads": pads(sides)}
    counted = a["count_include_pad"] and any(map(any, a["padding"]))
    if divisor is None and (sides == a["padding"] or not counted):
        return w("AveragePool", x, kernel_shape=kernel, count_include_pad=int(counted), **window)

    # AveragePool divides neither by a given number nor by a count that knows padding from what ceil_mode adds.
    _, channels, *extents = w.dims[x]
    if divisor is None:
        cells = []
        for extent, windows, k, s, padding in zip(
            extents, w.dims[w.layer.outputs[0]][2:], kernel, stride, a["padding"], strict=True
        ):
            begin = np.arange(windows) * s
            cells.append(np.minimum(begin + k, sum(padding) + extent) - begin)
        divisor = np.outer(*cells)
    total = w("Conv", x, w.constant(np.ones((channels, 1, *kernel))), group=channels, **window)
    return w("Div", total, w.constant(divisor))


@exports("adaptive_avg_pool2d")
def _adaptive_avg_pool2d(w, a, x):
    extents, bins = w.dims[x][2:], w.dims[w.layer.outputs[0]][2:]
    if all(extent % count == 0 for extent, count in zip(extents, bins, strict=True)):
        kernel = [extent // count for extent, count in zip(extents, bins, strict=True)]
        return w("AveragePool", x, kernel_shape=kernel, strides=kernel)
    means = (
        reference.adaptive_avg_pool2d(np.eye(extent)[None, None], (count, None))[0, 0]
        for extent, count in zip(extents, bins, strict=True)
    )
    return resampled(w, x, *means)


@exports("global_avg_pool2d")
def _global_avg_pool2d(w, a, x):
    return w("GlobalAveragePool", x)


@exports("global_max_pool2d")
def _global_max_pool2d(w, a, x):
    return w("GlobalMaxPool", x)


@exports("max_unpool2d")
def _max_unpool2d(w, a, x, indices):
    _, channels, *extents = w.dims[x]
    plane = w.dims[w.layer.outputs[0]][2:]
    # MaxUnpool knows kernel, stride and padding only to size its result. Its output_shape would say the same, but
    # onnxruntime counts the indices in that shape, ONNX's own implementation in the size without it.
    kernel, stride, padding = [], [], []
    for extent, size, s, sides in zip(extents, plane, a["stride"], a["padding"], strict=True):
        k = size - (extent - 1) * s + sum(sides)
        if k <= max(sides):  # refused by onnxruntime
            more = max(0, extent - size)
            k, s, sides = size - extent + 1 + 2 * more, 1, (more, more)
        kernel, stride, padding = [*kernel, k], [*stride, s], [*padding, sides]
    if indices not in w.flat:
        limit = w("Div", w("Size", x), w.constant(np.prod(extents), np.int64))
        step = w.constant(np.prod(plane), np.int64)
        begins = w("Range", w.constant(0, np.int64), w("Mul", limit, step), step)
        indices = w("Add", indices, w("Reshape", begins, w.constant([-1, channels, 1, 1], np.int64)))
    return w("MaxUnpool", x, indices, kernel_shape=kernel, strides=stride, pads=pads(padding))
