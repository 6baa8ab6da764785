"""Weights stored as bfloat16, and products of bfloat16 on CPUs that have them. Sums are float32 in both."""

import cases
import numpy as np
import pytest
import tesela
from tesela import _core
from tesela.graph import Graph
from tesela.network import Network
from test_ops import EPILOGUES, after_activation, compute, gamma, integer_problem, real_problem, within

needs_products = pytest.mark.skipif(not _core.has_bfloat16_products(), reason="this CPU has no AVX512_BF16")
CONVOLUTIONS = [
    cases.conv2d("bfloat16", 16, 5, 16, 1),
    cases.conv2d("bfloat16", 33, (7, 9), 40, 3, padding=1, n=2),
    cases.conv2d("bfloat16", 64, 14, 70, 3, stride=2, padding=((0, 1), (2, 0))),
    cases.conv2d("bfloat16", 96, (9, 6), 64, 3, dilation=2, groups=2),
    cases.conv2d("bfloat16", 300, 7, 50, 3, padding=1, n=3),
    cases.conv_transpose2d("bfloat16", 40, (4, 5), 33, 4, stride=2, padding=1, n=2),
]
LINEAR = [cases.linear("bfloat16", m, k, n) for m, k, n in ((1, 7, 3), (1, 300, 70), (5, 1100, 33), (30, 65, 100))]
PRODUCTS = {"precision": "bfloat16", "accuracy": "default"}
WAYS = [
    *(pytest.param(case, {"weight_storage": "bfloat16"}, id=f"weights-{case.id}") for case in LINEAR),
    *(
        pytest.param(case, PRODUCTS | algorithm, id=f"products-{case.id}", marks=needs_products)
        for listed, algorithm in ((LINEAR, {}), (CONVOLUTIONS, {"algorithm": "direct bfloat16"}))
        for case in listed
    ),
]


def rounded(array: np.ndarray) -> np.ndarray:
    """To bfloat16, nearest even."""
    bits = array.view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def plan(planned, case, arrays, activation, way):
    if "precision" in way and not _core.has_bfloat16_products():
        pytest.skip("products of bfloat16 are AVX-512's")
    made = planned(case.op, arrays, {**case.arguments, "activation": activation}, **way)
    assert any("bfloat16" in algorithm for algorithm in made.algorithms)
    return made


@pytest.mark.parametrize("case, way", WAYS)
def test_integers_are_exact(case, way, isa, planned):
    for bias, residual, activation in EPILOGUES:
        residual = residual and case.op != "linear"
        arrays, expected = integer_problem(case, bias, residual, activation)
        made = plan(planned, case, arrays, activation, way)
        for threads in (1, 3):
            np.testing.assert_array_equal(made.run(threads)[0], expected)


@pytest.mark.parametrize("case, way", WAYS)
def test_only_operands_are_rounded(case, way, isa, planned):
    arrays, _, _ = real_problem(case, True, False, "relu")
    made = plan(planned, case, arrays, "relu", way)
    operands = ["weight"] if "weight_storage" in way else ["weight", "x"]
    given = arrays | {operand: rounded(arrays[operand]) for operand in operands}
    (sums,) = compute(case, given)
    (magnitude,) = compute(case, {operand: np.abs(array) for operand, array in given.items()})
    count = arrays["weight"].size  # more roundings than any output has
    within(made.run()[0], np.maximum(sums, 0), after_activation("relu", sums, gamma(2 * count) * magnitude))


def network() -> Network:
    g = Graph("layers")
    x = g.conv2d("conv1", g.input("x", (3, 32, 32)), 32, 3, padding=1, activation="relu")
    x = g.conv2d("conv2", x, 48, 1, activation="relu")
    x = g.max_pool2d("pool", x, kernel_size=4)
    g.output(g.linear("fc", g.flatten("flatten", x), 10))
    return Network(g)


@pytest.mark.parametrize(
    "way", [{"weight_storage": "bfloat16"}, pytest.param({"precision": "bfloat16"}, marks=needs_products)]
)
@pytest.mark.parametrize("batch", [1, 5])
def test_a_network_is_near_its_float32(way, batch, rng):
    net = network()
    x = rng.standard_normal((batch, 3, 32, 32), np.float32)
    exact, run = net.compile(batch), net.compile(batch, **way)
    error = np.abs(run(x) - exact(x)).max() / np.abs(exact(x)).max()
    assert 1e-5 < error < 2**-6
    assert run.memory()["weights"] < exact.memory()["weights"]


def test_where_it_cannot_be_had_it_is_refused():
    with tesela.max_isa("generic"), pytest.raises(ValueError, match="'bfloat16' where it has AVX512_BF16"):
        network().compile(precision="bfloat16")
    with pytest.raises(ValueError, match="expected weight_storage as one of 'float32', 'bfloat16', got 'float16'"):
        network().compile(weight_storage="float16")
