"""What detectors end in: the greatest scores, the boxes that stay, and the regions that they name."""

from __future__ import annotations

from typing import ClassVar

from .. import _core, arguments
from .table import ANY, Operator, expect_dims, expect_rank


class TopK(Operator, name="top_k"):
    takes: ClassVar = {"x": ANY}
    takes_empty = True

    def attributes(self, *, k, axis=-1, largest=True):
        k = arguments.integer("top_k", "k", k)
        if k < 0:
            raise ValueError(f"top_k: expected k of at least 0, got {k}")
        return {
            "k": k,
            "axis": arguments.integer("top_k", "axis", axis),
            "largest": arguments.boolean("top_k", "largest", largest),
        }

    def dims(self, a, x):
        axis = _core.normalized_dim("top_k", a["axis"], len(x))
        if a["k"] > x[axis]:
            raise ValueError(f"top_k: expected k of at most the {x[axis]} elements of axis {axis}, got {a['k']}")
        return [(*x[:axis], a["k"], *x[axis + 1 :])] * 2

    def dtypes(self, a, **operands):
        self.expect_dtypes(**operands)
        return [operands["x"], "int64"]

    def lower(self, program, a, x):
        return program.top_k(x, a["k"], a["axis"], a["largest"])


class NonMaxSuppression(Operator, name="non_max_suppression"):
    tensors = ("boxes", "scores")

    def attributes(self, *, max_output_boxes, iou_threshold=0.0, score_threshold=None, center_point_box=False):
        op, number = "non_max_suppression", arguments.number
        most = arguments.integer(op, "max_output_boxes", max_output_boxes)
        if most < 1:
            raise ValueError(f"{op}: expected max_output_boxes of at least 1, got {most}")
        return {
            "max_output_boxes": most,
            "iou_threshold": number(op, "iou_threshold", iou_threshold),
            "score_threshold": None if score_threshold is None else number(op, "score_threshold", score_threshold),
            "center_point_box": arguments.boolean(op, "center_point_box", center_point_box),
        }

    def dims(self, a, boxes, scores):
        expect_rank(self.name, scores, 3, "(N, C, B)", "scores")
        expect_dims(self.name, "boxes", boxes, (scores[0], scores[2], 4))
        rows = scores[0] * scores[1] * min(a["max_output_boxes"], scores[2])
        return [(rows, 3), (1,)]

    def dtypes(self, a, **operands):
        self.expect_dtypes(**operands)
        return ["int64", "int64"]

    def lower(self, program, a, boxes, scores):
        most = min(a["max_output_boxes"], program.dims(scores)[2])
        thresholds = a["iou_threshold"], a["score_threshold"]
        return program.non_max_suppression(boxes, scores, most, *thresholds, a["center_point_box"])


class RoiAlign(Operator, name="roi_align"):
    tensors = ("x", "regions", "images")
    takes: ClassVar = {"images": ("int64",)}

    def attributes(self, *, output_size, spatial_scale=1.0, sampling_ratio=0, aligned=True, mode="avg"):
        op = "roi_align"
        size = arguments.pair(op, "output_size", output_size)
        ratio = arguments.integer(op, "sampling_ratio", sampling_ratio)
        if min(size) < 1 or not 0 <= ratio < 2**20:
            raise ValueError(f"{op}: expected output_size of at least 1 and sampling_ratio from 0 to 2^20, "
                             f"got {size} and {ratio}")  # fmt: skip
        if mode not in ("avg", "max"):
            raise ValueError(f"{op}: expected mode 'avg' or 'max', got {mode!r}")
        return {
            "output_size": size,
            "spatial_scale": arguments.number(op, "spatial_scale", spatial_scale),
            "sampling_ratio": ratio,
            "aligned": arguments.boolean(op, "aligned", aligned),
            "mode": mode,
        }

    def dims(self, a, x, regions, images):
        expect_rank(self.name, x, 4, "(N, C, H, W)")
        expect_rank(self.name, images, 1, "(R,)", "images")
        expect_dims(self.name, "regions", regions, (images[0], 4))
        y = (images[0], x[1], *a["output_size"])
        _core.element_count(y, "roi_align output")
        return [y]

    def lower(self, program, a, x, regions, images):
        how = a["sampling_ratio"], a["spatial_scale"], a["aligned"], a["mode"] == "max"
        return [program.roi_align(x, regions, images, a["output_size"], *how)]
