"""Mutated ONNX models: what they start from, what is changed in them, and what may come of one.

A start is a model that loads: one for each family of operators (BY_HAND), the standard's own cases with their operands
as initializers, networks of the zoo. A mutation changes bytes, or one thing that a model says: an attribute, a name, a
size, the order of its nodes. A mutant runs, or is refused by a ValueError that speaks of the model; see `attempt`.
"""

from __future__ import annotations

import functools
import math
import random
import re
import warnings
from pathlib import Path

import numpy as np
import onnx
import tesela as ts
from onnx import AttributeProto, ModelProto, TensorProto, helper, numpy_helper

MAX_BYTES = 2**26
MOST_FLOPS = 1e8  # what a mutant that compiles may need to be run as well
F = TensorProto.FLOAT
FILES: list[Path] = []  # models to start from as well, as often as from all others

# --------------------------------------------------------------------------------------------------------------- starts


def model(nodes, x=(1, 3, 8, 8), initializers=(), opset=18):
    values = [helper.make_tensor_value_info("x", F, x)], [helper.make_tensor_value_info("y", F, None)]
    graph = helper.make_graph(nodes, "case", *values, initializer=list(initializers))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def node(op, inputs, outputs=("y",), **attributes):
    return helper.make_node(op, inputs, list(outputs), **attributes)


def tensor(value, name, dtype=np.float32):
    return numpy_helper.from_array(np.asarray(value, dtype), name)


def branch(nodes, output, *initializers):
    return helper.make_graph(nodes, "branch", [], [helper.make_tensor_value_info(output, F, None)], list(initializers))


WEIGHT = tensor(np.ones((2, 3, 3, 3)), "w")


def _int64(name, *values):
    return tensor(values, name, np.int64)


