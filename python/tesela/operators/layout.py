"""Where elements lie: concatenation, padding, resampling, shuffling, reshaping."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from .. import _core, arguments
from ..arguments import flat, number, pair
from .array import padded_places
from .table import ANY, Operator, expect_rank


class Concat(Operator, name="concat"):
    tensors = ("tensors*",)
    takes: ClassVar = {"tensors": ANY}
    alike = ("tensors",)
    takes_empty = True
    per_image = True

    def attributes(self, *, dim=1):
        return {"dim": arguments.integer("concat", "dim", dim)}

    def dims(self, a, tensors):
        return [tuple(_core.concat_dims(tensors, a["dim"]))]

    def dtypes(self, a, **operands):
        self.expect_dtypes(**operands)
        return operands["tensors"][:1]

    def lower(self, program, a, tensors):
        return [program.concat(tensors, a["dim"])]


class Pad(Operator, name="pad"):
    per_image = True

    def attributes(self, *, padding, mode="constant", value=0.0):
        if not isinstance(mode, str):
            raise TypeError(f"pad: expected mode as a string, got {mode!r}")
        return {"padding": arguments.padding("pad", padding), "mode": mode, "value": number("pad", "value", value)}

    def dims(self, a, x):
        return [tuple(_core.pad2d_dims(x, flat(a["padding"]), a["mode"]))]

    def lower(self, program, a, x):
        mode = {"replicate": "edge", "circular": "wrap"}.get(a["mode"], a["mode"])  # NumPy's names
        extents = program.dims(x)[2:]
        h, w = (padded_places(n, *sides, mode).tolist() for n, sides in zip(extents, a["padding"], strict=True))
        return [program.resample2d(x, h, [], w, [], [], [], a["value"])]


class Upsample(Operator, name="upsample"):
    per_image = True

    def attributes(self, *, size=None, scale_factor=None, mode="nearest", align_corners=False):
        if (size is None) == (scale_factor is None):
            raise ValueError("upsample: expected either size or scale_factor")
        if mode not in ("nearest", "bilinear"):
            raise ValueError(f"upsample: expected mode 'nearest' or 'bilinear', got {mode!r}")
        if align_corners and mode == "nearest":
            raise ValueError("upsample: align_corners applies to mode 'bilinear' only")
        if scale_factor is not None:
            factors = scale_factor if isinstance(scale_factor, (tuple, list)) else (scale_factor, scale_factor)
            scale_factor = tuple(number("upsample", "scale_factor", f) for f in factors)
            if len(scale_factor) != 2 or not all(0 < f < math.inf for f in scale_factor):
                raise ValueError(f"upsample: expected a positive scale_factor, got {scale_factor}")
        return {
            "size": None if size is None else pair("upsample", "size", size),
            "scale_factor": scale_factor,
            "mode": mode,
            "align_corners": arguments.boolean("upsample", "align_corners", align_corners),
        }

    def dims(self, a, x):
        expect_rank("upsample", x, 4, "(N, C, H, W)")
        size = a["size"] or [int(min(extent * f, 2.0**62)) for extent, f in zip(x[2:], a["scale_factor"], strict=True)]
        return [tuple(_core.upsample_dims(x, size))]

    def lower(self, program, a, x):
        extents = program.dims(x)[2:]
        (y,) = self.dims(a, tuple(program.dims(x)))
        factors = a["scale_factor"] or (None, None)
        axes = [
            _sampled_index(*axis, a["mode"], a["align_corners"]) for axis in zip(extents, y[2:], factors, strict=True)
        ]
        (low_h, high_h, weight_h), (low_w, high_w, weight_w) = axes
        return [program.resample2d(x, low_h, high_h, low_w, high_w, weight_h, weight_w, 0.0)]


def _sampled_index(
    extent: int, out: int, factor: float | None, mode: str, align_corners: bool
) -> tuple[list[int], list[int], list[float]]:
    """(low, high, weight) of each output coordinate; empty high and weight for "nearest". See reference.upsample."""
    at = np.arange(out)
    # PyTorch copies an axis that keeps its size, and doubles one exactly, whatever the factor that led there.
    if out == extent or (mode == "nearest" and out == 2 * extent):
        factor = None

    def scaled(place: np.ndarray) -> np.ndarray:
        return place * extent / out if factor is None else place / factor

    if mode == "nearest":
        # 33 / 2.2 falls just short of 15, because 2.2 is not exact in binary.
        return np.minimum(np.floor(scaled(at) + 1e-9).astype(int), extent - 1).tolist(), [], []
    place = at * (extent - 1) / max(out - 1, 1) if align_corners else np.maximum(scaled(at + 0.5) - 0.5, 0.0)
    low = np.floor(place).astype(int)
    return low.tolist(), np.minimum(low + 1, extent - 1).tolist(), (place - low).tolist()


class PixelShuffle(Operator, name="pixel_shuffle"):
    per_image = True

    def attributes(self, *, upscale_factor):
        return {"upscale_factor": arguments.integer("pixel_shuffle", "upscale_factor", upscale_factor)}

    def dims(self, a, x):
        return [tuple(_core.pixel_shuffle_dims(x, a["upscale_factor"]))]

    def lower(self, program, a, x):
        return [program.pixel_shuffle(x, a["upscale_factor"])]


class Flatten(Operator, name="flatten"):
    per_image = True

    def attributes(self, *, start_dim=1, end_dim=-1):
        integer = arguments.integer
        return {
            "start_dim": integer("flatten", "start_dim", start_dim),
            "end_dim": integer("flatten", "end_dim", end_dim),
        }

    def dims(self, a, x):
        return [tuple(_core.flatten_dims(x, a["start_dim"], a["end_dim"]))]

    def lower(self, program, a, x):
        (y,) = self.dims(a, tuple(program.dims(x)))
        return [program.reshape(x, y)]


class Dropout(Operator, name="dropout"):
    per_image = True

    def attributes(self, *, p=0.5):
        p = number("dropout", "p", p)
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"dropout: expected p between 0 and 1, got {p}")
        return {"p": p}

    def dims(self, a, x):
        return [x]

    def lower(self, program, a, x):
        return [x]
