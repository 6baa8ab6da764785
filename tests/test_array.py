"""Array operators: any rank, any dtype, against reference/. Copies and integers exactly, real functions within bounds.

Each operator runs as a network of one node, so that its sizes, dtypes and lowering are all under test.
"""

from __future__ import annotations

import numpy as np
import pytest
import tesela
from hypothesis import given, settings
from hypothesis import strategies as st
from tesela import reference
from tesela.operators.map import BINARY, UNARY
from tesela.operators.reduce import REDUCTIONS
from tesela.operators.table import ANY, INTEGERS, NUMBERS

U = 2.0**-24


def run(op: str, *arrays: np.ndarray, **attributes) -> list[np.ndarray]:
    graph = tesela.Graph(op)
    inputs = [graph.input(f"x{i}", a.shape, a.dtype.name, batched=False) for i, a in enumerate(arrays)]
    results = graph.apply(op, "y", *inputs, **attributes)
    results = results if isinstance(results, tuple) else (results,)
    graph.output(*results)
    ys = tesela.Network(graph)(*arrays)
    ys = ys if isinstance(ys, tuple) else (ys,)
    for name, y in zip(results, ys, strict=True):
        assert (y.shape, y.dtype.name) == (graph.dims[name], graph.dtypes[name])
    return list(ys)


def exact(op: str, *arrays: np.ndarray, **attributes) -> None:
    expected = getattr(reference, op)(*arrays, **attributes)
    expected = expected if isinstance(expected, tuple) else (expected,)
    for y, e in zip(run(op, *arrays, **attributes), expected, strict=True):
        assert y.shape == e.shape
        np.testing.assert_array_equal(y, e.astype(y.dtype))


def numbers(rng, shape, dtype) -> np.ndarray:
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    return rng.integers(0 if dtype == "uint8" else -9, 10, shape).astype(dtype)


# ---------------------------------------------------------------------------------------------------------- copies

COPIES = [
    ("transpose", (2, 3, 4, 5), {"axes": (0, 2, 3, 1)}),
    ("transpose", (2, 3, 4), {"axes": (-1, 0, 1)}),
    ("transpose", (7,), {"axes": (0,)}),
    ("slice", (5, 6, 7), {"starts": (1, -1), "ends": (4, -100), "axes": (0, 2), "steps": (2, -3)}),
    ("slice", (5, 6), {"starts": (0,), "ends": (2**62,), "axes": (-1,)}),
    ("flip", (3, 4, 5), {"axes": (0, -1)}),
    ("expand", (3, 1, 4), {"shape": (2, 1, 5, 1)}),
    ("tile", (2, 3), {"repeats": (3, 2)}),
    ("reshape", (2, 3, 4), {"shape": (4, -1)}),
    ("split", (3, 7), {"sizes": (2, 4, 1), "axis": 1}),
    ("split", (3, 7), {"sizes": (3,), "axis": 0}),
    ("pad_axes", (3, 4), {"padding": ((1, 2), (-1, 3)), "value": 3.0}),
    ("pad_axes", (3, 4), {"padding": ((2, 1), (3, 0)), "mode": "reflect"}),
    ("pad_axes", (3, 4), {"padding": ((2, 5), (0, 1)), "mode": "edge"}),
    ("pad_axes", (3, 4), {"padding": ((2, 7), (1, 9)), "mode": "wrap"}),
    ("space_to_depth", (2, 3, 4, 6), {"block_size": 2}),
    ("depth_to_space", (2, 8, 3, 2), {"block_size": 2}),
    ("depth_to_space", (2, 8, 3, 2), {"block_size": 2, "mode": "CRD"}),
]


@pytest.mark.parametrize("op, shape, attributes", COPIES)
@pytest.mark.parametrize("dtype", ANY)
def test_copies(op, shape, attributes, dtype, rng):
    exact(op, numbers(rng, shape, dtype), **attributes)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_slices(data):
    shape = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    bound = st.integers(-7, 7)
    starts, ends = ([data.draw(bound) for _ in shape] for _ in range(2))
    steps = [data.draw(st.integers(-3, 3).filter(bool)) for _ in shape]
    exact("slice", np.arange(np.prod(shape), dtype=np.int64).reshape(shape), starts=starts, ends=ends,
          axes=list(range(len(shape))), steps=steps)  # fmt: skip


@given(shape=st.lists(st.integers(1, 4), min_size=1, max_size=3), data=st.data())
@settings(max_examples=60, deadline=None)
def test_padding(shape, data):
    mode = data.draw(st.sampled_from(["constant", "edge", "wrap"]))
    padding = [(data.draw(st.integers(0, 6)), data.draw(st.integers(0, 6))) for _ in shape]
    exact("pad_axes", np.arange(np.prod(shape), dtype=np.int32).reshape(shape), padding=padding, mode=mode, value=-1)


