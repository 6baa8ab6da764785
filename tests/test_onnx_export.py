"""Every operator and network as an ONNX model, run by onnxruntime and compared with tesela and its reference.

Inputs and weights are integers where float32 is exact on the result, so that equality is equality, and eighths
elsewhere, so that sums of products are still exact and what is compared is the rounding of the function after them.
"""

import re
import sys

import numpy as np
import pytest
import tesela as ts
from tesela.operators import TABLE

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from tesela.onnx.writer import EXPORTERS  # noqa: E402
from test_models import OPTIONS, randomised  # noqa: E402

# ------------------------------------------------------------------------------------------------------------ running


def export(net, **kwargs):
    model = net.to_onnx(**kwargs)
    onnx.checker.check_model(model, full_check=True)
    return model


def session(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    data = model if isinstance(model, bytes) else model.SerializeToString()
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def run(session, arrays):
    return session.run(None, {value.name: x for value, x in zip(session.get_inputs(), arrays, strict=True)})


def results(value):
    return value if isinstance(value, tuple) else (value,)


def integers(rng, *shape):
    return rng.integers(-4, 5, shape).astype(np.float32)


def eighths(rng, *shape):
    return rng.integers(-32, 33, shape).astype(np.float32) / 8


def network(build, *dims, values=integers, seed=0):
    """build(g, *inputs) returns the outputs; parameters are drawn by values(rng, *shape)."""
    rng = np.random.default_rng(seed)
    g = ts.Graph("case")
    g.output(*results(build(g, *(g.input(f"x{i}", d) for i, d in enumerate(dims)))))
    state = {name: values(rng, *parameter.shape) for name, parameter in g.parameters.items()}
    return ts.Network(g, {k: np.abs(v) + 1 if k.endswith("running_var") else v for k, v in state.items()})


# -------------------------------------------------------------------------------------------------------------- cases


def op(name, **attributes):
    return lambda g, *inputs: getattr(g, name)("y", *inputs, **attributes)


def conv(*args, **attributes):
    return lambda g, x: g.conv2d("y", x, *args, **attributes)


def conv_transpose(*args, **attributes):
    return lambda g, x: g.conv_transpose2d("y", x, *args, **attributes)


def bare(name, *shapes, **attributes):
    """The operator with the parameters of these shapes only, in the order of the table."""
    parameters = {k: ts.graph.Parameter(s) for k, s in zip(TABLE[name].parameters, shapes, strict=False)}
    return lambda g, *inputs: g.apply(name, "y", *inputs, parameters=parameters, **attributes)


def flat(build, start_dim=1):
    """The operator on two axes, or on another number."""
    return lambda g, *inputs: build(g, *(g.flatten(f"{x} flat", x, start_dim=start_dim) for x in inputs))


def linear(**attributes):
    return lambda g, x: g.linear("y", x, 5, **attributes)


def gemm_with_c(rows, rank=2, **attributes):
    """a (N, 4), b (N, 5), c (rows, 5) as the product of a third input (N, rows) with b, or the row itself."""

    def build(g, a, b, x):
        c = g.gemm("c", x, b, trans_a=True)
        return g.gemm("y", a, b, g.flatten("row", c, start_dim=0) if rank == 1 else c, trans_a=True, **attributes)

    return flat(build), (4, 1, 1), (5, 1, 1), (rows, 1, 1)


def pooled(*, unpool, returned=("unpool",), **pool):
    """Pooling and then, for each of `unpool`, unpooling with that output_size."""

    def build(g, x):
        y, indices = g.max_pool2d("pool", x, return_indices=True, **pool)
        window = {k: v for k, v in pool.items() if k in ("kernel_size", "stride", "padding")}
        for name, output_size in unpool.items():
            g.max_unpool2d(name, y, indices, output_size=output_size, **window)
        return returned

    return build


def unpooled_to(output_size, **attributes):
    """Unpooling with indices from a pooling of one window per plane: they fit any output that is no smaller."""

    def build(g, x, y):
        _, indices = g.max_pool2d("pool", x, kernel_size=2, stride=1, return_indices=True)
        return g.max_unpool2d("y", y, indices, output_size=output_size, **attributes)

    return build


def per_channel(**attributes):
    return lambda g, x: g.batch_norm("y", x, **attributes)


def prelu(**attributes):
    return lambda g, x: g.prelu("y", x, **attributes)


def concat(**attributes):
    return lambda g, *inputs: g.concat("y", inputs, **attributes)


X = (4, 7, 8)
WEIGHT, RESIDUAL = (4, 4, 3, 3), (X, X)

# Sums of products of small integers, or no arithmetic at all: the same bits from every engine, in any order.
EXACT = {
    "conv2d": (conv(5, 3), X),
    "conv2d without bias": (conv(5, (2, 3), bias=False, stride=(2, 1), padding=((0, 1), (2, 1))), X),
    "conv2d same": (conv(5, (4, 3), padding="same", dilation=(1, 2)), X),
    "conv2d valid": (conv(5, 3, padding="valid", activation="relu6"), X),
    "conv2d groups": (conv(6, 3, groups=2, dilation=2, padding=2, activation="relu"), X),
    "conv2d depthwise": (conv(4, 3, groups=4, activation=("leaky_relu", 0.25)), X),
    "conv2d residual": (bare("conv2d", WEIGHT, padding=1, activation="relu"), *RESIDUAL),
    "conv2d gate": (bare("conv2d", WEIGHT, padding=1, activation="relu"), *RESIDUAL, (4, 1, 1)),
    "pointwise_depthwise_conv2d": (
        bare(
            "pointwise_depthwise_conv2d", (6, 4, 1, 1), (6,), (6, 1, 3, 3), (6,),
            stride=2, padding="valid", pointwise_activation="relu6", activation="relu",
        ), X,
    ),
    "conv_transpose2d": (conv_transpose(5, 3), X),
    "conv_transpose2d without bias": (conv_transpose(5, 4, bias=False, stride=2, padding=((0, 1), (2, 3))), X),
    "conv_transpose2d output_padding": (conv_transpose(5, (3, 2), stride=(3, 2), output_padding=(2, 1)), X),
    "conv_transpose2d output_padding beyond the stride": (
        conv_transpose(5, 3, stride=(1, 2), dilation=4, padding=((0, 1), (2, 0)), output_padding=(1, 3)), X),
    "conv_transpose2d every side": (
        conv_transpose(3, 3, stride=2, padding=((1, 0), (0, 2)), output_padding=(1, 0), activation="relu"), X),
    "conv_transpose2d groups": (conv_transpose(6, 3, groups=2, dilation=(2, 3), padding=1), X),
    "conv_transpose2d residual": (bare("conv_transpose2d", WEIGHT, padding=1, activation="relu"), *RESIDUAL),
    "linear": (flat(linear(activation="relu")), X),
    "linear without bias": (flat(linear(bias=False)), X),
    "linear along the last axis": (linear(activation="relu"), X),
    "linear along the last axis without bias": (flat(linear(bias=False), start_dim=2), X),
    "gemm": (flat(op("gemm", trans_a=True)), (4, 1, 1), (5, 1, 1)),
    "gemm transposed": (flat(op("gemm", trans_b=True, alpha=0.5, activation="relu")), (4, 1, 1), (4, 1, 1)),
    "gemm c": gemm_with_c(4, alpha=-2.0, beta=0.5, activation="relu"),
    "gemm c of one row": gemm_with_c(1),
    "gemm c of one axis": gemm_with_c(1, rank=1, beta=3.0),
    "gemm without c": gemm_with_c(4, beta=0.0),
    "max_pool2d": (op("max_pool2d", kernel_size=2), X),
    "max_pool2d padding": (op("max_pool2d", kernel_size=3, stride=(2, 1), padding=((2, 1), (0, 2))), X),
    "max_pool2d ceil_mode": (op("max_pool2d", kernel_size=3, stride=2, ceil_mode=True), (4, 8, 9)),
    "max_pool2d ceil_mode whose last window would start in the padding": (
        op("max_pool2d", kernel_size=2, stride=2, padding=1, ceil_mode=True), (4, 7, 9)),
    "max_pool2d dilation": (
        op("max_pool2d", kernel_size=(2, 3), stride=2, dilation=(3, 2), padding=1, ceil_mode=True), (4, 8, 10)),
    "max_pool2d padding beyond the kernel": (op("max_pool2d", kernel_size=2, dilation=3, stride=1, padding=2), X),
    "max_pool2d indices": (op("max_pool2d", kernel_size=2, return_indices=True), X),
    "max_pool2d indices, windows overlap": (
        op("max_pool2d", kernel_size=3, stride=2, padding=(1, 0), ceil_mode=True, return_indices=True), X),
    "max_pool2d indices, padding beyond the kernel": (
        op("max_pool2d", kernel_size=2, dilation=3, stride=1, padding=((2, 3), (2, 1)), return_indices=True), X),
    "max_unpool2d": (pooled(kernel_size=2, unpool={"unpool": None}), (4, 6, 8)),
    "max_unpool2d windows overlap": (pooled(kernel_size=3, stride=2, padding=1, unpool={"unpool": None}), (4, 7, 9)),
    "max_unpool2d output_size": (pooled(kernel_size=2, unpool={"unpool": X[1:]}), X),
    "max_unpool2d indices read as well": (
        pooled(kernel_size=2, unpool={"unpool": X[1:]}, returned=("unpool", "pool:1")), X),
    "max_unpool2d twice": (
        pooled(kernel_size=2, unpool={"unpool": X[1:], "again": (9, 8)}, returned=("unpool", "again")), X),
    "max_unpool2d to another size": (pooled(kernel_size=2, unpool={"unpool": (9, 11)}), X),
    "max_unpool2d much smaller than by default": (
        unpooled_to((3, 6), kernel_size=3, stride=2, padding=1), (3, 4, 4), (3, 3, 3)),
    "max_unpool2d smaller than its input": (unpooled_to((1, 16), kernel_size=2), (3, 4, 4), (3, 3, 3)),
    "global_max_pool2d": (op("global_max_pool2d"), X),
    "avg_pool2d": (op("avg_pool2d", kernel_size=(2, 4)), X),
    "avg_pool2d divisor_override": (op("avg_pool2d", kernel_size=3, padding=1, divisor_override=2), X),
    "avg_pool2d divisor_override, ceil_mode": (
        op("avg_pool2d", kernel_size=3, stride=2, padding=1, ceil_mode=True, divisor_override=4), X),
    "global_avg_pool2d": (op("global_avg_pool2d"), (4, 4, 8)),
    "adaptive_avg_pool2d": (op("adaptive_avg_pool2d", output_size=(4, 2)), (4, 8, 4)),
    "adaptive_avg_pool2d keeps a size": (op("adaptive_avg_pool2d", output_size=(None, 2)), (4, 7, 4)),
    "relu": (op("relu"), X),
    "relu6": (op("relu6"), (4, 40, 8)),
    "leaky_relu": (op("leaky_relu", negative_slope=0.125), X),
    "prelu": (prelu(), X),
    "prelu of one slope": (prelu(per_channel=False), X),
    "prelu of a scalar": (bare("prelu", ()), X),
    "prelu on features": (flat(prelu()), X),
    "prelu on sequences": (flat(prelu(), start_dim=2), X),
    "add": (op("add", activation="relu"), X, X),
    "add broadcast": (op("add"), X, (4, 1, 1)),
    "mul": (op("mul"), X, X),
    "mul broadcast both ways": (op("mul", activation="relu6"), (1, 7, 8), (4, 1, 8)),
    "concat": (concat(), X, (2, 7, 8), X),
    "concat from the end": (concat(dim=-1), X, (4, 7, 1)),
    "concat of images": (concat(dim=0), X, X),
    "pad": (op("pad", padding=((0, 1), (2, 3)), value=-1.5), X),
    "pad reflect": (op("pad", padding=((6, 1), (2, 3)), mode="reflect"), X),
    "pad replicate": (op("pad", padding=((0, 9), (2, 3)), mode="replicate"), X),
    "pad circular": (op("pad", padding=((7, 1), (2, 8)), mode="circular"), X),
    "upsample": (op("upsample", scale_factor=2), X),
    "upsample by whole numbers": (op("upsample", size=(21, 40)), X),
    "upsample nearest by other numbers": (op("upsample", size=(17, 5)), X),
    "upsample nearest where float32 rounds down": (op("upsample", size=(12, 2)), (4, 20, 14)),
    "upsample nearest where the factor does": (op("upsample", scale_factor=2.2), (4, 15, 15)),
    "upsample nearest by a factor that is rounded": (op("upsample", scale_factor=(3.1, 2.0)), (4, 4, 8)),
    "upsample nearest rounded to twice the size": (op("upsample", scale_factor=(2.1, 1.05)), X),
    "upsample bilinear": (op("upsample", scale_factor=2, mode="bilinear"), X),
    "upsample bilinear to half": (op("upsample", scale_factor=0.5, mode="bilinear"), (4, 6, 8)),
    "pixel_shuffle": (op("pixel_shuffle", upscale_factor=2), (12, 3, 5)),
    "flatten": (op("flatten"), X),
    "flatten the first": (op("flatten", start_dim=0, end_dim=1), X),
    "flatten all": (op("flatten", start_dim=0), X),
    "flatten the middle": (op("flatten", start_dim=1, end_dim=2), X),
    "flatten the last": (op("flatten", start_dim=-2), X),
    "flatten nothing": (op("flatten", start_dim=2, end_dim=2), X),
    "dropout": (op("dropout", p=0.3), X),
}  # fmt: skip

# A few roundings each, and those of exp, erf and tanh.
ROUNDED = {
    "conv2d gelu": (conv(5, 3, padding=1, activation="gelu"), X),
    "conv2d elu": (conv(5, 3, activation=("elu", 0.5)), X),
    "conv_transpose2d tanh": (conv_transpose(5, 3, stride=2, activation="tanh"), X),
    "linear sigmoid": (flat(linear(activation="sigmoid")), X),
    "linear gelu_tanh": (linear(activation="gelu_tanh"), X),
    "gemm silu": (flat(op("gemm", trans_a=True, activation="silu")), (4, 1, 1), (5, 1, 1)),
    "add hardswish": (op("add", activation="hardswish"), X, X),
    "avg_pool2d": (op("avg_pool2d", kernel_size=3, stride=2, padding=1), X),
    "avg_pool2d padding not counted": (
        op("avg_pool2d", kernel_size=3, stride=2, padding=((2, 1), (0, 2)), count_include_pad=False), X),
    "avg_pool2d ceil_mode": (op("avg_pool2d", kernel_size=3, stride=2, ceil_mode=True), (4, 8, 9)),
    "avg_pool2d ceil_mode and padding": (
        op("avg_pool2d", kernel_size=3, stride=2, padding=1, ceil_mode=True), (4, 8, 10)),
    "avg_pool2d ceil_mode far over the end": (
        op("avg_pool2d", kernel_size=(5, 4), stride=(4, 3), padding=((1, 0), (0, 2)), ceil_mode=True), (4, 8, 9)),
    "avg_pool2d ceil_mode, padding not counted": (
        op("avg_pool2d", kernel_size=3, stride=2, padding=1, ceil_mode=True, count_include_pad=False), (4, 8, 10)),
    "avg_pool2d ceil_mode whose last window would start in the padding": (
        op("avg_pool2d", kernel_size=2, stride=2, padding=1, ceil_mode=True), (4, 7, 9)),
    "global_avg_pool2d": (op("global_avg_pool2d"), X),
    "adaptive_avg_pool2d bins overlap": (op("adaptive_avg_pool2d", output_size=(5, 3)), X),
    "adaptive_avg_pool2d more bins than rows": (op("adaptive_avg_pool2d", output_size=(11, 4)), X),
    "batch_norm": (per_channel(), X),
    "batch_norm activation": (per_channel(eps=0.1, activation="relu"), X),
    "batch_norm on features": (flat(per_channel()), (12, 1, 1)),
    "batch_norm without weight and bias": (bare("batch_norm", (4,), (4,)), X),
    "batch_norm without bias": (bare("batch_norm", (4,), (4,), (4,)), X),
    "local_response_norm": (op("local_response_norm", size=5, alpha=0.1, k=2.0), (12, 3, 4)),
    "local_response_norm even": (op("local_response_norm", size=4, alpha=0.5, beta=0.5), (12, 3, 4)),
    "local_response_norm of two": (op("local_response_norm", size=2, alpha=2.0, beta=1.0, k=0.5), (5, 3, 4)),
    "local_response_norm beyond all channels": (op("local_response_norm", size=8, alpha=1.0), (3, 3, 4)),
    "softmax": (op("softmax"), X),
    "softmax of channels": (op("softmax", dim=1), X),
    "log_softmax": (flat(op("log_softmax")), X),
    "log_softmax of channels": (op("log_softmax", dim=1), X),
    "elu": (op("elu", alpha=1.5), X),
    "sigmoid": (op("sigmoid"), X),
    "tanh": (op("tanh"), X),
    "hardswish": (op("hardswish"), X),
    "silu": (op("silu"), X),
    "gelu": (op("gelu"), X),
    "gelu tanh": (op("gelu", approximate="tanh"), X),
    "upsample bilinear by other numbers": (op("upsample", size=(17, 5), mode="bilinear"), X),
    "upsample bilinear by a factor that is rounded": (op("upsample", scale_factor=(2.4, 0.7), mode="bilinear"), X),
    "upsample bilinear, align_corners": (op("upsample", size=(17, 5), mode="bilinear", align_corners=True), X),
    "upsample bilinear, align_corners, rounded factor": (
        op("upsample", scale_factor=1.3, mode="bilinear", align_corners=True), X),
    "upsample bilinear to one": (op("upsample", size=1, mode="bilinear"), X),
    "upsample bilinear to one, align_corners": (op("upsample", size=1, mode="bilinear", align_corners=True), X),
}  # fmt: skip

# ---------------------------------------------------------------------------------------------------------- operators


def compare(net, values, bound):
    """tesela and onnxruntime, at batches of 1 and 3 of one model, against the reference; bound of the largest value."""
    rng = np.random.default_rng(2012)
    engine = session(export(net))
    for batch in (1, 3):
        arrays = [values(rng, batch, *dims) for dims in net.graph.inputs.values()]
        expected = results(net.reference(*arrays))
        # Strict, because a transformed convolution of integers rounds.
        own = results(net.compile(batch, accuracy="strict")(*arrays))
        for what, actual in (("tesela", own), ("onnxruntime", run(engine, arrays))):
            for value, y, reference in zip(net.graph.outputs, actual, expected, strict=True):
                assert y.shape == reference.shape, (what, value, batch)
                assert y.dtype == (np.float32 if reference.dtype == np.float64 else np.int64), (what, value)
                error, largest = np.max(np.abs(y - reference)), np.max(np.abs(reference))
                assert error <= bound * largest, (what, value, batch, error / largest)


def test_an_operator_without_an_exporter_is_named(monkeypatch):
    network(op("relu"), X).to_onnx()  # the table is filled when it is first needed
    monkeypatch.delitem(EXPORTERS, "relu")
    with pytest.raises(ValueError, match="layer 'y': relu cannot be written to ONNX yet"):
        network(op("relu"), X).to_onnx()


@pytest.mark.parametrize("case", EXACT)
def test_exact(case):
    build, *dims = EXACT[case]
    compare(network(build, *dims), integers, bound=0)


@pytest.mark.parametrize("case", ROUNDED)
def test_rounded(case):
    build, *dims = ROUNDED[case]
    compare(network(build, *dims, values=eighths), eighths, bound=16 * np.finfo(np.float32).eps)


@pytest.mark.parametrize("seed", range(20))
def test_any_pooling(seed):
    """Windows drawn at random, because the corners of ceil_mode are where engines differ."""
    rng = np.random.default_rng(seed)
    kernel, stride = (tuple(map(int, rng.integers(1, 5, 2))) for _ in range(2))
    padding = tuple(tuple(int(rng.integers(k)) for _ in range(2)) for k in kernel)
    window = {"kernel_size": kernel, "stride": stride, "padding": padding, "ceil_mode": bool(rng.integers(4))}

    def build(g, x):
        g.avg_pool2d("average", x, count_include_pad=bool(seed % 2), **window)
        return ("average", *g.max_pool2d("max", x, return_indices=True, **window))

    # A mean over up to sixteen cells that are all counted differently: one rounding of the sum, one of the quotient.
    compare(network(build, (2, *map(int, rng.integers(5, 10, 2)))), integers, bound=2 * np.finfo(np.float32).eps)


def test_operators_become_what_other_engines_know():
    """One node where ONNX has one."""
    one = {
        "conv2d": "Conv", "conv_transpose2d": "ConvTranspose", "linear along the last axis without bias": "MatMul",
        "max_pool2d ceil_mode": "MaxPool", "global_max_pool2d": "GlobalMaxPool", "prelu": "PRelu", "pad": "Pad",
        "avg_pool2d": "AveragePool", "adaptive_avg_pool2d": "AveragePool", "upsample": "Resize",
        "upsample bilinear": "Resize", "upsample bilinear, align_corners, rounded factor": "Resize",
        "pixel_shuffle": "DepthToSpace", "flatten": "Flatten", "gemm c": "Gemm",
    }  # fmt: skip
    for case, op_type in one.items():
        build, *dims = (EXACT | ROUNDED)[case]
        assert op_type in [node.op_type for node in export(network(build, *dims)).graph.node], case
    build, *dims = EXACT["max_unpool2d"]
    assert [node.op_type for node in export(network(build, *dims)).graph.node] == ["MaxPool", "MaxUnpool"]


# ----------------------------------------------------------------------------------------------------------- networks


def mixture(g, x):
    """Branches that meet again, a shared value, a value that is returned and read, and what is fused on compiling."""
    x = g.conv2d("conv", x, 8, 3, padding="same", bias=False)
    x = g.relu("relu", g.batch_norm("norm", x))
    y = g.conv2d("branch/Conv", x, 8, 3, padding=1, groups=4, activation="silu")
    z = g.add("sum", g.conv2d("branch", x, 8, 1), y)
    x = g.concat("both", [g.dropout("drop", z), x])
    x = g.adaptive_avg_pool2d("pool", g.prelu("prelu", x), output_size=(3, 2))
    return z, g.softmax("softmax", g.linear("fc", g.flatten("flat", x), 10))


def test_mixture():
    net = network(mixture, (3, 9, 8), values=lambda rng, *shape: rng.standard_normal(shape, dtype=np.float32) / 3)
    compare(net, eighths, bound=1e-5)


# Deeper or larger than another one, of the same layers.
DEEPER = {"resnet34", "resnet56", "resnet101", "resnet152", "resnext101_32x8d", "senet154", "zfnet", "vgg13", "vgg16",
          "vgg19", "vgg_face", "squeezenet1_0", "fcn32s"}  # fmt: skip
PLACES = {"segnet"}  # where two values of a window are closer than rounding, the place of a maximum is open
SMALL = {"lenet5", "denoiser", "autoencoder", "unpooling_autoencoder", "dcgan_generator", "dcgan_discriminator"}
LARGE = {
    "vgg11",
    "fcn8s",
    "fcn_resnet50",
    "segnet",
    "resnet50",
    "resnext50_32x4d",
    "se_resnet50",
    "vggish",
    "unet_valid",
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in DEEPER | LARGE)) for n in ts.models.NETWORKS]
)
def test_networks(name):
    """What is read back gives the same bits; onnxruntime agrees within two orders of summation in float32."""
    net = randomised(ts.models.NETWORKS[name](**OPTIONS.get(name, {})))
    model = export(net) if name in SMALL else net.to_onnx()  # the checker copies all weights
    data = model.SerializeToString()
    loaded = ts.onnx.load(data)
    del model
    rng = np.random.default_rng(7)
    batches = (1, 3) if name in SMALL else (1,)
    for batch in batches:
        xs = [rng.standard_normal((batch, *dims), dtype=np.float32) for dims in net.graph.inputs.values()]
        own = results(net(*xs))
        for y, z in zip(results(loaded(*xs)), own, strict=True):
            np.testing.assert_array_equal(y, z)
        if name not in DEEPER | PLACES:
            strict = results(net.compile(batch, accuracy="strict")(*xs))
            for y, z in zip(run(session(data), xs), strict, strict=True):
                assert np.max(np.abs(y - z)) <= 1e-5 * np.max(np.abs(z))


