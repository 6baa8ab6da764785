"""Sizes and places: joining, padding, resampling, reshaping."""

from __future__ import annotations

import numpy as np

from ... import reference
from ...arguments import Padding
from ..writer import Writer, exports


def pads(sides: Padding) -> list[int]:
    """((top, bottom), (left, right)) in the order of ONNX."""
    (top, bottom), (left, right) = sides
    return [top, left, bottom, right]


def padded(w: Writer, x: str, sides: Padding, mode: str, value: float) -> str:
    names = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
    (top, bottom), (left, right) = sides
    pads = w.constant([0, 0, top, left, 0, 0, bottom, right], np.int64)
    return w("Pad", x, pads, w.constant(value) if mode == "constant" else "", mode=names[mode])


def resampled(w: Writer, x: str, rows: np.ndarray, columns: np.ndarray) -> str:
    """rows (OH, IH) @ plane (IH, IW) @ columns.T (IW, OW): any linear function that takes each axis for itself."""
    return w("MatMul", w("MatMul", w.constant(rows), x), w.constant(columns.T))


@exports("concat")
def _concat(w, a, tensors):
    return w("Concat", *tensors, axis=a["dim"])


@exports("pad")
def _pad(w, a, x):
    return padded(w, x, a["padding"], a["mode"], a["value"])


@exports("upsample")
def _upsample(w, a, x):
    extents, sizes = w.dims[x][2:], w.dims[w.layer.outputs[0]][2:]
    factors = a["scale_factor"] or (None, None)
    mode, align_corners = a["mode"], a["align_corners"]

    def resample_rows(rows: np.ndarray, axis: int) -> np.ndarray:
        """What happens along an axis of x, to rows (IH, ...)."""
        to = {"size": (sizes[axis], rows.shape[1])} if factors[axis] is None else {"scale_factor": (factors[axis], 1.0)}
        return reference.upsample(rows[None, None], mode=mode, align_corners=align_corners, **to)[0, 0]

    axes = list(zip(extents, sizes, factors, strict=True))
    # Resize divides coordinates by sizes / extents, which is not the factor where that gave sizes rounded down, and
    # does so in float32: onnxruntime's "nearest" takes rows 0 and 6 of 14, not 0 and 7.
    same_scale = all(align_corners or factor is None or extent * factor == size for extent, size, factor in axes)
    if mode == "nearest":
        if same_scale and all(size % extent == 0 for extent, size, _ in axes):
            place = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
            return w("Resize", x, "", "", w.constant(sizes, np.int64), axes=[2, 3], **place)
        for axis, extent in enumerate(extents):
            rows = resample_rows(np.arange(extent)[:, None], axis).ravel()
            x = w("Gather", x, w.constant(rows, np.int64), axis=2 + axis)
        return x
    if same_scale:
        place = {"mode": "linear", "coordinate_transformation_mode": "align_corners" if align_corners else "half_pixel"}
        return w("Resize", x, "", "", w.constant(sizes, np.int64), axes=[2, 3], **place)
    return resampled(w, x, *(resample_rows(np.eye(extent), axis) for axis, extent in enumerate(extents)))


@exports("pixel_shuffle")
def _pixel_shuffle(w, a, x):
    return w("DepthToSpace", x, blocksize=a["upscale_factor"], mode="CRD")


@exports("flatten")
def _flatten(w, a, x):
    dims = w.dims[x]
    start, end = (range(len(dims))[dim] for dim in (a["start_dim"], a["end_dim"]))
    if (start, end) == (1, len(dims) - 1):
        return w("Flatten", x, axis=1)
    return w("Reshape", x, w.constant([0] * start + [-1, *dims[end + 1 :]], np.int64))


@exports("reshape")
def _reshape(w, a, x):
    return w("Reshape", x, w.integers(a["shape"]), allowzero=int(0 in a["shape"]))


@exports("dropout")
def _dropout(w, a, x):
    return w("Identity", x)
