"""Files that nobody vouches for: each ends in a ValueError that says what and where, before memory is taken."""

import os
import sys

import numpy as np
import pytest
import tesela as ts

onnx = pytest.importorskip("onnx")
from onnx import TensorProto  # noqa: E402
from onnx_mutation import WEIGHT, F, branch, model, node, tensor  # noqa: E402

SHAPE = tensor([2**40], "s", np.int64)


def compiled(proto, **options):
    return ts.onnx.load(proto.SerializeToString(), **options).compile()


BAD = {
    "cycle": (model([node("Relu", ["a"], ["b"]), node("Relu", ["b"], ["a"]), node("Relu", ["x"])]), "own result"),
    "missing input": (model([node("Relu", ["nothing"])]), "nothing computes"),
    "missing output": (model([node("Relu", ["x"], ["z"])]), "output 'y'"),
    "computed twice": (model([node("Relu", ["x"]), node("Elu", ["x"])]), "twice"),
    "unknown operator": (model([node("Nonsense", ["x"])]), "Nonsense"),
    "loop": (model([node("Loop", ["", "", "x"])]), "loops and sequences"),
    "old opset": (model([node("Relu", ["x"])], opset=3), "opset"),
    "kernel of 10^9": (model([node("MaxPool", ["x"], kernel_shape=[10**9, 10**9])]), "MaxPool"),
    "kernel and padding of 10^9": (
        model([node("MaxPool", ["x"], kernel_shape=[10**9] * 2, pads=[10**9 - 1] * 4)]), "overflows|elements",
    ),
    "negative stride": (model([node("Conv", ["x", "w"], strides=[-1, 1])], initializers=[WEIGHT]), "positive"),
    "dilation overflow": (model([node("Conv", ["x", "w"], dilations=[2**62] * 2)], initializers=[WEIGHT]), "2\\^31"),
    "attribute type": (model([node("Conv", ["x", "w"], strides="no")], initializers=[WEIGHT]), "attribute strides"),
    "constant of terabytes": (
        model([node("ConstantOfShape", ["s"], ["c"]), node("Add", ["x", "c"])], initializers=[SHAPE]), "max_bytes",
    ),
    "expand": (model([node("Expand", ["c", "s"])], initializers=[tensor([1.0], "c"), SHAPE]), "max_bytes"),
    "tile": (model([node("Tile", ["c", "s"])], initializers=[tensor([1.0], "c"), SHAPE]), "max_bytes"),
    "resize": (
        model([node("Resize", ["x", "", "", "s"])], initializers=[tensor([1, 3, 2**40, 2**40], "s", np.int64)]),
        "Resize",
    ),
    "many inputs": (model([node("Relu", ["x", "x", "x"])]), "Relu.*expected 1 inputs, got 3"),
    "few inputs": (model([node("Conv", ["x"])]), "Conv.*expected 2 to 3 inputs, got 1"),
    "an input left out": (model([node("Conv", ["x", "", "w"])], initializers=[WEIGHT]), "Conv.*expected the input W"),
    "many outputs": (model([node("Relu", ["x"], ["y", "z"])]), "Relu.*expected 1 outputs, got 2"),
    "one of several left out": (model([node("Concat", ["x", ""], axis=1)]), "Concat.*a value for each of inputs"),
    "many inputs for an operator of a later opset": (
        model([node("Gelu", ["x", "x"])]), "Gelu.*expected 1 inputs, got 2"),
    "shape of floats": (
        model([node("Reshape", ["x", "s"])], initializers=[tensor([np.nan], "s")]), "the shape as a list of integers"),
    "known operands that do not fit": (
        model([node("BitwiseAnd", ["a", "a"])], initializers=[tensor([1.0], "a")]), r"fit .* \(1,\) of float"),
    "known operands of two sizes": (
        model([node("Add", ["a", "b"])], initializers=[tensor([1.0, 2], "a"), tensor([1.0, 2, 3], "b")]),
        r"\(2,\) of float32 and \(3,\) of float32"),
    "index outside": (
        model([node("Shape", ["x"], ["s"]), node("Gather", ["s", "i"])], initializers=[tensor([4], "i", np.int64)]),
        "indices within axis 0"),
    "integer divided by zero": (
        model([node("Div", ["a", "b"])], initializers=[tensor(4, "a", np.int64), tensor(0, "b", np.int64)]),
        "Div.*division by zero"),
    "axes of a known value": (model([node("Shape", ["x"], ["s"]), node("ArgMax", ["s"], axis=8)]), "axis|dimension"),
    "slice with too few axes": (
        model([node("Slice", ["x", "a", "a", "b"])],
              initializers=[tensor([1], "a", np.int64), tensor([0, 1], "b", np.int64)]), "a start, an end, an axis"),
    "parts of different sizes": (
        model([node("Shape", ["x"], ["s"]), node("Concat", ["s", "i"], axis=0)],
              initializers=[tensor([[1]], "i", np.int64)]), "agree but for axis 0"),
    "output_padding of one axis": (
        model([node("ConvTranspose", ["x", "w"], output_padding=[1])],
              initializers=[tensor(np.ones((3, 2, 3, 3)), "w")]),
        "output_padding and output_shape for 2 axes"),
    "C that does not fit": (
        model([node("Gemm", ["x", "w", "c"])], x=(2, 6),
              initializers=[tensor(np.ones((6, 3)), "w"), tensor(np.ones(2), "c")]), r"C to broadcast to \(2, 3\)"),
    "Celu by zero": (model([node("Celu", ["x"], alpha=0.0)], opset=12), "alpha other than 0"),
    "result of a type that nothing takes": (
        model([node("Identity", ["a"])], initializers=[tensor([1], "a", np.uint32)]), "dtype .* got uint32"),
    "sizes that NumPy cannot count": (
        model([node("ConstantOfShape", ["s"], ["c"]), node("Add", ["x", "c"])],
              initializers=[tensor([2**62, 2**62, 0], "s", np.int64)]), "product is at most 2\\^56"),
    "negative input size": (model([node("Relu", ["x"])], x=(-1, 2)), "sizes"),
    "enormous input": (model([node("Relu", ["x"])], x=(2**31, 2**31)), "product is at most"),
    "large input": (model([node("Relu", ["x"])], x=(2**16, 2**16)), "max_bytes"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_refused(case):
    proto, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        compiled(proto)


def of(op, *operands, **attributes):
    """A model of one node; operands after x are integers, floats, or None for one left out."""
    names = ["" if value is None else f"p{i}" for i, value in enumerate(operands)]
    arrays = [np.asarray(value) for value in operands if value is not None]
    kinds = [np.int64 if a.dtype.kind == "i" else bool if a.dtype.kind == "b" else np.float32 for a in arrays]
    given = [tensor(a, n, k) for a, n, k in zip(arrays, filter(None, names), kinds, strict=True)]
    return model([node(op, ["x", *names], **attributes)], initializers=given, opset=21)


KERNEL, BACK = np.ones((2, 3, 3, 3), np.float32), np.ones((3, 2, 3, 3), np.float32)
ABSURD = [
    (of("Conv", KERNEL, group=0), "groups of at least 1"),
    (of("Conv", KERNEL, group=-(2**63)), "groups of at least 1"),
    (of("Conv", KERNEL, group=10**9), "divide the input channels"),
    (of("Conv", KERNEL, pads=[-1] * 4), "positive sizes"),
    (of("Conv", KERNEL, pads=[1]), "for 2 axes"),
    (of("Conv", KERNEL, pads=[10**9] * 4), "overflows 64 bits"),
    (of("Conv", KERNEL, strides=[0, 0]), "positive sizes"),
    (of("Conv", KERNEL, strides=[1, 1, 1]), "for 2 axes"),
    (of("Conv", KERNEL, strides=[2**63 - 1] * 2), "below 2\\^31"),
    (of("Conv", KERNEL, kernel_shape=[5, 5]), "as the weight has"),
    (of("Conv", KERNEL, auto_pad="WHAT"), "auto_pad 'WHAT'"),
    (of("Conv", KERNEL, dilations=[2**30] * 2, pads=[2**31 - 1] * 4), "too large an extent"),
    (of("Conv", KERNEL, dilations=[2**30] * 2, auto_pad="SAME_UPPER"), "too large an extent"),
    (of("Conv", np.ones((2, 3))), "a line or a plane"),
    (of("Conv", np.ones((2, 3, 1, 1, 1))), "a line or a plane"),
    (of("Conv", np.ones((2, 5, 3, 3))), "5 input channels"),
    (of("Conv", np.ones((2, 3, 3, 3), int)), "weight of dtype float32, got int64"),
    (of("Conv", KERNEL, [1.0]), r"bias of shape \(2,\), got \(1,\)"),
    (of("Conv", np.ones((0, 3, 3, 3))), "at least one channel"),
    (of("ConvTranspose", BACK, output_padding=[10**9, 0]), "output_padding"),
    (of("ConvTranspose", BACK, output_padding=[-1, 0]), "output_padding"),
    (of("ConvTranspose", BACK, output_shape=[10**9, 10**9]), "output_padding"),
    (of("ConvTranspose", BACK, output_shape=[-5, 3]), "would be -5 x 3"),
    (of("ConvTranspose", BACK, strides=[10**9, 10**9]), "too large"),
    (of("ConvTranspose", BACK, dilations=[2**31] * 2), "too large an extent"),
    (of("MaxPool"), "kernel_shape"),
    (of("MaxPool", kernel_shape=[0, 0]), "positive sizes"),
    (of("AveragePool", kernel_shape=[-2, 2]), "positive sizes"),
    (of("MaxPool", kernel_shape=[2, 2], dilations=[2**62] * 2), "below 2\\^31"),
    (of("AveragePool", kernel_shape=[2, 2], pads=[2] * 4), "a window would hold no input"),
    (of("LRN", size=0), "size"),
    (of("LRN", size=-1), "size of at least 1"),
    (of("LRN", size=2**62 + 1), "below 2\\^31"),
    (of("DepthToSpace", blocksize=0), "multiples of 0"),
    (of("DepthToSpace", blocksize=2**62), "multiples of"),
    (of("DepthToSpace", blocksize=-1, mode="CRD"), "from 1 to"),
    (of("DepthToSpace", blocksize=1, mode="ABC"), "'DCR' or 'CRD'"),
    (of("SpaceToDepth", blocksize=2**62), "in blocks of"),
    (of("Transpose", perm=[0, 0, 1, 2]), "perm of 4 axes"),
    (of("Transpose", perm=[0, 1, 2, -1]), "perm of 4 axes"),
    (of("Flatten", axis=2**62), "axis of 4 dimensions"),
    (of("Softmax", axis=-(2**63)), "axis of 4 dimensions"),
    (of("Split", [1], axis=9), "axes of 4 dimensions"),
    (of("Split", [-2, 5], axis=1), "sizes of at least 1"),
    (of("Split", [2**62, 2**62], axis=1), "that make 3"),
    (of("Gather", [2**62], axis=1), "indices within axis 1"),
    (of("Gather", [0.0], axis=1), "indices of integers"),
    (of("Squeeze", [1]), "axes of size 1"),
    (of("Unsqueeze", list(range(40))), "expected axes"),
    (of("Reshape", [-2, 3]), "at most one of them -1"),
    (of("Reshape", [0, -1], allowzero=1), "a shape that"),
    (of("Reshape", [2**62, 2**62]), "at most 2\\^56"),
    (of("Expand", [-1]), "sizes of at least 0"),
    (of("Expand", [7]), "do not broadcast"),
    (of("Expand", [2**31, 1, 1, 1, 1]), "max_bytes"),
    (of("Tile", [1, 1, -1, 1]), "sizes of at least 0"),
    (of("Tile", [2**62, 2**62, 1, 1]), "at most 2\\^56"),
    (of("Pad", [2**62] * 8), "padding of at most"),
    (of("Pad", [0, 0, -9, 0, 0, 0, 0, 0]), "would have shape"),
    (of("Pad", [0] * 6 + [99, 99], mode="reflect"), "too large for mode 'reflect'"),
    (of("Pad", [0] * 6 + [2**24, 2**24]), "max_bytes"),
    (of("Pad", [0] * 8, [1.0, 2.0]), "the value as one number"),
    (of("Slice", [1], [2], [0], [0]), "steps other than 0"),
    (of("Slice", [0], [1], [9]), "axes of 4 dimensions"),
    (of("Resize", None, None, [1, 3, -1, 8]), "a size or scale between 0"),
    (of("Resize", None, [1.0, 1.0, np.nan, 1.0]), "a size or scale"),
    (of("Resize", None, [1.0, 1.0, 1e30, 1e30]), "a size or scale between 0"),
    (of("Resize", None, [1.0, 1.0, 1e5, 1e5]), "max_bytes"),
    (of("Resize", None, [1.0, 1.0, 0.01, 1.0]), "sizes of at least 1"),
    (of("Resize", None, [1.0, 1.0, 2.0, 2.0], mode="cubic", cubic_coeff_a=float("nan")), "cubic_coeff_a"),
    (of("Resize", [0.0] * 3, [1.0, 1.0, 2.0, 2.0], coordinate_transformation_mode="tf_crop_and_resize"), "a roi"),
    (of("Resize", None, [1.0, 1.0, 2.0, 2.0], mode="quintic"), "unknown mode"),
    (of("OneHot", 2**40, [0.0, 1.0]), "max_bytes"),
    (of("GatherElements", [[[[9]]]], axis=1), "within an axis of 3"),
    (of("GatherND", [[0, 0, 0, 0, 0]]), "expected indices into"),
    (of("ScatterND", [[0, 3]], np.ones((1, 8, 8))), "within an axis of 3"),
    (of("ScatterElements", [[[[0, 8]]]], np.ones((1, 1, 1, 2)), axis=3), "within an axis of 8"),
    (of("RoiAlign", np.ones((1, 4)), [0], output_height=10**6, output_width=10**6), "max_bytes"),
    (of("RoiAlign", np.ones((1, 4)), [0], sampling_ratio=10**9), "sampling_ratio from 0 to 2"),
    (of("RoiAlign", np.ones((1, 3)), [0]), r"regions of shape \(1, 4\)"),
    (of("LpPool", kernel_shape=[2, 2], p=0), "p of at least 1"),
    (of("QuantizeLinear", np.ones(5)), "3 of scale"),
    (of("CenterCropPad", [1, 3, 2**40, 8]), "expected a size for each"),
    (of("PRelu", np.ones((2, 3, 8, 8))), "slopes that broadcast"),
    (of("GroupNormalization", np.ones(3), np.ones(3), num_groups=0), "groups must divide"),
    (of("BatchNormalization", *[np.ones(5)] * 4), r"shape \(3,\), got \(5,\)"),
    (of("LayerNormalization", np.ones(3), axis=9), "dim 9 is out of range"),
    (of("PRelu", np.ones(5)), "slopes that broadcast"),
    (of("Gemm", np.ones(3)), "expected matrices"),
    (of("ReduceSum", [-(2**63)]), "out of range"),
    (of("ArgMax", axis=4), "out of range"),
    (of("Cast", to=99), "got 99"),
    (of("Cast", to=-1), "got -1"),
    (of("Add", [1]), "y of dtype float32, as before it, got int64"),
    (of("Where", np.ones(1), np.ones(1)), "condition of dtype bool"),
    (of("Clip", [1.0, 2.0]), "min as one number"),
    (of("Dropout", [0.5], [True]), "training is not supported"),
    (of("Elu", alpha="no"), "attribute alpha as FLOAT"),
    (of("GlobalLpPool", p=0), "p 1 or 2|p of at least"),
    (model([node("Range", ["a", "b", "a"])], initializers=[tensor(1, "a", np.int64), tensor(2**62, "b", np.int64)]),
     "at most 2\\^56"),
    (model([node("Range", ["a", "b", "a"])], initializers=[tensor(1, "a"), tensor(np.nan, "b")]), "finite numbers"),
    (model([node("Range", ["a", "a", "a"])], initializers=[tensor([1, 2], "a")]), "the start|start as one number"),
    (model([node("ConstantOfShape", ["a"])], initializers=[tensor([1] * 50, "a", np.int64)]), "at most 32 dimensions"),
    (model([node("ConstantOfShape", ["a"])], initializers=[tensor([-1], "a", np.int64)]), "sizes of at least 0"),
]  # fmt: skip


@pytest.mark.parametrize("proto, message", ABSURD, ids=[f"{p.graph.node[0].op_type} {m}" for p, m in ABSURD])
def test_absurd_attributes(proto, message):
    with pytest.raises(ValueError, match=rf"node 'y' \({proto.graph.node[0].op_type}\): .*({message})"):
        compiled(proto, max_bytes=2**28)


def test_padding_may_crop():
    x = np.arange(192, dtype=np.float32).reshape(1, 3, 8, 8)
    y = ts.onnx.load(of("Pad", [0, 0, -1, 2, 0, 0, 1, -3], 5.0).SerializeToString())(x)
    np.testing.assert_array_equal(y, np.pad(x[:, :, 1:, :-3], ((0, 0), (0, 0), (0, 1), (2, 0)), constant_values=5))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_nothing_takes_memory_before_it_is_refused(python):
    """All of them in a process that may have 256 MB more than it has when its modules are there."""
    script = f"""
import resource, sys
from pathlib import Path
sys.path.insert(0, {os.path.dirname(__file__)!r})
import test_onnx_untrusted as cases
limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + 2**28
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for proto, _ in [*cases.BAD.values(), *cases.ABSURD, *cases.lies()]:
    try:
        cases.compiled(proto)
    except ValueError as error:
        assert "MemoryError" not in str(error) and "bad_alloc" not in str(error), error
    else:
        raise AssertionError(proto)
print("all refused")
"""
    assert python(script) == "all refused\n"


def lie(**fields):
    return model([node("Add", ["x", "w"])], initializers=[TensorProto(name="w", **fields)])


def lies():
    """Tensors that are not what their dimensions say."""
    yield lie(dims=[3], data_type=F, raw_data=b""), "3 elements of float32 in raw_data .* got 0 bytes"
    yield lie(dims=[3], data_type=F, raw_data=b"\0" * 11), "got 11 bytes"
    yield lie(dims=[3], data_type=F, raw_data=b"\0" * 13), "got 13 bytes"
    yield lie(dims=[3], data_type=F, float_data=[1, 2]), "3 elements for shape .* got 2"
    yield lie(dims=[3], data_type=F, int64_data=[1, 2, 3]), "got 0"
    yield lie(dims=[3], data_type=TensorProto.BFLOAT16, raw_data=b"\0" * 7), "got 7 bytes"
    yield lie(dims=[2**40], data_type=F), "at most .* bytes"
    yield lie(dims=[2**31, 2**31, 2**31], data_type=F), "at most 2\\^56"
    yield lie(dims=[2**62, 4], data_type=F), "at most 2\\^56"  # 0 in 64 bits
    yield lie(dims=[2**62, 0], data_type=F), "at most 2\\^56"
    yield lie(dims=[-1, 3], data_type=F, float_data=[1, 2, 3]), "sizes of at least 0"
    yield lie(dims=[1] * 40, data_type=F, float_data=[1]), "at most 32 dimensions"
    yield lie(dims=[1], data_type=99, raw_data=b"\0"), "elements of type .* got 99"
    yield lie(dims=[1], data_type=TensorProto.STRING, string_data=[b"a"]), "elements of type .* got STRING"
    yield lie(dims=[1], data_type=TensorProto.COMPLEX64, float_data=[1, 2]), "got COMPLEX64"
    yield lie(dims=[1], data_type=F, segment=TensorProto.Segment(begin=0, end=1)), "segments"


@pytest.mark.parametrize("proto, message", list(lies()))
def test_tensors_that_lie(proto, message):
    with pytest.raises(ValueError, match=f"initializer 'w': .*{message}"):
        compiled(proto)


def test_names_are_given_once():
    proto = model([node("Add", ["x", "w"])], initializers=[tensor([1.0], "w")])
    for field in ("initializer", "input", "output"):
        twice = type(proto).FromString(proto.SerializeToString())
        values = getattr(twice.graph, field)
        values.append(values[0])
        with pytest.raises(ValueError, match=f"onnx: expected {field}s with different names, got"):
            compiled(twice)
    proto.graph.initializer[0].name = ""
    with pytest.raises(ValueError, match="initializers with different names"):
        compiled(proto)


@pytest.mark.parametrize("name", [b"what", b"into", b"Relu", b"first"])
def test_names_are_text(name):
    proto = model([node("Relu", ["x"], ["into"]), node("Relu", ["into"])])
    proto.graph.node[0].name, proto.graph.name = "first", "what"
    data = proto.SerializeToString()
    with pytest.raises(ValueError, match=r"onnx: (expected names in UTF-8, got b'.*xff|this is no ONNX model)"):
        ts.onnx.load(data.replace(name, b"\xff" * len(name))).compile()


def test_a_result_may_not_be_given_as_well():
    for name in ("x", "w"):
        with pytest.raises(ValueError, match=f"node '{name}' .Relu.: the value '{name}' is computed twice"):
            compiled(model([node("Relu", ["x"], [name])], initializers=[tensor([1.0], "w")]))


def test_files_cut_short(tmp_path):
    """At every length; what still parses lacks its outputs or its weights, or has lost nothing that counts."""
    data = model([node("Conv", ["x", "w"])], initializers=[WEIGHT]).SerializeToString()
    whole = compiled(type(model([])).FromString(data)).output_dims
    for length in range(len(data)):
        try:
            assert ts.onnx.load(data[:length]).compile().output_dims == whole
        except ValueError as error:
            assert str(error).startswith(("onnx: ", "node 'y' (Conv): ", "initializer ", "input ", "output "))


def test_graphs_within_graphs():
    proto = branch([node("Relu", ["x"], ["y0"])], "y0")
    for depth in range(1, 24):
        other = branch([], "x")
        proto = branch([node("If", ["c"], [f"y{depth}"], then_branch=proto, else_branch=other)], f"y{depth}")
    nodes = [node("If", ["c"], then_branch=proto, else_branch=branch([], "x"))]
    assert compiled(model(nodes, initializers=[tensor(True, "c", bool)])).output_dims == {"y": (1, 3, 8, 8)}

    def field(number, data):
        size = len(data)
        return bytes([number << 3 | 2, size & 127 | 128, size >> 7 & 127 | 128, size >> 14]) + data

    graph = b""
    for _ in range(1000):  # deeper than protobuf follows: a graph's node's attribute's graph
        graph = field(1, field(5, field(6, graph)))
    with pytest.raises(ValueError, match="onnx: this is no ONNX model"):
        ts.onnx.load(field(7, graph))


def test_many_constants_count_together():
    shape = tensor([2**18], "s", np.int64)
    nodes = [node("ConstantOfShape", ["s"], [f"c{i}"]) for i in range(8)]
    proto = model([*nodes, node("Relu", ["x"])], initializers=[shape])
    compiled(proto)
    with pytest.raises(ValueError, match="max_bytes"):
        compiled(proto, max_bytes=4 * 2**20)


def test_activations_are_counted_before_they_are_allocated():
    nodes = [node("Relu", ["x"], ["a"]), node("Tanh", ["a"], ["b"]), node("Add", ["a", "b"])]
    with pytest.raises(ValueError, match="activations of at most"):
        compiled(model(nodes), max_bytes=1200)


def external(folder, location, **entries):
    weight = TensorProto(name="w", dims=[3], data_type=F, data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **entries}.items():
        weight.external_data.add(key=key, value=str(value))
    path = folder / "model.onnx"
    path.write_bytes(model([node("Add", ["x", "w"])], x=(1, 3), initializers=[weight]).SerializeToString())
    return path


def test_external_data_lies_inside_the_folder(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    data = np.arange(4, dtype=np.float32).tobytes()
    (folder / "weights").write_bytes(data)
    (tmp_path / "secret").write_bytes(data)
    (folder / "link").symlink_to(tmp_path / "secret")
    x = np.zeros((1, 3), np.float32)
    np.testing.assert_array_equal(ts.onnx.load(external(folder, "weights", offset=4))(x), [[1, 2, 3]])
    os.mkfifo(folder / "pipe")
    for location in ("../secret", str(tmp_path / "secret"), "link", "a/../../secret", "", ".", "none", "pipe"):
        with pytest.raises(ValueError, match="external data"):
            ts.onnx.load(external(folder, location))
    for entries in ({"offset": 8}, {"offset": -4}, {"length": 8}, {"offset": "x"}):
        with pytest.raises(ValueError, match=r"bytes|integers"):
            ts.onnx.load(external(folder, "weights", **entries))
    with pytest.raises(ValueError, match="by path"):
        ts.onnx.load(external(folder, "weights").read_bytes())


def test_no_protobuf():
    for data in (b"", b"hello", b"\xff" * 100):
        with pytest.raises(ValueError, match="onnx"):
            ts.onnx.load(data)
