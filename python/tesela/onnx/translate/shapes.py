"""What is known when a network is planned: constants, sizes, and arithmetic on them."""

from __future__ import annotations

import math

import numpy as np

from ... import _core
from .. import tensors
from ..translation import Call, Translation, Value, translates
from .layout import _axes


@translates("Constant")
def constant(t: Translation, call: Call):
    for name, read, dtype in (
        ("value_float", call.number, np.float32), ("value_floats", call.numbers, np.float32),
        ("value_int", call.integer, np.int64), ("value_ints", call.integers, np.int64),
    ):  # fmt: skip
        if call.has(name):
            return t.value(np.array(read(name), dtype))
    value = call.tensor("value")
    if value is None:
        raise call.error("expected one of value, value_float, value_floats, value_int, value_ints")
    t.reserve(value.shape, value.dtype, call.what)
    return t.value(value)


@translates("ConstantOfShape")
def constant_of_shape(t: Translation, call: Call, shape: Value):
    fill = call.tensor("value")
    fill = np.zeros(1, np.float32) if fill is None else fill
    if fill.size != 1:
        raise call.error(f"expected value with one element, got shape {fill.shape}")
    dims = t.integers(call, "the shape", shape)
    return t.value(np.full(t.reserve(dims, fill.dtype, call.what), fill.item(), fill.dtype))


@translates("Shape")
def shape(t: Translation, call: Call, x: Value):
    return t.value(np.array(x.dims[slice(call.integer("start", 0), call.integer("end"))], np.int64))


@translates("Size")
def size(t: Translation, call: Call, x: Value):
    return t.value(np.array(math.prod(x.dims), np.int64))


@translates("Cast")
def cast(t: Translation, call: Call, x: Value):
    """To another type of floating point nothing changes: all are float32 here."""
    return _cast(t, call, x, tensors.carried(call.integer("to", 0), call.what))


@translates("CastLike")
def cast_like(t: Translation, call: Call, x: Value, like: Value):
    return _cast(t, call, x, like.array.dtype if like.known else np.dtype(t.graph.dtypes[like.name]))


def _cast(t: Translation, call: Call, x: Value, dtype: np.dtype) -> Value:
    if not x.known:
        name = "float32" if dtype.kind == "f" else dtype.name
        return x if t.graph.dtypes[x.name] == name else t("cast", x, dtype=name)
    t.reserve(x.dims, dtype, call.what)
    return t.value(tensors.converted(x.array, dtype))


@translates("Gather")
def gather(t: Translation, call: Call, x: Value, indices: Value):
    (axis,) = _axes(call, (call.integer("axis", 0),), len(x.dims))
    if indices.known and indices.array.dtype.kind not in "iu":
        raise call.error(f"expected indices of integers, got {indices.array.dtype}")
    if indices.known and not np.all((indices.array >= -x.dims[axis]) & (indices.array < x.dims[axis])):
        raise call.error(f"expected indices within axis {axis} of {x.dims}")
    if x.known and indices.known:
        t.reserve(x.dims[:axis] + indices.dims + x.dims[axis + 1 :], x.array.dtype, call.what)
        return t.fold(call, lambda v, i: np.take(v, i, axis), x, indices)
    return t("gather", x, t.as_dtype(indices, "int64"), axis=axis)


@translates("Slice")
def slice_(t: Translation, call: Call, x: Value, *operands: Value | None):
    if call.opset < 10:
        starts, ends, axes = call.integers("starts", ()), call.integers("ends", ()), call.integers("axes")
        steps = None
    else:
        names = ("starts", "ends", "axes", "steps")
        given = [t.integers(call, what, v) for what, v in zip(names, operands, strict=False)]
        starts, ends, axes, steps = [*given, None, None][:4]
    axes = _axes(call, range(len(starts)) if axes is None else axes, len(x.dims))
    steps = [1] * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise call.error(
            f"expected a start, an end, an axis and a step for each, got {starts}, {ends}, {axes}, {steps}"
        )
    where = [slice(None)] * len(x.dims)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        n = x.dims[axis]
        if step == 0:
            raise call.error("expected steps other than 0")
        if step < 0 and end < -n:
            end = None
        where[axis] = slice(int(start), None if end is None else int(end), int(step))
    if not x.known and all(range(*w.indices(n)) == range(n) for w, n in zip(where, x.dims, strict=True)):
        return x
    if x.known:
        return t.fold(call, lambda v: v[tuple(where)], x)
    # Past the ends, as Python's slices go; the operator clamps.
    ends = [-(2**62) if w.stop is None and w.step < 0 else w.stop for w in (where[axis] for axis in axes)]
    return t("slice", x, starts=[where[axis].start for axis in axes], ends=ends, axes=axes,
             steps=[where[axis].step for axis in axes])  # fmt: skip


@translates("Expand", "Tile")
def repeat(t: Translation, call: Call, x: Value, by: Value):
    counts = t.integers(call, "the shape", by)
    if call.op_type == "Expand":
        dims = tuple(_core.broadcast_dims("expand", x.dims, t.reserve(counts, np.int8, call.what, keep=False)))
        if dims == x.dims:
            return x
    else:
        if len(counts) != len(x.dims):
            raise call.error(f"expected {len(x.dims)} repeats, got {counts}")
        dims = tuple(n * c for n, c in zip(x.dims, counts, strict=True))
    t.reserve(dims, x.array.dtype if x.known else np.float32, call.what)
    if x.known and 0 in dims:  # numpy.tile would repeat the other axes first
        return t.value(np.empty(dims, x.array.dtype))
    if not x.known:
        return t("expand", x, shape=dims) if call.op_type == "Expand" else t("tile", x, repeats=counts)
    return t.fold(call, lambda v: np.broadcast_to(v, dims) if call.op_type == "Expand" else np.tile(v, counts), x)


@translates("Range")
def range_(t: Translation, call: Call, start: Value, limit: Value, delta: Value):
    low, high, step = (t.scalar(call, *operand) for operand in (("start", start), ("limit", limit), ("delta", delta)))
    if step == 0 or not all(map(math.isfinite, (low, high, step))):
        raise call.error(f"expected finite numbers and a delta other than 0, got {low}, {high}, {step}")
    count = max(0, math.ceil((high - low) / step))
    t.reserve((count,), start.array.dtype, call.what)
    return t.value((low + np.arange(count) * step).astype(start.array.dtype))


@translates("If")
def if_(t: Translation, call: Call, condition: Value):
    """Of a condition that is known: the branch takes the place of the node."""
    chosen = "then_branch" if t.scalar(call, "the condition", condition) else "else_branch"
    results = t.inlined(call, call.graph(chosen))
    if len(results) != call.outputs:
        raise call.error(f"expected a branch with {call.outputs} outputs, got {len(results)}")
    return results


@translates("Loop", "Scan", "SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceInsert", "SplitToSequence")
def control_flow(t: Translation, call: Call, *values: Value | None):
    raise call.error(f"loops and sequences are not supported, got {call.op_type}")
