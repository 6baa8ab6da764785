"""What detectors end in."""

from __future__ import annotations

from dataclasses import replace

from ..translation import Call, Translation, Value, translates


@translates("TopK")
def top_k(t: Translation, call: Call, x: Value, k: Value | None = None):
    """Before opset 10 k is an attribute; before 11 the greatest are meant. They come sorted, asked for or not."""
    count = call.integer("k", 0) if call.opset < 10 else t.integer(call, "k", k)
    largest = call.opset < 11 or bool(call.integer("largest", 1))
    return t.either(call, "top_k", x, k=count, axis=call.integer("axis", -1), largest=largest)


@translates("NonMaxSuppression")
def non_max_suppression(t: Translation, call: Call, boxes: Value, scores: Value, most: Value | None = None,
                        iou: Value | None = None, score: Value | None = None):  # fmt: skip
    limit = t.integer(call, "max_output_boxes_per_class", most, 0)
    if limit < 1:
        raise call.error(f"expected max_output_boxes_per_class of at least 1, got {limit}")
    rows, count = t(
        "non_max_suppression", boxes, scores, max_output_boxes=limit,
        iou_threshold=t.scalar(call, "iou_threshold", iou, 0.0),
        score_threshold=t.scalar(call, "score_threshold", score),
        center_point_box=bool(call.integer("center_point_box", 0)),
    )  # fmt: skip
    return replace(rows, rows=count.name)


@translates("RoiAlign")
def roi_align(t: Translation, call: Call, x: Value, regions: Value, images: Value):
    """Before opset 16 an element's centre was its corner."""
    place = call.text("coordinate_transformation_mode", "half_pixel" if call.opset >= 16 else "output_half_pixel")
    if place not in ("half_pixel", "output_half_pixel"):
        raise call.error(f"unknown coordinate_transformation_mode {place!r}")
    return t("roi_align", x, regions, t.as_dtype(images, "int64"),
             output_size=(call.integer("output_height", 1), call.integer("output_width", 1)),
             spatial_scale=call.number("spatial_scale", 1.0), sampling_ratio=call.integer("sampling_ratio", 0),
             aligned=place == "half_pixel", mode=call.text("mode", "avg"))  # fmt: skip
