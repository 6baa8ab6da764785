"""Array operators as ONNX models: run by onnxruntime, read back by tesela, and compared with the reference.

Integers wrap and are equal. Real functions agree within a few units of the C library's own error, scaled by what was
summed. Where onnxruntime has no kernel for a dtype, onnx's own evaluator takes its place.
"""

import numpy as np
import pytest
import tesela as ts
from tesela.operators.map import BINARY, UNARY
from tesela.operators.reduce import REDUCTIONS
from tesela.operators.table import ANY

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from onnx.reference import ReferenceEvaluator  # noqa: E402
from tesela.onnx.writer import EXPORTERS  # noqa: E402

X = (2, 3, 4, 6)
EPS = float(np.finfo(np.float32).eps)

# (operator, shapes of its tensors, attributes)
COPIES = [
    ("transpose", [X], {"axes": (0, 2, 3, 1)}),
    ("transpose", [X], {"axes": (-1, 0, -2, 1)}),
    ("slice", [X], {"starts": (1, -1), "ends": (4, -100), "axes": (3, 2), "steps": (2, -3)}),
    ("slice", [X], {"starts": (0,), "ends": (2**62,), "axes": (-1,)}),
    ("slice", [X], {"starts": (1, 0), "ends": (2, 2), "axes": (3, -1)}),
    ("slice", [X], {"starts": (), "ends": ()}),
    ("flip", [X], {"axes": (0, -1)}),
    ("flip", [X], {"axes": ()}),
    ("expand", [(3, 1, 4)], {"shape": (2, 1, 5, 1)}),
    ("tile", [X], {"repeats": (3, 1, 2, 1)}),
    ("reshape", [X], {"shape": (4, -1)}),
    ("split", [(3, 7)], {"sizes": (2, 4, 1), "axis": 1}),
    ("split", [(3, 7)], {"sizes": (3,)}),
    ("concat", [[X, (2, 1, 4, 6)]], {"dim": 1}),
    ("pad_axes", [(3, 4)], {"padding": ((1, 2), (-1, 3)), "value": 3.0}),
    ("pad_axes", [(3, 4)], {"padding": ((0, 0), (0, 0))}),
    ("pad_axes", [(3, 4)], {"padding": ((2, 1), (3, 0)), "mode": "reflect"}),
    ("pad_axes", [(3, 4)], {"padding": ((5, 1), (3, 9)), "mode": "reflect"}),
    ("pad_axes", [(3, 5)], {"padding": ((-1, 1), (3, -2)), "mode": "reflect"}),
    ("pad_axes", [(3, 4)], {"padding": ((2, 5), (0, 1)), "mode": "edge"}),
    ("pad_axes", [(3, 4)], {"padding": ((2, 3), (1, 0)), "mode": "wrap"}),
    ("pad_axes", [(3, 4)], {"padding": ((2, 7), (1, 9)), "mode": "wrap"}),
    ("pad_axes", [(3, 4)], {"padding": ((-1, 7), (-2, 9)), "mode": "wrap"}),
    ("space_to_depth", [X], {"block_size": 2}),
    ("depth_to_space", [(2, 8, 3, 2)], {"block_size": 2}),
    ("depth_to_space", [(2, 8, 3, 2)], {"block_size": 2, "mode": "CRD"}),
]  # fmt: skip
AXES = [{"axes": None}, {"axes": (1,), "keepdims": False}, {"axes": (-1, 0)}, {"axes": ()}]
NORMS = [
    ("instance_norm", {}, ((3,), (3,))),
    ("instance_norm", {"eps": 0.1}, ()),
    ("group_norm", {"groups": 3}, ((6,), (6,))),
    ("group_norm", {"groups": 2, "eps": 0.1}, ((6,),)),
    ("group_norm", {"groups": 1}, ()),
    ("layer_norm", {}, ((6,), (6,))),
    ("layer_norm", {"axis": 1, "eps": 0.1}, ()),
    ("layer_norm", {"axis": -2}, ((4, 6),)),
]


def numbers(rng, shape, dtype):
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    return rng.integers(0 if dtype == "uint8" else -9, 10, shape).astype(dtype)


