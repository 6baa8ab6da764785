"""Every operator on every instruction set, against reference/.

Twice: on integers small enough that float32 is exact, where equality is equality; then on normal values, within a bound
that follows from the arithmetic. With u = 2^-24, the unit of rounding, and gamma(n) = n u / (1 - n u):

    a sum of n products, in any order, fused or not, is wrong by at most gamma(n) * sum |x| |w|    (Higham 2002, 3.1)

where that last sum is the reference, run on absolute values. Products with the zero weights of padded channels are
exact and do not count. Results below 2^-126 become 0, which TINY allows for. What an activation adds: see ROUNDING.
"""

from __future__ import annotations

import collections
import functools
import math
import re

import cases
import numpy as np
import pytest
import tesela
from tesela import _core, reference
from tesela.arguments import ACTIVATIONS
from tesela.operators import TABLE

U = 2.0**-24
TINY = 2.0**-126
inf, nan = math.inf, math.nan


def gamma(n: float) -> float:
    return n * U / (1 - n * U)


def ids(case: cases.Case) -> str:
    return case.id


def compute(case: cases.Case, arrays: dict, **more):
    """The reference's results as a list."""
    results = getattr(reference, case.op)(**arrays, **case.arguments, **more)
    return list(results) if isinstance(results, tuple) else [results]


def within(actual: np.ndarray, expected: np.ndarray, bound) -> None:
    """|actual - expected| <= bound everywhere, and NaN and infinity in the same places."""
    assert actual.dtype == np.float32 and actual.shape == expected.shape
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(actual[~finite], expected[~finite].astype(np.float32))
    error, bound = np.abs(actual - expected)[finite], np.broadcast_to(bound, expected.shape)[finite]
    ratio = np.where(error > 0, error / np.maximum(bound, 1e-300), 0.0)
    assert np.isfinite(actual[finite]).all() and ratio.max(initial=0.0) <= 1.0, f"{ratio.max()} times the bound"


# -------------------------------------------------------------------------------------------------- activations

# name -> (the largest slope, error(x, f(x)) of the kernel's own arithmetic in units of U). Counted from vector_math.h:
# exp is a polynomial whose argument, tail and sum are each rounded once, 4 in all with its truncation; each further
# operation adds 1. |x| stands where 1 + erf or 1 + tanh cancels, which leaves an error relative to x / 2.
ROUNDING = {
    None: (1.0, lambda x, y: 0.0),
    "relu": (1.0, lambda x, y: 0.0),
    "relu6": (1.0, lambda x, y: 0.0),
    "leaky_relu": (1.0, lambda x, y: 2 * np.abs(y)),  # the slope, the product
    "elu": (1.0, lambda x, y: 13 * np.abs(y)),  # exp - 1 loses two bits at -0.34, where the tail takes over
    "sigmoid": (0.25, lambda x, y: 6 * np.abs(y)),
    "tanh": (1.0, lambda x, y: 6 * np.abs(y)),
    "hardswish": (1.5, lambda x, y: 3 * np.abs(y)),
    "silu": (1.1, lambda x, y: 6 * np.abs(y)),
    "gelu": (1.13, lambda x, y: 2.5 * np.abs(x) + 2 * np.abs(y)),
    "gelu_tanh": (1.13, lambda x, y: 4.1 * np.abs(x) + 2 * np.abs(y)),
}


def after_activation(activation, x: np.ndarray, error) -> np.ndarray:
    """The bound for activation(x), when x has been computed with this error."""
    name = activation[0] if isinstance(activation, tuple) else activation
    slope, rounding = ROUNDING[name]
    y = reference._activate(x, activation)
    return slope * error + U * rounding(np.abs(x) + error, np.abs(y) + slope * error) + TINY * (1 + np.abs(x))


def test_every_activation_has_a_bound():
    assert set(ROUNDING) == {None, *ACTIVATIONS}


def interesting_floats(rng: np.random.Generator) -> np.ndarray:
    """Both signs of every magnitude, the ends of every branch of vector_math.h, and what is no number."""
    magnitudes = np.concatenate([np.geomspace(1e-30, 1e30, 2001), np.linspace(0, 20, 8001), np.linspace(80, 110, 1001)])
    ends = [0.34, math.log(2) / 2, 0.625, 0.9375, 0.9375 * math.sqrt(2), 4 * math.sqrt(2), 3.0, 6.0, 87.3, 88.72, 89.0]
    ends = np.float32(ends)
    near = np.concatenate([np.nextafter(ends, np.float32(0)), ends, np.nextafter(ends, np.float32(inf))])
    x = np.concatenate([magnitudes.astype(np.float32), near, rng.standard_normal(4000, np.float32)])
    return np.concatenate([x, -x, np.float32([0.0, -0.0, inf, -inf, nan])])


@pytest.mark.filterwarnings("ignore:invalid value|overflow encountered:RuntimeWarning")
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation(name, isa, rng, planned):
    x = interesting_floats(rng)
    op, arguments = ("gelu", {"approximate": "tanh"}) if name == "gelu_tanh" else (name, {})
    (y,) = planned(op, {"x": x}, arguments).run()
    expected = getattr(reference, op)(x, **arguments)
    within(y, expected, after_activation(name, x.astype(np.float64), 0.0))
    assert np.isnan(y[-1])  # of NaN


@pytest.mark.parametrize("parameter", [-0.5, 0.0, 0.25, 3.0])
def test_activation_parameters(parameter, isa, rng, planned):
    x = rng.standard_normal((2, 17, 5), np.float32)
    for name, keyword in (("leaky_relu", "negative_slope"), ("elu", "alpha")):
        (y,) = planned(name, {"x": x}, {keyword: parameter}).run()
        expected = getattr(reference, name)(x, parameter)
        within(y, expected, U * ROUNDING[name][1](x, expected))


@pytest.mark.parametrize("shape", cases.SHAPES_OF_ANY_RANK, ids=str)
def test_activation_of_any_rank(shape, isa, rng, planned):
    x = rng.integers(-9, 10, shape).astype(np.float32)
    for name in ("relu", "relu6"):
        (y,) = planned(name, {"x": x}, {}).run()
        np.testing.assert_array_equal(y, getattr(reference, name)(x))
        np.testing.assert_array_equal(getattr(tesela, name)(x), y)


# ------------------------------------------------------------------------------------- convolution and products

MOST_MACS = 12_000_000  # a larger layer is tested on a smaller image
CONV2D = [c.cropped(MOST_MACS) for c in [*cases.CONV2D_NETWORKS, *cases.CONV2D_EDGES]]
CONV_TRANSPOSE2D = [c.cropped(MOST_MACS) for c in [*cases.CONV_TRANSPOSE2D_NETWORKS, *cases.CONV_TRANSPOSE2D_EDGES]]
LINEAR = [c for c in [*cases.LINEAR_NETWORKS, *cases.LINEAR_EDGES] if c.macs <= MOST_MACS]
# c as the kernels take it; the public function spreads the others first, see test_public_function.
GEMM = [c for c in cases.GEMM if c.operands.get("c", ()) not in ((20, 1), (1, 1))]

