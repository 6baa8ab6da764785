"""What detectors end in: top_k, non_max_suppression and roi_align, against reference/ and against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest
import tesela as ts
from tesela import reference
from tesela.operators.table import ANY

U = 2.0**-24


def network(op, *arrays, **attributes):
    graph = ts.Graph(op)
    inputs = [graph.input(f"x{i}", a.shape, a.dtype.name, batched=False) for i, a in enumerate(arrays)]
    results = graph.apply(op, "y", *inputs, **attributes)
    graph.output(*(results if isinstance(results, tuple) else (results,)))
    return ts.Network(graph)


def boxes_and_scores(rng, images=2, classes=3, boxes=40):
    """Corners in any order, among them boxes without area and equal scores."""
    at, size = rng.integers(0, 20, (images, boxes, 2)), rng.integers(0, 8, (images, boxes, 2))
    corners = np.concatenate([at, at + size], -1).astype(np.float32)
    corners[:, ::3] = corners[:, ::3][..., [2, 3, 0, 1]]
    return corners, rng.integers(0, 16, (images, classes, boxes)).astype(np.float32) / 16


# ------------------------------------------------------------------------------------------------------------- top_k


@pytest.mark.parametrize("dtype", ANY)
@pytest.mark.parametrize("attributes", [{"k": 3}, {"k": 5, "axis": 1, "largest": False}, {"k": 2, "axis": 0},
                                        {"k": 0}])  # fmt: skip
def test_top_k(dtype, attributes, rng):
    """Equal values come often here: of them the first."""
    x = rng.integers(0, 4, (2, 5, 6)).astype(dtype)
    expected = reference.top_k(x, **attributes)
    if attributes["k"] == 0:
        graph = network("top_k", x, **attributes).graph
        assert graph.dims["y"] == graph.dims["y:1"] == (2, 5, 0)
        return
    for y, e in zip(network("top_k", x, **attributes)(x), expected, strict=True):
        np.testing.assert_array_equal(y, e)
        assert y.dtype == e.dtype


def test_top_k_of_nan():
    x = np.float32([[1, np.nan, -np.inf, np.inf, np.nan]])
    for largest, places in ((True, [1, 4, 3, 0]), (False, [2, 0, 3, 1])):
        y, at = network("top_k", x, k=4, largest=largest)(x)
        np.testing.assert_array_equal(at, [places])
        np.testing.assert_array_equal(y, x[:, places])
        np.testing.assert_array_equal(reference.top_k(x, 4, largest=largest)[1], [places])


@pytest.mark.parametrize("attributes, text", [
    ({"k": 7}, "top_k: expected k of at most the 6 elements of axis 2, got 7"),
    ({"k": -1}, "top_k: expected k of at least 0, got -1"),
    ({"k": 1, "axis": 3}, "top_k"),
])  # fmt: skip
def test_top_k_refuses(attributes, text):
    with pytest.raises(ValueError, match=text):
        network("top_k", np.zeros((2, 5, 6), np.float32), **attributes)


# --------------------------------------------------------------------------------------------------------------- NMS


@pytest.mark.parametrize("attributes", [
    {"max_output_boxes": 7, "iou_threshold": 0.3},
    {"max_output_boxes": 100, "iou_threshold": 0.0, "score_threshold": 0.5},
    {"max_output_boxes": 4, "iou_threshold": 1.0},
    {"max_output_boxes": 9, "iou_threshold": 0.1, "score_threshold": 2.0},
    {"max_output_boxes": 9, "iou_threshold": 0.2, "center_point_box": True},
])  # fmt: skip
def test_non_max_suppression(attributes, rng):
    boxes, scores = boxes_and_scores(rng)
    net = network("non_max_suppression", boxes, scores, **attributes)
    rows, count = net(boxes, scores)
    for threads in (1, 3):
        again, _ = net.compile(threads=threads)(boxes, scores)
        np.testing.assert_array_equal(again, rows)
    for y, e in zip((rows, count), reference.non_max_suppression(boxes, scores, **attributes), strict=True):
        np.testing.assert_array_equal(y, e)
    if attributes.get("score_threshold", 0) < 1:
        assert 0 < count[0] <= len(rows)


def test_non_max_suppression_of_scores_that_are_no_numbers(rng):
    boxes, scores = boxes_and_scores(rng, 1, 1, 5)
    scores[0, 0] = np.nan, 1, -np.inf, np.inf, np.nan
    boxes[0] = np.arange(5)[:, None] * 10 + np.float32([0, 0, 1, 1])
    rows, count = network("non_max_suppression", boxes, scores, max_output_boxes=5)(boxes, scores)
    assert rows[: count[0], 2].tolist() == [3, 1, 2]


@pytest.mark.parametrize("boxes, attributes, text", [
    ((2, 40, 5), {"max_output_boxes": 1}, r"expected boxes of shape \(2, 40, 4\)"),
    ((2, 39, 4), {"max_output_boxes": 1}, r"expected boxes of shape \(2, 40, 4\)"),
    ((2, 40, 4), {"max_output_boxes": 0}, "max_output_boxes of at least 1"),
])  # fmt: skip
def test_non_max_suppression_refuses(boxes, attributes, text):
    with pytest.raises(ValueError, match=text):
        network("non_max_suppression", np.zeros(boxes, np.float32), np.zeros((2, 3, 40), np.float32), **attributes)


# --------------------------------------------------------------------------------------------------------- roi_align


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("attributes", [
    {"output_size": (3, 2)},
    {"output_size": (2, 2), "sampling_ratio": 3, "spatial_scale": 0.5},
    {"output_size": (1, 4), "aligned": False},
    {"output_size": (2, 2), "sampling_ratio": 1, "aligned": False, "spatial_scale": 0.25},
])  # fmt: skip
def test_roi_align(attributes, mode, rng):
    """Regions inside, over the edge, outside, without area, and with corners swapped."""
    x = rng.standard_normal((2, 3, 9, 7)).astype(np.float32)
    regions = np.float32([[1, 2, 6, 8], [-3, -2, 4.5, 3.25], [20, 20, 30, 30], [3, 3, 3, 3], [6, 8, 1, 2],
                          [0, 0, 7, 9]])  # fmt: skip
    images = np.array([0, 1, 1, 0, 1, 0])
    y = network("roi_align", x, regions, images, mode=mode, **attributes)(x, regions, images)
    expected = reference.roi_align(x, regions, images, mode=mode, **attributes)
    # A weight is a difference of coordinates up to 30, rounded a few times; there are two of them.
    np.testing.assert_allclose(y, expected, rtol=0, atol=2 * 4 * 30 * U * np.abs(x).max())


def test_roi_align_of_regions_that_are_no_numbers(rng):
    x = np.ones((1, 1, 4, 4), np.float32)
    regions = np.float32([[np.nan] * 4, [0, 0, np.inf, 1], [-1e30, 0, 1e30, 4]])
    y = network("roi_align", x, regions, np.zeros(3, np.int64), output_size=2)(x, regions, np.zeros(3, np.int64))
    assert y.shape == (3, 1, 2, 2)
    np.testing.assert_array_equal(y, 0)


def test_roi_align_refuses_an_image_outside(rng):
    x, regions = np.ones((2, 1, 4, 4), np.float32), np.zeros((3, 4), np.float32)
    net = network("roi_align", x, regions, np.zeros(3, np.int64), output_size=2)
    for image in (2, -1):
        with pytest.raises(ValueError, match=f"roi_align: region 1 is of image {image} of a batch of 2"):
            net(x, regions, np.array([0, image, 5]))


# ------------------------------------------------------------------------------------------------------------- models


@pytest.mark.parametrize("op, attributes", [
    ("top_k", {"k": 4, "axis": 1}), ("top_k", {"k": 2, "axis": 2, "largest": False}),
    ("non_max_suppression", {"max_output_boxes": 7, "iou_threshold": 0.3, "score_threshold": 0.25}),
    ("non_max_suppression", {"max_output_boxes": 7, "center_point_box": True}),
    ("roi_align", {"output_size": (3, 2), "sampling_ratio": 2}),
    ("roi_align", {"output_size": 2, "aligned": False, "spatial_scale": 0.5}),
])  # fmt: skip
def test_as_an_onnx_model(op, attributes, rng):
    """Written, checked, run by ONNX Runtime and read back."""
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    if op == "top_k":
        arrays = [rng.standard_normal((2, 5, 6)).astype(np.float32)]
    elif op == "roi_align":
        arrays = [rng.standard_normal((2, 3, 9, 7)).astype(np.float32), np.float32([[1, 2, 6, 8], [-3, -2, 4.5, 3.25]]),
                  np.array([1, 0])]  # fmt: skip
    else:
        arrays = list(boxes_and_scores(rng))
    net = network(op, *arrays, **attributes)
    expected = net(*arrays)
    expected = expected if isinstance(expected, tuple) else (expected,)
    proto = net.to_onnx(batch=1)
    onnx.checker.check_model(proto, full_check=True)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    results = session.run(None, dict(zip([i.name for i in session.get_inputs()], arrays, strict=True)))
    for y, e in zip(results, expected, strict=True):
        np.testing.assert_allclose(y, e, rtol=1e-5, atol=1e-6)
    if op == "top_k":
        for y, e in zip(ts.onnx.load(proto.SerializeToString())(*arrays), expected, strict=True):
            np.testing.assert_array_equal(y, e)