def test_gather(rng):
    for dtype in ANY:
        x = numbers(rng, (4, 5, 3), dtype)
        for axis in (0, 1, -1):
            exact("gather", x, np.array([[0, -1], [2, 1]]), axis=axis)


@pytest.mark.parametrize("index", [4, -5, 2**62, -(2**63)])
def test_gather_refuses_an_index_outside(index):
    with pytest.raises(ValueError, match=f"gather: index {index} at position 1 is outside an axis of 4"):
        run("gather", np.arange(4, dtype=np.float32), np.array([0, index]))


# -------------------------------------------------------------------------------------------------------------- map

SHAPES = [((4, 5), (4, 5)), ((2, 3, 4), (3, 1)), ((3, 1, 4), (2, 1)), ((), (3,)), ((1,), (2, 2))]


@pytest.mark.parametrize("op", [*BINARY, "add", "mul"])
def test_binary(op, rng):
    for dtype in BINARY.get(op, NUMBERS):
        for x, y in SHAPES:
            a, b = numbers(rng, x, dtype), numbers(rng, y, dtype)
            if op in ("div", "mod", "fmod", "pow"):
                b = np.where(b == 0, 3, np.abs(b)).astype(dtype)
            if op in ("div", "pow") and dtype in ("float32", "float64"):
                (z,) = run(op, a, b)
                np.testing.assert_allclose(z, getattr(reference, op)(a, b), rtol=2 * U)  # rounded once, or by pow
                continue
            with np.errstate(over="ignore"):
                expected = {"add": np.add, "mul": np.multiply}.get(op, getattr(reference, op))(a, b)
            np.testing.assert_array_equal(run(op, a, b)[0], expected)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_wrap(dtype):
    limits = np.iinfo(dtype)
    x = np.array([limits.min, limits.max, limits.min, limits.max, limits.min], dtype)
    y = np.array([limits.max, limits.max, limits.min, 2, 1 if limits.min == 0 else -1], dtype)
    with np.errstate(over="ignore"):
        for op, f in {"add": np.add, "sub": np.subtract, "mul": np.multiply}.items():
            np.testing.assert_array_equal(run(op, x, y)[0], f(x, y))
        np.testing.assert_array_equal(run("neg", x)[0], -x)
        np.testing.assert_array_equal(run("abs", x)[0], np.abs(x))
    assert run("div", x[4:], y[4:])[0][0] == x[4]
    for op in ("div", "mod", "fmod"):
        with pytest.raises(ValueError, match=f"{op}: an integer was divided by zero"):
            run(op, x, np.zeros(5, dtype))


@pytest.mark.parametrize("op", UNARY)
def test_unary(op, rng):
    for dtype in UNARY[op]:
        x = numbers(rng, (3, 41), dtype)
        if dtype not in ("float32", "float64"):
            exact(op, x)
            continue
        x = np.concatenate([x.ravel(), rng.standard_normal(99), [np.nan, np.inf, -np.inf, 0.5, -1.5]]).astype(dtype)
        (y,) = run(op, x)
        # The C library's functions err by few units; softplus and mish round a handful of times.
        unit = np.finfo(dtype).eps
        expected = getattr(reference, op)(x).astype(y.dtype)
        np.testing.assert_allclose(y, expected, rtol=8 * unit, atol=8 * unit)


def test_where_and_cast(rng):
    for dtype in ANY:
        x, y = numbers(rng, (3, 4), dtype), numbers(rng, (4,), dtype)
        exact("where", numbers(rng, (3, 1), "bool"), x, y)
        for to in ANY:
            exact("cast", x, dtype=to)
    edges = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 2.7, -2.7, 127.5, -128.5], np.float32)
    for to in INTEGERS:
        exact("cast", edges, dtype=to)


# ----------------------------------------------------------------------------------------------------------- reduce


@pytest.mark.parametrize("op", [f"reduce_{name}" for name in REDUCTIONS])
@pytest.mark.parametrize("axes", [None, (1,), (-1, 0), (2, 3), ()])
def test_reductions(op, axes, rng):
    for dtype in ("float32", "float64"):
        x = (np.abs(rng.standard_normal((2, 3, 5, 4))) + 0.1).astype(dtype)
        for keepdims in (False, True):
            (y,) = run(op, x, axes=axes, keepdims=keepdims)
            expected = getattr(reference, op)(x, axes, keepdims)
            assert y.shape == expected.shape
            # Summed in double and rounded once; the mean over a plane in float32, 20 terms.
            np.testing.assert_allclose(y, expected, rtol=20 * U if dtype == "float32" else 1e-14, atol=20 * U)


