"""Resize and Upsample: by the operator upsample where it means the same, and by tables of places and weights elsewhere.

What the tables hold follows the standard's text on coordinate_transformation_mode, nearest_mode and the kernels of
"linear" and "cubic" (R. Keys 1981, doi:10.1109/TASSP.1981.1163711). One axis at a time is resized: gathered at the
places of all taps, multiplied with their weights, and summed over the taps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..translation import Call, Translation, Value, translates
from .layout import _axes

_NEAREST = {
    "round_prefer_floor": lambda at: np.ceil(at - 0.5),
    "round_prefer_ceil": lambda at: np.floor(at + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}
_PLACES = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
           "tf_crop_and_resize")  # fmt: skip


@dataclass(frozen=True)
class Resizing:
    """What a node asks for, the same for all axes."""

    mode: str
    place: str
    rounding: str
    cubic: float
    outside: bool  # whether taps outside are left out; else they are those of the edge
    antialias: bool


def places(how: Resizing, extent: int, size: int, scale: float, region: tuple[float, float]) -> np.ndarray:
    """Where each element of the result lies among those of x."""
    at, whole = np.arange(size, dtype=np.float64), scale * extent
    if how.place == "align_corners":
        return at * (extent - 1) / (whole - 1) if whole != 1 else np.zeros(size)
    if how.place == "asymmetric":
        return at / scale
    if how.place == "tf_crop_and_resize":
        begin, end = region
        if whole == 1:
            return np.full(size, (begin + end) * (extent - 1) / 2)
        return begin * (extent - 1) + at * (end - begin) * (extent - 1) / (whole - 1)
    if how.place == "pytorch_half_pixel" and size == 1:
        return np.zeros(size)
    shift = extent / 2 * (1 - size / whole) if how.place == "half_pixel_symmetric" else 0.0
    return shift + (at + 0.5) / scale - 0.5


def taps(how: Resizing, extent: int, at: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """(places, weights) of the elements of x that make those of the result, (size, taps) each."""
    if how.mode == "nearest":
        index = np.clip(_NEAREST[how.rounding](at), 0, extent - 1).astype(np.int64)[:, None]
        return index, np.ones(index.shape)
    narrow = min(scale, 1.0) if how.antialias else 1.0
    radius = math.ceil((1 if how.mode == "linear" else 2) / narrow)
    index = np.floor(at).astype(np.int64)[:, None] + np.arange(1 - radius, radius + 1)
    distance = np.abs(index - at[:, None]) * narrow
    weights = np.maximum(1 - distance, 0) if how.mode == "linear" else _cubic(distance, how.cubic)
    inside = (index >= 0) & (index < extent)
    if how.outside:
        weights = np.where(inside, weights, 0)
    if how.antialias or how.outside:
        weights = weights / weights.sum(1, keepdims=True)
    index = np.clip(index, 0, extent - 1)
    # What has no weight is not read: nothing times an infinity is not nothing.
    heaviest = np.take_along_axis(index, np.argmax(weights, 1)[:, None], 1)
    return np.where(weights == 0, heaviest, index), weights


def _cubic(d: np.ndarray, a: float) -> np.ndarray:
    near, far = ((a + 2) * d - (a + 3)) * d * d + 1, ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0))


def _sizes_and_scales(t: Translation, call: Call, x: Value, operands: tuple[Value | None, ...]):
    """(axes, sizes of the result along them, scales, regions)."""
    given = [*operands, None, None, None]
    first = call.op_type == "Upsample" or call.opset < 11
    if first:
        scales, sizes, roi = t.known(call, "scales", given[0]), None, None
        scales = np.array(call.numbers("scales", ())) if scales is None else scales
    else:
        roi, scales, sizes = (t.known(call, *o) for o in (("roi", given[0]), ("scales", given[1]), ("sizes", given[2])))
    rank = len(x.dims)
    axes = _axes(call, call.integers("axes", tuple(range(rank))), rank)
    by_size = sizes is not None and np.size(sizes) > 0
    chosen = np.ravel(sizes if by_size else () if scales is None else scales).tolist()
    if len(chosen) != len(axes) or not all(math.isfinite(n) and 0 < n < 2**31 for n in chosen):
        raise call.error(f"expected a size or scale between 0 and 2^31 for each of the axes {axes}, got {chosen}")
    extents = [x.dims[a] for a in axes]
    regions = [(0.0, 1.0)] * len(axes)
    if call.text("coordinate_transformation_mode", "") == "tf_crop_and_resize":
        values = () if roi is None else np.ravel(roi).astype(np.float64)
        if len(values) != 2 * len(axes) or not np.all(np.abs(values) < 2**24):
            raise call.error(f"expected a roi of two numbers for each of the axes {axes}, got {roi}")
        regions = list(zip(values[: len(axes)], values[len(axes) :], strict=True))
    if not by_size:
        return axes, [math.floor(n * s) for n, s in zip(extents, chosen, strict=True)], chosen, regions
    scales = [b / max(n, 1) for n, b in zip(extents, chosen, strict=True)]
    policy = call.text("keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        return axes, [int(b) for b in chosen], scales, regions
    if policy not in ("not_larger", "not_smaller"):
        raise call.error(f"unknown keep_aspect_ratio_policy {policy!r}")
    scale = (min if policy == "not_larger" else max)(scales)
    return axes, [math.floor(n * scale + 0.5) for n in extents], [scale] * len(axes), regions


def _how(call: Call) -> Resizing:
    first = call.op_type == "Upsample" or call.opset < 11
    how = Resizing(
        call.text("mode", "nearest"),
        "asymmetric" if first else call.text("coordinate_transformation_mode", "half_pixel"),
        "floor" if first else call.text("nearest_mode", "round_prefer_floor"),
        call.number("cubic_coeff_a", -0.75),
        bool(call.integer("exclude_outside", 0)),
        bool(call.integer("antialias", 0)),
    )
    if not abs(how.cubic) < 2**24:
        raise call.error(f"expected cubic_coeff_a as a finite number, got {how.cubic}")
    if how.mode not in ("nearest", "linear", "cubic") or how.place not in _PLACES or how.rounding not in _NEAREST:
        raise call.error(f"unknown mode {how.mode!r}, {how.place!r} or {how.rounding!r}")
    return how


def _is_upsampling(how: Resizing, x: Value, dtype: str, target: list[int], exact: bool) -> bool:
    """Whether the operator upsample means the same."""
    if len(x.dims) != 4 or dtype != "float32" or tuple(target[:2]) != x.dims[:2] or not exact or how.antialias:
        return False
    if how.mode == "nearest":
        whole = all(b % a == 0 for a, b in zip(x.dims[2:], target[2:], strict=True))
        by_floor = how.place == "asymmetric" and how.rounding == "floor"
        by_half = how.place in ("half_pixel", "pytorch_half_pixel") and how.rounding.startswith("round")
        return whole and (by_floor or by_half)
    pytorch = how.place == "half_pixel" or (how.place == "pytorch_half_pixel" and min(target[2:]) > 1)
    return how.mode == "linear" and not how.outside and (how.place == "align_corners" or pytorch)


@translates("Resize", "Upsample")
def resize(t: Translation, call: Call, x: Value, *operands: Value | None):
    how = _how(call)
    axes, sizes, scales, regions = _sizes_and_scales(t, call, x, operands)
    target = list(x.dims)
    for axis, size in zip(axes, sizes, strict=True):
        target[axis] = size
    if min([*target, *x.dims], default=1) < 1:
        raise call.error(f"expected sizes of at least 1, got {tuple(target)} for {x.dims}")
    t.reserve(target, np.float32, call.what, keep=False)
    # A scale that is not exactly size / extent places elements elsewhere.
    exact = all(abs(x.dims[a] * s - n) < 1e-3 for a, s, n in zip(axes, scales, sizes, strict=True))
    if _is_upsampling(how, x, t.dtype(x), target, exact):
        size = tuple(target[2:])
        if how.mode == "nearest":
            return t("upsample", x, size=size)
        return t("upsample", x, size=size, mode="bilinear", align_corners=how.place == "align_corners")
    if how.mode != "nearest" and t.dtype(x) != "float32":
        raise call.error(f"expected float32 for mode {how.mode}, got {t.dtype(x)}")
    fill = call.number("extrapolation_value", 0.0)
    for axis, size, scale, region in zip(axes, sizes, scales, regions, strict=True):
        if size != x.dims[axis] or scale != 1 or region != (0, 1):
            x = _along(t, call, x, axis, places(how, x.dims[axis], size, scale, region), how, scale, fill)
    return x


def _along(t: Translation, call: Call, x: Value, axis: int, at: np.ndarray, how: Resizing, scale: float, fill: float):
    """x with the places `at` along one axis."""
    extent, after = x.dims[axis], (1,) * (len(x.dims) - axis - 1)
    t.reserve((len(at), 4 * math.ceil(1 / min(scale, 1.0))), np.int64, call.what)
    index, weights = taps(how, extent, at, scale)
    t.reserve((*x.dims[:axis], *index.shape, *x.dims[axis + 1 :]), np.float32, call.what, keep=False)
    if index.shape[1] == 1:
        y = t("gather", x, index[:, 0], axis=axis)
    else:
        y = t("mul", t("gather", x, index, axis=axis), weights.astype(np.float32).reshape(*weights.shape, *after))
        y = t("reduce_sum", y, axes=(axis + 1,), keepdims=False)
    beyond = (at < 0) | (at > extent - 1)
    if how.place == "tf_crop_and_resize" and beyond.any():
        y = t("where", ~beyond.reshape(-1, *after), y, t.constant(fill, t.dtype(x)))
    return y