PRODUCTS = [*CONV2D, *CONV_TRANSPOSE2D, *LINEAR, *GEMM]
BENCHDNN = [c.cropped(MOST_MACS) for c in [*cases.benchdnn_conv2d(), *cases.benchdnn_conv_transpose2d()]]

# (bias, residual, activation that integers survive): every case takes one, one case of every algorithm takes all.
EPILOGUES = [
    (False, False, None),
    (True, False, "relu"),
    (True, True, None),
    (False, True, "relu"),
    (True, True, ("leaky_relu", 0.25)),
    (True, False, "relu6"),
    (False, False, ("leaky_relu", -2.0)),
]


def with_epilogue(case: cases.Case, bias: bool, residual: bool) -> cases.Case:
    operands = dict(case.operands)
    if bias and case.op != "gemm":
        groups = case.arguments.get("groups", 1) if case.op == "conv_transpose2d" else 1
        operands["bias"] = (operands["weight"][1 if case.op == "conv_transpose2d" else 0] * groups,)
    if residual and "residual" in TABLE[case.op].tensors:
        operator = TABLE[case.op]
        operands["residual"] = operator.dims(operator.attributes(**case.arguments), **operands)[0]
    return cases.Case(case.op, case.name, operands, case.arguments)


def products(case: cases.Case) -> int:
    """How many products one output sums."""
    if case.op == "gemm":
        return case.operands["a"][0 if case.arguments.get("trans_a") else 1]
    if case.op == "conv_transpose2d":
        channels, _, *kernel = case.operands["weight"]
        return channels // case.arguments.get("groups", 1) * math.prod(kernel)
    return math.prod(case.operands["weight"][1:])


@functools.lru_cache(maxsize=1)  # pytest goes through the instruction sets within a case
def integer_problem(case: cases.Case, bias: bool, residual: bool, activation) -> tuple[dict, np.ndarray]:
    arrays = with_epilogue(case, bias, residual).arrays(np.random.default_rng(7), integers=True)
    (expected,) = compute(case, arrays, activation=activation)
    assert np.abs(expected).max() < 2**24
    return arrays, expected.astype(np.float32)


@functools.lru_cache(maxsize=1)
def real_problem(case: cases.Case, bias: bool, residual: bool, activation) -> tuple[dict, np.ndarray, np.ndarray]:
    arrays = with_epilogue(case, bias, residual).arrays(np.random.default_rng(11))
    (sums,) = compute(case, arrays)
    magnitudes = {operand: np.abs(array) for operand, array in arrays.items()}
    scales = {key: abs(case.arguments[key]) for key in ("alpha", "beta") if key in case.arguments}
    magnitude = getattr(reference, case.op)(**magnitudes, **case.arguments | scales)
    # One rounding a product, one an addition: K products, bias and residual. alpha and beta are one each.
    roundings = products(case) + 2 + len(scales)
    bound = after_activation(activation, sums, gamma(roundings) * magnitude + roundings * TINY)
    return arrays, reference._activate(sums, activation), bound


def check_integers(case, epilogue, planned):
    arrays, expected = integer_problem(case, *epilogue)
    (y,) = planned(case.op, arrays, {**case.arguments, "activation": epilogue[2]}).run()
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("case", PRODUCTS, ids=ids)
def test_products_of_integers(case, isa, planned):
    check_integers(case, EPILOGUES[PRODUCTS.index(case) % len(EPILOGUES)], planned)


@pytest.mark.parametrize("case", BENCHDNN, ids=ids)
def test_products_of_integers_benchdnn(case, isa, planned):
    check_integers(case, EPILOGUES[BENCHDNN.index(case) % len(EPILOGUES)], planned)


@pytest.mark.parametrize("case", PRODUCTS, ids=ids)
def test_products(case, isa, planned):
    number = PRODUCTS.index(case)
    activation = [None, *ACTIVATIONS][number % (1 + len(ACTIVATIONS))]
    arrays, expected, bound = real_problem(case, number % 2 == 0, number % 3 == 0, activation)
    (y,) = planned(case.op, arrays, {**case.arguments, "activation": activation}).run()
    within(y, expected, bound)


# ------------------------------------------------------------------------------------- two convolutions in one step

PAIRS = cases.POINTWISE_DEPTHWISE_CONV2D
CLAMPS = [("relu6", "relu6"), (None, "relu"), ("relu", ("leaky_relu", -2.0)), (("leaky_relu", 0.5), None)]


def activations(case: cases.Case) -> dict:
    first, last = CLAMPS[PAIRS.index(case) % len(CLAMPS)]
    return {"pointwise_activation": first, "activation": last}


@pytest.mark.parametrize("case", PAIRS, ids=ids)
def test_pointwise_depthwise_on_integers(case, isa, planned):
    arrays = case.arrays(np.random.default_rng(7), integers=True)
    (expected,) = compute(case, arrays, **activations(case))
    assert np.abs(expected).max() < 2**24
    (y,) = planned(case.op, arrays, case.arguments | activations(case)).run()
    np.testing.assert_array_equal(y, expected.astype(np.float32))


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("case", PAIRS, ids=ids)
def test_pointwise_depthwise_gives_the_bits_of_two_steps(case, threads, isa, planned, monkeypatch):
    arrays = case.arrays(np.random.default_rng(7))
    kinds = activations(case)
    first = {"x": arrays["x"], "weight": arrays["pointwise_weight"], "bias": arrays["pointwise_bias"]}
    (wide,) = planned("conv2d", first, {"activation": kinds["pointwise_activation"]}).run()
    second = {"x": wide, "weight": arrays["weight"], "bias": arrays["bias"]}
    arguments = case.arguments | {"groups": wide.shape[1], "activation": kinds["activation"]}
    (expected,) = planned("conv2d", second, arguments).run()
    _core.set_planning_threads(threads)
    try:
        plan = planned(case.op, arrays, case.arguments | kinds)
    finally:
        _core.set_planning_threads(0)
    np.testing.assert_array_equal(*plan.run(), expected)


def test_pointwise_depthwise_is_one_step(isa, planned):
    def algorithms(case):
        arrays = case.arrays(np.random.default_rng(7))
        return [name for name in planned(case.op, arrays, case.arguments).algorithms if not name.startswith("to ")]

    apart = {case.id for case in PAIRS if algorithms(case) != ["pointwise, depthwise"]}
    # Too many rows twice; pixels of several images, which are rows of one product; one channel, which is no group.
    assert apart == {case.id for case in PAIRS if case.name == "apart"}