@pytest.mark.parametrize("name", ["sum", "max", "min", "prod", "l1", "sum_square"])
def test_integer_reductions(name, rng):
    for dtype in INTEGERS:
        with np.errstate(over="ignore"):
            exact(f"reduce_{name}", numbers(rng, (3, 4, 2), dtype), axes=(0, 2))


@pytest.mark.parametrize("op", ["argmax", "argmin"])
def test_places(op, rng):
    for dtype in NUMBERS:
        x = numbers(rng, (4, 9, 3), dtype)
        for axis in (0, 1, -1):
            for last in (False, True):
                exact(op, x, axis=axis, keepdims=last, select_last=last)
    assert run(op, np.array([1, np.nan, 0, np.nan], np.float32))[0].tolist() == [1]


@pytest.mark.parametrize(
    "x, y", [((3, 4), (4, 5)), ((4,), (4,)), ((2, 3, 4), (4,)), ((4,), (2, 4, 3)), ((2, 1, 3, 4), (5, 4, 2)),
             ((2, 3, 4), (4, 5)), ((2, 3, 4), (2, 4, 5))],
)  # fmt: skip
def test_matmul(x, y, rng):
    exact("matmul", numbers(rng, x, "float32"), numbers(rng, y, "float32"))


@pytest.mark.parametrize(
    "op, attributes, shape",
    [("instance_norm", {}, (5,)), ("group_norm", {"groups": 1}, (5,)), ("layer_norm", {}, (6,)),
     ("layer_norm", {"axis": 2}, (4, 6))],
)  # fmt: skip
def test_normalization(op, attributes, shape, rng):
    x = rng.standard_normal((2, 5, 4, 6), np.float32) + 3
    weight, bias = (rng.standard_normal(shape, np.float32) for _ in range(2))
    graph = tesela.Graph(op)
    value = graph.input("x", x.shape, batched=False)
    parameter = tesela.graph.Parameter(shape)
    graph.output(graph.apply(op, "y", value, parameters={"weight": parameter, "bias": parameter}, **attributes))
    y = tesela.Network(graph, {"y.weight": weight, "y.bias": bias})(x)
    expected = getattr(reference, op)(x, weight=weight, bias=bias, **attributes)
    # Mean and variance come from double sums rounded once; what the mean's rounding leaves grows with 1 / deviation.
    np.testing.assert_allclose(y, expected, rtol=16 * U, atol=64 * U)


# ------------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    "op, arrays, attributes, error, words",
    [
        ("transpose", [np.zeros((2, 3))], {"axes": (0, 0)}, ValueError, "each axis of x"),
        ("slice", [np.zeros(3)], {"starts": (0,), "ends": (1,), "steps": (0,)}, ValueError, "step other than 0"),
        ("reshape", [np.zeros(6)], {"shape": (4, -1)}, ValueError, "expected a shape of 6 elements"),
        ("tile", [np.zeros(6)], {"repeats": (2**62,)}, ValueError, "overflows"),
        ("expand", [np.zeros((1, 1))], {"shape": (2**40, 2**40)}, ValueError, "overflows"),
        ("pad_axes", [np.zeros(3)], {"padding": ((-2, -2),)}, ValueError, "would have shape"),
        ("sub", [np.zeros(3), np.zeros(3, np.int32)], {}, TypeError, "y of dtype float64, as before it"),
        ("exp", [np.zeros(3, np.int32)], {}, TypeError, "x of dtype float32 or float64, got int32"),
        ("logical_and", [np.zeros(3), np.zeros(3)], {}, TypeError, "x of dtype bool"),
        ("gather", [np.zeros(3), np.zeros(3, np.int32)], {}, TypeError, "indices of dtype int64"),
        ("matmul", [np.zeros((2, 3), np.float32)] * 2, {}, ValueError, "3 columns"),
        ("reduce_sum", [np.zeros(3)], {"axes": (1,)}, ValueError, "out of range"),
    ],
)
def test_refused(op, arrays, attributes, error, words):
    with pytest.raises(error, match=words):
        run(op, *arrays, **attributes)


def test_a_constant_operand_is_a_parameter(rng):
    graph = tesela.Graph("scaled")
    x = graph.input("x", (3,))
    shift = tesela.graph.Parameter((3,))
    graph.output(graph.add("y", x, parameters={"y": shift}))
    network = tesela.Network(graph, {"y.y": np.array([1, 2, 3], np.float32)})
    np.testing.assert_array_equal(network(np.ones((2, 3), np.float32)), [[2, 3, 4], [2, 3, 4]])
