"""Models of other exporters and of this one, loaded and compared with ONNX Runtime and with published outputs.

Those of PyTorch are in test_onnx_pytorch.py, files that nobody vouches for in test_onnx_untrusted.py.
"""

import numpy as np
import pytest
import tesela as ts

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper  # noqa: E402
from onnx_mutation import F, branch, model, node, tensor  # noqa: E402
from tesela.passes import optimize  # noqa: E402

RELATIVE = 1e-4  # of the largest output: two orders of summation in float32


def expect_close(y, expected):
    assert y.shape == expected.shape
    np.testing.assert_allclose(y, expected, rtol=0, atol=RELATIVE * np.abs(expected).max())


# -------------------------------------------------------------------------------------------------------- round trip


def test_round_trip():
    """To the bit, also with other weights and a second time; tests/test_onnx_export.py does so for every network."""
    net = ts.models.lenet5()
    loaded = ts.onnx.load(net.to_onnx().SerializeToString())
    x = np.random.default_rng(0).random((2, 1, 32, 32), np.float32)
    np.testing.assert_array_equal(loaded(x), net(x))
    assert loaded.state_dict().keys() == net.state_dict().keys()
    state = {key: value * np.float32(0.5) for key, value in net.state_dict().items()}
    net.load_state_dict(state)
    loaded.load_state_dict(state)
    np.testing.assert_array_equal(loaded(x), net(x))
    again = ts.onnx.load(loaded.to_onnx().SerializeToString())
    np.testing.assert_array_equal(again(x), loaded(x))


@pytest.mark.parametrize("stored", ["FLOAT16", "BFLOAT16", "DOUBLE"])
def test_new_parameters_are_written_in_the_type_of_the_file(stored):
    """Without new ones the file is written as it was, also where float32 does not hold what is in it."""
    kind = getattr(TensorProto, stored)
    w = onnx.helper.make_tensor("w", kind, [2], [0.1, 3.0])
    nodes = [node("Cast", ["w"], ["c"], to=TensorProto.FLOAT), node("Add", ["x", "c"])]
    proto = model(nodes, x=(2,), initializers=[w])
    net, x = ts.onnx.load(proto.SerializeToString()), np.zeros(2, np.float32)
    assert net.to_onnx().graph.initializer[0] == w
    net.load_state_dict({"w": np.array([0.7, -5], np.float32)})
    written = net.to_onnx()
    assert written.graph.initializer[0].data_type == kind
    again = ts.onnx.load(written.SerializeToString())(x)
    np.testing.assert_allclose(again, [0.7, -5], rtol=2.0**-8)
    np.testing.assert_array_equal(again[1], net(x)[1])
    if stored == "FLOAT16":
        net.load_state_dict({"w": np.array([1e5, 0], np.float32)})
        with pytest.raises(ValueError, match="w has values that float16, its type in the file, does not hold"):
            net.to_onnx()


def test_a_batch_that_the_file_fixes():
    net = ts.models.lenet5()
    fixed, open_one = (ts.onnx.load(net.to_onnx(batch=batch).SerializeToString()) for batch in (2, None))
    for found in (fixed.compile(), fixed.compile(2), open_one.compile(2)):
        np.testing.assert_array_equal(found(IMAGES), net(IMAGES))
    assert fixed.input_dims() == open_one.input_dims(2) and list(open_one.input_dims().values()) == [(1, 1, 32, 32)]
    for batch in (1, 3):
        with pytest.raises(ValueError, match=f"expected batch 2, which the file or input_dims says, got {batch}"):
            fixed.compile(batch)


def test_an_attribute_is_the_decimal_that_it_was():
    """A file holds eps in float32, 9.99999974e-6 for 1e-5: batch norm folded with that differs in the last bits."""
    g = ts.Graph("case")
    g.output(g.batch_norm("norm", g.input("x", (64, 2, 2)), eps=1e-5))
    loaded = ts.onnx.load(ts.Network(g).to_onnx().SerializeToString())
    assert loaded.compile() and loaded.graph.nodes[0].attributes["eps"] == 1e-5


def test_reshape():
    g = ts.Graph("reshape")
    g.output(g.reshape("y", g.relu("a", g.input("x", (2, 3), batched=False)), shape=(3, 1, 2)))
    net, x = ts.Network(g), np.arange(-2, 4, dtype=np.float32).reshape(2, 3)
    expected = np.maximum(x, 0).reshape(3, 1, 2)
    compiled = net.compile()
    for y in (compiled(x), net.reference(x), ts.onnx.load(net.to_onnx(batch=1).SerializeToString())(x)):
        np.testing.assert_array_equal(y, expected)
    with pytest.raises(ValueError, match="reshape: expected a shape of 6 elements"):
        g.reshape("z", "a", shape=(4, 2))


