"""Elements chosen and placed by indices: all become one gather from a list of elements or slices.

What is scattered is gathered from x and the updates side by side, so the places must be known when the network is
planned. Indices that are computed are checked when the network runs.
"""

from __future__ import annotations

import math

import numpy as np

from ..translation import Call, Translation, Value, translates
from .layout import _axes

_NOWHERE = np.int64(2**62)  # refused by gather when the network runs


def _strides(dims) -> list[int]:
    return [math.prod(dims[i + 1 :]) for i in range(len(dims))]


def _wrapped(t: Translation, call: Call, index: Value, extent: int) -> Value:
    """int64 indices from 0 on, where negative ones count from the end; one outside becomes _NOWHERE."""
    if index.known:
        at = index.array
        if at.dtype.kind not in "iu" or not np.all((at >= -extent) & (at < extent)):
            raise call.error(f"expected integer indices within an axis of {extent}")
        return t.value(np.where(at < 0, at + extent, at).astype(np.int64))
    at = t.as_dtype(index, "int64")
    at = t("where", t("less", at, np.int64(0)), t("add", at, np.int64(extent)), at)
    outside = t("logical_or", t("less", at, np.int64(0)), t("greater_equal", at, np.int64(extent)))
    return t("where", outside, _NOWHERE, at)


def _times(t: Translation, call: Call, x: Value, factor: int) -> Value:
    return t.fold(call, lambda v: v * factor, x) if x.known else t("mul", x, np.int64(factor))


def _plus(t: Translation, call: Call, x: Value, y: np.ndarray | Value) -> Value:
    y = t.value(y)
    return t.fold(call, np.add, x, y) if x.known and y.known else t("add", x, y)


def _taken(t: Translation, call: Call, x: Value, index: Value) -> Value:
    """Slices of x along its first axis."""
    if x.known and index.known:
        t.reserve((*index.dims, *x.dims[1:]), x.array.dtype, call.what)
        return t.fold(call, lambda v, i: np.take(v, i, 0), x, index)
    return t("gather", x, index, axis=0)


@translates("GatherElements")
def gather_elements(t: Translation, call: Call, x: Value, indices: Value):
    rank = len(x.dims)
    (axis,) = _axes(call, (call.integer("axis", 0),), rank)
    beside = [(n, m) for i, (n, m) in enumerate(zip(indices.dims, x.dims, strict=False)) if i != axis]
    if len(indices.dims) != rank or any(n > m for n, m in beside):
        raise call.error(f"expected indices no larger than {x.dims} beside axis {axis}, got {indices.dims}")
    strides = _strides(x.dims)
    t.reserve(indices.dims, np.int64, call.what)
    base = sum(
        np.arange(n).reshape(-1, *(1,) * (rank - i - 1)) * strides[i]
        for i, n in enumerate(indices.dims) if i != axis
    )  # fmt: skip
    places = _plus(t, call, _times(t, call, _wrapped(t, call, indices, x.dims[axis]), strides[axis]), np.int64(base))
    return _taken(t, call, t.reshape(call, x, (math.prod(x.dims),)), places)


@translates("GatherND")
def gather_nd(t: Translation, call: Call, x: Value, indices: Value):
    batch, rank = call.integer("batch_dims", 0), len(x.dims)
    depth = indices.dims[-1] if indices.dims else 0
    if (
        not 0 <= batch < min(rank, len(indices.dims))
        or x.dims[:batch] != indices.dims[:batch]
        or not (1 <= depth <= rank - batch)
    ):
        raise call.error(f"expected indices into {x.dims} after {batch} axes of batches, got {indices.dims}")
    first = x.dims[: batch + depth]
    strides = _strides(first)
    at = t.value(np.int64(0))
    for i in range(depth):
        last = len(indices.dims) - 1
        column = _column(t, call, indices, last, i)
        at = _plus(t, call, at, _times(t, call, _wrapped(t, call, column, first[batch + i]), strides[batch + i]))
    t.reserve(indices.dims[:-1], np.int64, call.what)
    for i in range(batch):
        steps = np.arange(first[i]).reshape(-1, *(1,) * (len(indices.dims) - 2 - i)) * strides[i]
        at = _plus(t, call, at, steps)
    return _taken(t, call, t.reshape(call, x, (math.prod(first), *x.dims[batch + depth :])), at)


def _column(t: Translation, call: Call, x: Value, axis: int, i: int) -> Value:
    if x.known:
        return t.value(np.take(x.array, i, axis))
    part = t("slice", x, starts=(i,), ends=(i + 1,), axes=(axis,))
    return t.reshape(call, part, x.dims[:axis])