BY_HAND = {
    "convolution": lambda: model([node("Conv", ["x", "w"], pads=[1] * 4, strides=[2, 1])], initializers=[WEIGHT]),
    "transposed convolution": lambda: model(
        [node("ConvTranspose", ["x", "w", "b"], strides=[2, 2], pads=[1, 0, 1, 0], output_padding=[1, 0])],
        initializers=[tensor(np.ones((3, 2, 3, 3)), "w"), tensor([1, 2], "b")],
    ),
    "lines": lambda: model(
        [node("Conv", ["x", "w"], ["a"], pads=[1, 1], group=3), node("AveragePool", ["a"], kernel_shape=[2])],
        x=(1, 3, 9), initializers=[tensor(np.ones((6, 1, 3)), "w")],
    ),
    "pooling": lambda: model([node("MaxPool", ["x"], ["a"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
                              node("GlobalAveragePool", ["a"], ["b"]), node("Flatten", ["b"])]),
    "unpooling": lambda: model([node("MaxPool", ["x"], ["a", "i"], kernel_shape=[2, 2], strides=[2, 2]),
                                node("MaxUnpool", ["a", "i"], kernel_shape=[2, 2], strides=[2, 2])]),
    "shapes": lambda: model(
        [node("Shape", ["x"], ["s"]), node("Gather", ["s", "i"], ["n"]), node("Concat", ["n", "m"], ["t"], axis=0),
         node("Reshape", ["x", "t"])], initializers=[_int64("i", 0), _int64("m", -1)],
    ),
    "places": lambda: model(
        [node("Slice", ["x", "a", "b", "c", "d"], ["s"]), node("Pad", ["s", "p"], ["q"], mode="reflect"),
         node("Transpose", ["q"], ["t"], perm=[0, 2, 3, 1]), node("Gather", ["t", "i"], axis=1)],
        initializers=[_int64("a", 1), _int64("b", 7), _int64("c", 2), _int64("d", 2),
                      _int64("p", 0, 0, 1, 0, 0, 0, 1, 2), _int64("i", 0, -1, 2)],
    ),
    "resizing": lambda: model([node("Resize", ["x", "", "s"], ["a"], mode="nearest", nearest_mode="floor",
                                    coordinate_transformation_mode="asymmetric"),
                               node("SpaceToDepth", ["a"], ["b"], blocksize=2),
                               node("DepthToSpace", ["b"], blocksize=2)],
                              initializers=[tensor([1, 1, 2, 2], "s")]),
    "splitting": lambda: model([node("Split", ["x", "s"], ["a", "b"], axis=1), node("Concat", ["b", "a"], axis=1)],
                               initializers=[_int64("s", 1, 2)]),
    "products": lambda: model(
        [node("Gemm", ["x", "w", "b"], ["a"], alpha=0.5, transB=1), node("MatMul", ["a", "v"], ["m"]),
         node("Softmax", ["m"], axis=-1)], x=(2, 6),
        initializers=[tensor(np.ones((4, 6)), "w"), tensor(np.ones(4), "b"), tensor(np.ones((4, 3)), "v")],
    ),
    "normalization": lambda: model(
        [node("BatchNormalization", ["x", "w", "w", "w", "w"], ["a"]), node("LRN", ["a"], ["b"], size=3),
         node("InstanceNormalization", ["b", "w", "w"], ["c"]), node("LayerNormalization", ["c", "v"])],
        initializers=[tensor([1, 2, 3], "w"), tensor(np.ones(8), "v")],
    ),
    "reductions": lambda: model([node("ReduceMean", ["x", "s"], ["a"], keepdims=1), node("Sub", ["x", "a"], ["b"]),
                                 node("ReduceL2", ["b", "s"], ["c"]), node("ArgMax", ["c"], axis=1)],
                                initializers=[_int64("s", 2, -1)]),
    "elements": lambda: model(
        [node("LeakyRelu", ["x"], ["a"], alpha=0.1), node("PRelu", ["a", "p"], ["b"]), node("Clip", ["b", "l"], ["c"]),
         node("Greater", ["c", "l"], ["d"]), node("Where", ["d", "c", "l"], ["e"]), node("Cast", ["e"], ["f"], to=6),
         node("Mod", ["f", "m"], ["g"]), node("Cast", ["g"], to=1)],
        initializers=[tensor(np.ones((3, 1, 1)), "p"), tensor(0.5, "l"), tensor(3, "m", np.int32)],
    ),
    "choosing": lambda: model(
        [node("Size", ["x"], ["n"]), node("Less", ["n", "most"], ["small"]),
         node("If", ["small"], then_branch=branch([node("Mul", ["x", "h"], ["t"])], "t", tensor(0.5, "h")),
              else_branch=branch([node("Relu", ["x"], ["a"]), node("Sigmoid", ["a"], ["e"])], "e"))],
        initializers=[tensor(1000, "most", np.int64)],
    ),
    "resampling": lambda: model(
        [node("Resize", ["x", "", "", "s"], ["a"], mode="cubic", antialias=1, exclude_outside=1),
         node("Resize", ["a", "r", "t"], mode="linear", coordinate_transformation_mode="tf_crop_and_resize")],
        initializers=[_int64("s", 1, 3, 5, 12), tensor([0, 0, 0.1, 0, 1, 1, 0.9, 1.5], "r"),
                      tensor([1, 1, 2, 0.5], "t")],
    ),
    "windows": lambda: model(
        [node("LpPool", ["x"], ["a"], kernel_shape=[2, 3], p=3, dilations=[2, 1], pads=[1, 0, 1, 0]),
         node("AveragePool", ["a"], ["b"], kernel_shape=[2, 2], dilations=[1, 2], ceil_mode=1),
         node("MaxPool", ["b"], ["c", "i"], kernel_shape=[2, 2], storage_order=1), node("Identity", ["i"], ["y"])],
        opset=19,
    ),
    "detecting": lambda: model(
        [node("TopK", ["x", "k"], ["v", "i"], axis=1), node("GatherElements", ["x", "i"], ["g"], axis=1),
         node("Concat", ["v", "g"], ["b"], axis=1), node("Split", ["b"], ["p", "q"], axis=2, num_outputs=2),
         node("Transpose", ["q"], ["s"], perm=[0, 2, 1]), node("NonMaxSuppression", ["p", "s", "m", "t"])],
        x=(1, 9, 8), initializers=[_int64("k", 6), _int64("m", 3), tensor([0.5], "t")],
    ),
    "regions": lambda: model(
        [node("Slice", ["x", "a", "b", "c"], ["r"]), node("Reshape", ["r", "n"], ["q"]),
         node("RoiAlign", ["x", "q", "i"], output_height=2, output_width=3, sampling_ratio=2)],
        initializers=[_int64("a", 0), _int64("b", 1), _int64("c", 1), _int64("n", -1, 4), _int64("i", *16 * [0])],
    ),
    "scattering": lambda: model(
        [node("ScatterElements", ["x", "i", "u"], ["a"], axis=3), node("ScatterND", ["a", "j", "v"], ["b"]),
         node("GatherND", ["b", "j"], ["c"]), node("OneHot", ["k", "d", "e"], ["f"]), node("MatMul", ["f", "c"], ["g"]),
         node("Trilu", ["g", "k"])],
        initializers=[tensor([[[[0, -1]]]], "i", np.int64), tensor([[[[1, 2]]]], "u"),
                      tensor([[0, 1], [0, 2]], "j", np.int64), tensor(np.ones((2, 8, 8)), "v"),
                      tensor(1, "k", np.int64), tensor(8, "d", np.int64), tensor([0, 1], "e")],
    ),
    "quantized": lambda: model(
        [node("QuantizeLinear", ["x", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s", "z"], ["a"]),
         node("DequantizeLinear", ["w", "v"], ["b"], axis=0), node("Conv", ["a", "b"])],
        initializers=[tensor(0.1, "s"), tensor(7, "z", np.uint8), tensor(np.ones((2, 3, 3, 3)), "w", np.int8),
                      tensor([0.5, 2], "v")],
    ),
    "repeating": lambda: model([node("ConstantOfShape", ["s"], ["c"]), node("Expand", ["c", "e"], ["d"]),
                                node("Tile", ["d", "t"], ["r"]), node("Add", ["x", "r"])],
                               initializers=[_int64("s", 1, 1), _int64("e", 3, 1, 2), _int64("t", 1, 8, 4)]),
}  # fmt: skip


@functools.cache
def _standard() -> dict[str, ModelProto]:
    """The standard's cases for single nodes that pass here, with all operands but the first as initializers."""
    try:
        from onnx.backend.test import loader
    except ModuleNotFoundError:  # Pillow, with which the suite draws its images
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the suite's own making, when it computes what it expects
        loaded = [case for case in loader.load_model_tests(kind="node") if case.model and case.data_sets]
        cases = {f"{case.name}_cpu": case for case in loaded}  # not there yet in older versions of onnx
    passing = (Path(__file__).parent / "onnx_passing.txt").read_text().split()
    return {name: _with_operands(cases[name]) for name in passing if name in cases}


def _with_operands(case) -> ModelProto:
    proto = ModelProto.FromString(case.model.SerializeToString())
    arrays = case.data_sets[0][0]
    for i in range(len(arrays) - 1, 0, -1):
        value = arrays[i] if isinstance(arrays[i], TensorProto) else numpy_helper.from_array(np.asarray(arrays[i]))
        proto.graph.initializer.add().CopyFrom(value)
        proto.graph.initializer[-1].name = proto.graph.input[i].name
        del proto.graph.input[i]
    return proto


@functools.cache
def names() -> list[str]:
    zoo = ["lenet5", "denoiser", "unpooling_autoencoder", "resnet20"]
    # A case of the standard's tries one operator; those with many nodes come as often as all for one operator.
    return [*(8 * list(BY_HAND)), *(8 * zoo), *_standard()]


@functools.cache
def start(name: str) -> bytes:
    if name in BY_HAND:
        return BY_HAND[name]().SerializeToString()
    if name in ts.models.NETWORKS:
        return ts.models.NETWORKS[name]().to_onnx().SerializeToString()
    return _standard()[name].SerializeToString()


# ------------------------------------------------------------------------------------------------------------ mutations

NUMBERS = (
    -(2**63),
    -(2**31),
    -1000,
    -2,
    -1,
    0,
    1,
    2,
    3,
    4,
    5,
    7,
    100,
    10**9,
    2**24,
    2**31 - 1,
    2**31,
    2**62,
    2**63 - 1,
)
REALS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-30, 1e30, float("inf"), float("-inf"), float("nan"))


def change_bytes(rng: random.Random, data: bytes) -> bytes:
    """Bytes changed, cut out and repeated."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data))
        data[at : at + rng.choice((0, 1, 1, 1, 3))] = rng.choice(
            (bytes([rng.randrange(256)]), b"", b"\xff" * 9 + b"\x01", data[at : at + 8] * 2)
        )
    return bytes(data if rng.random() < 0.95 else data[: rng.randrange(1, len(data) + 1)])


def _change_list(rng, values, choices) -> None:
    """A repeated field: one value replaced, removed, repeated or added."""
    values_now = list(values)
    at = rng.randrange(len(values_now)) if values_now else 0
    new = rng.choice(choices)
    values_now[at : at + rng.choice((0, 1, 1, 1))] = rng.choice(([new], [new], [new], [], [new, new]))
    del values[:]
    values.extend(values_now)


def _attribute(rng, graph, target) -> None:
    if not target.attribute:
        target.attribute.append(
            helper.make_attribute(rng.choice(("axis", "axes", "pads", "group", "mode")), rng.choice(NUMBERS))
        )
        return
    attribute = rng.choice(target.attribute)
    kind = rng.random()
    if kind < 0.1:
        target.attribute.remove(attribute)
    elif kind < 0.15:
        attribute.type = rng.randrange(16)
    elif attribute.type == AttributeProto.INT:
        attribute.i = rng.choice(NUMBERS)
    elif attribute.type == AttributeProto.INTS:
        _change_list(rng, attribute.ints, NUMBERS)
    elif attribute.type == AttributeProto.FLOAT:
        attribute.f = rng.choice(REALS)
    elif attribute.type == AttributeProto.STRING:
        attribute.s = rng.choice(
            (b"", b"\xff", b"SAME_UPPER", b"VALID", b"linear", b"cubic", b"reflect", b"wrap", b"edge", b"tanh")
        )
    elif attribute.type == AttributeProto.TENSOR:
        _tensor(rng, attribute.t)


def _tensor(rng, value: TensorProto) -> None:
    kind = rng.random()
    if kind < 0.3:
        _change_list(rng, value.dims, NUMBERS)
    elif kind < 0.4:
        value.data_type = rng.randrange(24)
    elif kind < 0.5 and value.raw_data:
        value.raw_data = value.raw_data[: rng.randrange(len(value.raw_data))]
    else:
        array = numpy_helper.to_array(value).copy()
        if array.size and array.dtype.kind in "iuf":
            at = rng.randrange(array.size)
            with np.errstate(all="ignore"):
                wide = np.array(rng.choice(REALS if array.dtype.kind == "f" else NUMBERS))
                array.reshape(-1)[at] = wide.astype(array.dtype)
        reshaped = array if kind < 0.9 else array.reshape(rng.choice(((-1,), (1, -1), (*array.shape, 1))))
        value.CopyFrom(numpy_helper.from_array(reshaped, value.name))


def _operands(rng, graph, target) -> None:
    known = ["", "nothing", *(v.name for v in graph.input), *(v.name for v in graph.initializer)]
    known += [name for other in graph.node for name in other.output]
    _change_list(rng, target.output if rng.random() < 0.15 else target.input, known)


def _size(rng, graph, target) -> None:
    shape = rng.choice(graph.input).type.tensor_type.shape
    if not shape.dim or rng.random() < 0.2:
        shape.dim.add().dim_value = rng.choice(NUMBERS)
    elif rng.random() < 0.2:
        del shape.dim[rng.randrange(len(shape.dim))]
    else:
        rng.choice(shape.dim).dim_value = rng.choice((*range(1, 20), *NUMBERS))


@functools.cache
def _operators() -> list[str]:
    return sorted({schema.name for schema in onnx.defs.get_all_schemas() if not schema.domain})


def _nodes(rng, graph, target) -> None:
    kind = rng.random()
    if kind < 0.6:
        target.op_type = rng.choice(_operators())
    elif kind < 0.8:
        graph.node.remove(target)
    else:
        graph.node.append(target)


def _initializer(rng, graph, target) -> None:
    if graph.initializer:
        _tensor(rng, rng.choice(graph.initializer))


def _kind(rng, graph, target) -> None:
    value = rng.choice([*graph.input, *graph.output])
    value.type.tensor_type.elem_type = rng.randrange(24)


def change_model(rng: random.Random, data: bytes) -> bytes:
    """One to three things that a model says, said differently."""
    proto = ModelProto.FromString(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if not proto.graph.node or not proto.graph.input:
            break
        change = rng.choices(
            (_attribute, _initializer, _operands, _size, _nodes, _kind, None), (8, 8, 3, 3, 3, 1, 1)
        )[0]  # fmt: skip
        try:
            if change is None:
                proto.opset_import[0].version = rng.randint(5, 31)
            else:
                change(rng, proto.graph, rng.choice(proto.graph.node))
        except (TypeError, ValueError):  # refused by protobuf or NumPy: nothing to say differently there
            pass
    return proto.SerializeToString()


def mutant(rng: random.Random) -> bytes:
    of_file = FILES and rng.random() < 0.5
    data = rng.choice(FILES).read_bytes() if of_file else start(rng.choice(names()))
    return change_bytes(rng, data) if rng.random() < 0.3 else change_model(rng, data)


# -------------------------------------------------------------------------------------------------------------- outcome

# What an error begins with, and words of Python and NumPy that say nothing about a model.
SUBJECT = re.compile(r"[^:]*: |(node|input|output|initializer|layer) '")
FOREIGN = re.compile(
    r"malformed \(|zip\(\)|NoneType|positional argument|unpack|broadcast together|cannot reshape|out of bounds|ufunc|"
    r"has no attribute|keyword|subscriptable|too big|math domain|invalid literal|cannot convert|convertible|"
    r"not support(ed)? for|operands could|remapped|concatenat|must match|need at least|iterable|not callable|can't|"
    r"MemoryError|bad_alloc|incompatible function|invoked with|truth value|NaN to|infinity to|int too|list index|"
    r"array split|alignment|std::|Python scalar"
)


class Unclear(Exception):
    """A model was refused, but not in words that help."""


def _ran(data: bytes) -> str:
    network = ts.onnx.load(data, max_bytes=MAX_BYTES)
    inputs = network.model.inputs
    sizes = network._declared(None)
    if sum(math.prod(max(d, 1) for d in dims) for dims in sizes.values()) * 8 > MAX_BYTES:
        network.compile()
        return "compiled"
    kinds = (np.float32 if given.dtype.kind == "f" else given.dtype for given in inputs.values())
    arrays = [np.ones(dims, kind) for dims, kind in zip(sizes.values(), kinds, strict=True)]
    bound = network._bind(arrays)
    compiled = network._remembered(bound, None)
    if sum(step.flops for step in compiled.steps()) > MOST_FLOPS:
        return "compiled"
    compiled(*bound.arrays)
    return "ran"


def attempt(data: bytes) -> str:
    """ "ran", "compiled" or "refused"; whatever else comes of a mutant is an exception."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return _ran(data)
    except ValueError as error:
        text = str(error)
        if not SUBJECT.match(text) or FOREIGN.search(text):
            raise Unclear(text) from error
        return "refused"