def test_layers_by_name():
    net = ts.models.lenet5()
    loaded = ts.onnx.load(net.to_onnx().SerializeToString())
    layer = net.graph.nodes[-2].outputs[0]
    x = np.random.default_rng(0).random((1, *next(iter(net.graph.inputs.values()))), np.float32)
    expect_close(loaded.extract(x, [layer])[layer], net.extract(x, [layer])[layer])
    assert loaded.summary().parameters == net.summary().parameters
    assert loaded.compile(batch=3).input_dims[loaded.graph.nodes[0].inputs["x"]][0] == 3
    assert str(loaded.profile(x, repeats=1))


def test_open_sizes_are_asked_for():
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    values = [[onnx.helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 3, "H", "W"])] for n in "xy"]
    data = onnx.helper.make_model(onnx.helper.make_graph([node], "open", *values)).SerializeToString()
    net = ts.onnx.load(data)
    with pytest.raises(ValueError, match="input_dims"):
        net.compile()
    for size in (4, 7):
        assert net(np.ones((2, 3, size, size), np.float32)).shape == (2, 3, size, size)
    assert ts.onnx.load(data, input_dims={"x": (1, 3, 5, 6)}).compile().input_dims == {"x": (1, 3, 5, 6)}
    with pytest.raises(ValueError, match="expected x of shape"):
        net(np.ones((2, 4, 5, 5), np.float32))
    with pytest.raises(TypeError, match="float32"):
        net(np.ones((2, 3, 5, 5)))


IMAGES = np.random.default_rng(0).random((2, 1, 32, 32), np.float32)


def loaded_lenet5():
    return ts.onnx.load(ts.models.lenet5().to_onnx().SerializeToString())


@pytest.mark.parametrize(
    "use, kind, message",
    [
        (lambda n: n.compile(batch="3"), TypeError, "batch as an integer"),
        (lambda n: n.compile(batch=0), ValueError, "batch of at least 1"),
        (lambda n: n.compile(device="tpu"), ValueError, "device as one of"),
        (lambda n: n.compile(precision="int4"), ValueError, "precision as one of"),
        (lambda n: n.compile(weight_storage="int4"), ValueError, "weight_storage as one of"),
        (lambda n: n.compile(image_size=(32, 32, 32)), ValueError, r"image_size as an int or \(h, w\)"),
        (lambda n: n.compile(image_size=(32.0, 32)), TypeError, "image_size as an integer"),
        (lambda n: n.compile(outputs="y"), ValueError, "list of different layers"),
        (lambda n: n.compile(outputs=["y"]), ValueError, "list of different layers"),
        (lambda n: n.extract(IMAGES, ["y"]), ValueError, "unknown layer 'y'"),
        (lambda n: n.extract(IMAGES, "y"), TypeError, "list of layers"),
        (lambda n: n(), ValueError, "expected 1 inputs, got 0"),
        (lambda n: n(IMAGES, IMAGES), ValueError, "expected 1 inputs, got 2"),
        (lambda n: n.reference(), ValueError, "expected 1 inputs, got 0"),
        (lambda n: n(IMAGES[..., ::-1]), ValueError, "C-contiguous"),
        (lambda n: n(IMAGES.tolist()), TypeError, "NumPy array"),
        (lambda n: n.profile(IMAGES, repeats=0), ValueError, "repeats of at least 1"),
    ],
)
def test_what_a_network_refuses_a_loaded_one_does(use, kind, message):
    for net in (ts.models.lenet5(), loaded_lenet5()):
        with pytest.raises(kind, match=message):
            use(net)


def test_options_of_a_loaded_network():
    """Those of Network.compile; "auto" is the best device there is, and one size is that of both sides."""
    net, loaded = ts.models.lenet5(), loaded_lenet5()
    for options in ({"device": "auto"}, {"image_size": 32}, {"weight_storage": "bfloat16"}, {"accuracy": "strict"}):
        run = loaded.compile(2, **options)
        np.testing.assert_array_equal(run(IMAGES), net.compile(2, **options)(IMAGES))
    assert run.accuracy == "strict"
    rows = ts.Graph("rows")
    rows.output(rows.relu("y", rows.input("x", (4,))))
    with pytest.raises(ValueError, match="no image_size"):
        ts.onnx.load(ts.Network(rows).to_onnx().SerializeToString()).compile(image_size=4)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "int64"])
