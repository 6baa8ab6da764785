"""What detectors end in."""

from __future__ import annotations

import numpy as np

from ..writer import exports


@exports("top_k")
def _top_k(w, a, x):
    wide = x if w.dtype(x) in ("float32", "float64", "int32", "int64") else w.cast(x, "int32")
    y, places = w("TopK", wide, w.integers(a["k"]), outputs=2, axis=a["axis"], largest=int(a["largest"]))
    return (y if wide == x else w.cast(y, w.dtype(x))), places


@exports("non_max_suppression")
def _non_max_suppression(w, a, boxes, scores):
    """As many rows as boxes are chosen, filled up with -1."""
    limits = [w.integers(a["max_output_boxes"]), w.constant([a["iou_threshold"]])]
    if a["score_threshold"] is not None:
        limits.append(w.constant([a["score_threshold"]]))
    chosen = w("NonMaxSuppression", boxes, scores, *limits, center_point_box=int(a["center_point_box"]))
    count = w("Slice", w("Shape", chosen), w.integers(0), w.integers(1))
    rows = w.dims[w.layer.outputs[0]][0]
    filled = w("Concat", chosen, w.constant(np.full((rows, 3), -1), np.int64), axis=0)
    return w("Slice", filled, w.integers(0), w.integers(rows), w.integers(0)), count


@exports("roi_align")
def _roi_align(w, a, x, regions, images):
    height, width = a["output_size"]
    return w("RoiAlign", x, regions, images, output_height=height, output_width=width, mode=a["mode"],
             spatial_scale=a["spatial_scale"], sampling_ratio=a["sampling_ratio"],
             coordinate_transformation_mode="half_pixel" if a["aligned"] else "output_half_pixel")  # fmt: skip
