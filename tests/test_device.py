"""The CUDA kernels: every operator against the reference, on the device of --device, without it on the emulator."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cases
import numpy as np
import pytest
import tesela as ts
from tesela import _core, reference, selftest
from tesela.selftest import Check, conv

pytestmark = [pytest.mark.emulator, pytest.mark.usefixtures("on_device")]

# ------------------------------------------------------------------------------------------------------------- cases
# name: (operator, shapes of its arrays, keyword arguments). Sizes are chosen around tiles of 64 x 64 x 16 and warps.

CASES = {
    "conv2d": ("conv2d", [(2, 3, 9, 11), (10, 3, 3, 3), (10,)], {}),
    "conv2d-many-tiles": ("conv2d", [(1, 5, 13, 13), (70, 5, 3, 3)], {"padding": 1, "activation": "relu"}),
    "conv2d-one-pixel": ("conv2d", [(1, 4, 1, 1), (65, 4, 1, 1), (65,)], {}),
    "conv2d-stride-dilation": ("conv2d", [(1, 2, 14, 17), (8, 2, 3, 2)], {"stride": (2, 3), "dilation": (3, 2)}),
    "conv2d-uneven-padding": ("conv2d", [(1, 2, 5, 6), (8, 2, 4, 4)], {"padding": ((3, 1), (0, 2))}),
    "conv2d-groups": ("conv2d", [(2, 6, 7, 7), (18, 3, 3, 3), (18,)], {"groups": 2, "padding": "same"}),
    "conv2d-depthwise": ("conv2d", [(2, 7, 8, 6), (14, 1, 3, 3), (14,)], {"groups": 7, "stride": 2, "padding": 1}),
    "conv2d-few-channels": ("conv2d", [(1, 3, 6, 6), (2, 3, 3, 3)], {"activation": ("leaky_relu", 0.25)}),
    "conv_transpose2d": ("conv_transpose2d", [(2, 3, 4, 5), (3, 9, 3, 3), (9,)], {"stride": 2, "output_padding": 1}),
    "conv_transpose2d-groups": ("conv_transpose2d", [(1, 4, 5, 5), (4, 8, 2, 3)], {"groups": 2, "padding": (1, 0)}),
    "conv_transpose2d-direct": (
        "conv_transpose2d", [(1, 4, 3, 4), (4, 1, 4, 4), (2,)],
        {"groups": 2, "stride": (3, 2), "dilation": (1, 3), "padding": ((2, 1), (0, 3)), "activation": "relu"},
    ),
    "conv_transpose2d-tiles": ("conv_transpose2d", [(2, 5, 6, 7), (5, 70, 4, 4), (70,)], {"stride": 2, "padding": 1}),
    "conv_transpose2d-sparse": (
        "conv_transpose2d", [(1, 3, 3, 2), (3, 9, 2, 1)], {"stride": (3, 4), "activation": "relu"},
    ),
    "conv_transpose2d-common-factor": (
        "conv_transpose2d", [(1, 2, 4, 3), (2, 8, 3, 3), (8,)], {"stride": (4, 2), "dilation": (2, 4), "padding": 1},
    ),
    "pointwise_depthwise_conv2d": (
        "pointwise_depthwise_conv2d", [(2, 5, 6, 7), (9, 5, 1, 1), (9, 1, 3, 3), (9,), (9,)],
        {"stride": 2, "padding": 1, "pointwise_activation": "relu"},
    ),
    "linear": ("linear", [(3, 70), (67, 70), (67,)], {"activation": "relu"}),
    "linear-rank-3": ("linear", [(2, 3, 5), (4, 5)], {}),
    "gemm": ("gemm", [(65, 33), (33, 66), (65, 66)], {"alpha": 2.0, "beta": -1.0}),
    "gemm-transposed": ("gemm", [(17, 70), (6, 17), (6,)], {"trans_a": True, "trans_b": True}),
    "gemm-column": ("gemm", [(5, 3), (3, 1)], {}),
    "max_pool2d": ("max_pool2d", [(2, 3, 9, 8)], {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}),
    "max_pool2d-dilation": ("max_pool2d", [(1, 2, 9, 8)], {"kernel_size": (2, 3), "stride": 1, "dilation": (3, 2)}),
    "max_pool2d-large-window": ("max_pool2d", [(1, 3, 20, 19)], {"kernel_size": 9, "stride": 5, "padding": 4}),
    "avg_pool2d": ("avg_pool2d", [(2, 3, 8, 9)], {"kernel_size": 2, "padding": 1, "count_include_pad": False}),
    "avg_pool2d-ceil": ("avg_pool2d", [(1, 2, 7, 8)], {"kernel_size": 4, "stride": 2, "ceil_mode": True}),
    "avg_pool2d-divisor": ("avg_pool2d", [(1, 2, 6, 6)], {"kernel_size": 2, "divisor_override": 8}),
    "global_avg_pool2d": ("global_avg_pool2d", [(2, 5, 16, 8)], {}),
    "global_max_pool2d": ("global_max_pool2d", [(2, 5, 9, 8)], {}),
    "adaptive_avg_pool2d": ("adaptive_avg_pool2d", [(1, 3, 8, 8)], {"output_size": (4, 2)}),
    "prelu": ("prelu", [(2, 3, 4, 5), (3,)], {}),
    "prelu-single": ("prelu", [(2, 3), (1,)], {}),
    "add": ("add", [(2, 3, 4, 5), (2, 3, 4, 5)], {"activation": "relu6"}),
    "add-broadcast": ("add", [(2, 1, 4, 1), (3, 1, 5)], {}),
    "mul-channels": ("mul", [(2, 3, 4, 5), (2, 3, 1, 1)], {}),
    "mul-scalar": ("mul", [(1,), (2, 3)], {}),
    "pad-constant": ("pad", [(1, 2, 3, 4)], {"padding": ((1, 0), (2, 3)), "value": 7.0}),
    "pad-reflect": ("pad", [(1, 2, 3, 4)], {"padding": (2, 3), "mode": "reflect"}),
    "upsample-nearest": ("upsample", [(2, 2, 3, 5)], {"size": (7, 6)}),
    "upsample-bilinear": ("upsample", [(1, 2, 4, 4)], {"scale_factor": 2.0, "mode": "bilinear"}),
    "pixel_shuffle": ("pixel_shuffle", [(2, 18, 2, 3)], {"upscale_factor": 3}),
    "flatten": ("flatten", [(2, 3, 4)], {}),
    "dropout": ("dropout", [(2, 3)], {}),
}  # fmt: skip

SMOOTH = {  # results that no integers make exact
    "batch_norm": ("batch_norm", [(2, 3, 4, 5), (3,), (3,), (3,), (3,)], {}),
    "local_response_norm": ("local_response_norm", [(2, 9, 3, 3)], {"size": 5, "alpha": 0.5}),
    "softmax-rows": ("softmax", [(5, 70)], {}),
    "softmax-columns": ("softmax", [(2, 7, 3, 3)], {"dim": 1}),
    "log_softmax": ("log_softmax", [(3, 33)], {}),
    **{name: (name, [(3, 50)], {}) for name in ("relu", "relu6", "sigmoid", "tanh", "hardswish", "silu", "gelu")},
    "leaky_relu": ("leaky_relu", [(3, 50)], {"negative_slope": 0.1}),
    "elu": ("elu", [(3, 50)], {"alpha": 0.5}),
    "gelu-tanh": ("gelu", [(3, 50)], {"approximate": "tanh"}),
    "conv2d-gelu": ("conv2d", [(1, 3, 5, 5), (9, 3, 3, 3)], {"activation": "gelu"}),
}


def integers(rng, shape):
    return rng.integers(-4, 5, shape).astype(np.float32)


def on_device(name, arrays, keywords):
    return getattr(ts, name)(*arrays, **keywords)


# --------------------------------------------------------------------------------------------------------- operators


@pytest.mark.parametrize("case", CASES)
def test_integers_are_exact(case, rng):
    name, shapes, keywords = CASES[case]
    arrays = [integers(rng, shape) for shape in shapes]
    y = on_device(name, arrays, keywords)
    assert y.dtype == np.float32
    # Sums are exact; a mean's quotient is rounded once on either way.
    np.testing.assert_array_equal(y, getattr(reference, name)(*arrays, **keywords).astype(np.float32))


def terms_of(name, *arrays, activation=None, trans_a=False, groups=1, **_):
    """Products in a sum, bias and scale included; None for a function."""
    if activation not in (None, "relu", "relu6"):
        return None
    shape = arrays[1].shape if len(arrays) > 1 else ()
    return {
        "conv2d": lambda: np.prod(shape[1:]) + 1,
        "conv_transpose2d": lambda: shape[0] // groups * np.prod(shape[2:]) + 1,
        "pointwise_depthwise_conv2d": lambda: shape[1] + np.prod(arrays[2].shape[2:]) + 2,
        "linear": lambda: shape[1] + 1,
        "gemm": lambda: arrays[0].shape[0 if trans_a else 1] + 3,
    }.get(name, lambda: None)()


@pytest.mark.parametrize("case", CASES | SMOOTH)
def test_real_numbers_are_close(case, rng):
    name, shapes, keywords = (CASES | SMOOTH)[case]
    arrays = [np.abs(x) if x.ndim == 1 else x for x in (rng.standard_normal(s).astype(np.float32) for s in shapes)]
    y = on_device(name, arrays, keywords)
    expected = getattr(reference, name)(*arrays, **keywords)
    check = Check(name, {}, keywords, terms_of(name, *arrays, **keywords))
    assert (np.abs(y - expected) <= selftest.bound(check, dict(enumerate(arrays)), expected)).all()


PRODUCTS = [case for case in CASES if case.startswith(("conv", "linear", "gemm"))]


@pytest.mark.parametrize("case", PRODUCTS)
def test_products_without_tensor_cores(case, rng, device, monkeypatch):
    if device != "emulator":
        pytest.skip("a GPU cannot be made older")
    monkeypatch.setenv("TESELA_EMULATOR_CAPABILITY", "7")
    name, shapes, keywords = CASES[case]
    arrays = [integers(rng, shape) for shape in shapes]
    y = on_device(name, arrays, keywords)
    np.testing.assert_array_equal(y, getattr(reference, name)(*arrays, **keywords).astype(np.float32))


def test_reports_count_elements_alone(device):
    """Lanes beyond the last channel are no traffic that the operator asks for; so it is on the CPU."""
    program = _core.Program(device)
    x = program.channels_last(program.input((2, 3, 5, 7)))
    program.finish([program.activation(x, "relu", 0.0)])
    assert [step.bytes for step in program.steps()] == [2 * 4 * 2 * 3 * 5 * 7] * 3


def test_a_precision_needs_tensor_cores(device, monkeypatch):
    if device != "emulator":
        pytest.skip("a GPU cannot be made older")
    monkeypatch.setenv("TESELA_EMULATOR_CAPABILITY", "7")
    _core.Program(device, "default", "float32")
    for precision in ("tf32", "bfloat16", "float16"):
        with pytest.raises(ValueError, match=f"precision: expected 'float32' .*8.0 on.*'emulator', got '{precision}'"):
            _core.Program(device, "default", precision)


@pytest.mark.parametrize("precision", ["tf32", "bfloat16", "float16"])
def test_strict_sums_are_of_float32(precision, device):
    with pytest.raises(ValueError, match=f"'float32' with accuracy 'strict', which sums in float32, got '{precision}'"):
        _core.Program(device, "strict", precision)


def test_float32_on_tensor_cores_is_float32(rng):
    """As accurate as sums in float32 are: |x| from 2^-20 to 2^20, whose tf32 alone would be wrong by 2^-11."""
    x = (rng.standard_normal((1, 48, 9, 9)) * np.exp2(rng.integers(-20, 21, (1, 48, 9, 9)))).astype(np.float32)
    w = rng.standard_normal((64, 48, 3, 3)).astype(np.float32)
    y = ts.conv2d(x, w, padding=1)
    bound = (48 * 9 + 12) * 2.0**-24 * reference.conv2d(np.abs(x), np.abs(w), padding=1)
    assert (np.abs(y - reference.conv2d(x, w, padding=1)) <= bound).all()


def test_residual_comes_before_the_activation(rng):
    x, w, r = (integers(rng, shape) for shape in [(2, 3, 6, 6), (9, 3, 3, 3), (2, 9, 4, 4)])
    y = on_device("conv2d", [x, w], {"residual": r, "activation": "relu"})
    np.testing.assert_array_equal(y, reference.conv2d(x, w, residual=r, activation="relu"))


@pytest.mark.parametrize("shape", [(1, 7), (7,), (1, 1), (6, 1), ()])
def test_gemm_adds_what_broadcasts(shape, rng):
    a, b, c = integers(rng, (6, 5)), integers(rng, (5, 7)), integers(rng, shape) * np.float32(1)
    np.testing.assert_array_equal(on_device("gemm", [a, b, np.array(c)], {"beta": 3.0}),
                                  reference.gemm(a, b, c, beta=3.0))  # fmt: skip


def test_pooling_finds_nan_and_indices(rng):
    x = integers(rng, (2, 3, 7, 6))
    x[0, 1, 2:4, 3] = np.nan
    keywords = {"kernel_size": 3, "stride": 2, "padding": 1}
    y, at = on_device("max_pool2d", [x], keywords | {"return_indices": True})
    expected_y, expected_at = reference.max_pool2d(x, return_indices=True, **keywords)
    np.testing.assert_array_equal(y, expected_y)
    np.testing.assert_array_equal(at, expected_at)
    np.testing.assert_array_equal(on_device("max_pool2d", [x], keywords), expected_y)
    np.testing.assert_array_equal(on_device("global_max_pool2d", [x], {}), reference.global_max_pool2d(x))


def test_unpooling_lets_the_last_index_win_and_refuses_bad_ones(rng, schedule):
    x = integers(rng, (2, 3, 3, 4))
    at = rng.integers(0, 48, x.shape)
    y = on_device("max_unpool2d", [x, at], {"kernel_size": 2})
    np.testing.assert_array_equal(y, reference.max_unpool2d(x, at, 2))
    at[1, 2, 0, 3] = 48
    with pytest.raises(ValueError, match=r"index 48 at \(n, c, h, w\) = \(1, 2, 0, 3\) is outside the 6 x 8"):
        on_device("max_unpool2d", [x, at], {"kernel_size": 2})


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_concat(dim, rng):
    shapes = [[2, 3, 4], [2, 3, 4], [2, 3, 4]]
    for i, shape in enumerate(shapes):
        shape[dim] = i + 1
    parts = [integers(rng, shape) for shape in shapes]
    np.testing.assert_array_equal(on_device("concat", [parts], {"dim": dim}), np.concatenate(parts, dim))


def small(case):
    shapes = [s for value in case.operands.values() for s in (value if isinstance(value, list) else [value])]
    return case.macs <= 1_000_000 and sum(np.prod(s, dtype=np.int64) for s in shapes) <= 100_000


TABLES = [c for table in vars(cases).values() if isinstance(table, list) for c in table if isinstance(c, cases.Case)]


@pytest.mark.parametrize("op", sorted({case.op for case in TABLES}))
def test_small_cases_of_all_tests(op, rng):
    checked = 0
    for case in filter(small, (case for case in TABLES if case.op == op)):
        arrays = case.arrays(rng, integers=True)
        if op == "batch_norm":
            arrays["running_var"] = np.abs(arrays["running_var"]) + 1
        y = getattr(ts, op)(**arrays, **case.arguments)
        expected = getattr(reference, op)(**arrays, **case.arguments)
        for ours, theirs in zip(*(r if isinstance(r, tuple) else (r,) for r in (y, expected)), strict=True):
            bound = selftest.bound(Check(op, {}, terms=None), {}, theirs)  # sums of integers are exact, functions not
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=bound, err_msg=case.id)
        checked += 1
    assert checked


def test_every_operator_is_tested():
    tested = {name for name, _, _ in (CASES | SMOOTH).values()} | {"max_unpool2d", "concat"}
    assert tested == set(ts.ops.__all__)


# ----------------------------------------------------------------------------------------------- layouts and precisions

PRECISIONS = ("float32", "tf32", "bfloat16", "float16")


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("shape", [(2, 3, 5, 9), (1, 8, 1, 300), (1, 70, 9, 8), (3, 33, 1, 1)])
def test_channels_may_come_last(shape, precision, rng, device):
    x = (rng.standard_normal(shape) * np.exp2(rng.integers(-20, 12, shape))).astype(np.float32)
    x.flat[:4] = np.nan, np.inf, -0.0, 2.0**-30
    program = _core.Program(device, "default", precision)
    program.finish([program.activation(program.channels_last(program.input(shape)), "", 0.0)])
    y = np.empty(shape, np.float32)
    program.run([x], [y], 1)
    algorithms = ["to channels last", "per channel, channels last", "to plain"]
    assert [step.algorithm for step in program.steps()] == algorithms
    np.testing.assert_array_equal(y, selftest.stored(x, precision))


LAST = {  # more shapes than the selftest has
    "depthwise-even-kernel": conv("conv2d", (1, 5, 6, 6), (5, 1, 4, 2), stride=(1, 3), groups=5),
    "depthwise-uneven-padding": conv("conv2d", (1, 8, 5, 7), (8, 1, 3, 3), padding=((2, 0), (0, 3)), groups=8),
    "depthwise-stride-5x5": conv("conv2d", (1, 3, 9, 13), (3, 1, 5, 5), stride=2, padding=2, groups=3),
    "depthwise-one-channel": conv("conv2d", (2, 8, 1, 1), (8, 1, 3, 3), padding=1, groups=8, activation="relu6"),
    "groups-dilated": conv("conv2d", (1, 8, 9, 8), (8, 4, 3, 3), dilation=(2, 3), groups=2),
    "groups-wide": conv("conv2d", (1, 64, 3, 5), (64, 32, 1, 1), groups=2),
    "pool-dilated": Check("max_pool2d", {"x": (1, 3, 9, 8)}, {"kernel_size": (2, 3), "stride": 1, "dilation": (3, 2)}),
    "pool-large": Check("max_pool2d", {"x": (1, 70, 20, 19)}, {"kernel_size": 9, "stride": 5, "padding": 4}),
    "pool-ceil": Check("avg_pool2d", {"x": (1, 2, 7, 8)}, {"kernel_size": 4, "stride": 2, "ceil_mode": True}, 17),
    "adaptive": Check("adaptive_avg_pool2d", {"x": (1, 3, 17, 17)}, {"output_size": (2, 1)}, 154),
    "batch_norm": Check("batch_norm", {"x": (2, 1, 7, 3), "running_mean": (1,), "running_var": (1,), "weight": (1,),
                                       "bias": (1,)}, {}, None),
    "prelu-one-slope": Check("prelu", {"x": (2, 5, 3, 3), "weight": (1,)}, {}, 1),
    "add-first": Check("add", {"x": (1, 5, 1, 1), "y": (2, 5, 3, 2)}, {"activation": "sigmoid"}, None),
    "mul-one-channel": Check("mul", {"x": (2, 5, 4, 6), "y": (2, 1, 4, 6)}, {}, 1),
    "add-along-width": Check("add", {"x": (2, 5, 4, 6), "y": (1, 1, 1, 6)}, {}, 2),
    "norm-half": Check("local_response_norm", {"x": (1, 6, 2, 3)}, {"size": 5, "beta": 0.5, "k": 2.0}, None),
    "norm-one": Check("local_response_norm", {"x": (1, 6, 2, 3)}, {"size": 5, "beta": 1.0}, None),
    "softmax-other-axis": Check("softmax", {"x": (2, 3, 4, 5)}, {"dim": 3}, None),
    "reflect": Check("pad", {"x": (1, 3, 3, 4)}, {"padding": (2, 3), "mode": "reflect"}),
    "nearest": Check("upsample", {"x": (2, 2, 3, 5)}, {"size": (7, 6)}),
    "concat-octets": Check("concat", {"tensors": [(2, 8, 2, 3), (2, 16, 2, 3), (2, 5, 2, 3)]}, {"dim": 1}),
    "concat-rows": Check("concat", {"tensors": [(2, 3, 2, 3), (2, 3, 1, 3)]}, {"dim": 2}),
    "max_pool2d-indices": Check("max_pool2d", {"x": (1, 5, 8, 9)}, {"kernel_size": 2, "return_indices": True}),
    "pointwise": conv("conv2d", (1, 5, 3, 4), (9, 5, 1, 1)),
    "linear": Check("linear", {"x": (1, 2, 3, 8), "weight": (4, 8)}, {}, 9),
    "reduce": Check("reduce_sum", {"x": (2, 3, 4, 5)}, {"axes": (1,)}, 4),
}  # fmt: skip


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("case", LAST)
def test_operators_take_channels_last(case, precision, device):
    (result,) = selftest.run(device, [replace(LAST[case], precision=precision)])
    assert result.passed, result


@pytest.mark.parametrize("precision", PRECISIONS)
def test_parts_with_channels_last_are_written_in_place(precision, rng, device):
    shapes = [(2, 8, 3, 5), (2, 24, 3, 5), (2, 5, 3, 5)]
    xs = [integers(rng, shape) for shape in shapes]
    program = _core.Program(device, "default", precision)
    inputs = [program.channels_last(program.input(shape)) for shape in shapes]
    parts = [program.activation(x, "relu", 0.0) for x in inputs]
    whole = program.activation(program.concat(parts, 1), "", 0.0)
    again = program.concat([parts[0], parts[2]], 1)  # a part lies in one whole only
    pooled = program.global_max_pool2d(parts[1])
    results = [whole, again, pooled]
    program.finish(results)
    ys = [np.empty(program.dims(result), np.float32) for result in results]
    program.run(xs, ys, 1)
    rectified = [np.maximum(x, 0) for x in xs]
    np.testing.assert_array_equal(ys[0], np.concatenate(rectified, 1))
    np.testing.assert_array_equal(ys[1], np.concatenate([rectified[0], rectified[2]], 1))
    np.testing.assert_array_equal(ys[2], rectified[1].max((2, 3), keepdims=True))
    assert [step.algorithm for step in program.steps()].count("concat, channels last") == 1


@pytest.mark.parametrize("channels", [16, 13])  # whole octets, and not
@pytest.mark.parametrize("precision", PRECISIONS)
def test_maps_of_one_pixel_are_rows(precision, channels, rng, device, monkeypatch):
    monkeypatch.setenv("TESELA_WGMMA_TILE", "64x128x1")
    monkeypatch.setenv("TESELA_MMA_TILE", "64x64x1")
    x, first, second = (integers(rng, shape) for shape in ((3, channels, 4, 5), (24, channels), (8, 24)))
    program = _core.Program(device, "default", precision)
    pooled = program.global_max_pool2d(program.channels_last(program.input(x.shape)))
    y = program.linear(program.reshape(pooled, (3, channels)), first, None, "relu", 0.0)
    maps = program.activation(program.reshape(y, (3, 24, 1, 1)), "relu", 0.0)
    y = program.linear(program.reshape(maps, (3, 24)), second, None, "", 0.0)
    program.finish([y])
    result = np.empty((3, 8), np.float32)
    program.run([x], [result], 1)
    hidden = selftest.stored(np.maximum(x.max((2, 3)) @ first.T, 0), precision)
    np.testing.assert_array_equal(result, selftest.stored(hidden @ second.T, precision))
    conversions = [step.algorithm for step in program.steps() if step.algorithm.startswith("to ")]
    # The input's, and of 16 bits the result's.
    assert conversions == ["to channels last", "to plain"][: 2 if precision.endswith("16") else 1]


@pytest.mark.parametrize("channels", [16, 13])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_rows_that_lie_as_pixels_go_through_every_operator(precision, channels, rng, device):
    x, slope = integers(rng, (3, channels, 4, 5)), integers(rng, (channels,)) / 4
    for last in (
        lambda p, y: p.activation(y, "relu", 0.0),
        lambda p, y: p.prelu(y, slope),
        lambda p, y: p.channel_affine(y, slope, slope, "", 0.0),
    ):
        results = []
        for layout in ("channels_last", None):
            program = _core.Program(device, "default", precision)
            y = program.input(x.shape)
            y = program.global_max_pool2d(program.channels_last(y) if layout else y)
            program.finish([last(program, program.reshape(y, (3, channels)))])
            results.append(np.empty((3, channels), np.float32))
            program.run([x], [results[-1]], 1)
        np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_network_runs_in_every_precision(precision, rng, device):
    net = small_network()
    x = rng.standard_normal((2, 3, 12, 10)).astype(np.float32)
    y = net.compile(batch=2, device=device, precision=precision)(x)
    bound = {"float32": 1e-6, "tf32": 2e-3, "bfloat16": 2e-2, "float16": 2e-3}[precision]
    assert np.abs(y - net.reference(x)).max() <= bound


# ---------------------------------------------------------------------------------------------------------- networks


def small_network():
    g = ts.Graph("small")
    x = g.input("x", (3, 12, 10))
    a = g.relu("relu1", g.batch_norm("norm", g.conv2d("conv1", x, 16, 3, padding=1)))
    b = g.conv2d("conv2", a, 16, 3, padding=1)
    c = g.relu("sum", g.add("add", a, b))
    d = g.concat("concat", [g.max_pool2d("pool", c, kernel_size=2), g.conv2d("reduce", c, 8, 2, stride=2)])
    g.output(g.softmax("softmax", g.linear("fc", g.flatten("flat", d), 10)))
    return ts.Network(g)


def test_a_network_runs_as_on_the_cpu(rng, schedule, device):
    net = small_network()
    x = rng.standard_normal((2, 3, 12, 10)).astype(np.float32)
    run = net.compile(batch=2, device=device)
    y = run(x)
    np.testing.assert_allclose(y, net.reference(x), rtol=1e-4, atol=1e-6)
    out = np.full_like(y, np.nan)
    assert run(x, out=out) is out
    np.testing.assert_array_equal(out, y)
    assert [step.seconds > 0 for step in run.profile(x, repeats=1)] == [True] * len(run.steps())
    np.testing.assert_array_equal(net(x), y)
    np.testing.assert_allclose(net.extract(x, ["relu1"])["relu1"], net.reference(x, outputs=["relu1"]), atol=1e-5)


@pytest.mark.parametrize("name", ts.models.NETWORKS)
def test_every_network_of_the_zoo_is_planned(name, device):
    run = ts.models.NETWORKS[name]().compile(device=device)
    assert sum(step.flops for step in run.steps()) > 0


# Images so small that the emulator's few million products a second are enough.
IMAGE_SIZE = {
    "lenet5": (32, 32),
    "squeezenet1_1": (32, 33),
    "mobilenet_v2": (32, 31),
    "autoencoder": (16, 16),
    "unpooling_autoencoder": (8, 16),
    "denoiser": (8, 12),
}


@pytest.mark.parametrize("name", IMAGE_SIZE)
def test_a_network_of_the_zoo_runs(name, rng):
    net = ts.models.NETWORKS[name]()
    ((channels, *_),) = net.graph.inputs.values()
    x = rng.standard_normal((1, channels, *IMAGE_SIZE[name]), np.float32)
    expected = net.reference(x)
    assert np.abs(net(x) - expected).max() <= 1e-5 * np.abs(expected).max()


def test_an_onnx_network_with_array_operators(rng):
    onnx = pytest.importorskip("onnx")
    from onnx.reference import ReferenceEvaluator

    w = rng.standard_normal((6, 3, 3, 3)).astype(np.float32)
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        attended (float[2, 3, 6, 5] x, float[6, 3, 3, 3] w) => (float[2, 30, 2, 30] y, int64[2, 1, 2, 30] best)
        {
            a = Conv <pads = [1, 1, 1, 1]> (x, w)
            shape = Constant <value_ints = [0, 6, 30]> ()
            b = Reshape (a, shape)
            c = Transpose <perm = [0, 2, 1]> (b)
            mean = ReduceMean <axes = [-1]> (c)
            centred = Sub (c, mean)
            two = Constant <value_float = 2.0> ()
            squares = Pow (centred, two)
            variance = ReduceMean <axes = [-1]> (squares)
            deviation = Sqrt (variance)
            d = Div (centred, deviation)
            zero = Constant <value_float = 0.0> ()
            large = Greater (d, zero)
            e = Erf (d)
            f = Where (large, d, e)
            order = ArgMax <axis = 2, keepdims = 0> (d)
            g = Gather <axis = 2> (f, order)
            y = Softmax <axis = -1> (g)
            best = ArgMax <axis = 1> (g)
        }
    """)
    x = rng.standard_normal((2, 3, 6, 5)).astype(np.float32)
    del model.graph.input[1]
    model.graph.initializer.append(onnx.numpy_helper.from_array(w, "w"))
    network = ts.onnx.load(model.SerializeToString())
    y, best = network(x)
    expected_y, expected_best = ReferenceEvaluator(model).run(None, {"x": x})
    np.testing.assert_allclose(y, expected_y, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(best, expected_best)


def test_threads_may_share_a_network(rng, device):
    net = small_network()
    xs = [rng.standard_normal((1, 3, 12, 10)).astype(np.float32) for _ in range(6)]
    run = net.compile(device=device)
    expected = [run(x) for x in xs]
    with ThreadPoolExecutor(3) as pool:
        np.testing.assert_array_equal(list(pool.map(run, xs)), expected)


def test_seconds_are_those_of_a_run(rng, device):
    run = small_network().compile(device=device)
    x = rng.standard_normal((1, 3, 12, 10)).astype(np.float32)
    assert 0 < run.seconds(x, repeats=2) < 60
    with pytest.raises(ValueError, match="expected repeats of at least 1, got 0"):
        run.seconds(x, repeats=0)


# Beyond the reach of 32 bits. On the emulator they would take days.


@pytest.fixture
def gpu(device):
    if device != "cuda":
        pytest.skip("for a GPU: --device cuda")


def test_tensors_of_pytorch_stay_on_the_gpu(gpu, rng):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("PyTorch finds no GPU")
    net = small_network()
    run = net.compile(batch=2, device="cuda")
    for stream in (torch.cuda.current_stream(), torch.cuda.Stream()):
        with torch.cuda.stream(stream):  # which calls with tensors follow
            for _ in range(4):  # launched, captured, changed, launched
                x = rng.standard_normal((2, 3, 12, 10)).astype(np.float32)
                tensor = torch.from_numpy(x).cuda() * 2
                y = torch.from_dlpack(run(tensor))
                np.testing.assert_allclose(y.cpu().numpy(), net.reference(2 * x), rtol=1e-4, atol=1e-6)
                out = torch.empty_like(y)
                assert run(tensor, out=out) is out
                assert torch.equal(out, y)
    with pytest.raises(TypeError, match="expected all arrays in one place"):
        ts.add(tensor, x)
    with pytest.raises(ts.DeviceError, match="is the host's or nobody's"):
        _core.expect_memory("cuda", x.ctypes.data, 4, "x")


def test_arrays_beyond_32_bits(gpu):
    x = np.zeros(2**31 + 5000, np.int8)
    x[:3], x[-3:] = (1, -2, 3), (4, 5, -6)
    g = ts.Graph("negative")
    g.output(g.apply("neg", "y", g.input("x", x.shape, "int8", batched=False)))
    y = ts.Network(g)(x)
    np.testing.assert_array_equal(y[:3], [-1, 2, -3])
    np.testing.assert_array_equal(y[-3:], [-4, -5, 6])
    assert not y[3:-3].any()


def test_a_convolution_beyond_32_bits(gpu, rng):
    x, w = integers(rng, (1, 1, 8192, 8192)), integers(rng, (33, 1, 3, 3))
    y = ts.conv2d(x, w, padding=1)
    assert y.size > 2**31
    for rows in (slice(0, 4), slice(8188, 8192)):
        near = slice(max(rows.start - 1, 0), rows.stop + 1)
        expected = reference.conv2d(x[:, :, near], w, padding=1)
        expected = expected[:, :, :4] if rows.start == 0 else expected[:, :, -4:]
        np.testing.assert_array_equal(y[:, :, rows], expected)


def test_inputs_may_be_outputs(rng):
    x = integers(rng, (2, 3))
    for name in ("dropout", "flatten"):
        y = on_device(name, [x], {})
        np.testing.assert_array_equal(y, x)
        assert not np.may_share_memory(x, y)


@pytest.mark.parametrize("case", ["conv2d-many-tiles", "gemm", "global_avg_pool2d", "avg_pool2d"])
def test_results_do_not_depend_on_the_schedule(case, rng, monkeypatch):
    name, shapes, keywords = CASES[case]
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    results = []
    for seed in range(4):
        monkeypatch.setenv("TESELA_EMULATOR_SEED", str(seed))
        results.append(on_device(name, arrays, keywords).tobytes())
    assert len(set(results)) == 1
