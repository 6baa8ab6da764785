"""Files that nobody vouches for: each ends in a ValueError that says what and where, before memory is taken."""

import os
import random
import time

import numpy as np
import pytest
import tesela as ts

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

F = TensorProto.FLOAT


def model(nodes, x=(1, 3, 8, 8), initializers=(), opset=18):
    values = [helper.make_tensor_value_info("x", F, x)], [helper.make_tensor_value_info("y", F, None)]
    graph = helper.make_graph(nodes, "case", *values, initializer=list(initializers))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def node(op, inputs, outputs=("y",), **attributes):
    return helper.make_node(op, inputs, list(outputs), **attributes)


def tensor(value, name, dtype=np.float32):
    return numpy_helper.from_array(np.asarray(value, dtype), name)


WEIGHT = tensor(np.ones((2, 3, 3, 3)), "w")
SHAPE = tensor([2**40], "s", np.int64)


def compiled(proto, **options):
    return ts.onnx.load(proto.SerializeToString(), **options).compile()


BAD = {
    "cycle": (model([node("Relu", ["a"], ["b"]), node("Relu", ["b"], ["a"]), node("Relu", ["x"])]), "own result"),
    "missing input": (model([node("Relu", ["nothing"])]), "nothing computes"),
    "missing output": (model([node("Relu", ["x"], ["z"])]), "output 'y'"),
    "computed twice": (model([node("Relu", ["x"]), node("Elu", ["x"])]), "twice"),
    "unknown operator": (model([node("Nonsense", ["x"])]), "Nonsense"),
    "loop": (model([node("Loop", ["x"])]), "control flow"),
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
    "many inputs": (model([node("Relu", ["x", "x", "x"])]), "Relu"),
    "negative input size": (model([node("Relu", ["x"])], x=(-1, 2)), "sizes"),
    "enormous input": (model([node("Relu", ["x"])], x=(2**31, 2**31)), "max_bytes|elements"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_refused(case):
    proto, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        compiled(proto)


@pytest.mark.parametrize("raw", [b"", b"\0" * 11, b"\0" * 13])
def test_dims_that_lie_about_the_data(raw):
    lie = TensorProto(name="w", dims=[3], data_type=F, raw_data=raw)
    with pytest.raises(ValueError, match="raw_data"):
        compiled(model([node("Add", ["x", "w"])], initializers=[lie]))


def test_dims_of_terabytes_without_data():
    with pytest.raises(ValueError, match="bytes"):
        compiled(model([node("Add", ["x", "w"])], initializers=[TensorProto(name="w", dims=[2**40], data_type=F)]))


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


def seeds():
    yield model([node("Conv", ["x", "w"], pads=[1] * 4)], initializers=[WEIGHT]).SerializeToString()
    pooled = [node("MaxPool", ["x"], ["a"], kernel_shape=[2, 2], strides=[2, 2]), node("Flatten", ["a"])]
    yield model(pooled).SerializeToString()
    shaped = [node("Shape", ["x"], ["s"]), node("Gather", ["s", "i"], ["n"]), node("Concat", ["n", "m"], ["t"], axis=0),
              node("Reshape", ["x", "t"])]  # fmt: skip
    yield model(shaped, initializers=[tensor([0], "i", np.int64), tensor([-1], "m", np.int64)]).SerializeToString()


def test_mutated_files_raise_nothing_else():
    """For TESELA_FUZZ_SECONDS, 3 as a rule: bytes changed, cut out and repeated."""
    rng, end = random.Random(7), time.monotonic() + float(os.environ.get("TESELA_FUZZ_SECONDS", "3"))
    files = list(seeds())
    while time.monotonic() < end:
        data = bytearray(rng.choice(files))
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(data))
            data[at : at + rng.choice((0, 1, 1, 1, 3))] = rng.choice(
                (bytes([rng.randrange(256)]), b"", b"\xff" * 9 + b"\x01", data[at : at + 8] * 2)
            )
        try:
            network = ts.onnx.load(bytes(data), max_bytes=2**26)
            network.compile()
        except (ValueError, TypeError):
            pass