def test_casts_are_clamped_also_where_they_are_known(dtype):
    limits = np.iinfo(dtype)
    x = np.array([limits.min, limits.max, -1e30, 1e30, -np.inf, np.inf, np.nan, 0.9, -0.9, 100.5], np.float32)
    expected = [limits.min, limits.max, *[limits.min, limits.max] * 2, 0, 0, 0, 100]
    to = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    known = model([node("Cast", ["k"], to=to)], initializers=[tensor(x, "k")])
    computed = model([node("Cast", ["x"], to=to)], x=x.shape)
    for proto, given in ((known, np.ones((1, 3, 8, 8), np.float32)), (computed, x)):
        y = called(proto, given)
        assert y.dtype == dtype
        np.testing.assert_array_equal(y, np.array(expected, dtype))


def test_a_batch_of_a_loaded_network_is_planned_in_two_parts_too():
    net = ts.models.squeezenet1_1(num_classes=10)
    loaded = ts.onnx.load(net.to_onnx().SerializeToString())
    native, other = (n.compile(16, image_size=(64, 64)) for n in (net, loaded))
    assert native._images_apart(*optimize(net.graph, dict(net.parameters))) > 0
    assert [step.algorithm for step in other.steps()] == [step.algorithm for step in native.steps()]
    assert other.memory() == native.memory()  # of one image for each thread, not of sixteen
    x = np.random.default_rng(0).random((16, 3, 64, 64), np.float32)
    np.testing.assert_array_equal(other(x), native(x))


def test_load_is_a_function_whatever_was_imported_first(python):
    python("import tesela.onnx.backend; assert callable(tesela.onnx.load) and callable(tesela.onnx.export)")


# ------------------------------------------------------------------------------------------------- what nodes become


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


def test_a_convolution_of_a_constant_before_batch_norm():
    """Its image is a parameter too, and stays one when the statistics are folded into the weights."""
    nodes = [node("Conv", ["c", "w"], ["a"]), node("BatchNormalization", ["a", "s", "s", "s", "s"], ["b"]),
             node("Add", ["x", "b"])]  # fmt: skip
    constants = [tensor(np.ones((1, 3, 4, 4)), "c"), tensor(np.ones((2, 3, 3, 3)), "w"), tensor([1, 4], "s")]
    y = called(model(nodes, x=(1, 2, 2, 2), initializers=constants), np.zeros((1, 2, 2, 2), np.float32))
    expected = [s * (27 - s) / np.sqrt(s + 1e-5) + s for s in (1, 4)]
    np.testing.assert_allclose(y, np.broadcast_to(np.reshape(expected, (1, 2, 1, 1)), y.shape), rtol=1e-6)


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


def test_the_least_double_is_a_mask():
    proto = model(
        [node("Add", ["x", "m"])], x=(2,), initializers=[tensor([0, np.finfo(np.float64).min], "m", np.float64)]
    )
    np.testing.assert_array_equal(called(proto, np.ones(2, np.float32)), [1, -np.inf])


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
        ts.onnx.load(proto.SerializeToString()).compile()


def test_values_that_decide_a_plan_are_kept_as_they_were():
    """The caller may write to his array; a later plan for the same values finds what they were."""
    nodes = [node("Relu", ["x"], ["r"]), node("Gather", ["r", "i"], axis=0)]
    graph = helper.make_graph(
        nodes, "case",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 2]),
         helper.make_tensor_value_info("i", TensorProto.INT64, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )  # fmt: skip
    net = ts.onnx.load(helper.make_model(graph).SerializeToString())
    x, index = np.arange(8, dtype=np.float32).reshape(4, 2), np.array([0])
    expected = net(x, index)
    index[0] = 3
    np.testing.assert_array_equal(net.extract(x, np.array([0]), ["y"])["y"], expected)


def test_a_computed_condition_is_refused():
    same = {"then_branch": branch([], "x"), "else_branch": branch([], "x")}
    nodes = [node("Greater", ["x", "z"], ["c"]), node("If", ["c"], **same)]
    with pytest.raises(ValueError, match=r"If.*the condition known when the network is planned"):
        ts.onnx.load(model(nodes, x=(1,), initializers=[tensor([0.0], "z")]).SerializeToString()).compile()