def network(op, arrays, shapes=(), **attributes):
    """One layer whose inputs are these arrays, and parameters of these shapes."""
    g = ts.Graph("case")

    def given(array):
        return g.input(f"x{len(g.inputs)}", array.shape, array.dtype.name, batched=False)

    inputs = [[given(a) for a in array] if isinstance(array, list) else given(array) for array in arrays]
    parameters = {name: ts.graph.Parameter(shape, "ones") for name, shape in zip(("weight", "bias"), shapes)}  # noqa: B905
    results = g.apply(op, "y", *inputs, parameters=parameters, **attributes)
    g.output(*(results if isinstance(results, tuple) else (results,)))
    rng = np.random.default_rng(5)
    state = {name: rng.standard_normal(p.shape, np.float32) for name, p in g.parameters.items()}
    return ts.Network(g, state)


def flat(arrays):
    return [a for array in arrays for a in (array if isinstance(array, list) else [array])]


def evaluated(model, arrays):
    """By onnxruntime, or by onnx where that has no kernel."""
    feed = {value.name: x for value, x in zip(model.graph.input, arrays, strict=True)}
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    except onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented:
        with np.errstate(all="ignore"):
            return ReferenceEvaluator(model).run(None, feed)
    return session.run(None, feed)


def results(value):
    return value if isinstance(value, tuple) else (value,)


def compare(net, arrays, rtol=0.0, atol=0.0):
    """rtol and atol: 0 for equality. What is read back computes in float32 where the network does in float64."""
    arrays = flat(arrays)
    model = net.to_onnx()
    onnx.checker.check_model(model, full_check=True)
    expected = results(net.reference(*arrays))
    found = {"tesela": results(net(*arrays)), "another engine": evaluated(model, arrays)}
    float64 = "float64" in net.graph.dtypes.values()
    narrowed = [a.astype(np.float32) if a.dtype == np.float64 else a for a in arrays]
    found["read back"] = results(ts.onnx.load(model.SerializeToString())(*narrowed))
    for who, values in found.items():
        assert len(values) == len(expected)
        for y, e in zip(values, expected, strict=True):
            assert y.shape == e.shape, who
            assert (who == "read back" and float64) or y.dtype == net.graph.dtypes[net.graph.outputs[0]], who
            if rtol == atol == 0:
                np.testing.assert_array_equal(y, e.astype(y.dtype), who)
            else:
                np.testing.assert_allclose(y, e, rtol, atol, err_msg=who)


def tried():
    return {
        *(op for op, *_ in (*COPIES, *NORMS)), *UNARY, *BINARY, *(f"reduce_{name}" for name in REDUCTIONS),
        "argmax", "argmin", "where", "cast", "gather", "matmul", "add", "mul",
        "top_k", "non_max_suppression", "roi_align",  # test_detection.py
    }  # fmt: skip


def test_every_operator_has_an_exporter_and_a_case():
    import test_onnx_export

    assert set(EXPORTERS) == set(ts.operators.TABLE)
    cases = {case.split()[0] for case in (*test_onnx_export.EXACT, *test_onnx_export.ROUNDED)}
    assert cases | tried() == set(EXPORTERS)


@pytest.mark.parametrize("dtype", ANY)
@pytest.mark.parametrize("op, shapes, attributes", COPIES)
def test_copies(op, shapes, attributes, dtype, rng):
    arrays = [[numbers(rng, s, dtype) for s in shape] if isinstance(shape, list) else numbers(rng, shape, dtype)
              for shape in shapes]  # fmt: skip
    compare(network(op, arrays, **attributes), arrays)


@pytest.mark.parametrize("dtype", ANY)
def test_gather(dtype, rng):
    arrays = [numbers(rng, X, dtype), np.array([[0, -1], [2, 1]])]
    for axis in (1, -1):
        compare(network("gather", arrays, axis=axis), arrays)


@pytest.mark.parametrize("op", [*BINARY, "add", "mul"])
def test_binary(op, rng):
    for dtype in BINARY.get(op, BINARY["sub"]):
        x, y = numbers(rng, (2, 3, 40), dtype), numbers(rng, (3, 1), dtype)
        if op in ("div", "mod", "fmod", "pow"):
            y = np.where(y == 0, 3, np.abs(y) if op == "pow" else y).astype(dtype)
        real = np.dtype(dtype).kind == "f"
        if op == "pow" and not real:
            y, x = np.minimum(y, 2), x  # onnxruntime raises through float64, which holds these exactly
        for arrays in ([x, y], [y, x]) if op not in ("div", "mod", "fmod", "pow") else ([x, y],):
            # One rounding of the quotient, or of its reciprocal and the product; a few units of pow.
            compare(network(op, arrays), arrays, rtol=4 * EPS if real and op in ("div", "pow") else 0)


