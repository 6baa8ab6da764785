"""Operators of ONNX in forms that the standard's suite does not try, against ONNX Runtime."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tesela as ts

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper  # noqa: E402
from onnx_mutation import branch, node, tensor  # noqa: E402

KINDS = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "uint8": TensorProto.UINT8, "int8": TensorProto.INT8}


def model(nodes, inputs, initializers=(), outputs=("y",), opset=18):
    given = [helper.make_tensor_value_info(name, KINDS[a.dtype.name], a.shape) for name, a in inputs.items()]
    results = [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs]
    graph = helper.make_graph(nodes, "case", given, results, initializer=list(initializers))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def agrees(nodes, inputs, initializers=(), outputs=(("y", TensorProto.FLOAT),), opset=18, relative=1e-5):
    proto = model(nodes, inputs, initializers, outputs, opset)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = session.run(None, inputs)
    results = ts.onnx.load(proto.SerializeToString())(*inputs.values())
    results = results if isinstance(results, tuple) else (results,)
    for y, e in zip(results, expected, strict=True):
        assert (y.shape, y.dtype) == (e.shape, e.dtype)
        np.testing.assert_allclose(y, e, rtol=0, atol=relative * max(1, np.abs(e.astype(np.float64)).max()))


def x(*dims, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal(dims).astype(dtype)


# ----------------------------------------------------------------------------------------------------------- resizing

MODES = [
    ("nearest", {"nearest_mode": mode}) for mode in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
] + [("linear", {}), ("cubic", {}), ("cubic", {"cubic_coeff_a": -0.5, "exclude_outside": 1})]
PLACES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("mode, attributes", MODES)
def test_resize(mode, attributes, place):
    for size in ((7, 11), (3, 4), (10, 5), (1, 7)):
        nodes = [node("Resize", ["x", "", "", "s"], mode=mode, coordinate_transformation_mode=place, **attributes)]
        agrees(nodes, {"x": x(2, 3, 5, 6)}, [tensor([2, 3, *size], "s", np.int64)])


@pytest.mark.parametrize("place", [*PLACES, "half_pixel_symmetric"])
@pytest.mark.parametrize("scales", [(1, 1, 1.7, 0.6), (1, 1, 0.5, 2.0), (1, 1, 2.3, 2.3)])
def test_resize_by_scales(place, scales):
    if place == "align_corners" and scales[2] != 0.5:
        pytest.skip("the standard's suite counts in scale * size, onnxruntime in what that is rounded to")
    nodes = [node("Resize", ["x", "", "s"], mode="linear", coordinate_transformation_mode=place)]
    agrees(nodes, {"x": x(1, 2, 6, 7)}, [tensor(scales, "s")], opset=19)


@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_resize_with_antialiasing(mode):
    for size in ((5, 4), (3, 12)):
        nodes = [node("Resize", ["x", "", "", "s"], mode=mode, antialias=1, exclude_outside=1)]
        agrees(nodes, {"x": x(1, 2, 12, 9)}, [tensor([1, 2, *size], "s", np.int64)])


def test_resize_of_a_region():
    for mode in ("nearest", "linear"):
        nodes = [node("Resize", ["x", "r", "", "s"], mode=mode, extrapolation_value=9.0,
                      coordinate_transformation_mode="tf_crop_and_resize")]  # fmt: skip
        inputs = [tensor([0, 0, 0.25, -0.5, 1, 1, 0.75, 1.25], "r"), tensor([1, 2, 4, 5], "s", np.int64)]
        agrees(nodes, {"x": x(1, 2, 8, 6)}, inputs)


def test_resize_of_lines_and_of_other_axes():
    """Lines, and axes of the batch and channels too."""
    agrees([node("Resize", ["x", "", "s"], mode="linear")], {"x": x(2, 3, 5)}, [tensor([1, 1, 2.5], "s")])
    nodes = [node("Resize", ["x", "", "s"], mode="nearest", nearest_mode="floor",
                  coordinate_transformation_mode="asymmetric")]  # fmt: skip
    agrees(nodes, {"x": x(2, 3, 4, 5)}, [tensor([2, 1, 3, 1], "s")])


def test_resize_does_not_spread_what_it_does_not_read():
    planes = x(1, 1, 4, 4)
    planes[0, 0, 0, 0] = np.inf
    proto = model([node("Resize", ["x", "", "s"], mode="cubic")], {"x": planes}, [tensor([1, 1, 3, 3], "s")],
                  [("y", TensorProto.FLOAT)])  # fmt: skip
    y = ts.onnx.load(proto.SerializeToString())(planes)
    assert np.isfinite(y[0, 0, 7:]).all() and not np.isfinite(y[0, 0, 0, 0])
    assert np.isfinite(y[0, 0, 4, 4:]).any()


# ------------------------------------------------------------------------------------------------------------ pooling


@pytest.mark.parametrize("p, dilation, ceil", list(itertools.product((1, 2, 3), ([1, 1], [2, 1]), (0, 1))))
def test_lp_pool(p, dilation, ceil):
    nodes = [node("LpPool", ["x"], kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1], p=p, dilations=dilation,
                  ceil_mode=ceil)]  # fmt: skip
    if ceil and dilation == [1, 1]:
        pytest.skip("onnxruntime leaves ceil_mode of LpPool to be floor")
    agrees(nodes, {"x": x(2, 3, 9, 8)}, opset=18)
    agrees([node("GlobalLpPool", ["x"], p=p)], {"x": x(2, 3, 4, 5)})


@pytest.mark.parametrize("with_padding, ceil", list(itertools.product((0, 1), (0, 1))))
def test_dilated_means(with_padding, ceil):
    nodes = [node("AveragePool", ["x"], kernel_shape=[2, 3], strides=[2, 2], pads=[1, 1, 0, 1], dilations=[3, 2],
                  count_include_pad=with_padding, ceil_mode=ceil)]  # fmt: skip
    agrees(nodes, {"x": x(1, 2, 10, 9)}, opset=19)


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("dims, kernel", [((2, 3, 6, 5), [2, 3]), ((2, 3, 9), [3])])
def test_places_of_maxima(order, dims, kernel):
    if order and len(kernel) == 1:
        pytest.skip("columns of a line")
    nodes = [node("MaxPool", ["x"], ["y", "i"], kernel_shape=kernel, storage_order=order)]
    agrees(nodes, {"x": x(*dims)}, outputs=(("y", TensorProto.FLOAT), ("i", TensorProto.INT64)))


def test_maxima_of_integers():
    values = np.random.default_rng(0).integers(0, 255, (1, 2, 6, 6)).astype(np.uint8)
    nodes = [node("MaxPool", ["x"], kernel_shape=[3, 3], strides=[2, 2])]
    agrees(nodes, {"x": values}, outputs=[("y", TensorProto.UINT8)])


@pytest.mark.parametrize("dims, kernel", [((2, 3, 6, 4), [2, 2]), ((2, 3, 8), [2])])
def test_unpooling_by_places_of_another_layer(dims, kernel):
    """The places go through a layer on their way, so they are counted as ONNX does."""
    nodes = [
        node("MaxPool", ["x"], ["a", "i"], kernel_shape=kernel, strides=kernel),
        node("Identity", ["i"], ["j"]),
        node("MaxUnpool", ["a", "j"], kernel_shape=kernel, strides=kernel),
    ]
    agrees(nodes, {"x": x(*dims)})


# ----------------------------------------------------------------------------------------------------------- indexing


def test_elements_by_computed_places():
    """Places that no plan knows: those of a TopK."""
    nodes = [
        node("TopK", ["x", "k"], ["v", "i"], axis=1),
        node("GatherElements", ["x", "i"], ["g"], axis=1),
        node("Sub", ["v", "g"], ["d"]),
        node("Unsqueeze", ["i", "m"], ["j"]),
        node("GatherND", ["x", "j"], ["n"], batch_dims=1),
        node("Sub", ["n", "v"], ["e"]),
        node("OneHot", ["i", "depth", "pair"], ["o"], axis=1),
    ]
    constants = [tensor([3], "k", np.int64), tensor([2], "m", np.int64), tensor(6, "depth", np.int64),
                 tensor([0, 1], "pair")]  # fmt: skip
    outputs = [(name, TensorProto.FLOAT) for name in ("g", "d", "e", "o")]
    agrees(nodes, {"x": x(4, 6)}, constants, outputs)


def test_computed_places_outside_are_refused():
    nodes = [node("Cast", ["x"], ["i"], to=TensorProto.INT64), node("GatherElements", ["w", "i"], axis=0)]
    for value, fine in ((1, True), (-4, True), (4, False), (-5, False)):
        given = np.full((2, 2), value, np.float32)
        proto = model(nodes, {"x": given}, [tensor(x(4, 2), "w")], [("y", TensorProto.FLOAT)])
        network = ts.onnx.load(proto.SerializeToString())
        if fine:
            assert network(given).shape == (2, 2)
        else:
            with pytest.raises(ValueError, match="gather: index"):
                network(given)


def test_scattering():
    constants = [tensor([[0, 2], [1, -1]], "i", np.int64), tensor([[1, 2], [3, 4]], "u"),
                 tensor([[[0, 1], [-1, 0]]], "j", np.int64)]  # fmt: skip
    agrees([node("ScatterElements", ["x", "i", "u"], axis=1)], {"x": x(3, 4)}, constants)
    nodes = [node("Slice", ["x", "a", "b"], ["s"]), node("ReduceSum", ["s", "r"], ["t"], keepdims=0),
             node("Unsqueeze", ["t", "a0"], ["v"]), node("ScatterND", ["x", "j", "v"])]  # fmt: skip
    more = [tensor([0], "a", np.int64), tensor([2], "b", np.int64), tensor([2], "r", np.int64),
            tensor([0], "a0", np.int64), tensor([[[0], [2]]], "j", np.int64)]  # fmt: skip
    del nodes[1]
    nodes[1] = node("Unsqueeze", ["s", "a0"], ["v"])
    agrees(nodes, {"x": x(3, 4)}, more)


def test_triangles():
    for k, upper in itertools.product((-2, 0, 1), (0, 1)):
        agrees([node("Trilu", ["x", "k"], upper=upper)], {"x": x(2, 4, 5)}, [tensor(k, "k", np.int64)])


# ------------------------------------------------------------------------------------------------- numbers and layers


def test_quantized_weights_and_activations():
    """As quantizing exporters write a layer: weights in int8 for each channel, activations rounded to uint8."""
    rng = np.random.default_rng(1)
    constants = [
        tensor(rng.integers(-127, 128, (4, 3, 3, 3)), "w", np.int8), tensor(rng.random(4) / 100, "ws"),
        tensor(np.zeros(4), "wz", np.int8), tensor(0.02, "s"), tensor(128, "z", np.uint8),
    ]  # fmt: skip
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        node("DequantizeLinear", ["q", "s", "z"], ["a"]),
        node("DequantizeLinear", ["w", "ws", "wz"], ["v"], axis=0),
        node("Conv", ["a", "v"], ["y"], pads=[1] * 4),
    ]
    agrees(nodes, {"x": x(1, 3, 8, 8)}, constants)


def test_statistics_of_a_layer_norm():
    nodes = [node("LayerNormalization", ["x", "w", "b"], ["y", "m", "s"], axis=1)]
    constants = [tensor(x(3, 4, seed=1), "w"), tensor(x(3, 4, seed=2), "b")]
    agrees(nodes, {"x": x(2, 3, 4)}, constants, [(name, TensorProto.FLOAT) for name in "yms"], opset=17)


@pytest.mark.parametrize("dims", [(1,), (3, 1, 1), (4, 5), (3, 4, 5), (1, 3, 1, 5)])
def test_slopes_that_broadcast(dims):
    agrees([node("PRelu", ["x", "p"])], {"x": x(2, 3, 4, 5)}, [tensor(x(*dims, seed=1), "p")])


def test_boxes_that_stay():
    """As many rows as boxes are chosen, each time anew, beside another output."""
    nodes = [node("NonMaxSuppression", ["b", "s", "m", "i", "t"], ["y"]), node("Relu", ["s"], ["z"])]
    constants = [tensor([5], "m", np.int64), tensor([0.4], "i"), tensor([0.3], "t")]
    for seed in range(3):
        rng = np.random.default_rng(seed)
        at = rng.random((2, 30, 2), np.float32) * 8
        inputs = {"b": np.concatenate([at, at + 3], -1), "s": rng.random((2, 2, 30), np.float32) ** (1 + 3 * seed)}
        agrees(nodes, inputs, constants, [("y", TensorProto.INT64), ("z", TensorProto.FLOAT)])
    proto = model([*nodes, node("Shape", ["y"], ["n"])], inputs, constants, [("n", TensorProto.INT64)])
    with pytest.raises(ValueError, match="known only when the network has run"):
        ts.onnx.load(proto.SerializeToString())(*inputs.values())


def test_a_volume_is_refused_by_name():
    weight = tensor(np.ones((2, 3, 3, 3, 3)), "w")
    for op, operands, attributes in (("Conv", ["x", "w"], {}), ("MaxPool", ["x"], {"kernel_shape": [2, 2, 2]}),
                                     ("LpPool", ["x"], {"kernel_shape": [2, 2, 2]})):  # fmt: skip
        proto = model([node(op, operands, **attributes)], {"x": x(1, 3, 5, 5, 5)}, [weight] * ("w" in operands),
                      [("y", TensorProto.FLOAT)])  # fmt: skip
        with pytest.raises(ValueError, match=rf"\({op}\): expected a line or a plane"):
            ts.onnx.load(proto.SerializeToString()).compile()


# ---------------------------------------------------------------------------------------------------- older and newer

# (the last opset of that form, node); what became an input later is an attribute here, or has another meaning.
OLDER = [
    (8, node("Upsample", ["x"], scales=[1.0, 1.0, 2.0, 3.0])),
    (8, node("Upsample", ["x"], scales=[1.0, 1.0, 2.0, 2.0], mode="linear")),
    (10, node("Pad", ["x"], pads=[0, 0, 1, 2, 0, 0, 0, 3], mode="constant", value=2.0)),
    (10, node("Clip", ["x"], min=-0.5, max=0.5)),
    (9, node("Slice", ["x"], starts=[0, 1], ends=[1, -1], axes=[1, 3])),
    (9, node("TopK", ["x"], ["y", "i"], k=2, axis=1)),
    (12, node("Squeeze", ["x"], axes=[0])),
    (12, node("Unsqueeze", ["x"], axes=[0, 5])),
    (12, node("Split", ["x"], ["y", "z"], axis=1, split=[2, 1])),
    (12, node("ReduceSum", ["x"], axes=[2, 3], keepdims=0)),
    (17, node("ReduceMax", ["x"], axes=[1])),
    (17, node("ReduceL2", ["x"], axes=[-1])),
    (12, node("Softmax", ["x"])),
    (12, node("LogSoftmax", ["x"], axis=2)),
    (12, node("Hardmax", ["x"], axis=1)),
    (11, node("Dropout", ["x"], ratio=0.5)),
    (10, node("AveragePool", ["x"], kernel_shape=[2, 2], auto_pad="SAME_LOWER")),
    (17, node("Resize", ["x", "", "s"], mode="linear")),
    (10, node("Resize", ["x", "s"], mode="nearest")),
    (10, node("Resize", ["x", "s"], mode="linear")),
    (10, node("DepthToSpace", ["d"], blocksize=2)),
    (15, node("RoiAlign", ["x", "r", "n"], output_height=2, output_width=2, sampling_ratio=2)),
]  # fmt: skip


@pytest.mark.parametrize("opset, last", OLDER, ids=[f"{n.op_type}-{opset}" for opset, n in OLDER])
def test_older_forms(opset, last):
    constants = {"s": tensor([1, 1, 2, 1.5], "s"), "r": tensor([[0, 0, 3, 4], [1, 1, 2, 2]], "r"),
                 "n": tensor([0, 0], "n", np.int64), "d": tensor(x(1, 8, 2, 3), "d")}  # fmt: skip
    used = [value for name, value in constants.items() if name in last.input]
    kinds = {"i": TensorProto.INT64}
    outputs = [(name, kinds.get(name, TensorProto.FLOAT)) for name in last.output]
    nodes = [last]
    if "x" not in last.input:  # a model has to read its input
        nodes, outputs = [last, node("Relu", ["x"], ["z"])], [*outputs, ("z", TensorProto.FLOAT)]
    agrees(nodes, {"x": x(1, 3, 4, 5)}, used, outputs, opset=opset)


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE, TensorProto.FLOAT])
@pytest.mark.parametrize("raw", [False, True])
def test_weights_of_other_widths(kind, raw):
    """Held as bits one by one or in one piece; each of these values is one of every width."""
    values = np.array([[1.5, -2.0, 0.15625], [-0.0, 2.0**-14, 96.0]], np.float32)
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    content = values.astype(dtype).tobytes() if raw else values.ravel().tolist()
    weight = helper.make_tensor("w", kind, values.shape, content, raw=raw)
    proto = model([node("Gemm", ["x", "w"], transB=1)], {"x": np.eye(3, dtype=np.float32)}, [weight],
                  [("y", TensorProto.FLOAT)])  # fmt: skip
    network = ts.onnx.load(proto.SerializeToString())
    np.testing.assert_array_equal(network.parameters["w"], values)
    assert network.parameters["w"].dtype == np.float32
    np.testing.assert_array_equal(network(np.eye(3, dtype=np.float32)), values.T)


def test_several_inputs_and_outputs_with_open_sizes():
    """Names bind sizes together; the batch and the size of images come with the call, or with compile."""
    nodes = [node("Conv", ["a", "w"], ["c"], pads=[1] * 4), node("Add", ["c", "b"], ["y"]),
             node("GlobalAveragePool", ["y"], ["z"])]  # fmt: skip
    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", channels, "H", "W"])
             for name, channels in (("a", 3), ("b", 4))]  # fmt: skip
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "yz"]
    graph = helper.make_graph(nodes, "two", given, results, [tensor(x(4, 3, 3, 3), "w")])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    network = ts.onnx.load(proto.SerializeToString())
    for n, size in ((1, (5, 6)), (3, (5, 6)), (2, (8, 4))):
        inputs = {"a": x(n, 3, *size), "b": x(n, 4, *size)}
        compiled = network.compile(batch=n, image_size=size)
        for results in (network(*inputs.values()), compiled(*inputs.values())):
            for y, e in zip(results, session.run(None, inputs), strict=True):
                np.testing.assert_allclose(y, e, rtol=0, atol=1e-5 * np.abs(e).max())
    with pytest.raises(ValueError, match="expected b of shape"):
        network(x(1, 3, 5, 6), x(1, 4, 5, 7))


# ------------------------------------------------------------------------------------------------- computed integers


def test_a_computed_integer_is_divided_by_a_known_one():
    """The rows of places in a plane; toward zero."""
    integers = (("y", TensorProto.INT64), ("z", TensorProto.INT64))
    nodes = [node("ArgMax", ["x"], ["i"], axis=1), node("Div", ["i", "w"], ["y"]),
             node("Neg", ["i"], ["n"]), node("Div", ["n", "w"], ["z"])]  # fmt: skip
    agrees(nodes, {"x": x(64, 40)}, [tensor(4, "w", np.int64)], integers)


def branches(*nodes):
    """An If on a known condition that comes to these nodes, which make "y"."""
    return node("If", ["yes"], then_branch=branch(nodes, "y"), else_branch=branch([node("Identity", ["x"])], "y"))


QUOTIENT = node("Div", ["x", "d"], ["q"])
ROUNDED_DOWN = {  # how a quotient comes to be rounded
    "floor": [QUOTIENT, node("Floor", ["q"])],
    "after others": [QUOTIENT, node("Identity", ["q"], ["r"]), node("Abs", ["r"], ["s"]), node("Floor", ["s"])],
    "after a product": [QUOTIENT, node("Mul", ["q", "d"], ["r"]), node("Floor", ["r"])],
    "in a branch": [QUOTIENT, branches(node("Floor", ["q"]))],
    "all in a branch": [branches(QUOTIENT, node("Floor", ["q"]))],
    "quantized": [QUOTIENT, node("QuantizeLinear", ["q", "scale"], ["r"]), node("DequantizeLinear", ["r", "scale"])],
    "result": [node("Div", ["x", "d"])],
}


@pytest.mark.parametrize("form", ROUNDED_DOWN)
@pytest.mark.parametrize("divisor", [41, 47, 55, 1e38])
def test_a_quotient_is_not_a_product_where_that_would_show(form, divisor):
    """41 times the nearest to 1/41 is less than one; the reciprocal of 1e38 is no normal number."""
    given = np.arange(-300, 300) * np.float64(divisor)
    given = given[np.abs(given) < 3e38].astype(np.float32)[None]
    constants = [tensor(divisor, "d"), tensor(2, "scale"), tensor(True, "yes", np.bool_)]
    agrees(ROUNDED_DOWN[form], {"x": given}, constants, relative=0)


def test_a_quotient_is_a_product_where_it_is_multiplied():
    """The gate of MobileNet v3, x * (relu6(x + 3) / 6), and a divisor that is a power of two."""
    gate = [node("Add", ["x", "three"], ["a"]), node("Clip", ["a", "zero", "six"], ["b"]),
            node("Div", ["b", "six"], ["c"]), node("Mul", ["x", "c"], ["g"]), node("Div", ["g", "four"])]  # fmt: skip
    constants = [tensor(value, name) for name, value in {"three": 3, "zero": 0, "six": 6, "four": 4}.items()]
    proto = model(gate, {"x": x(2, 3)}, constants, [("y", TensorProto.FLOAT)])
    assert "div" not in [node.op for node in ts.onnx.load(proto.SerializeToString()).graph.nodes]
    agrees(gate, {"x": x(2, 3)}, constants)


def test_places_of_32_bits_and_integers_without_the_negative():
    integers = (("y", TensorProto.FLOAT), ("z", TensorProto.INT64))
    nodes = [node("ArgMax", ["x"], ["i"], axis=1, keepdims=0), node("Cast", ["i"], ["j"], to=TensorProto.INT32),
             node("Gather", ["x", "j"], ["a"], axis=0), node("Gather", ["a", "k"], ["y"], axis=1),
             node("Neg", ["i"], ["n"]), node("Clip", ["n", "low"], ["c"]), node("Sub", ["c", "i"], ["z"])]  # fmt: skip
    initializers = [tensor([1, 0, -1], "k", np.int32), tensor(0, "low", np.int64)]
    agrees(nodes, {"x": x(8, 6)}, initializers, integers)