# One case, full blocks and a tail, for each algorithm.
ALGORITHMS = {
    "pointwise": [cases.conv2d("epilogue", 20, (5, 7), 40, 1), cases.conv2d("epilogue", 32, 6, 32, 1)],
    "direct": [cases.conv2d("epilogue", 20, (5, 7), 40, 3, padding=1), cases.conv2d("epilogue", 32, 5, 32, 3)],
    "stem": [cases.conv2d("epilogue", 3, (9, 7), 21, 3, stride=2), cases.conv2d("epilogue", 3, 6, 32, 3)],
    "depthwise": [
        cases.conv2d("epilogue", 21, 6, 21, 3, padding=1, groups=21),
        cases.conv2d("epilogue", 32, 6, 32, 3, padding=1, groups=32),
    ],
    "grouped in place": [
        cases.conv2d("epilogue", 20, 6, 20, 3, padding=1, groups=5),
        cases.conv2d("epilogue", 32, 7, 32, 3, stride=2, groups=16),
    ],
    "product of pixels": [
        cases.conv_transpose2d("epilogue", 20, 1, 32, 3),
        cases.conv_transpose2d("epilogue", 33, 1, 16, 4, stride=2, n=2),
    ],
    "grouped": [
        cases.conv2d("epilogue", 20, 6, 20, 3, padding=2, dilation=2, groups=5),
        cases.conv2d("epilogue", 40, 6, 40, 3, padding=1, groups=2),
    ],
}
TRANSFORMS = [  # tested below
    *(f"winograd F({m},{r})" for m, r in ((2, 3), (4, 3), (3, 2), (4, 2), (2, 5), (3, 5), (3, 4))),
    "space to depth",
    "winograd F(3,3) stride 2",
    "strassen",
]
# By 0, 1, 1/2 and 1/4.
EXACT_TRANSFORMS = {"winograd F(2,3)", "winograd F(3,2)", "winograd F(3,3) stride 2", "space to depth", "strassen"}
EPILOGUE_CASES = [
    *((algorithm, case) for algorithm, group in ALGORITHMS.items() for case in group),
    ("direct", cases.conv_transpose2d("epilogue", 20, 4, 21, 3, stride=2, padding=1)),
    ("gemm", cases.linear("epilogue", 9, 30, 37)),
    ("gemm", cases.gemm("epilogue", 9, 30, 37, c=(9, 37), alpha=2.0, beta=-3.0)),
]


@pytest.mark.parametrize(
    "algorithm, case", EPILOGUE_CASES, ids=lambda value: value if isinstance(value, str) else value.id
)
def test_every_epilogue_of_every_algorithm(algorithm, case, isa, planned):
    for bias, residual, activation in EPILOGUES:
        check_integers(case, (bias, residual, activation), planned)
    for activation in ACTIVATIONS:
        for bias, residual in [(False, False), (True, True)]:
            arrays, expected, bound = real_problem(case, bias, residual, activation)
            plan = planned(case.op, arrays, {**case.arguments, "activation": activation})
            assert algorithm in plan.algorithms
            within(*plan.run(), expected, bound)


@pytest.mark.parametrize("accuracy, algorithms", [("strict", ALGORITHMS), ("default", [*ALGORITHMS, *TRANSFORMS])])
def test_cases_reach_every_algorithm(accuracy, algorithms, isa, planned):
    reached = collections.Counter()
    for case in [*CONV2D, *CONV_TRANSPOSE2D]:
        arrays = {operand: np.zeros(shape, np.float32) for operand, shape in case.operands.items()}
        reached.update(planned(case.op, arrays, case.arguments, accuracy).algorithms)
    algorithms = set(algorithms) - ({"strassen"} if isa == "avx2" else set())  # there direct sums come first
    assert set(reached) - {"to blocked", "to plain", "plain"} == algorithms
    assert min(reached[algorithm] for algorithm in algorithms) >= 2


@pytest.mark.parametrize("channels, dilation, algorithm", [
    (512, 2, "winograd F(4,3)"), (512, 4, "winograd F(2,3)"), (512, 12, "direct"), (64, 4, "winograd F(4,3)"),
])  # fmt: skip
def test_weights_that_arrive_for_every_sub_grid_are_counted(channels, dilation, algorithm, planned):
    arrays = {
        "x": np.zeros((1, channels, 28, 28), np.float32),
        "weight": np.zeros((channels, channels, 3, 3), np.float32),
    }
    assert algorithm in planned("conv2d", arrays, {"padding": dilation, "dilation": dilation}, "default").algorithms


# A choice between all kinds; what only one algorithm can compute is tested above.
CHOICES = [
    c
    for c in [*cases.CONV2D_EDGES, *cases.CONV_TRANSPOSE2D_EDGES]
    if c.name in ("winograd", "groups", "dilated", "sides", "batch", "pixel", "joined")
]


@pytest.mark.parametrize("case", CHOICES, ids=ids)
def test_every_candidate(case, isa, planned):
    """Also what the estimates would not take."""
    epilogue = EPILOGUES[CHOICES.index(case) % len(EPILOGUES)]
    integers, exact = integer_problem(case, *epilogue)
    arrays, expected, bound = real_problem(case, *epilogue)
    arguments = {**case.arguments, "activation": epilogue[2]}
    candidates = planned(case.op, arrays, arguments, "default").candidates
    assert len(set(candidates)) == len(candidates) >= 1
    strict = planned(case.op, arrays, arguments).candidates
    assert strict == [algorithm for algorithm in candidates if not re.match("winograd|strassen|joined", algorithm)]
    for algorithm in candidates:
        plan = planned(case.op, arrays, arguments, "default", algorithm)
        assert algorithm in plan.algorithms or algorithm == "joined phases"
        transforms = set(TRANSFORMS) & set(plan.algorithms)
        within(*plan.run(), expected, 2 * bound.max() if transforms else bound)
        if transforms <= EXACT_TRANSFORMS:
            y = planned(case.op, integers, arguments, "default", algorithm).run()[0]
            np.testing.assert_array_equal(y, exact, algorithm)


def test_unknown_algorithm(planned):
    case = cases.conv2d("3x3", 32, 9, 32, 3)
    arrays = case.arrays(np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"conv2d: expected algorithm as one of 'winograd .*, 'direct', got 'fft'"):
        planned(case.op, arrays, case.arguments, "default", "fft")
    with pytest.raises(ValueError, match=r"conv2d: expected algorithm as one of 'direct', got 'winograd F\(2,3\)'"):
        planned(case.op, arrays, case.arguments, "strict", "winograd F(2,3)")


# ------------------------------------------------------------------------------------------------------ Winograd

WINOGRAD = [c for c in [*CONV2D, *CONV_TRANSPOSE2D] if c.name == "winograd"]
STRASSEN = [c for c in CONV2D if c.name == "strassen"]
SPACE_TO_DEPTH = [c for c in CONV2D if c.name == "space to depth"]
TILED = [c for c in CONV2D if c.operands["weight"][2:] == (3, 3) and not {"stride", "dilation"} & c.arguments.keys()]


POINTS = {
    4: [0, 1, -1],
    5: [0.5, -0.5, 1.25, -1.25],
    6: [0, 0.625, -0.625, 1.5, -1.5],
    7: [0.3125, -0.3125, 0.8125, -0.8125, 1.75, -1.75],
}