@translates("Scatter", "ScatterElements")
def scatter_elements(t: Translation, call: Call, x: Value, indices: Value, updates: Value):
    _check_reduction(call)
    rank = len(x.dims)
    (axis,) = _axes(call, (call.integer("axis", 0),), rank)
    at = _wrapped(t, call, t.value(t.known(call, "the indices", indices)), x.dims[axis]).array
    if at.ndim != rank or at.shape != updates.dims or any(n > m for n, m in zip(at.shape, x.dims, strict=True)):
        raise call.error(f"expected indices and updates no larger than {x.dims}, got {indices.dims}, {updates.dims}")
    grid = list(np.ogrid[tuple(slice(n) for n in at.shape)])
    grid[axis] = at
    places = sum(g * s for g, s in zip(grid, _strides(x.dims), strict=True))
    return _placed(t, call, x, np.broadcast_to(places, at.shape), updates, 1)


@translates("ScatterND")
def scatter_nd(t: Translation, call: Call, x: Value, indices: Value, updates: Value):
    _check_reduction(call)
    at = t.known(call, "the indices", indices)
    depth = at.shape[-1] if at.ndim else 0
    if not 1 <= depth <= len(x.dims) or updates.dims != (*at.shape[:-1], *x.dims[depth:]):
        raise call.error(f"expected updates for indices {indices.dims} into {x.dims}, got {updates.dims}")
    first, places = x.dims[:depth], np.zeros(at.shape[:-1], np.int64)
    for i, stride in enumerate(_strides(first)):
        places += _wrapped(t, call, t.value(at[..., i]), first[i]).array * stride
    return _placed(t, call, x, places, updates, math.prod(x.dims[depth:]))


def _check_reduction(call: Call) -> None:
    if call.text("reduction", "none") != "none":
        raise call.error(f"reduction none is supported, got {call.text('reduction', 'none')!r}")


def _placed(t: Translation, call: Call, x: Value, places: np.ndarray, updates: Value, size: int) -> Value:
    """x as slices of so many elements, with the updates at these places; of several at one place the last counts."""
    count = math.prod(x.dims) // max(size, 1)
    source = np.arange(*t.reserve((count,), np.int64, call.what))
    source[places.ravel()] = count + np.arange(places.size)
    rows = [t.reshape(call, value, (n, size)) for value, n in ((x, count), (updates, places.size))]
    if all(row.known for row in rows):
        both = t.fold(call, lambda *arrays: np.concatenate(arrays), *rows)
    else:
        both = t("concat", rows, dim=0)
    return t.reshape(call, _taken(t, call, both, t.value(source)), x.dims)


@translates("OneHot")
def one_hot(t: Translation, call: Call, indices: Value, depth: Value, values: Value):
    """values are (off, on); an index outside is off everywhere."""
    t.known(call, "the depth", depth)
    count = t.integer(call, "depth", t.as_dtype(depth, "int64"))
    if count < 1 or values.dims != (2,):
        raise call.error(f"expected a depth of at least 1 and two values, got {count} and {values.dims}")
    (axis,) = _axes(call, (call.integer("axis", -1),), len(indices.dims) + 1)
    at = t.as_dtype(indices, "int64")
    at = t.reshape(call, at, (*at.dims[:axis], 1, *at.dims[axis:]))
    at = t.either(
        call, "where", t.either(call, "less", at, t.value(np.int64(0))), _plus(t, call, at, np.int64(count)), at
    )
    steps = np.arange(*t.reserve((count,), np.int64, call.what)).reshape(-1, *(1,) * (len(indices.dims) - axis))
    here = t.either(call, "equal", at, t.value(steps))
    off, on = (_column(t, call, values, 0, i) for i in range(2))
    return t.either(call, "where", here, on, off)


@translates("Trilu")
def trilu(t: Translation, call: Call, x: Value, k: Value | None = None):
    offset = t.integer(call, "k", k, 0)
    if len(x.dims) < 2:
        raise call.error(f"expected matrices, got {x.dims}")
    offset = max(-(2**31), min(offset, 2**31))
    rows, columns = np.arange(x.dims[-2])[:, None], np.arange(x.dims[-1])
    t.reserve(x.dims[-2:], bool, call.what)
    kept = columns - rows >= offset if call.integer("upper", 1) else columns - rows <= offset
    return t.either(call, "where", t.value(kept), x, t.constant(0, t.dtype(x)))
