"""The kernels for wgmma and TMA, on the emulator or a GPU of sm_90: every precision, tile and kind of convolution."""

import numpy as np
import pytest
from tensor_cores import CASES, PRECISIONS, expect_errors_of, integers, planned, rounded_to
from tesela import _core, reference
from tesela.runtime import current_device

pytestmark = [pytest.mark.emulator, pytest.mark.usefixtures("on_device")]

TILES = ["128x128x1", "64x128x1", "128x256x1", "128x192x1", "256x64x1", "64x128x3"]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("case", CASES)
def test_integers_are_exact(case, precision, rng, monkeypatch):
    x_shape, w_shape, keywords = CASES[case]
    x, weight, bias = integers(rng, x_shape), integers(rng, w_shape), integers(rng, w_shape[:1])
    expected = rounded_to(precision, reference.conv2d(x, weight, bias, **keywords))
    for tile in TILES:
        if precision == "float32" and "x128x" not in tile:
            continue  # there is none
        monkeypatch.setenv("TESELA_WGMMA_TILE", tile)
        y, algorithms = planned(precision, x, weight, bias, **keywords)
        assert any("wgmma" in algorithm for algorithm in algorithms), algorithms
        np.testing.assert_array_equal(y, expected, err_msg=tile)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("tile", ["128x128x1", "64x128x4"])
def test_every_schedule_gives_the_same_bits(tile, precision, schedule, rng, monkeypatch):
    monkeypatch.setenv("TESELA_WGMMA_TILE", tile)
    x, weight = (rng.standard_normal(shape).astype(np.float32) for shape in ((2, 80, 6, 5), (24, 80, 3, 3)))
    bias, residual = rng.standard_normal(24).astype(np.float32), rng.standard_normal((2, 24, 6, 5)).astype(np.float32)
    y, _ = planned(precision, x, weight, bias, residual, "gelu", padding=1)
    monkeypatch.setenv("TESELA_EMULATOR_SEED", "0")
    np.testing.assert_array_equal(y, planned(precision, x, weight, bias, residual, "gelu", padding=1)[0])


@pytest.mark.parametrize("tile", ["128x128x1", "64x128x4"])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("positive", [False, True])
def test_errors_are_those_of_the_precision(positive, precision, tile, rng, monkeypatch):
    monkeypatch.setenv("TESELA_WGMMA_TILE", tile)
    expect_errors_of("wgmma", precision, positive, rng)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("variable, tile", [
    ("TESELA_WGMMA_TILE", "128x128x1"), ("TESELA_WGMMA_TILE", "64x128x3"), ("TESELA_MMA_TILE", "128x64x1"),
    ("TESELA_MMA_TILE", "64x64x3"), ("", ""),
])  # fmt: skip
def test_a_gate_is_part_of_the_product(variable, tile, precision, rng, monkeypatch):
    capability = {"TESELA_WGMMA_TILE": "9", "TESELA_MMA_TILE": "8", "": "7"}[variable]
    monkeypatch.setenv("TESELA_EMULATOR_CAPABILITY", capability)
    if variable:
        monkeypatch.setenv(variable, tile)
    elif current_device() != "emulator":
        pytest.skip("this GPU has tensor cores")
    elif precision != "float32":
        pytest.skip("there are no tensor cores")
    # Images end within tiles, one of them a single channel beyond an octet.
    for groups, channels in ((1, 9), (2, 24)):
        x, weight = integers(rng, (3, 16 * groups, 5, 7), 2), integers(rng, (channels * groups, 16, 1, 1), 2)
        bias, gate = integers(rng, (channels * groups,)), integers(rng, (3, channels * groups, 1, 1))
        residual = integers(rng, (3, channels * groups, 5, 7))
        for given in (None, residual):
            y, algorithms = planned(precision, x, weight, bias, given, "relu", gate=gate, groups=groups)
            assert not {"broadcast", "broadcast, channels last"} & set(algorithms), algorithms
            expected = reference.conv2d(x, weight, bias, residual=given, gate=gate, groups=groups, activation="relu")
            np.testing.assert_array_equal(y, rounded_to(precision, expected))


def test_small_results_are_zero_beyond_the_last_channel(rng, monkeypatch):
    # sigmoid(0) is not: a second convolution would multiply what the first left there.
    monkeypatch.setenv("TESELA_WGMMA_TILE", "128x128x1")
    x, first, second = (integers(rng, shape) for shape in ((1, 8, 4, 4), (9, 8, 1, 1), (8, 9, 1, 1)))
    program = _core.Program(current_device(), "default", "bfloat16")
    pointwise = (None, (1, 1), (0, 0, 0, 0), (1, 1), 1, -1, -1)
    inner = program.conv2d(program.input(x.shape), first, *pointwise, "sigmoid", 0.0)
    y = program.conv2d(inner, second, *pointwise, "", 0.0)
    result = np.empty(program.dims(y), np.float32)
    program.finish([y])
    program.run([x], [result], 1)
    middle = rounded_to("bfloat16", reference.sigmoid(reference.conv2d(x, first)))
    np.testing.assert_allclose(result, reference.conv2d(middle, second), rtol=2.0**-7, atol=2.0**-5)


@pytest.mark.parametrize("width, keywords", [
    (9, {"padding": ((0, 0), (129, 0))}), (30, {"stride": (1, 9)}), (260, {"dilation": (1, 256)}), (9, {"groups": 8}),
    (9, {"groups": 2}),
])  # fmt: skip
def test_what_tma_cannot_do_runs_elsewhere(width, keywords, rng, monkeypatch):
    monkeypatch.setenv("TESELA_WGMMA_TILE", "128x128x1")
    groups = keywords.get("groups", 1)
    channels = 3 if groups > 1 else 8  # fewer of one group become others
    x, weight = integers(rng, (1, channels * groups, 1, width)), integers(rng, (8 * groups, channels, 1, 2))
    y, algorithms = planned("bfloat16", x, weight, **keywords)
    assert not any("wgmma" in algorithm for algorithm in algorithms)
    np.testing.assert_array_equal(y, reference.conv2d(x, weight, **keywords).astype(np.float32))


@pytest.mark.parametrize("precision, tile", [
    ("tf32", "128x128x0"), ("tf32", "128x128x-1"), ("tf32", "96x128x1"), ("tf32", "128x128"), ("tf32", "128x128x1x"),
    ("bfloat16", "none"), ("float32", "128x256x1"),
])  # fmt: skip
def test_a_tile_that_is_none_is_refused(precision, tile, rng, monkeypatch):
    monkeypatch.setenv("TESELA_WGMMA_TILE", tile)
    with pytest.raises(ValueError, match=f"TESELA_WGMMA_TILE: expected .* a tile for {precision} .*, got '{tile}'"):
        planned(precision, integers(rng, (1, 32, 4, 4)), integers(rng, (64, 32, 1, 1)))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_linear(precision, rng, monkeypatch):
    monkeypatch.setenv("TESELA_WGMMA_TILE", "64x128x2")
    x, weight, bias = integers(rng, (3, 75)), integers(rng, (130, 75)), integers(rng, (130,))
    program = _core.Program(current_device(), "default", precision)
    program.finish([program.linear(program.input(x.shape), weight, bias, "relu", 0.0)])
    y = np.empty((3, 130), np.float32)
    program.run([x], [y], 1)
    assert any("wgmma" in step.algorithm for step in program.steps())
    np.testing.assert_array_equal(y, rounded_to(precision, reference.linear(x, weight, bias, activation="relu")))
