"""Where elements go, for tensors of any rank and dtype: one step, csrc/cpu/indexed_copy.cpp, or none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from .. import _core, arguments
from .table import ANY, Dims, Operator

_SIZES = {"bool": "?", "int8": "i1", "uint8": "u1", "int32": "i4", "int64": "i8", "float32": "f4", "float64": "f8"}


def integers(op: str, name: str, values: Any) -> tuple[int, ...]:
    if isinstance(values, str) or not isinstance(values, (Sequence, np.ndarray)):
        raise TypeError(f"{op}: expected {name} as a sequence of integers, got {values!r}")
    return tuple(arguments.integer(op, name, value) for value in values)


def strides_of(dims: Sequence[int]) -> list[int]:
    return [math.prod(dims[d + 1 :]) for d in range(len(dims))]


def indexed(program, x: int, sizes, strides, *, base: int = 0, tables=None, fill: float = 0) -> int:
    sizes = list(sizes)
    value = np.array(fill).astype(_SIZES[program.dtype(x)]).tobytes()
    return program.indexed_copy(x, base, sizes, list(strides), tables or [[] for _ in sizes], value)


class ArrayOperator(Operator):
    takes: ClassVar = {"x": ANY}
    takes_empty = True

    def dtypes(self, a, **operands):
        self.expect_dtypes(**operands)
        return [operands["x"]]


class Transpose(ArrayOperator, name="transpose"):
    def attributes(self, *, axes):
        return {"axes": integers("transpose", "axes", axes)}

    def _axes(self, a, x: Dims) -> list[int]:
        axes = [_core.normalized_dim("transpose", axis, len(x)) for axis in a["axes"]]
        if sorted(axes) != list(range(len(x))):
            raise ValueError(f"transpose: expected each axis of x {x} once in axes, got {a['axes']}")
        return axes

    def dims(self, a, x):
        return [tuple(x[axis] for axis in self._axes(a, x))]

    def lower(self, program, a, x):
        dims = tuple(program.dims(x))
        axes, strides = self._axes(a, dims), strides_of(dims)
        return [indexed(program, x, [dims[d] for d in axes], [strides[d] for d in axes])]


class Slice(ArrayOperator, name="slice"):
    """x[starts:ends:steps] along `axes`, as Python slices: clamped to x; a negative step walks backwards."""

    def attributes(self, *, starts, ends, axes=None, steps=None):
        starts, ends = integers("slice", "starts", starts), integers("slice", "ends", ends)
        axes = tuple(range(len(starts))) if axes is None else integers("slice", "axes", axes)
        steps = (1,) * len(starts) if steps is None else integers("slice", "steps", steps)
        if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
            raise ValueError(
                f"slice: expected a start, an end, an axis and a step other than 0 for each, "
                f"got {starts}, {ends}, {axes}, {steps}"
            )
        return {"starts": starts, "ends": ends, "axes": axes, "steps": steps}

    def _ranges(self, a, x: Dims) -> list[range]:
        ranges = [range(n) for n in x]
        for start, end, axis, step in zip(a["starts"], a["ends"], a["axes"], a["steps"], strict=True):
            axis = _core.normalized_dim("slice", axis, len(x))
            # In Python an end of -1 is the last element; one before the first, as ONNX has it, is any end below -n.
            ranges[axis] = range(x[axis])[slice(start, end, step)]
        return ranges

    def dims(self, a, x):
        return [tuple(len(r) for r in self._ranges(a, x))]

    def lower(self, program, a, x):
        dims = tuple(program.dims(x))
        ranges, strides = self._ranges(a, dims), strides_of(dims)
        base = sum(r.start * s for r, s in zip(ranges, strides, strict=True)) if all(map(len, ranges)) else 0
        # A step beyond the only element may be larger than any stride.
        steps = [s * r.step if len(r) > 1 else 0 for r, s in zip(ranges, strides, strict=True)]
        return [indexed(program, x, map(len, ranges), steps, base=base)]


class Flip(ArrayOperator, name="flip"):
    def attributes(self, *, axes):
        return {"axes": integers("flip", "axes", axes)}

    def dims(self, a, x):
        for axis in a["axes"]:
            _core.normalized_dim("flip", axis, len(x))
        return [x]

    def lower(self, program, a, x):
        dims = tuple(program.dims(x))
        strides, base = strides_of(dims), 0
        for axis in {axis % len(dims) for axis in a["axes"]}:
            base += strides[axis] * max(dims[axis] - 1, 0)
            strides[axis] = -strides[axis]
        return [indexed(program, x, dims, strides, base=base)]


class Expand(ArrayOperator, name="expand"):
    """x broadcast together with `shape`; as ONNX Expand, a 1 in shape keeps x's size."""

    def attributes(self, *, shape):
        shape = integers("expand", "shape", shape)
        if min(shape, default=0) < 0:
            raise ValueError(f"expand: expected sizes of at least 0 in shape, got {shape}")
        return {"shape": shape}

    def dims(self, a, x):
        return [tuple(_core.broadcast_dims("expand", x, a["shape"]))]

    def lower(self, program, a, x):
        dims = tuple(program.dims(x))
        (y,) = self.dims(a, dims)
        strides = [0] * (len(y) - len(dims)) + [0 if n == 1 else s for n, s in zip(dims, strides_of(dims), strict=True)]
        return [indexed(program, x, y, strides)]