# ---------------------------------------------------------------------------------------------------------- the model


@pytest.fixture
def tiny():
    return network(lambda g, x: g.relu("relu", g.conv2d("conv", x, 2, 3)), (1, 5, 6))


def shape_of(value):
    return [axis.dim_param or axis.dim_value or None for axis in value.type.tensor_type.shape.dim]


def test_names_and_weights_survive():
    net = network(mixture, (3, 9, 8))
    graph = export(net).graph
    state = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    assert list(state) == list(net.parameters)
    for name, value in net.parameters.items():
        assert state[name].dtype == np.float32
        np.testing.assert_array_equal(state[name], value)
    assert {name for node in graph.node for name in node.output} >= {o for n in net.graph.nodes for o in n.outputs}
    assert len({node.name for node in graph.node}) == len(graph.node)
    assert [value.name for value in graph.input] == ["x0"]
    assert [value.name for value in graph.output] == ["sum", "softmax"]


def test_metadata(tiny):
    model = export(tiny)
    assert (model.producer_name, model.producer_version) == ("tesela", ts.__version__)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 20)]
    assert model.graph.name == "case"


def test_batch(tiny):
    graph = export(tiny).graph
    assert shape_of(graph.input[0]) == ["N", 1, 5, 6]
    assert shape_of(graph.output[0]) == ["N", 2, 3, 4]
    fixed = export(tiny, batch=4)
    assert shape_of(fixed.graph.input[0]) == [4, 1, 5, 6]
    assert shape_of(fixed.graph.output[0]) == [4, 2, 3, 4]
    x = integers(np.random.default_rng(3), 4, 1, 5, 6)
    np.testing.assert_array_equal(run(session(fixed), [x])[0], tiny(x))
    for batch, error in ((0, ValueError), (2.0, TypeError), (True, TypeError)):
        with pytest.raises(error, match="batch"):
            tiny.to_onnx(batch=batch)


