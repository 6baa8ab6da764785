"""Convolutions with few input channels on tensor cores: their taps as channels."""

import numpy as np
import pytest
from tensor_cores import PRECISIONS, integers, rounded_to
from tesela import _core, reference
from tesela.runtime import current_device

pytestmark = [pytest.mark.emulator, pytest.mark.usefixtures("on_device")]

STEMS = {  # x, weight, keyword arguments of conv2d; the networks' own filters, on small images of odd sizes
    "alexnet": ((2, 3, 31, 35), (16, 3, 11, 11), {"stride": 4, "padding": 2}),
    "resnet": ((2, 3, 21, 19), (16, 3, 7, 7), {"stride": 2, "padding": 3}),
    "mobilenet": ((2, 3, 15, 13), (9, 3, 3, 3), {"stride": 2, "padding": 1}),
    "squeezenet": ((3, 3, 10, 17), (24, 3, 3, 3), {"stride": 2}),
    "vgg": ((1, 3, 3, 67), (16, 3, 3, 3), {"padding": 1}),  # a row of several stretches
    "lenet": ((3, 1, 9, 8), (8, 1, 5, 5), {}),
    "uneven": ((2, 5, 12, 11), (13, 5, 3, 2), {"stride": (3, 1), "padding": ((2, 0), (1, 4)), "dilation": (2, 3)}),
    "one-row": ((2, 7, 1, 9), (8, 7, 1, 3), {"stride": 2, "padding": (0, 1)}),
    "one-column": ((2, 2, 9, 1), (8, 2, 4, 1), {"stride": 2, "padding": (1, 0)}),
}
FORMS = {"rows of taps, ": "rows of taps to channels", "windows, ": "windows to channels"}


def sides(value):
    pairs = (value, value) if isinstance(value, int) else value
    return tuple(side for pair in pairs for side in ((pair, pair) if isinstance(pair, int) else pair))


def planned(precision, form, tile, x, weight, bias=None, residual=None, activation="", **keywords):
    """conv2d in that form and tile; "": what is estimated to be the fastest. And the algorithms that ran."""
    program = _core.Program(current_device(), "default", precision)
    inputs = [program.input(a.shape) for a in (x, residual) if a is not None]
    split = " 3xtf32" if precision == "float32" else ""
    rung, _, size = tile.partition(" ")
    program.set_label("layer", "conv2d", f"{form}{rung}{split} {size}" if tile else "")
    pairs = {key: (value, value) if isinstance(value, int) else value for key, value in keywords.items()}
    y = program.conv2d(
        inputs[0], weight, bias, pairs.get("stride", (1, 1)), sides(keywords.get("padding", 0)),
        pairs.get("dilation", (1, 1)), 1, inputs[1] if residual is not None else -1, -1, activation, 0.0,
    )  # fmt: skip
    result = np.empty(program.dims(y), np.float32)
    program.finish([y])
    program.run([a for a in (x, residual) if a is not None], [result], 1)
    return result, [step.algorithm for step in program.steps()]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("case", STEMS)
@pytest.mark.parametrize("form", FORMS)
def test_integers_are_exact(form, case, precision, rng):
    x_shape, w_shape, keywords = STEMS[case]
    x, weight, bias = integers(rng, x_shape), integers(rng, w_shape), integers(rng, w_shape[:1])
    expected = reference.conv2d(x, weight, bias, **keywords)
    residual = integers(rng, expected.shape)
    expected = rounded_to(precision, np.maximum(expected + residual, 0))
    for tile in ("mma 64x64x1", "wgmma 128x128x1"):
        y, algorithms = planned(precision, form, tile, x, weight, bias, residual, "relu", **keywords)
        assert algorithms[:1] == [FORMS[form]] and tile.split()[0] in algorithms[-2].split() + algorithms[-1].split()
        np.testing.assert_array_equal(y, expected, err_msg=tile)


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("form", FORMS)
def test_every_schedule_gives_the_same_bits(form, precision, schedule, rng, monkeypatch):
    x_shape, w_shape, keywords = STEMS["resnet"]
    x, weight = (rng.standard_normal(shape).astype(np.float32) for shape in (x_shape, w_shape))
    y, _ = planned(precision, form, "mma 64x64x2", x, weight, **keywords)
    monkeypatch.setenv("TESELA_EMULATOR_SEED", "0")
    np.testing.assert_array_equal(y, planned(precision, form, "mma 64x64x2", x, weight, **keywords)[0])


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("case", ["alexnet", "resnet", "uneven"])
@pytest.mark.parametrize("form", FORMS)
def test_what_is_not_finite_stays_in_its_windows(form, case, precision, rng):
    x_shape, w_shape, keywords = STEMS[case]
    x, weight = integers(rng, x_shape), integers(rng, w_shape)
    clean = reference.conv2d(x, weight, **keywords)
    x[0, 1, 4, 5], x[-1, 0, 7, 0] = np.nan, np.inf
    with np.errstate(invalid="ignore"):
        touched = ~np.isfinite(reference.conv2d(x, weight, **keywords))
    assert touched.any() and not touched.all()
    y, _ = planned(precision, form, "mma 64x64x1", x, weight, **keywords)
    assert not np.isfinite(y[touched]).any()
    np.testing.assert_array_equal(y[~touched], rounded_to(precision, clean)[~touched])


# Not tf32 on sm_80: it would move about as much more as it would multiply less.
@pytest.mark.parametrize("precision, capability", [
    ("float32", "8"), ("float32", "9"), ("tf32", "9"), ("bfloat16", "8"), ("bfloat16", "9"), ("float16", "8"),
    ("float16", "9"),
])  # fmt: skip
def test_the_large_stems_of_networks_take_it(precision, capability, monkeypatch):
    monkeypatch.setenv("TESELA_EMULATOR_CAPABILITY", capability)
    for size, kernel, stride, padding in ((224, 7, 2, 3), (227, 11, 4, 0)):
        program = _core.Program(current_device(), "default", precision)
        weight, arguments = np.zeros((64, 3, kernel, kernel), np.float32), (-1, -1, "", 0.0)
        x = program.input((32, 3, size, size))
        geometry = (None, (stride, stride), (padding,) * 4, (1, 1), 1)
        program.conv2d(x, weight, *geometry, *arguments)
        first = next(candidate for candidate in program.candidates() if "mma" in candidate)
        assert first.startswith(tuple(FORMS)), program.candidates()


@pytest.mark.parametrize("channels, groups", [(8, 1), (6, 2)])
def test_other_layers_do_not(channels, groups):
    program = _core.Program(current_device(), "default", "bfloat16")
    weight = np.zeros((16, channels // groups, 3, 3), np.float32)
    x = program.input((1, channels, 9, 9))
    program.conv2d(x, weight, None, (1, 1), (1, 1, 1, 1), (1, 1), groups, -1, -1, "", 0.0)
    assert not any(candidate.startswith(tuple(FORMS)) for candidate in program.candidates())