def winograd_matrices(m: int, r: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """G, A and B of F(m, r), see csrc/cpu/conv2d_winograd.cpp."""
    n = m + r - 1
    points = np.array(POINTS[n])
    G, A, B = np.zeros((n, r)), np.zeros((n, m)), np.zeros((n, n))
    for j, a in enumerate(points):
        others = np.delete(points, j)
        G[j] = a ** np.arange(r) / np.prod(a - others)
        A[j] = a ** np.arange(m)
        B[j, : n - 1] = np.poly(others)[::-1]
    G[-1, r - 1], A[-1, m - 1], B[-1] = 1, 1, np.poly(points)[::-1]
    return G, A, B


def strided_matrices() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of F(3, 3) with stride 2: F(3, 2) of the taps 0 and 2 on every second pixel, and tap 1 on the others."""
    outer = winograd_matrices(3, 2)
    G, A, B = np.zeros((7, 3)), np.zeros((7, 3)), np.zeros((7, 7))
    G[:4, ::2], A[:4], B[:4, ::2] = outer
    G[4:, 1], A[4:], B[4:, 1::2] = 1, np.eye(3), np.eye(3)
    return G, A, B


def winograd_magnitude(m: int, x: np.ndarray, weight: np.ndarray, padding, stride: int = 1) -> np.ndarray:
    """|A^T| (sum of |G| |w| |G^T| times |B^T| |x| |B|) |A|: what F(m, r) adds up."""
    r = weight.shape[2]
    G, A, B = map(np.abs, winograd_matrices(m, r) if stride == 1 else strided_matrices())

    (top, bottom), (left, right) = padding
    OH = (x.shape[2] + top + bottom - r) // stride + 1
    OW = (x.shape[3] + left + right - r) // stride + 1
    tiles_h, tiles_w = -(-OH // m), -(-OW // m)
    more = ((tiles_h * m - OH) * stride, (tiles_w * m - OW) * stride)
    padded = np.pad(np.abs(x.astype(np.float64)), ((0, 0), (0, 0), (top, bottom + more[0]), (left, right + more[1])))
    step = m * stride
    tiles = np.lib.stride_tricks.sliding_window_view(padded, B.shape, axis=(2, 3))[:, :, ::step, ::step]
    tiles = tiles[:, :, :tiles_h, :tiles_w]
    tiles, weight = B @ tiles @ B.T, G @ np.abs(weight.astype(np.float64)) @ G.T
    sums = np.einsum("bchwij,ocij->bohwij", tiles, weight, optimize=True)
    y = np.moveaxis(A.T @ sums @ A, 4, 3).reshape(len(x), len(weight), tiles_h * m, tiles_w * m)
    return y[:, :, :OH, :OW]


def dilated_magnitude(m: int, x: np.ndarray, weight: np.ndarray, padding, dilation, y_dims) -> np.ndarray:
    """The same with a dilation: outputs with equal coordinates modulo it are a convolution of every so many inputs."""
    y, x, (step_h, step_w) = np.zeros(y_dims), np.pad(x, ((0, 0), (0, 0), *padding)), dilation
    for h in range(min(step_h, y_dims[2])):
        for w in range(min(step_w, y_dims[3])):
            part = x[:, :, h::step_h, w::step_w]
            y[:, :, h::step_h, w::step_w] = winograd_magnitude(m, part, weight, ((0, 0), (0, 0)))
    return y


def transposed_magnitude(m: int, x: np.ndarray, weight: np.ndarray, stride: int, padding: int, y_dims) -> np.ndarray:
    """The same for conv_transpose2d: each phase is a convolution with the taps that it sees, in reverse order."""
    y, r = np.zeros(y_dims), weight.shape[2] // stride

    def axis(offset: int, extent: int, out: int):
        taps = [k for k in range(r * stride) if (offset + padding - k) % stride == 0][::-1]
        before = -((offset + padding - taps[0]) // stride)
        return taps, (before, len(range(offset, out, stride)) - extent - before + r - 1)

    for h in range(stride):
        for w in range(stride):
            (taps_h, pad_h), (taps_w, pad_w) = axis(h, x.shape[2], y_dims[2]), axis(w, x.shape[3], y_dims[3])
            kernel = weight.transpose(1, 0, 2, 3)[:, :, taps_h][..., taps_w]
            y[:, :, h::stride, w::stride] = winograd_magnitude(m, x, kernel, (pad_h, pad_w))
    return y


@pytest.mark.parametrize("case", WINOGRAD, ids=ids)
@pytest.mark.parametrize("epilogue", range(len(EPILOGUES)))
def test_winograd(case, epilogue, isa, planned):
    bias, residual, activation = EPILOGUES[epilogue]
    arrays, expected, _ = real_problem(case, bias, residual, activation)
    plan = planned(case.op, arrays, {**case.arguments, "activation": activation}, "default")
    (m,) = [int(re.search(r"F\((\d)", name)[1]) for name in plan.algorithms if name.startswith("winograd")]
    (y,) = plan.run()
    if case.arguments.get("groups", 1) == 1:
        x, weight = arrays["x"], arrays["weight"]
        padding = case.arguments.get("padding", 0)
        if case.op == "conv2d":
            attributes = TABLE["conv2d"].attributes(padding=padding, dilation=case.arguments.get("dilation", 1))
            if (stride := case.arguments.get("stride", 1)) > 1:
                magnitude = winograd_magnitude(m, x, weight, attributes["padding"], stride)
            else:
                magnitude = dilated_magnitude(m, x, weight, attributes["padding"], attributes["dilation"], y.shape)
        else:
            magnitude = transposed_magnitude(m, x, weight, case.arguments.get("stride", 1), padding, y.shape)
        magnitude += np.abs(arrays["residual"]) if residual else 0
        magnitude += np.abs(arrays["bias"])[:, None, None] if bias else 0
        # Four operations in each direction of each transform, one rounding of the weights, the sum over channels.
        channels = x.shape[1]
        (sums,) = compute(case, arrays)
        within(y, expected, after_activation(activation, sums, gamma(channels + 20) * magnitude))


def space_to_depth(case: cases.Case, x: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Operands of the convolution of stride 1 that the case is."""
    attributes = TABLE["conv2d"].attributes(**case.arguments)
    s, (_, kernel) = attributes["stride"][0], (weight.shape[:2], weight.shape[2:])
    taps = [-(-k // s) for k in kernel]
    (OH, OW), sides = compute(case, {"x": x, "weight": weight})[0].shape[2:], attributes["padding"]
    sizes = [(out + t - 1) * s for out, t in zip((OH, OW), taps, strict=True)]
    x = np.pad(x, ((0, 0), (0, 0), *((before, size) for (before, _), size in zip(sides, sizes, strict=True))))
    weight = np.pad(weight, ((0, 0), (0, 0), *((0, t * s - k) for t, k in zip(taps, kernel, strict=True))))

    def deep(a: np.ndarray) -> np.ndarray:
        n, c, h, w = a.shape
        a = a.reshape(n, c, h // s, s, w // s, s).transpose(0, 1, 3, 5, 2, 4)
        return a.reshape(n, c * s * s, h // s, w // s)

    return deep(x[:, :, : sizes[0], : sizes[1]]), deep(weight)


@pytest.mark.parametrize("case", SPACE_TO_DEPTH, ids=ids)
@pytest.mark.parametrize("epilogue", range(len(EPILOGUES)))
def test_space_to_depth(case, epilogue, isa, planned):
    bias, residual, activation = EPILOGUES[epilogue]
    arrays, expected, _ = real_problem(case, bias, residual, activation)
    plan = planned(case.op, arrays, {**case.arguments, "activation": activation}, "default")
    assert plan.algorithms[0] == "space to depth"
    (m,) = [int(re.search(r"F\((\d)", name)[1]) for name in plan.algorithms if name.startswith("winograd")]
    x, weight = space_to_depth(case, arrays["x"], arrays["weight"])
    (sums,) = compute(case, arrays)
    magnitude = winograd_magnitude(m, x, weight, ((0, 0), (0, 0)))
    magnitude += np.abs(arrays["residual"]) if residual else 0
    magnitude += np.abs(arrays["bias"])[:, None, None] if bias else 0
    within(*plan.run(), expected, after_activation(activation, sums, gamma(x.shape[1] + 20) * magnitude))


@pytest.mark.parametrize("case", [*WINOGRAD, *STRASSEN, *SPACE_TO_DEPTH], ids=ids)
def test_default_accuracy_is_about_twice_the_error_of_direct_sums(case, isa, planned):
    arrays, expected, _ = real_problem(case, False, False, None)
    strict, default = (planned(case.op, arrays, case.arguments, a).run()[0] for a in ("strict", "default"))
    assert np.square(default - expected).mean() <= 2.5**2 * np.square(strict - expected).mean()


@pytest.mark.parametrize("op", ["conv2d", "conv_transpose2d"])
def test_kernels_of_four_over_many_channels_are_summed_directly(op, isa, planned):
    arrays = {"x": np.zeros((1, 64, 12, 12), np.float32), "weight": np.zeros((64, 64, 4, 4), np.float32)}
    assert "direct" in planned(op, arrays, {}, "default").algorithms


@pytest.mark.parametrize("case", [*WINOGRAD, *SPACE_TO_DEPTH], ids=ids)
def test_winograd_on_four_points_is_exact_on_integers(case, isa, planned):
    for bias, residual, activation in EPILOGUES:
        arrays, expected = integer_problem(case, bias, residual, activation)
        plan = planned(case.op, arrays, {**case.arguments, "activation": activation}, "default")
        if not set(TRANSFORMS).difference(EXACT_TRANSFORMS) & set(plan.algorithms):
            np.testing.assert_array_equal(*plan.run(), expected)


@pytest.mark.parametrize("accuracy", ["default"])
@pytest.mark.parametrize("case", TILED, ids=ids)
def test_accuracy(case, accuracy, isa, planned):
    """Whatever is chosen: transforms mix the pixels of a tile, so the error goes with the largest sum nearby."""
    arrays, expected, bound = real_problem(case, True, False, None)
    (y,) = planned(case.op, arrays, case.arguments, accuracy).run()
    within(y, expected, 2 * bound.max())


@pytest.mark.parametrize("case", CONV_TRANSPOSE2D, ids=ids)
def test_default_accuracy_of_transposed_convolution_is_exact_on_integers(case, isa, planned):
    for bias, residual, activation in EPILOGUES:
        arrays, expected = integer_problem(case, bias, residual, activation)
        plan = planned(case.op, arrays, {**case.arguments, "activation": activation}, "default")
        if not set(TRANSFORMS).difference(EXACT_TRANSFORMS) & set(plan.algorithms):
            np.testing.assert_array_equal(*plan.run(), expected)


# ------------------------------------------------------------------------------------------------------ Strassen


def strassen_magnitude(x: np.ndarray, weight: np.ndarray, isa: str) -> np.ndarray:
    """What the seven products add up, as csrc/cpu/kernels/conv2d_strassen.cpp has them, of absolute values."""
    a, k = np.abs(x.astype(np.float64)), x.shape[1] // 2
    panels = 32 if isa == "avx512" else 16  # outputs on either side
    b = np.abs(weight.astype(np.float64)).reshape(-1, 2, panels, 2 * k)
    (a11, a21), (a12, a22) = ((part[:, :, ::2], part[:, :, 1::2]) for part in (a[:, :k], a[:, k:]))
    b11, b21, b12, b22 = b[:, 0, :, :k], b[:, 0, :, k:], b[:, 1, :, :k], b[:, 1, :, k:]

    def product(rows, columns):
        return np.einsum("nkhw,spk->nsphw", rows, columns, optimize=True)

    s1, t1 = a21 + a22, b11 + b12
    u = product(a11, b11) + product(s1 + a11, b22 + t1)
    v = u + product(a11 + a21, b22 + b12)
    w = product(s1, t1)
    c11, c12 = product(a11, b11) + product(a12, b21), u + w + product(a12 + s1 + a11, b22)
    c21, c22 = v + product(a22, b22 + t1 + b21), v + w
    y = np.stack([np.stack([c11, c12], 2), np.stack([c21, c22], 2)], -2)  # n, s, side, p, h / 2, line, w
    return y.reshape(len(x), len(weight), *x.shape[2:])


@pytest.mark.parametrize("case", STRASSEN, ids=ids)
@pytest.mark.parametrize("epilogue", range(len(EPILOGUES)))
def test_strassen(case, epilogue, isa, planned):
    bias, residual, activation = EPILOGUES[epilogue]
    arrays, expected, _ = real_problem(case, bias, residual, activation)
    plan = planned(case.op, arrays, {**case.arguments, "activation": activation}, "default", "strassen")
    assert "strassen" in plan.algorithms
    magnitude = strassen_magnitude(arrays["x"], arrays["weight"], isa)
    magnitude += np.abs(arrays["residual"]) if residual else 0
    # The bias of the first panels goes into all sums, and the second panels' is made up for it.
    magnitude += 3 * np.abs(arrays["bias"]).max() if bias else 0
    (sums,) = compute(case, arrays)
    # The longest way: four products of half the channels, three additions of pixels, one rounding of the weights.
    bound = gamma(2 * arrays["x"].shape[1] + 12) * magnitude
    within(*plan.run(), expected, after_activation(activation, sums, bound))


@pytest.mark.parametrize("case", STRASSEN, ids=ids)
def test_strassen_is_exact_on_integers(case, isa, planned):
    for bias, residual, activation in EPILOGUES:
        arrays, expected = integer_problem(case, bias, residual, activation)
        attributes = {**case.arguments, "activation": activation}
        np.testing.assert_array_equal(*planned(case.op, arrays, attributes, "default", "strassen").run(), expected)
        gated = {**arrays, "gate": np.random.default_rng(5).integers(-2, 3, (*expected.shape[:2], 1, 1), np.int8)}
        gated["gate"] = gated["gate"].astype(np.float32)
        plan = planned(case.op, gated, attributes, "default", "strassen")
        assert "strassen" in plan.algorithms
        np.testing.assert_array_equal(*plan.run(), compute(case, gated, activation=activation)[0].astype(np.float32))


@pytest.mark.parametrize("case", STRASSEN, ids=ids)
def test_strassen_gives_the_same_bits_for_any_number_of_threads(case, isa, planned, set_num_threads):
    arrays, results = case.arrays(np.random.default_rng(3)), []
    for threads in (1, 2, 3, 8):
        set_num_threads(threads)  # the work is cut for as many
        results += planned(case.op, arrays, case.arguments, "default", "strassen").run(threads)
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


@pytest.mark.parametrize("case", STRASSEN, ids=ids)
def test_strassen_comes_after_direct_sums_where_it_is_slower(case, isa, planned):
    (algorithm,) = set(
        planned(case.op, case.arrays(np.random.default_rng(0)), case.arguments, "default").algorithms
    ) & {"strassen", "pointwise"}
    assert algorithm == ("pointwise" if isa == "avx2" else "strassen")


def test_few_channels_of_transposed_convolution_join_their_phases(planned):
    joined = [c for c in CONV_TRANSPOSE2D if c.name == "joined"]
    for case in joined:
        assert len(planned(case.op, case.arrays(np.random.default_rng(0)), case.arguments, "default").algorithms) > 2


# -------------------------------------------------------------------------------------------------- exact copies

EXACT = [
    *cases.BINARY, *cases.PRELU, *cases.CONCAT, *cases.PAD, *cases.PIXEL_SHUFFLE, *cases.FLATTEN, *cases.DROPOUT,
    *(c for c in cases.UPSAMPLE if "mode" not in c.arguments),
    *(c for c in cases.GLOBAL_POOLS if c.op == "global_max_pool2d"),
    *cases.MAX_POOL2D, *cases.benchdnn_pool2d("max_pool2d"),
]  # fmt: skip


@pytest.mark.parametrize("case", EXACT, ids=ids)
def test_exact(case, isa, rng, planned):
    arrays = case.arrays(rng, integers=True)
    (y,) = planned(case.op, arrays, case.arguments).run()
    np.testing.assert_array_equal(y, compute(case, arrays)[0].astype(np.float32))


@pytest.mark.parametrize("case", [*cases.MAX_POOL2D, *cases.benchdnn_pool2d("max_pool2d")[::4]], ids=ids)
def test_max_pool2d_indices(case, isa, rng, planned):
    arrays = case.arrays(rng, integers=True)  # many equal values: the first wins
    y, indices = planned(case.op, arrays, {**case.arguments, "return_indices": True}).run()
    expected, expected_indices = compute(case, arrays, return_indices=True)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(indices, expected_indices)


@pytest.mark.parametrize("case", [*cases.AVG_POOL2D, *cases.benchdnn_pool2d("avg_pool2d")], ids=ids)
def test_avg_pool2d_of_integers(case, isa, rng, planned):
    """The sum is exact; the quotient is rounded as float64's rounded again (53 digits are more than 2 * 24 + 2)."""
    arrays = case.arrays(rng, integers=True)
    (y,) = planned(case.op, arrays, case.arguments).run()
    np.testing.assert_array_equal(y, compute(case, arrays)[0].astype(np.float32))


AVERAGES = [*cases.AVG_POOL2D, *cases.ADAPTIVE_POOLS, *(c for c in cases.GLOBAL_POOLS if c.op == "global_avg_pool2d")]


@pytest.mark.parametrize("case", AVERAGES, ids=ids)
def test_averages(case, isa, rng, planned):
    arrays = case.arrays(rng)
    (y,) = planned(case.op, arrays, case.arguments).run()
    _, _, h, w = case.operands["x"]
    kernel = case.arguments.get("kernel_size", (h, w))
    terms = math.prod(kernel) if isinstance(kernel, tuple) else kernel**2
    within(y, compute(case, arrays)[0], gamma(terms + 1) * compute(case, {"x": np.abs(arrays["x"])})[0])


POOLS = [*cases.MAX_POOL2D, *cases.AVG_POOL2D, *cases.ADAPTIVE_POOLS, *cases.GLOBAL_POOLS]


@pytest.mark.parametrize("case", POOLS, ids=ids)
def test_pools_of_plain_and_of_blocked_tensors_give_the_same_bits(case, isa, rng):
    x = rng.standard_normal(case.operands["x"], np.float32)
    x.flat[::13], x.flat[5::17] = nan, -inf
    channels, results, algorithms = x.shape[1], [], []
    for blocked in (False, True):
        g = tesela.Graph("pool")
        given = g.input("x", x.shape[1:])
        if blocked:  # as a convolution leaves it
            given = g.conv2d("same", given, channels, 1, groups=channels, bias=False)
        g.output(g.apply(case.op, "pool", given, **case.arguments))
        net = tesela.Network(g)
        if blocked:
            net.load_state_dict({"same.weight": np.ones((channels, 1, 1, 1), np.float32)})
        run = net.compile(len(x), accuracy="strict")
        results.append(run(x))
        algorithms += [step.algorithm for step in run.profile(x, repeats=1) if step.name == "pool"]
    np.testing.assert_array_equal(results[0].view(np.int32), results[1].view(np.int32))
    taken_as_it_lies = results[0].size <= x.size and math.prod(x.shape[2:]) < 2**14
    assert sum(algorithm in ("bands", "rows") for algorithm in algorithms) == taken_as_it_lies


def test_cases_reach_every_kernel_of_pooling(isa, planned):
    for cases_of_one in (cases.MAX_POOL2D, [*cases.AVG_POOL2D, *cases.ADAPTIVE_POOLS]):
        reached = collections.Counter()
        for case in cases_of_one:
            reached.update(planned(case.op, case.arrays(np.random.default_rng(0)), case.arguments).algorithms)
        assert min(reached[algorithm] for algorithm in ("bands", "rows")) >= 2, reached


@pytest.mark.parametrize("size", [None, (9, 13), (1, 17, 20, 20)])
def test_max_unpool2d(size, isa, rng, planned):
    x = rng.standard_normal((1 if size else 2, 17, 8, 12), np.float32)
    y, indices = tesela.max_pool2d(x, 2, return_indices=True)
    (back,) = planned("max_unpool2d", {"x": y, "indices": indices}, {"kernel_size": 2, "output_size": size}).run()
    np.testing.assert_array_equal(back, reference.max_unpool2d(y, indices, 2, output_size=size))


def test_max_unpool2d_of_equal_indices_keeps_the_last(isa, rng, planned):
    x = rng.standard_normal((2, 3, 4, 5), np.float32)
    indices = rng.integers(0, 4, x.shape)
    (y,) = planned("max_unpool2d", {"x": x, "indices": indices}, {"kernel_size": 2}).run()
    np.testing.assert_array_equal(y, reference.max_unpool2d(x, indices, 2))


def test_indices_leave_a_network_and_come_back(isa, rng):
    g = tesela.Graph("indices")
    y, indices = g.max_pool2d("pool", g.input("x", (17, 9, 9)), kernel_size=3, stride=2, return_indices=True)
    g.output(g.max_unpool2d("unpool", y, indices, kernel_size=3, stride=2), "pool", "pool:1")
    x = rng.standard_normal((2, 17, 9, 9), np.float32)
    back, pooled, places = tesela.Network(g)(x)
    expected, expected_places = reference.max_pool2d(x, 3, stride=2, return_indices=True)
    np.testing.assert_array_equal(pooled, expected)
    np.testing.assert_array_equal(places, expected_places)
    np.testing.assert_array_equal(back, reference.max_unpool2d(expected, expected_places, 3, stride=2))


# ------------------------------------------------------------------------------------- normalization, resampling


@pytest.mark.parametrize("activation", [None, "relu", "tanh"])
@pytest.mark.parametrize("case", cases.BATCH_NORM, ids=ids)
def test_batch_norm(case, activation, isa, rng, planned):
    arrays = case.arrays(rng)
    arrays["running_var"] = np.abs(arrays["running_var"]) + np.float32(0.1)
    (y,) = planned(case.op, arrays, {"activation": activation}).run()
    (sums,) = compute(case, arrays)
    # x * scale + shift: scale, shift, product and sum are rounded, and |shift| <= |mean| * |scale| + |bias|.
    sizes = {operand: np.abs(array) for operand, array in arrays.items()}
    magnitude = reference.batch_norm(**sizes | {"running_mean": -sizes["running_mean"]})
    within(y, reference._activate(sums, activation), after_activation(activation, sums, gamma(3) * magnitude))


@pytest.mark.parametrize("case", cases.LOCAL_RESPONSE_NORM, ids=ids)
def test_local_response_norm(case, isa, rng, planned):
    arrays = case.arrays(rng)
    (y,) = planned(case.op, arrays, case.arguments).run()
    (expected,) = compute(case, arrays)
    # The divisor: `size` squares summed, alpha / size, its product, k; a relative error e becomes beta * e under the
    # power, which itself takes four operations (or powf, good to 1 ulp); then the division.
    beta = case.arguments.get("beta", 0.75)
    within(y, expected, gamma(beta * (case.arguments["size"] + 5) + 5) * np.abs(expected))


@pytest.mark.parametrize("case", cases.SOFTMAX, ids=ids)
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_softmax(case, scale, isa, rng, planned):
    x = case.arrays(rng)["x"] * np.float32(scale)
    dim = case.arguments["dim"]
    (y,) = planned(case.op, {"x": x}, case.arguments).run()
    (expected,) = compute(case, {"x": x})
    # x - m is rounded, which exp turns into a relative error |x - m| u, plus 4 u of its own; so the sum of n of them is
    # wrong by the mean of that, weighted with what each contributes, and n more.
    p = reference.softmax(x, dim)
    distance = x.max(axis=dim, keepdims=True) - x.astype(np.float64)
    of_sum = 4 + (p * distance).sum(axis=dim, keepdims=True) + x.shape[dim]
    if case.op == "softmax":
        within(y, expected, gamma((4 + distance + of_sum + 1).max()) * expected + 2 * TINY)
    else:  # log(s) is good to 1 ulp, then two subtractions
        log_sum = np.abs(expected + distance)
        within(y, expected, 1.01 * U * (distance + of_sum + 2 * log_sum + np.abs(expected)))


@pytest.mark.parametrize("case", [c for c in cases.UPSAMPLE if "mode" in c.arguments], ids=ids)
def test_upsample_bilinear(case, isa, rng, planned):
    arrays = case.arrays(rng)
    (y,) = planned(case.op, arrays, case.arguments).run()
    # One axis: both weights, a product and a sum are rounded, 5 u of the larger neighbour at most; two axes.
    within(y, compute(case, arrays)[0], gamma(10) * np.abs(arrays["x"]).max())


# ------------------------------------------------------------------------------------------------ public functions

# One or two cases of each operator; the runs above go through the same plans.
PUBLIC = [
    *CONV2D[::25], *CONV_TRANSPOSE2D[::12], *LINEAR[-3:], *cases.GEMM, *cases.MAX_POOL2D[-2:], *cases.GLOBAL_POOLS[::4],
    *cases.CONCAT, *cases.PAD[:2], *cases.BINARY[::5], *cases.PRELU[:2], *cases.PIXEL_SHUFFLE[:1], *cases.FLATTEN[:1],
    *cases.DROPOUT, *(c for c in cases.UPSAMPLE[:2]),
]  # fmt: skip


@pytest.mark.parametrize("case", PUBLIC, ids=ids)
def test_public_function(case, isa, rng):
    arrays = case.arrays(rng, integers=True)
    y = getattr(tesela, case.op)(**arrays, **case.arguments)
    (expected,) = compute(case, arrays)
    if case.op == "global_avg_pool2d":
        within(y, expected, U * np.abs(expected))
    else:
        np.testing.assert_array_equal(y, expected.astype(np.float32))


def test_gemm_takes_numbers_for_c(isa):
    a, b = np.eye(3, 4, dtype=np.float32), np.ones((4, 2), np.float32)
    np.testing.assert_array_equal(tesela.gemm(a, b, 2), np.full((3, 2), 3.0))
    np.testing.assert_array_equal(tesela.gemm(a, b, np.float32(2), beta=0.5), np.full((3, 2), 2.0))


def test_every_operator_is_tested():
    tested = {
        case.op
        for case in [
            *PRODUCTS,
            *PAIRS,
            *EXACT,
            *AVERAGES,
            *cases.BATCH_NORM,
            *cases.LOCAL_RESPONSE_NORM,
            *cases.SOFTMAX,
        ]
    }
    families = ("array", "map", "reduce", "statistics")  # test_array.py
    families += ("detection",)  # test_detection.py
    elsewhere = {name for name, operator in TABLE.items() if type(operator).__module__.endswith(families)}
    assert tested | set(ACTIVATIONS) - {"gelu_tanh"} | {"max_unpool2d"} | elsewhere == set(TABLE)


# ---------------------------------------------------------------------------------------------- NaN and infinity

quiet = pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")


def same_kind(actual: np.ndarray, expected: np.ndarray) -> None:
    """NaN, +inf, -inf and numbers in the same places."""
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))
    np.testing.assert_array_equal(np.where(np.isinf(actual), actual, 0), np.where(np.isinf(expected), expected, 0))


SPECIAL = [c for c in [*CONV2D, *CONV_TRANSPOSE2D, *PAIRS] if c.macs < 10**6]


@quiet
@pytest.mark.parametrize("case", SPECIAL, ids=ids)
@pytest.mark.parametrize("value", [nan, inf])
def test_special_values_stay_in_their_receptive_field(case, value, isa, rng, planned):
    arrays = case.arrays(rng)
    n, c, h, w = arrays["x"].shape
    arrays["x"][n - 1, c // 2, h // 2, w // 2] = value
    if value == inf:
        arrays["x"][0, c - 1, 0, w - 1] = -inf
    (y,) = planned(case.op, arrays, case.arguments).run()
    same_kind(y, compute(case, arrays)[0])


@quiet
@pytest.mark.parametrize("algorithm, case", EPILOGUE_CASES, ids=lambda v: v if isinstance(v, str) else v.id)
def test_special_values_pass_every_epilogue(algorithm, case, isa, planned):
    arrays = with_epilogue(case, True, False).arrays(np.random.default_rng(3))
    values = arrays["a" if case.op == "gemm" else "x"]
    values.flat[[0, values.size // 3, values.size // 2, values.size - 1]] = [nan, inf, -inf, inf]
    (sums,) = compute(case, arrays)
    for activation in [None, *ACTIVATIONS, ("leaky_relu", 0.0)]:
        (y,) = planned(case.op, arrays, {**case.arguments, "activation": activation}).run()
        same_kind(y, reference._activate(sums, activation))


@quiet
def test_special_values_of_products(isa, rng, planned):
    x, weight = rng.standard_normal((7, 20), np.float32), rng.standard_normal((18, 20), np.float32)
    x[2, 3], x[4, 5], x[5, 0], x[5, 19] = nan, inf, inf, -inf
    (y,) = planned("linear", {"x": x, "weight": weight}, {}).run()
    same_kind(y, reference.linear(x, weight))
    (y,) = planned("gemm", {"a": x, "b": weight}, {"trans_b": True}).run()
    same_kind(y, reference.linear(x, weight))


@quiet
@pytest.mark.parametrize("channels", [3, 16, 17])
def test_special_values_of_other_operators(channels, isa, rng, planned):
    x = rng.standard_normal((2, channels, 6, 7), np.float32)
    x[0, 1, 2, 3], x[1, 2, 5, 6], x[1, 0, 0, 0] = nan, inf, -inf
    for op, arguments in [
        ("max_pool2d", {"kernel_size": 3, "padding": 1}),
        ("max_pool2d", {"kernel_size": 3, "padding": 1, "return_indices": True}),
        ("avg_pool2d", {"kernel_size": 2}),
        ("global_max_pool2d", {}),
        ("global_avg_pool2d", {}),
        ("adaptive_avg_pool2d", {"output_size": 4}),
        ("pad", {"padding": 1, "value": inf}),
        ("upsample", {"scale_factor": 2}),
        ("concat", {}),
        ("softmax", {"dim": 1}),
        ("log_softmax", {"dim": 3}),
    ]:
        operands = {"tensors": [x, -x]} if op == "concat" else {"x": x}
        results = planned(op, operands, arguments).run()
        expected = getattr(reference, op)(**operands, **arguments)
        for y, e in zip(results, expected if isinstance(expected, tuple) else (expected,), strict=True):
            same_kind(y, e)


def test_max_pool2d_of_nothing_but_minus_infinity(isa, planned):
    x = np.full((1, 5, 4, 4), -inf, np.float32)
    y, indices = planned("max_pool2d", {"x": x}, {"kernel_size": 2, "return_indices": True}).run()
    assert (y == -inf).all() and (indices[0, 0] == [[0, 2], [8, 10]]).all()


def middle(g: tesela.Graph, op: str, x: str) -> str:
    """One operator, with what makes it leave something other than zero in lanes that hold no channel."""
    arguments = {
        "max_pool2d": {"kernel_size": 2, "padding": 1}, "avg_pool2d": {"kernel_size": 3, "stride": 1},
        "pad": {"padding": 1, "value": inf}, "local_response_norm": {"size": 3, "alpha": 1.0, "k": 0.0},
        "upsample": {"size": (9, 11)}, "leaky_relu": {"negative_slope": -1.0},
    }  # fmt: skip
    if op in ("add", "mul"):
        return getattr(g, op)("middle", x, g.input("y", (5, 1, 1)))
    if op == "concat":
        return g.concat("middle", [x, g.relu("other", x)])
    if op == "bilinear":
        return g.upsample("middle", x, size=(9, 11), mode="bilinear")
    if op == "depthwise":
        return g.conv2d("middle", x, 5, 3, groups=5, activation="sigmoid")
    if op == "stem":
        return g.conv2d("middle", x, 7, 3, activation="sigmoid")
    if op == "transposed":
        return g.conv_transpose2d("middle", x, 7, 3, stride=2, activation="sigmoid")
    return getattr(g, op)("middle", x, **arguments.get(op, {}))


MIDDLES = [
    "sigmoid", "hardswish", "elu", "leaky_relu", "prelu", "batch_norm", "add", "mul", "max_pool2d", "avg_pool2d", "pad",
    "local_response_norm", "upsample", "bilinear", "concat", "depthwise", "stem", "transposed", "softmax",
    "pixel_shuffle",
]  # fmt: skip


@quiet
@pytest.mark.parametrize("op", MIDDLES)
@pytest.mark.parametrize("special", [None, inf])
def test_lanes_without_a_channel_stay_zero(op, special, isa, rng):
    """conv -> op -> conv with channels that do not fill a block: what the second reads beyond them must be 0.

    Its zero weights would hide a finite value there, so the norm across neighbouring channels reads them as well.
    """
    g = tesela.Graph("lanes")
    channels = 20 if op == "pixel_shuffle" else 5
    x = g.conv2d("first", g.input("x", (19, 6, 8)), channels, 1)
    x = g.pixel_shuffle("middle", x, upscale_factor=2) if op == "pixel_shuffle" else middle(g, op, x)
    # "first" is asked for, so that nothing is fused into it.
    g.output(g.conv2d("last", x, 3, 3), g.local_response_norm("across", x, size=5, alpha=1.0), "first")
    seeded = tesela.Network(g).parameters
    weights = {
        name: np.full_like(value, 0.5) if "var" in name else rng.standard_normal(value.shape, np.float32)
        for name, value in seeded.items()
    }
    net = tesela.Network(g, weights)
    inputs = [rng.standard_normal((2, *dims), np.float32) for dims in g.inputs.values()]
    if special is not None:
        inputs[0][1, 18, 5, 7] = special
        for other in inputs[1:]:
            other[1, 4] = special
    for y, expected in zip(net(*inputs), net.reference(*inputs), strict=True):
        same_kind(y, expected)
        finite = np.isfinite(expected)
        # Far above rounding, far below what a misplaced 0.5 would do.
        np.testing.assert_allclose(y[finite], expected[finite], rtol=1e-3, atol=1e-3)


def test_a_run_leaves_nothing_behind(isa, rng):
    """The arena of a run full of NaN is used again; every value that is read must have been written first."""
    g = tesela.Graph("leftovers")
    x = g.conv2d("stem", g.input("x", (19, 17, 17)), 21, 3, stride=2, activation="sigmoid")
    a, b = g.conv2d("a", x, 5, 1), g.conv2d("b", x, 16, 3, padding=1, activation="relu")
    x = g.concat("joined", [b, a])
    x = g.conv2d("depthwise", x, 21, 3, padding=1, groups=21)
    x = g.add("sum", x, g.conv2d("grouped", x, 21, 3, padding=1, groups=3))
    x = g.local_response_norm("norm", g.max_pool2d("pool", x, kernel_size=3, padding=1), size=5)
    x = g.conv2d("few", g.conv_transpose2d("up", x, 6, 3, stride=2), 7, 3, padding=1)
    x = g.upsample("resized", g.avg_pool2d("mean", x, kernel_size=2), size=5, mode="bilinear")
    g.output(g.softmax("p", g.linear("fc", g.flatten("flat", x), 10)), "joined")
    run = tesela.Network(g).compile(batch=2)
    image = rng.standard_normal((2, 19, 17, 17), np.float32)
    first = run(image)
    run(np.full_like(image, nan))
    for before, after in zip(first, run(image), strict=True):
        assert np.isfinite(after).all()
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("a, b, alpha", [(1e20, 1e-20, 1e-30), (1e-20, 1e20, 1e30)])
def test_gemm_scales_the_sum_not_an_operand(a, b, alpha):
    """alpha times an operand would leave the range of float32 where alpha times the sum does not."""
    one = np.ones((1, 1), np.float32)
    np.testing.assert_allclose(tesela.gemm(a * one, b * one, alpha=alpha), [[alpha]], rtol=1e-6)
