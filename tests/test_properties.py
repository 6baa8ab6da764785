"""Properties that hold for every shape, on shapes that Hypothesis chooses.

On integers small enough that float32 is exact, a kernel equals reference/, a linear operator is linear and its
adjoint is the other operator, all without tolerance. Examples are the same in every run; a failure prints how to
repeat it.
"""

from __future__ import annotations

import numpy as np
import tesela
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tesela import reference

settings.register_profile(
    "tesela",
    derandomize=True,
    deadline=None,  # the first example of an operator loads its code
    max_examples=60,
    print_blob=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
settings.load_profile("tesela")

equal = np.testing.assert_array_equal
isas = st.sampled_from(tesela.show_runtime()["supported_isas"])
activations = st.sampled_from([None, "relu", "relu6", ("leaky_relu", 0.5), ("leaky_relu", -2.0)])


def between(low: int, high: int) -> st.SearchStrategy[int]:
    return st.integers(low, high)


def pairs(low: int, high: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(between(low, high), between(low, high))


def sides(high: int) -> st.SearchStrategy[tuple[tuple[int, int], tuple[int, int]]]:
    return st.tuples(pairs(0, high), pairs(0, high))


def integers(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float32)


@st.composite
def convolutions(draw, transposed: bool = False) -> tuple[tuple[int, ...], tuple[int, ...], dict]:
    """(x's shape, weight's shape, arguments). Channels straddle the block of 16; a group may be a single channel."""
    groups = draw(st.sampled_from([1, 1, 1, 2, 3, 5, 16, 17]))
    most = max(1, 40 // groups)
    ics, ocs = draw(between(1, most)), draw(between(1, most))
    kernel, dilation, stride = draw(pairs(1, 4)), draw(pairs(1, 3)), draw(pairs(1, 4))
    size, padding, n = draw(pairs(1, 12)), draw(sides(4)), draw(between(1, 3))
    arguments = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    if transposed:
        extra = tuple(draw(between(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True))
        arguments["output_padding"] = extra
        axes = zip(size, stride, padding, dilation, kernel, extra, strict=True)
        assume(all((i - 1) * s - sum(p) + d * (k - 1) + e + 1 > 0 for i, s, p, d, k, e in axes))
        return (n, groups * ics, *size), (groups * ics, ocs, *kernel), arguments
    axes = zip(size, padding, dilation, kernel, strict=True)
    assume(all(i + sum(p) > d * (k - 1) for i, p, d, k in axes))
    return (n, groups * ics, *size), (groups * ocs, ics, *kernel), arguments


@given(isas, convolutions(), between(0, 99), st.booleans(), st.booleans(), st.booleans(), activations)
@settings(max_examples=200)
def test_conv2d(isa, problem, seed, bias, residual, gate, activation):
    x_shape, weight_shape, arguments = problem
    x, weight = integers(seed, *x_shape), integers(seed + 1, *weight_shape)
    operands = {"bias": integers(seed + 2, weight_shape[0])} if bias else {}
    y_shape = reference.conv2d(x, weight, **arguments).shape
    if residual:
        operands["residual"] = integers(seed + 3, *y_shape)
    if gate:
        operands["gate"] = integers(seed + 4, *y_shape[:2], 1, 1)
    with tesela.max_isa(isa):
        y = tesela.conv2d(x, weight, **operands, **arguments, activation=activation)
    equal(y, reference.conv2d(x, weight, **operands, **arguments, activation=activation))


@given(isas, convolutions(transposed=True), between(0, 99), st.booleans(), activations)
@settings(max_examples=150)
def test_conv_transpose2d(isa, problem, seed, bias, activation):
    x_shape, weight_shape, arguments = problem
    x, weight = integers(seed, *x_shape), integers(seed + 1, *weight_shape)
    operands = {"bias": integers(seed + 2, weight_shape[1] * arguments["groups"])} if bias else {}
    with tesela.max_isa(isa):
        y = tesela.conv_transpose2d(x, weight, **operands, **arguments, activation=activation)
    equal(y, reference.conv_transpose2d(x, weight, **operands, **arguments, activation=activation))


@given(isas, convolutions(), between(0, 99))
def test_conv2d_is_linear_in_both_arguments(isa, problem, seed):
    x_shape, weight_shape, arguments = problem
    a, b = integers(seed, *x_shape), integers(seed + 1, *x_shape)
    v, w = integers(seed + 2, *weight_shape), integers(seed + 3, *weight_shape)
    with tesela.max_isa(isa):
        equal(
            tesela.conv2d(a + 2 * b, w, **arguments),
            tesela.conv2d(a, w, **arguments) + 2 * tesela.conv2d(b, w, **arguments),
        )
        equal(
            tesela.conv2d(a, 3 * v - w, **arguments),
            3 * tesela.conv2d(a, v, **arguments) - tesela.conv2d(a, w, **arguments),
        )


@given(isas, convolutions(), between(0, 99))
def test_conv_transpose2d_is_the_adjoint_of_conv2d(isa, problem, seed):
    """<conv(x), z> = <x, conv_transpose(z)>, where the rows of x that no window reads come back as zeros."""
    x_shape, weight_shape, arguments = problem
    x, weight = integers(seed, *x_shape), integers(seed + 1, *weight_shape)
    with tesela.max_isa(isa):
        y = tesela.conv2d(x, weight, **arguments)
        z = integers(seed + 2, *y.shape)
        unread = []
        for i, axis in enumerate(arguments["padding"]):
            reach = (
                (y.shape[2 + i] - 1) * arguments["stride"][i] + arguments["dilation"][i] * (weight_shape[2 + i] - 1) + 1
            )
            unread.append(x_shape[2 + i] + sum(axis) - reach)
        back = tesela.conv_transpose2d(z, weight, **arguments, output_padding=tuple(unread))
    assert back.shape == x.shape
    assert np.vdot(y.astype(np.float64), z) == np.vdot(x.astype(np.float64), back)


@given(isas, convolutions(), between(0, 99))
@settings(max_examples=30)
def test_conv2d_of_images_is_conv2d_of_each_image(isa, problem, seed):
    x_shape, weight_shape, arguments = problem
    x, weight = integers(seed, *x_shape), integers(seed + 1, *weight_shape)
    with tesela.max_isa(isa):
        y = tesela.conv2d(x, weight, **arguments)
        for image in range(len(x)):
            equal(tesela.conv2d(x[image : image + 1], weight, **arguments), y[image : image + 1])


# ------------------------------------------------------------------------------------------------------- pooling


@st.composite
def poolings(draw) -> tuple[tuple[int, ...], dict]:
    kernel, dilation = draw(pairs(1, 5)), draw(pairs(1, 3))
    extent = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    padding = tuple((draw(between(0, e - 1)), draw(between(0, e - 1))) for e in extent)
    size = draw(pairs(1, 14))
    assume(all(i + sum(p) >= e for i, p, e in zip(size, padding, extent, strict=True)))
    arguments = {
        "kernel_size": kernel,
        "stride": draw(pairs(1, 4)),
        "padding": padding,
        "ceil_mode": draw(st.booleans()),
    }
    return (draw(between(1, 2)), draw(between(1, 35)), *size), arguments | {"dilation": dilation}


@given(isas, poolings(), between(0, 99))
@settings(max_examples=150)
def test_max_pool2d(isa, problem, seed):
    x_shape, arguments = problem
    x = integers(seed, *x_shape)
    expected, places = reference.max_pool2d(x, **arguments, return_indices=True)
    with tesela.max_isa(isa):
        equal(tesela.max_pool2d(x, **arguments), expected)
        y, indices = tesela.max_pool2d(x, **arguments, return_indices=True)
    equal(y, expected)
    equal(indices, places)


@given(isas, poolings(), between(0, 99), st.booleans(), st.sampled_from([None, None, 1, 7]))
@settings(max_examples=150)
def test_avg_pool2d(isa, problem, seed, count_include_pad, divisor):
    x_shape, arguments = problem
    del arguments["dilation"]
    axes = zip(arguments["padding"], arguments["kernel_size"], strict=True)
    arguments["padding"] = tuple((min(p[0], k - 1), min(p[1], k - 1)) for p, k in axes)
    axes = zip(x_shape[2:], arguments["padding"], arguments["kernel_size"], strict=True)
    assume(all(i + sum(p) >= k for i, p, k in axes))
    arguments |= {"count_include_pad": count_include_pad, "divisor_override": divisor}
    x = integers(seed, *x_shape)
    with tesela.max_isa(isa):
        y = tesela.avg_pool2d(x, **arguments)
    with np.errstate(invalid="ignore"):
        expected = reference.avg_pool2d(x, **arguments)
    expected[np.isnan(expected)] = 0  # a window of nothing but padding that does not count
    equal(y, expected.astype(np.float32))


@given(isas, pairs(1, 12), between(1, 20), between(0, 99), pairs(1, 4))
def test_max_unpool2d_undoes_max_pool2d(isa, size, channels, seed, kernel):
    assume(all(s >= k for s, k in zip(size, kernel, strict=True)))
    x = np.abs(integers(seed, 2, channels, *size)) + 1
    with tesela.max_isa(isa):
        y, indices = tesela.max_pool2d(x, kernel, return_indices=True)
        back = tesela.max_unpool2d(y, indices, kernel, output_size=size)
        equal(tesela.max_pool2d(back, kernel), y)
    assert set(np.unique(back)) <= {0, *np.unique(x)}


# ------------------------------------------------------------------------------------------ products, resampling


@given(isas, between(1, 40), between(1, 300), between(1, 50), st.booleans(), st.booleans(), activations, between(0, 99),
       st.sampled_from([None, "matrix", "row", "column", "number"]), st.sampled_from([1.0, -2.0, 0.5]))  # fmt: skip
@settings(max_examples=120)
def test_gemm(isa, m, k, n, trans_a, trans_b, activation, seed, kind, alpha):
    a = integers(seed, *((k, m) if trans_a else (m, k)))
    b = integers(seed + 1, *((n, k) if trans_b else (k, n)))
    shape = {None: None, "matrix": (m, n), "row": (n,), "column": (m, 1), "number": ()}[kind]
    c = None if shape is None else integers(seed + 2, *shape)
    arguments = {"alpha": alpha, "beta": 3.0, "trans_a": trans_a, "trans_b": trans_b, "activation": activation}
    with tesela.max_isa(isa):
        y = tesela.gemm(a, b, c, **arguments)
    equal(y, reference.gemm(a, b, c, **arguments))


@given(isas, st.lists(between(1, 4), max_size=3), between(1, 300), between(1, 50), between(0, 99))
def test_linear(isa, batch, features, out_features, seed):
    x, weight = integers(seed, *batch, features), integers(seed + 1, out_features, features)
    bias = integers(seed + 2, out_features)
    with tesela.max_isa(isa):
        equal(tesela.linear(x, weight, bias), reference.linear(x, weight, bias))


@given(isas, pairs(1, 9), between(1, 35), pairs(1, 20), between(0, 99))
def test_upsample(isa, size, channels, out, seed):
    x = integers(seed, 1, channels, *size)
    with tesela.max_isa(isa):
        equal(tesela.upsample(x, size=out), reference.upsample(x, size=out))
        for align_corners in (False, True):
            arguments = {"size": out, "mode": "bilinear", "align_corners": align_corners}
            y = tesela.upsample(x, **arguments)
            # Two axes, in each five roundings of at most the largest value, 4.
            np.testing.assert_allclose(y, reference.upsample(x, **arguments), rtol=0, atol=10.1 * 2.0**-24 * 4)


@given(isas, pairs(1, 9), between(1, 35), st.floats(0.3, 4), st.floats(0.3, 4), between(0, 99))
def test_upsample_by_a_factor(isa, size, channels, fh, fw, seed):
    assume(int(size[0] * fh) > 0 and int(size[1] * fw) > 0)
    x = integers(seed, 1, channels, *size)
    with tesela.max_isa(isa):
        equal(tesela.upsample(x, scale_factor=(fh, fw)), reference.upsample(x, scale_factor=(fh, fw)))


@given(isas, pairs(1, 9), between(1, 35), sides(6), st.sampled_from(["constant", "reflect", "replicate", "circular"]),
       between(0, 99))  # fmt: skip
def test_pad(isa, size, channels, padding, mode, seed):
    most = {"reflect": [s - 1 for s in size], "circular": size}.get(mode, (6, 6))
    assume(all(max(p) <= m for p, m in zip(padding, most, strict=True)))
    x = integers(seed, 2, channels, *size)
    with tesela.max_isa(isa):
        equal(tesela.pad(x, padding, mode=mode, value=7), reference.pad(x, padding, mode=mode, value=7))


@given(isas, st.lists(between(1, 20), min_size=1, max_size=4), pairs(1, 5), between(0, 99))
def test_concat(isa, channels, size, seed):
    parts = [integers(seed + i, 2, c, *size) for i, c in enumerate(channels)]
    with tesela.max_isa(isa):
        equal(tesela.concat(parts), np.concatenate(parts, axis=1))


@given(isas, st.data(), between(0, 99))
def test_broadcasting(isa, data, seed):
    rank = data.draw(between(0, 5))
    whole = data.draw(st.lists(between(1, 5), min_size=rank, max_size=rank))
    x_shape, y_shape = ([1 if data.draw(st.booleans()) else size for size in whole] for _ in range(2))
    y_shape = y_shape[data.draw(between(0, rank)) :]
    x, y = integers(seed, *x_shape), integers(seed + 1, *y_shape)
    with tesela.max_isa(isa):
        equal(tesela.add(x, y), x + y)
        equal(tesela.mul(y, x), x * y)
