"""Files that nobody vouches for: each ends in a ValueError that says what and where, before memory is taken."""

import os
import random
import time

import numpy as np
import pytest
import tesela as ts

onnx = pytest.importorskip("onnx")
import fuzz_onnx  # noqa: E402
import onnx_mutation  # noqa: E402
from onnx import TensorProto  # noqa: E402
from onnx_mutation import WEIGHT, F, model, node, tensor  # noqa: E402

SHAPE = tensor([2**40], "s", np.int64)


def compiled(proto, **options):
    return ts.onnx.load(proto.SerializeToString(), **options).compile()


BAD = {
    "cycle": (model([node("Relu", ["a"], ["b"]), node("Relu", ["b"], ["a"]), node("Relu", ["x"])]), "own result"),
    "missing input": (model([node("Relu", ["nothing"])]), "nothing computes"),
    "missing output": (model([node("Relu", ["x"], ["z"])]), "output 'y'"),
    "computed twice": (model([node("Relu", ["x"]), node("Elu", ["x"])]), "twice"),
    "unknown operator": (model([node("Nonsense", ["x"])]), "Nonsense"),
    "loop": (model([node("Loop", ["", "", "x"])]), "control flow"),
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


# -------------------------------------------------------------------------------------------------------------- mutants


def test_mutants_run_or_are_refused_in_words():
    """For TESELA_FUZZ_SECONDS, 3 as a rule. python -m tests.fuzz_onnx does so in processes that may die."""
    rng, end = random.Random(7), time.monotonic() + float(os.environ.get("TESELA_FUZZ_SECONDS", "3"))
    while time.monotonic() < end:
        onnx_mutation.attempt(onnx_mutation.mutant(rng))


def test_every_start_runs():
    refused = []
    for name in dict.fromkeys(onnx_mutation.names()):
        try:
            if onnx_mutation.attempt(onnx_mutation.start(name)) == "refused":
                refused.append(name)
        except Exception as error:
            refused.append((name, error))
    assert not refused
