"""What detectors end in. Boxes are compared, and regions sampled, in float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def top_k(x: ArrayLike, k: int, axis: int = -1, largest: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """The k greatest along axis (or smallest), in that order, and their places: of equals the first. ONNX TopK."""
    x = np.asarray(x)
    rows = np.moveaxis(x, axis, -1)
    n = rows.shape[-1]
    # Stable, ascending, NaN last; backwards for the greatest, of which the first of equals is the last backwards.
    order = n - 1 - np.argsort(rows[..., ::-1], -1, kind="stable")[..., ::-1] if largest else np.argsort(
        rows, -1, kind="stable")  # fmt: skip
    places = np.moveaxis(order[..., :k], -1, axis)
    return np.take_along_axis(x, places, axis), places.astype(np.int64)


def non_max_suppression(
    boxes: ArrayLike,
    scores: ArrayLike,
    max_output_boxes: int,
    iou_threshold: float = 0.0,
    score_threshold: float | None = None,
    center_point_box: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Rows (image, class, box) by falling score, no two of a class with an IoU above the threshold; -1 after the last.

    boxes (N, B, 4) as corners (y, x, y, x) or (x, y, width, height) of the centre; scores (N, C, B), those above
    score_threshold. The second result is the number of rows chosen. ONNX NonMaxSuppression.
    """
    boxes, scores = np.asarray(boxes, np.float64), np.asarray(scores)
    if center_point_box:
        x, y, w, h = np.moveaxis(boxes, -1, 0)
        boxes = np.stack([y - h / 2, x - w / 2, y + h / 2, x + w / 2], -1)
    corners = np.concatenate([np.minimum(boxes[..., :2], boxes[..., 2:]), np.maximum(boxes[..., :2], boxes[..., 2:])],
                             -1)  # fmt: skip
    N, C, B = scores.shape
    most, rows = min(max_output_boxes, B), []
    for n in range(N):
        for c in range(C):
            passes = ~np.isnan(scores[n, c]) if score_threshold is None else scores[n, c] > score_threshold
            order = [b for b in np.argsort(-scores[n, c], kind="stable") if passes[b]]
            chosen: list[int] = []
            for b in order:
                if len(chosen) < most and all(_iou(corners[n, b], corners[n, d]) <= iou_threshold for d in chosen):
                    chosen.append(b)
            rows += [(n, c, b) for b in chosen]
    padded = np.full((N * C * most, 3), -1, np.int64)
    padded[: len(rows)] = np.reshape(rows, (-1, 3))
    return padded, np.array([len(rows)], np.int64)


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union; 0 for a box without area."""
    h, w = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    areas = [np.prod(box[2:] - box[:2]) for box in (a, b)]
    if not (h > 0 and w > 0 and min(areas) > 0):
        return 0.0
    return h * w / (sum(areas) - h * w)


def roi_align(
    x: ArrayLike,
    regions: ArrayLike,
    images: ArrayLike,
    output_size: tuple[int, int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = 0,
    aligned: bool = True,
    mode: str = "avg",
) -> np.ndarray:
    """Each region of its image as a grid of bins: the mean of bilinear samples at regular places in a bin.

    x (N, C, H, W); regions (R, 4) as (x, y, x, y) of two corners, in x's elements once scaled; images (R,). aligned: an
    element's centre is half an element from its corner. sampling_ratio: samples of a bin along each axis, 0 for one an
    element. mode "max" is the greatest of the weighted corners, as ONNX has it. torchvision.ops.roi_align, ONNX
    RoiAlign.
    """
    x = np.asarray(x, np.float64)
    OH, OW = output_size
    y = np.zeros((len(np.asarray(images)), x.shape[1], OH, OW))
    offset = 0.5 if aligned else 0.0
    for r, (region, image) in enumerate(zip(np.asarray(regions, np.float64), np.asarray(images), strict=True)):
        left, top, right, bottom = region * spatial_scale - offset
        h, w = bottom - top, right - left
        if not aligned:
            h, w = max(h, 1.0), max(w, 1.0)
        ys, xs = _samples(top, h / OH, OH, sampling_ratio), _samples(left, w / OW, OW, sampling_ratio)
        for i in range(OH):
            for j in range(OW):
                corners = [_corners(x[image], a, b) for a in ys[i] for b in xs[j]]
                if corners and mode == "avg":
                    y[r, :, i, j] = np.sum(corners, axis=(0, 1)) / len(corners)
                elif corners:
                    y[r, :, i, j] = np.max(corners, axis=(0, 1))
    return y


def _samples(start: float, length: float, bins: int, ratio: int) -> np.ndarray:
    count = ratio if ratio > 0 else max(int(np.ceil(length)), 0)
    return start + (np.arange(bins)[:, None] + (np.arange(count) + 0.5) / max(count, 1)) * length


def _corners(x: np.ndarray, y: float, z: float) -> np.ndarray:
    """The four neighbours of a place in x (C, H, W), weighted; up to one element outside is the edge, then zero."""
    C, H, W = x.shape
    if y < -1 or y > H or z < -1 or z > W:
        return np.zeros((4, C))
    y, z = min(max(y, 0), H - 1), min(max(z, 0), W - 1)
    i, j = int(y), int(z)
    k, m, v, u = min(i + 1, H - 1), min(j + 1, W - 1), y - i, z - j
    return np.stack(
        [(1 - v) * (1 - u) * x[:, i, j], (1 - v) * u * x[:, i, m], v * (1 - u) * x[:, k, j], v * u * x[:, k, m]]
    )
