"""Kernels of a run that overlap (programmatic dependent launch): which do, and that each waits for the one before."""

import numpy as np
import pytest
import tesela as ts
from tesela import _core

pytestmark = pytest.mark.emulator


def layers():
    """Every kernel that a network with channels last is made of, one after the other."""
    g = ts.Graph("layers")
    x = g.input("x", (8, 8, 8))
    a = g.conv2d("conv", x, 16, 3, padding=1, activation="relu")
    b = g.conv2d("residual", a, 16, 1)
    a = g.relu("sum", g.add("add", a, b))
    a = g.conv2d("depthwise", a, 16, 3, padding=1, groups=16)
    a = g.local_response_norm("lrn", a, size=5)
    a = g.conv2d("grouped", a, 16, 3, padding=1, groups=4)
    a = g.max_pool2d("max", a, kernel_size=2)
    a = g.conv_transpose2d("up", a, 16, 2, stride=2)
    a = g.concat("concat", [a, b])
    a = g.pixel_shuffle("shuffle", a, upscale_factor=2)
    a = g.upsample("resize", a, scale_factor=2, mode="bilinear")
    a = g.avg_pool2d("mean", a, kernel_size=2)
    a = g.softmax("softmax", a, dim=1)
    g.output(g.linear("linear", g.flatten("flat", g.global_avg_pool2d("global", a)), 5))
    return ts.Network(g)


def early(run, *inputs):
    """What it returns, and how many kernels began before the one before them had ended."""
    before = _core.emulated_graphs()["early"]
    y = run(*inputs)
    return y, _core.emulated_graphs()["early"] - before


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("tile", ["128x128x1", "64x128x3"])
def test_all_kernels_but_the_first_begin_early(precision, tile, rng, monkeypatch):
    """Launched one by one, captured, and with other addresses in the graph; whatever the schedule, the same bits."""
    monkeypatch.setenv("TESELA_WGMMA_TILE", tile)
    net = layers()
    x = rng.standard_normal((2, 8, 8, 8), np.float32)
    expected, counts = None, set()
    for seed in "012":
        monkeypatch.setenv("TESELA_EMULATOR_SEED", seed)
        run = net.compile(batch=2, precision=precision, device="emulator")
        for y, count in [early(run, x), early(run, x), early(run, ts.to_device(x, "emulator"))]:
            counts.add(count)
            y = np.asarray(y if isinstance(y, np.ndarray) else y.numpy())
            expected = y if expected is None else expected
            np.testing.assert_array_equal(y, expected)
    assert len(counts) == 1  # the graph is as the launches were
    kernels = len(run.profile(x)) + (tile != "128x128x1")
    assert counts.pop() >= kernels - 1
    np.testing.assert_allclose(expected, net.reference(x), atol=1e-4 if precision == "float32" else 3e-2)


@pytest.mark.parametrize("accuracy", ["default", "strict"])
def test_kernels_of_mma_and_plain_tensors_begin_early(accuracy, rng, schedule, monkeypatch):
    monkeypatch.setenv("TESELA_MMA_TILE", "64x64x2")
    x = rng.standard_normal((2, 8, 8, 8), np.float32)
    net = layers()
    run = net.compile(batch=2, accuracy=accuracy, device="emulator")
    first, launched = early(run, x)
    again, captured = early(run, x)
    assert launched == captured >= len(run.profile(x)) - 1
    np.testing.assert_array_equal(first, again)
    np.testing.assert_allclose(first, net.reference(x), atol=1e-4)


def test_none_begins_early_where_the_hardware_cannot(rng, monkeypatch):
    monkeypatch.setenv("TESELA_EMULATOR_CAPABILITY", "8")
    run = layers().compile(batch=1, device="emulator")
    x = rng.standard_normal((1, 8, 8, 8), np.float32)
    for _ in range(3):
        assert early(run, x)[1] == 0


def test_a_kernel_after_what_is_none_begins_late(rng):
    """Unpooling clears memory before its first kernel; the emulator refuses an early one there."""
    g = ts.Graph("unpooling")
    x = g.input("x", (2, 4, 4))
    y, at = g.apply("max_pool2d", "pool", x, kernel_size=2, return_indices=True)
    g.output(g.apply("max_unpool2d", "y", y, at, kernel_size=2))
    net = ts.Network(g)
    run = net.compile(device="emulator")
    x = rng.standard_normal((1, 2, 4, 4), np.float32)
    for _ in range(3):
        y, count = early(run, x)
        np.testing.assert_array_equal(y, net.reference(x).astype(np.float32))
        assert count == 1  # of pool, (clear), winner, copy: the last
