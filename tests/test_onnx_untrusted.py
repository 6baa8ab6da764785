"""Files that nobody vouches for: each ends in a ValueError that says what and where, before memory is taken."""

import os
import random
import sys
import time

import numpy as np
import pytest
import tesela as ts

onnx = pytest.importorskip("onnx")
import fuzz_onnx  # noqa: E402
import onnx_mutation  # noqa: E402
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


def called(proto, *arrays):
    return ts.onnx.load(proto.SerializeToString())(*arrays)


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
def test_an_image_of_nothing(op):
    proto = model(
        [node(op, ["x", "w"], group=3)],
        x=(0, 3, 9),
        initializers=[tensor(np.ones((6, 1, 3))[: 6 if op == "Conv" else 3], "w")],
    )
    with pytest.raises(ValueError, match="x with at least one element"):
        called(proto, np.zeros((0, 3, 9), np.float32))


def test_layers_of_constants():
    """Nothing computes what they read, so there is nothing to fuse them with."""
    for op in ("Relu", "Dropout", "BatchNormalization"):
        statistics = ["s"] * 4 if op == "BatchNormalization" else []
        nodes = [node("Sigmoid", ["c"], ["a"]), node(op, ["a", *statistics], ["b"]), node("Add", ["x", "b"])]
        proto = model(nodes, x=(1, 2), initializers=[tensor([[1, 2]], "c"), tensor([1, 2], "s")])
        assert called(proto, np.zeros((1, 2), np.float32)).shape == (1, 2)


def test_a_step_beyond_the_end():
    proto = model(
        [node("Slice", ["x", "a", "b", "c", "d"])],
        x=(2, 3),
        initializers=[tensor([1], name, np.int64) if name != "d" else tensor([2**62], name, np.int64) for name in "acd"]
        + [tensor([3], "b", np.int64)],
    )
    np.testing.assert_array_equal(called(proto, np.arange(6, dtype=np.float32).reshape(2, 3)), [[1], [4]])


def test_a_scalar_of_the_file_is_no_list():
    """Gather with a scalar index drops the axis, and Unsqueeze brings it back."""
    size = [node("Shape", ["x"], ["s"]), node("Gather", ["s", "i"], ["n"]), node("Unsqueeze", ["n", "a"], ["m"])]
    nodes = [*size, node("Concat", ["m", "r"], ["t"], axis=0), node("Reshape", ["x", "t"])]
    scalars = [tensor(0, "i", np.int64), tensor([0], "a", np.int64), tensor([-1], "r", np.int64)]
    assert called(model(nodes, x=(2, 3, 4), initializers=scalars), np.ones((2, 3, 4), np.float32)).shape == (2, 12)
    add = model([node("Add", ["x", "h"])], x=(), initializers=[tensor(0.5, "h")])
    assert called(add, np.ones((), np.float32)).shape == ()


def test_a_column_is_no_row():
    """C of Gemm with as many rows as columns."""
    c = np.arange(4, dtype=np.float32)
    proto = model(
        [node("Gemm", ["x", "w", "c"])], x=(4, 2), initializers=[tensor(np.zeros((2, 4)), "w"), tensor(c[:, None], "c")]
    )
    np.testing.assert_array_equal(called(proto, np.ones((4, 2), np.float32)), np.broadcast_to(c[:, None], (4, 4)))


def chosen(condition, then, otherwise):
    nodes = [node("If", ["c"], then_branch=branch(*then), else_branch=branch(*otherwise))]
    return model(nodes, x=(1, 2), initializers=[tensor(condition, "c", bool)])


