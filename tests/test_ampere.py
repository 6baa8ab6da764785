"""The kernels for mma.sync and cp.async, on the emulator or a GPU from sm_80 on: every precision, tile and product."""

import numpy as np
import pytest
from tensor_cores import CASES, PRECISIONS, allowed, expect_errors_of, integers, planned, rounded_to
from tesela import _core, reference
from tesela.runtime import current_device

pytestmark = [pytest.mark.emulator, pytest.mark.usefixtures("on_device")]

TILES = ["128x128x1", "128x64x1", "64x64x3"]

TRANSPOSED = {  # x, weight, keyword arguments of conv_transpose2d
    "stride-1": ((1, 8, 5, 4), (8, 16, 3, 3), {"padding": ((1, 0), (2, 1))}),
    "stride-2": ((2, 16, 4, 5), (16, 9, 4, 4), {"stride": 2, "padding": 1}),
    "odd-channels": ((1, 5, 4, 5), (5, 13, 3, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
    "uneven": ((1, 8, 6, 4), (8, 8, 3, 5), {"stride": (2, 3), "padding": ((1, 0), (0, 2)), "dilation": (2, 1)}),
    "sparse": ((1, 8, 3, 2), (8, 8, 2, 1), {"stride": (3, 4)}),  # classes without a tap
    "groups": ((1, 16, 3, 4), (16, 8, 3, 3), {"stride": 2, "groups": 2}),
}
BEYOND_TMA = {
    "padding": ((1, 8, 1, 9), (8, 8, 1, 2), {"padding": ((0, 0), (129, 0))}),
    "stride": ((1, 8, 1, 30), (8, 8, 1, 2), {"stride": (1, 9)}),
    "dilation": ((1, 8, 1, 260), (8, 8, 1, 2), {"dilation": (1, 256)}),
    "groups": ((1, 40, 3, 3), (80, 8, 2, 2), {"groups": 5}),
}


@pytest.fixture(autouse=True)
def _without_wgmma(monkeypatch):
    monkeypatch.setenv("TESELA_EMULATOR_CAPABILITY", "8")


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("case", CASES | BEYOND_TMA)
def test_integers_are_exact(case, precision, rng, monkeypatch):
    x_shape, w_shape, keywords = (CASES | BEYOND_TMA)[case]
    x, weight, bias = integers(rng, x_shape), integers(rng, w_shape), integers(rng, w_shape[:1])
    expected = rounded_to(precision, reference.conv2d(x, weight, bias, **keywords))
    for tile in TILES[precision == "float32" :]:
        monkeypatch.setenv("TESELA_MMA_TILE", tile)
        y, algorithms = planned(precision, x, weight, bias, **keywords)
        assert any(algorithm.startswith("mma") for algorithm in algorithms), algorithms
        np.testing.assert_array_equal(y, expected, err_msg=tile)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("case", TRANSPOSED)
def test_transposed_integers_are_exact(case, precision, rng, monkeypatch):
    x_shape, w_shape, keywords = TRANSPOSED[case]
    channels = w_shape[1] * keywords.get("groups", 1)
    x, weight, bias = integers(rng, x_shape), integers(rng, w_shape), integers(rng, (channels,))
    expected = reference.conv_transpose2d(x, weight, bias, **keywords)
    residual = integers(rng, expected.shape)
    expected = rounded_to(precision, np.maximum(expected + residual, 0))
    for tile in ("128x64x1", "64x64x3"):
        monkeypatch.setenv("TESELA_MMA_TILE", tile)
        y, algorithms = planned(precision, x, weight, bias, residual, "relu", "conv_transpose2d", **keywords)
        assert any(algorithm.startswith("mma") for algorithm in algorithms), algorithms
        np.testing.assert_array_equal(y, expected, err_msg=tile)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("tile", ["128x64x1", "64x64x4"])
def test_every_schedule_gives_the_same_bits(tile, precision, schedule, rng, monkeypatch):
    monkeypatch.setenv("TESELA_MMA_TILE", tile)
    x, weight = (rng.standard_normal(shape).astype(np.float32) for shape in ((2, 40, 6, 5), (24, 40, 3, 3)))
    bias, residual = rng.standard_normal(24).astype(np.float32), rng.standard_normal((2, 24, 6, 5)).astype(np.float32)
    y, _ = planned(precision, x, weight, bias, residual, "gelu", padding=1)
    monkeypatch.setenv("TESELA_EMULATOR_SEED", "0")
    np.testing.assert_array_equal(y, planned(precision, x, weight, bias, residual, "gelu", padding=1)[0])


@pytest.mark.parametrize("tile", ["128x64x1", "64x64x4"])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("positive", [False, True])
def test_errors_are_those_of_the_precision(positive, precision, tile, rng, monkeypatch):
    monkeypatch.setenv("TESELA_MMA_TILE", tile)
    expect_errors_of("mma", precision, positive, rng)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_linear(precision, rng, monkeypatch):
    monkeypatch.setenv("TESELA_MMA_TILE", "64x64x2")
    x, weight, bias = integers(rng, (3, 75)), integers(rng, (130, 75)), integers(rng, (130,))
    program = _core.Program(current_device(), "default", precision)
    program.finish([program.linear(program.input(x.shape), weight, bias, "relu", 0.0)])
    y = np.empty((3, 130), np.float32)
    program.run([x], [y], 1)
    assert any(step.algorithm.startswith("mma") for step in program.steps())
    np.testing.assert_array_equal(y, rounded_to(precision, reference.linear(x, weight, bias, activation="relu")))


def product(precision, a, b, c, **keywords):
    """gemm, and the algorithm that ran."""
    program = _core.Program(current_device(), "default", precision)
    inputs = [program.input(matrix.shape) for matrix in (a, b, c) if matrix is not None]
    arguments = {"alpha": 1.0, "beta": 1.0, "trans_a": False, "trans_b": False, "activation": ""} | keywords
    y = program.gemm(*inputs[:2], inputs[2] if c is not None else -1, parameter=0.0, **arguments)
    result = np.empty(program.dims(y), np.float32)
    program.finish([y])
    program.run([matrix for matrix in (a, b, c) if matrix is not None], [result], 1)
    return result, program.steps()[-1].algorithm


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("trans_a", [False, True])
@pytest.mark.parametrize("trans_b", [False, True])
@pytest.mark.parametrize("m, n, k", [(1, 1, 1), (70, 33, 45), (64, 72, 40), (5, 130, 64), (131, 8, 3)])
def test_matrices_of_integers_are_exact(m, n, k, trans_b, trans_a, precision, rng, monkeypatch):
    a, b = integers(rng, (k, m) if trans_a else (m, k)), integers(rng, (n, k) if trans_b else (k, n))
    widest = "128x64x1" if precision == "float32" else "128x128x1"
    for tile, c in ((widest, None), ("128x64x1", integers(rng, (n,))), ("64x64x5", integers(rng, (m, n)))):
        monkeypatch.setenv("TESELA_MMA_TILE", tile)
        keywords = {"alpha": 2.0, "beta": -3.0, "trans_a": trans_a, "trans_b": trans_b, "activation": "relu"}
        y, algorithm = product(precision, a, b, c, **keywords)
        assert algorithm == ("mma 3xtf32" if precision == "float32" else "mma")
        np.testing.assert_array_equal(y, reference.gemm(a, b, c, **keywords).astype(np.float32), err_msg=tile)


@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_errors_of_matrices_are_those_of_the_precision(precision, rng):
    a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((40, 200), (200, 50)))
    y, _ = product(precision, a, b, None)
    bound = allowed("mma", precision, np.abs(a).astype(np.float64) @ np.abs(b), 200)
    assert (np.abs(y - a.astype(np.float64) @ b) <= bound).all()
    assert np.abs(y - a.astype(np.float64) @ b).max() > 0


def test_strict_sums_are_not_those_of_tensor_cores():
    program = _core.Program(current_device(), "strict", "float32")
    y = program.gemm(program.input((70, 64)), program.input((64, 70)), -1, 1.0, 1.0, False, False, "", 0.0)
    program.finish([y])
    assert [step.algorithm for step in program.steps()] == ["tiles"]