def test_axes_that_depend_on_the_batch():
    def shape(case):
        build, *dims = EXACT[case]
        return shape_of(export(network(build, *dims)).graph.output[0])

    assert shape("gemm transposed") == ["N", "N"]
    assert shape("gemm") == [4, 5]
    assert shape("flatten the first") == [None, 7, 8]


def test_a_network_for_one_batch_size():
    whole = pooled(kernel_size=2, unpool={"unpool": (1, 3, 4, 6)})
    net = network(whole, (3, 4, 6))
    with pytest.raises(ValueError, match=r"case does not take every batch size, so export it with batch=1: .*unpool"):
        net.to_onnx()
    x = integers(np.random.default_rng(4), 1, 3, 4, 6)
    np.testing.assert_array_equal(run(session(export(net, batch=1)), [x])[0], net(x))


def test_path(tiny, tmp_path):
    model = tiny.to_onnx(tmp_path / "tiny.onnx")
    assert onnx.load(tmp_path / "tiny.onnx") == model
    assert ts.onnx.export(tiny) == model


def test_refusals(tiny, monkeypatch):
    huge = np.broadcast_to(np.float32(0), (2**10, 2**10, 2**9))
    monkeypatch.setattr(tiny, "_parameters", {**tiny.parameters, "conv.weight": huge})
    with pytest.raises(ValueError, match="case: an ONNX file holds less than 2 GiB, the parameters are 2,147,483,656"):
        tiny.to_onnx()

    def confusing(g, x):
        return g.relu("conv.weight", g.conv2d("conv", x, 2, 3))

    with pytest.raises(ValueError, match=r"case: 'conv.weight' names both a layer and a parameter"):
        network(confusing, (1, 5, 6)).to_onnx()


def test_without_the_onnx_package(tiny, monkeypatch):
    for module in [name for name in sys.modules if name.startswith("tesela.onnx")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=re.escape("pip install 'tesela[onnx]'")):
        tiny.to_onnx()