def test_a_branch_takes_the_place_of_its_node():
    then = [node("Relu", ["x"], ["a"]), node("Add", ["a", "x"], ["t"])], "t"
    x = np.array([[-1, 2]], np.float32)
    for condition, expected in ((True, [[-1, 4]]), (False, [[-1, 2]])):
        np.testing.assert_array_equal(called(chosen(condition, then, ([], "x")), x), expected)
    # What a branch reads from outside is computed before, wherever the file has it.
    then = branch([node("Neg", ["late"], ["t"])], "t")
    nodes = [node("If", ["c"], ["b"], then_branch=then, else_branch=branch([], "x")),
             node("Relu", ["x"], ["late"]), node("Add", ["b", "late"])]  # fmt: skip
    proto = model(nodes, x=(1, 2), initializers=[tensor(True, "c", bool)])
    np.testing.assert_array_equal(called(proto, x), [[0, 0]])


@pytest.mark.parametrize("then, message", [
    (([node("Relu", ["nothing"], ["t"])], "t"), "If.*nothing computes its input 'nothing'"),
    (([], "nothing"), "If.*nothing computes its input 'nothing'"),
    (([node("Relu", ["t"], ["t"])], "t"), "own result"),
    (([node("Relu", ["x"], ["c"])], "c"), "computed twice"),
    (([node("Loop", ["", "", "x"], ["t"])], "t"), "loops"),
    (([], "t", TensorProto(name="t", dims=[2**40], data_type=F)), "If.*initializer 't'.*bytes"),
    (([], "t", tensor(np.ones(2**22), "t")), "max_bytes|bytes"),
])  # fmt: skip
def test_branches_are_checked_like_models(then, message):
    proto = chosen(True, then, ([], "x"))
    with pytest.raises(ValueError, match=message):
        ts.onnx.load(proto.SerializeToString(), max_bytes=2**20).compile()


def test_a_branch_with_other_outputs():
    proto = chosen(True, ([], "x"), ([], "x"))
    del proto.graph.node[0].attribute[0].g.output[:]
    del proto.graph.node[0].attribute[1].g.output[:]
    with pytest.raises(ValueError, match=r"If.*expected a branch with 1 outputs, got 0"):
        compiled(proto)


def test_a_computed_condition_is_refused():
    same = {"then_branch": branch([], "x"), "else_branch": branch([], "x")}
    nodes = [node("Greater", ["x", "z"], ["c"]), node("If", ["c"], **same)]
    with pytest.raises(ValueError, match=r"If.*the condition known when the network is planned"):
        compiled(model(nodes, x=(1,), initializers=[tensor([0.0], "z")]))


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
    assert refused == ["test_range_int32_type_negative_delta_cpu"]  # from 1 down to 6 there is nothing


def test_children_may_die(tmp_path):
    """The fuzzer keeps what kills a child, what stops it, and what wants too much."""
    script = f"""
import os, random, sys, time
from pathlib import Path
sys.path.insert(0, {os.path.dirname(fuzz_onnx.__file__)!r})
import fuzz_onnx

def attempt(data):
    if data == b"0":
        os.abort()
    if data == b"1":
        time.sleep(60)
    if data == b"2":
        bytearray(2 * fuzz_onnx.SPARE)
    if data == b"3":
        raise KeyError("x")
    return "ran"

rng = random.Random(int(sys.argv[1]))
folder = Path({str(tmp_path)!r})
fuzz_onnx.child(rng, folder, float(sys.argv[2]), lambda rng: rng.choice((b"0", b"1", b"2", b"3", b"4")), attempt)
"""
    outcomes, findings = fuzz_onnx.fuzz([sys.executable, "-c", script], tmp_path, seconds=4, patience=0.2)
    assert outcomes.keys() == {"crash", "hang", "memory", "KeyError", "ran"}
    assert len(findings.kinds) == 4
    for kind, byte in (("crash", b"0"), ("hang", b"1"), ("memory", b"2"), ("keyerror", b"3")):
        files = list(tmp_path.glob(f"{kind}-*.onnx"))
        assert 1 <= len(files) <= fuzz_onnx.MOST_ALIKE
        assert {path.read_bytes() for path in files} == {byte}
