"""Sizes and places: reshaping, joining, padding, resizing."""

from __future__ import annotations

import math

import numpy as np

from ..translation import Call, Translation, Value, translates


@translates("Identity", "Dropout")
def identity(t: Translation, call: Call, x: Value, ratio: Value | None = None, training: Value | None = None):
    flag = t.known(call, "training_mode", training)
    if flag is not None and flag.any():
        raise call.error("training is not supported")
    if call.op_type == "Dropout" and call.outputs > 1:
        return x, t.value(np.ones(t.reserve(x.dims, bool, call.what), bool))
    return x


def _axes(call: Call, axes: np.ndarray | tuple[int, ...], rank: int) -> list[int]:
    axes = [int(a) for a in axes]
    if any(not -rank <= a < rank for a in axes) or len({a % rank for a in axes}) < len(axes):
        raise call.error(f"expected different axes of {rank} dimensions, got {axes}")
    return [a % rank for a in axes]


@translates("Reshape")
def reshape(t: Translation, call: Call, x: Value, shape: Value):
    target = t.integers(call, "the shape", shape)
    if not call.integer("allowzero", 0):
        if any(d == 0 and i >= len(x.dims) for i, d in enumerate(target)):
            raise call.error(f"expected zeros where {x.dims} has a size, got {target}")
        target = [x.dims[i] if d == 0 else d for i, d in enumerate(target)]
    if target.count(-1) > 1 or min(target, default=0) < -1:
        raise call.error(f"expected sizes, at most one of them -1, got {target}")
    if -1 in target:
        rest = math.prod(d for d in target if d != -1)
        if rest == 0 or math.prod(x.dims) % rest:
            raise call.error(f"expected a shape that {x.dims} fits, got {target}")
        target[target.index(-1)] = math.prod(x.dims) // rest
    return t.reshape(call, x, target)


@translates("Flatten")
def flatten(t: Translation, call: Call, x: Value):
    axis, rank = call.integer("axis", 1), len(x.dims)
    if not -rank <= axis <= rank:
        raise call.error(f"expected axis of {rank} dimensions, got {axis}")
    axis = axis + rank if axis < 0 else axis
    return t.reshape(call, x, (math.prod(x.dims[:axis]), math.prod(x.dims[axis:])))


@translates("Squeeze", "Unsqueeze")
def squeeze(t: Translation, call: Call, x: Value, axes: Value | None = None):
    given = t.integers(call, "axes", axes)
    given = call.integers("axes") if given is None else given
    if call.op_type == "Unsqueeze":
        if given is None or len(given) > 32:
            raise call.error("expected axes")
        added, sizes = _axes(call, given, len(x.dims) + len(given)), iter(x.dims)
        return t.reshape(call, x, [1 if i in added else next(sizes) for i in range(len(x.dims) + len(given))])
    gone = [i for i, d in enumerate(x.dims) if d == 1] if given is None else _axes(call, given, len(x.dims))
    if any(x.dims[i] != 1 for i in gone):
        raise call.error(f"expected axes of size 1, got {gone} of {x.dims}")
    return t.reshape(call, x, [d for i, d in enumerate(x.dims) if i not in gone])


@translates("Concat")
def concat(t: Translation, call: Call, *parts: Value):
    rank = len(parts[0].dims)
    (axis,) = _axes(call, (call.integer("axis", 1),), rank)
    across = {part.dims[:axis] + part.dims[axis + 1 :] for part in parts}
    if len(across) > 1 or any(len(part.dims) != rank for part in parts):
        raise call.error(f"expected values that agree but for axis {axis}, got {', '.join(str(p.dims) for p in parts)}")
    if all(part.known for part in parts):
        return t.fold(call, lambda *arrays: np.concatenate(arrays, axis), *parts)
    return t("concat", list(parts), dim=axis) if len(parts) > 1 else parts[0]


@translates("Transpose")
def transpose(t: Translation, call: Call, x: Value):
    perm = call.integers("perm", tuple(range(len(x.dims)))[::-1])
    if sorted(perm) != list(range(len(x.dims))):
        raise call.error(f"expected perm of {len(x.dims)} axes, got {perm}")
    moved = [a for a in perm if x.dims[a] != 1]
    if not x.known and moved == sorted(moved):
        return t.reshape(call, x, [x.dims[a] for a in perm])
    return t.fold(call, lambda v: v.transpose(perm), x) if x.known else t("transpose", x, axes=perm)