class Tile(ArrayOperator, name="tile"):
    def attributes(self, *, repeats):
        repeats = integers("tile", "repeats", repeats)
        if min(repeats, default=0) < 0:
            raise ValueError(f"tile: expected repeats of at least 0, got {repeats}")
        return {"repeats": repeats}

    def dims(self, a, x):
        if len(a["repeats"]) != len(x):
            raise ValueError(f"tile: expected one of repeats for each axis of x {x}, got {a['repeats']}")
        y = tuple(n * r for n, r in zip(x, a["repeats"], strict=True))
        _core.element_count([min(n, 2**62) for n in y], "tile output")
        return [y]

    def lower(self, program, a, x):
        dims = tuple(program.dims(x))
        (y,) = self.dims(a, dims)
        pairs = [item for pair in zip(a["repeats"], dims, strict=True) for item in pair]
        strides = [item for stride in strides_of(dims) for item in (0, stride)]
        return [program.reshape(indexed(program, x, pairs, strides), y)]


class Reshape(ArrayOperator, name="reshape"):
    """The same elements under other sizes; no step. One size may be -1. squeeze and unsqueeze are reshapes too."""

    def attributes(self, *, shape):
        return {"shape": integers("reshape", "shape", shape)}

    def dims(self, a, x):
        shape, count = a["shape"], math.prod(x)
        known = math.prod(n for n in shape if n != -1)
        if shape.count(-1) > 1 or min(shape, default=0) < -1 or (-1 in shape and (known == 0 or count % known)):
            raise ValueError(f"reshape: expected a shape of {count} elements for x {x}, got {shape}")
        y = tuple(count // known if n == -1 else n for n in shape)
        if math.prod(y) != count:
            raise ValueError(f"reshape: expected a shape of {count} elements for x {x}, got {y}")
        return [y]

    def lower(self, program, a, x):
        (y,) = self.dims(a, tuple(program.dims(x)))
        return [program.reshape(x, y)]


class Split(ArrayOperator, name="split"):
    """Consecutive pieces of x along `axis`, of these sizes."""

    def attributes(self, *, sizes, axis=0):
        return {"sizes": integers("split", "sizes", sizes), "axis": arguments.integer("split", "axis", axis)}

    def dims(self, a, x):
        axis = _core.normalized_dim("split", a["axis"], len(x))
        if sum(a["sizes"]) != x[axis] or min(a["sizes"], default=0) < 0:
            raise ValueError(f"split: expected sizes that add up to axis {axis} of x {x}, got {a['sizes']}")
        return [(*x[:axis], size, *x[axis + 1 :]) for size in a["sizes"]]

    def dtypes(self, a, **operands):
        return super().dtypes(a, **operands) * len(a["sizes"])

    def lower(self, program, a, x):
        dims = tuple(program.dims(x))
        axis, strides = a["axis"] % len(dims), strides_of(dims)
        begins = np.cumsum((0, *a["sizes"]))[:-1]
        return [
            indexed(program, x, y, strides, base=int(begin) * strides[axis] if y[axis] else 0)
            for y, begin in zip(self.dims(a, dims), begins, strict=True)
        ]


class PadAxes(ArrayOperator, name="pad_axes"):
    """Padding of any axes by ((before, after), ...); negative padding crops. Modes as numpy.pad has them."""

    def attributes(self, *, padding, mode="constant", value=0.0):
        if mode not in ("constant", "reflect", "edge", "wrap"):
            raise ValueError(f"pad_axes: expected mode 'constant', 'reflect', 'edge' or 'wrap', got {mode!r}")
        padding = tuple(integers("pad_axes", "padding", pair) for pair in padding)
        if any(len(pair) != 2 for pair in padding):
            raise ValueError(f"pad_axes: expected padding as (before, after) for each axis, got {padding}")
        return {"padding": padding, "mode": mode, "value": arguments.number("pad_axes", "value", value)}

    def dims(self, a, x):
        if len(a["padding"]) != len(x):
            raise ValueError(f"pad_axes: expected padding for each axis of x {x}, got {a['padding']}")
        y = tuple(n + before + after for n, (before, after) in zip(x, a["padding"], strict=True))
        left = [n + min(0, before) + min(0, after) for n, (before, after) in zip(x, a["padding"], strict=True)]
        empty = a["mode"] != "constant" and any(n == 0 < size for n, size in zip(left, y, strict=True))
        if min(left, default=0) < 0 or empty:
            raise ValueError(f"pad_axes: x {x} with padding {a['padding']} would have shape {y}")
        _core.element_count([min(n, 2**62) for n in y], "pad_axes output")
        return [y]

    def lower(self, program, a, x):
        dims = tuple(program.dims(x))
        (y,) = self.dims(a, dims)
        places = [padded_places(n, *pair, a["mode"]) for n, pair in zip(dims, a["padding"], strict=True)]
        tables = [
            np.where(at < 0, -1, at * stride).tolist() for at, stride in zip(places, strides_of(dims), strict=True)
        ]
        return [indexed(program, x, y, [0] * len(y), tables=tables, fill=a["value"])]


def padded_places(extent: int, before: int, after: int, mode: str) -> np.ndarray:
    """Where each element of a padded axis comes from, -1 for the constant. What is cropped is neither mirrored nor
    repeated."""
    first, last = max(0, -before), extent - max(0, -after)
    places = _places(last - first, max(0, before), max(0, after), mode)
    return np.where(places < 0, -1, places + first)


def _places(extent: int, before: int, after: int, mode: str) -> np.ndarray:
    at = np.arange(-before, extent + after)
    if mode == "constant":
        return np.where((at < 0) | (at >= extent), -1, at)
    if mode == "edge":
        return np.clip(at, 0, extent - 1)
    if mode == "wrap":
        return at % extent
    period = max(2 * (extent - 1), 1)
    return np.minimum(at % period, period - at % period) if extent > 1 else np.zeros_like(at)


class SpaceToDepth(ArrayOperator, name="space_to_depth"):
    """(N, C, H, W) -> (N, r * r * C, H / r, W / r). As ONNX SpaceToDepth."""

    def attributes(self, *, block_size):
        return {"block_size": arguments.integer(self.name, "block_size", block_size)}

    def dims(self, a, x):
        r = a["block_size"]
        if len(x) != 4 or r < 1 or x[2] % r or x[3] % r:
            raise ValueError(f"space_to_depth: expected x of shape (N, C, H, W) in blocks of {r}, got {x}")
        return [(x[0], x[1] * r * r, x[2] // r, x[3] // r)]

    def lower(self, program, a, x):
        n, c, h, w = program.dims(x)
        (y,), r = self.dims(a, (n, c, h, w)), a["block_size"]
        sizes, strides = (n, r, r, c, h // r, w // r), (c * h * w, w, 1, h * w, r * w, r)
        return [program.reshape(indexed(program, x, sizes, strides), y)]


class DepthToSpace(ArrayOperator, name="depth_to_space"):
    """(N, r * r * C, H, W) -> (N, C, H * r, W * r); mode "DCR" or "CRD". As ONNX DepthToSpace."""

    def attributes(self, *, block_size, mode="DCR"):
        if mode not in ("DCR", "CRD"):
            raise ValueError(f"depth_to_space: expected mode 'DCR' or 'CRD', got {mode!r}")
        return {"block_size": arguments.integer(self.name, "block_size", block_size), "mode": mode}

    def dims(self, a, x):
        r = a["block_size"]
        if len(x) != 4 or r < 1 or x[1] % (r * r):
            raise ValueError(f"depth_to_space: expected x of shape (N, C, H, W) with C in multiples of {r}^2, got {x}")
        return [(x[0], x[1] // (r * r), x[2] * r, x[3] * r)]

    def lower(self, program, a, x):
        n, c, h, w = program.dims(x)
        (y,), r, hw = self.dims(a, (n, c, h, w)), a["block_size"], h * w
        i, j, k = (r * y[1] * hw, y[1] * hw, hw) if a["mode"] == "DCR" else (r * hw, hw, r * r * hw)
        sizes, strides = (n, y[1], h, r, w, r), (c * hw, k, w, i, 1, j)
        return [program.reshape(indexed(program, x, sizes, strides), y)]


class Gather(ArrayOperator, name="gather"):
    """Slices of x along `axis` at int64 indices, counted from the end where negative. As numpy.take."""

    tensors = ("x", "indices")
    takes: ClassVar = {"x": ANY, "indices": ("int64",)}

    def attributes(self, *, axis=0):
        return {"axis": arguments.integer("gather", "axis", axis)}

    def dims(self, a, x, indices):
        axis = _core.normalized_dim("gather", a["axis"], len(x))
        y = (*x[:axis], *indices, *x[axis + 1 :])
        _core.element_count(y, "gather output")
        return [y]

    def lower(self, program, a, x, indices):
        return [program.gather(x, indices, a["axis"])]