@pytest.mark.parametrize("op", UNARY)
def test_unary(op, rng):
    for dtype in UNARY[op]:
        x = numbers(rng, (3, 41), dtype)
        if np.dtype(dtype).kind != "f":
            compare(network(op, [x]), [x])
            continue
        x = np.concatenate([x.ravel(), rng.standard_normal(99), [np.nan, np.inf, -np.inf, 0.5, -1.5]]).astype(dtype)
        compare(network(op, [x]), [x], rtol=16 * EPS, atol=16 * EPS)


def test_where_and_cast(rng):
    for dtype in ANY:
        arrays = [numbers(rng, (3, 1), "bool"), numbers(rng, (3, 4), dtype), numbers(rng, (4,), dtype)]
        compare(network("where", arrays), arrays)
        for to in ANY:
            x = np.abs(arrays[1]) if to == "uint8" and dtype != "bool" else arrays[1]  # negative floats are left open
            compare(network("cast", [x], dtype=to), [x])


@pytest.mark.parametrize("attributes", AXES)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions(name, attributes, rng):
    op = f"reduce_{name}"
    for dtype in ("float32", "float64"):
        x = (np.abs(rng.standard_normal(X)) + 0.1).astype(dtype)
        compare(network(op, [x], **attributes), [x], rtol=x.size * EPS, atol=x.size * EPS)
    if name in ("sum", "max", "min", "prod", "l1", "sum_square"):
        for dtype in ("int8", "uint8", "int32", "int64"):
            x = numbers(rng, X, dtype)
            compare(network(op, [x], **attributes), [x])


@pytest.mark.parametrize("op", ["argmax", "argmin"])
@pytest.mark.parametrize("last", [False, True])
def test_places(op, last, rng):
    for dtype in ("float32", "float64", "int8", "uint8", "int32", "int64"):
        x = numbers(rng, X, dtype)
        for axis, keepdims in ((1, True), (-1, False)):
            compare(network(op, [x], axis=axis, keepdims=keepdims, select_last=last), [x])


@pytest.mark.parametrize("x, y", [((2, 3), (3, 4)), ((2, 1, 5, 3), (4, 3, 2)), ((3,), (2, 3, 4)), ((5, 3), (3,))])
def test_matmul(x, y, rng):
    arrays = [numbers(rng, x, "float32"), numbers(rng, y, "float32")]
    compare(network("matmul", arrays), arrays)


@pytest.mark.parametrize("op, attributes, shapes", NORMS)
def test_normalization(op, attributes, shapes, rng):
    x = rng.standard_normal((2, 6, 4, 6) if op == "group_norm" else X, np.float32)
    # The mean and the variance of up to 72 elements, a root, a quotient, weight and bias.
    compare(network(op, [x], shapes, **attributes), [x], rtol=0, atol=72 * EPS * 4)


def test_open_batch(rng):
    """Sizes of the batch appear in no constant."""
    g = ts.Graph("case")
    x = g.input("x", (6, 4))
    y = g.flip("flip", g.transpose("t", x, axes=(0, 2, 1)), axes=(0, 2))
    y = g.pad_axes("pad", y, padding=((0, 0), (1, 9), (0, 2)), mode="reflect")
    y = g.group_norm("norm", g.slice("slice", y, starts=(0, 1), ends=(2**31, 4), axes=(0, 2)), groups=2)
    y = g.layer_norm("layer", y)
    g.output(g.sub("sub", y, g.reduce_mean("mean", y, axes=(0,))), *g.split("split", y, sizes=(10, 4), axis=1))
    net = ts.Network(g)
    model = net.to_onnx()
    onnx.checker.check_model(model, full_check=True)
    loaded = ts.onnx.load(model.SerializeToString())
    for batch in (2, 5):
        x = rng.standard_normal((batch, 6, 4), np.float32)
        for values in (evaluated(model, [x]), loaded(x), net(x)):
            for y, e in zip(values, net.reference(x), strict=True):
                np.testing.assert_allclose(y, e, rtol=0, atol=72 * EPS * 4)


def test_a_norm_of_the_batch_takes_one_batch_size():
    g = ts.Graph("case")
    g.output(g.layer_norm("norm", g.input("x", (3,)), axis=0))
    with pytest.raises(ValueError, match="layer 'norm': a norm over the batch is for one size"):
        ts.Network(g).to_onnx()
    assert ts.Network(g).to_onnx(batch=2)