@translates("CenterCropPad")
def center_crop_pad(t: Translation, call: Call, x: Value, shape: Value):
    """What lies in the middle, or zeros around it; the odd one goes, or is added, after."""
    rank = len(x.dims)
    axes = _axes(call, call.integers("axes", tuple(range(rank))), rank)
    sizes = t.integers(call, "the shape", shape)
    if len(sizes) != len(axes) or min(sizes, default=1) < 1 or max(sizes, default=1) > 2**24:
        raise call.error(f"expected a size for each of the axes {axes}, got {sizes}")
    padding = [(0, 0)] * rank
    for axis, size in zip(axes, sizes, strict=True):
        missing = size - x.dims[axis]
        before = int(missing / 2)  # toward zero
        padding[axis] = before, missing - before
    return t("pad_axes", x, padding=tuple(padding))


@translates("DepthToSpace")
def depth_to_space(t: Translation, call: Call, x: Value):
    size, mode = call.integer("blocksize", 1), call.text("mode", "DCR")
    if mode == "CRD" and t.dtype(x) == "float32":
        return t("pixel_shuffle", x, upscale_factor=size)
    return t("depth_to_space", x, block_size=size, mode=mode)


@translates("SpaceToDepth")
def space_to_depth(t: Translation, call: Call, x: Value):
    r, mode = call.integer("blocksize", 1), call.text("mode", "DCR")
    if mode not in ("DCR", "CRD"):
        raise call.error(f"unknown mode {mode!r}")
    y = t("space_to_depth", x, block_size=r)
    if mode == "DCR":
        return y
    n, c, h, w = x.dims
    blocks = t.reshape(call, y, (n, r * r, c, h // r, w // r))
    return t.reshape(call, t("transpose", blocks, axes=(0, 2, 1, 3, 4)), y.dims)


@translates("Split")
def split(t: Translation, call: Call, x: Value, sizes: Value | None = None):
    """Equal parts without sizes; the last is smaller where they do not come out even, from opset 18 on."""
    (axis,) = _axes(call, (call.integer("axis", 0),), len(x.dims))
    given = t.integers(call, "the sizes", sizes)
    given = call.integers("split") if given is None else given
    if given is None:
        part = -(-x.dims[axis] // call.outputs)
        given = [min(part, x.dims[axis] - i * part) for i in range(call.outputs)]
    if min(given, default=0) < 1 or sum(given) != x.dims[axis] or len(given) != call.outputs:
        raise call.error(f"expected {call.outputs} sizes of at least 1 that make {x.dims[axis]}, got {tuple(given)}")
    if x.known:
        return tuple(t.value(part) for part in np.split(x.array, np.cumsum(given)[:-1], axis))
    return t("split", x, sizes=given, axis=axis) if len(given) > 1 else x


@translates("Pad")
def pad(t: Translation, call: Call, x: Value, pads: Value | None = None, value: Value | None = None,
        axes: Value | None = None):  # fmt: skip
    rank = len(x.dims)
    given = t.integers(call, "pads", pads)
    sides = call.integers("pads", ()) if given is None else given
    over = range(rank) if axes is None else _axes(call, t.integers(call, "axes", axes), rank)
    if len(sides) != 2 * len(over):
        raise call.error(f"expected two numbers for each of {len(over)} axes, got {sides}")
    padding = [(0, 0)] * rank
    for i, axis in enumerate(over):
        padding[axis] = sides[i], sides[i + len(over)]
    if any(abs(p) > 2**24 for side in padding for p in side):
        raise call.error(f"expected padding of at most 2^24, got {padding}")
    modes = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}
    mode = call.text("mode", "constant")
    if mode not in modes:
        raise call.error(f"unknown mode {mode!r}")
    fill = float(t.scalar(call, "the value", value, call.number("value", 0.0)))
    cropped = any(p < 0 for side in padding for p in side)
    if rank == 4 and not cropped and t.dtype(x) == "float32" and not any(map(any, padding[:2])):
        return t("pad", x, padding=tuple(padding[2:]), mode=modes[mode], value=fill)
    return t("pad_axes", x, padding=tuple(padding), mode=mode, value=fill)
