"""The oracle itself: values worked out by hand, identities that hold by definition, refusals, and PyTorch in float64.

Integer-valued arrays are compared for equality, since float64 is exact on them; real ones to a few units of rounding.
"""

import itertools
import math

import numpy as np
import pytest
from tesela import reference as ref


@pytest.fixture
def torch():
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # these arrays are too small to share
    yield torch
    torch.set_num_threads(threads)


def integers(rng, *shape):
    return rng.integers(-4, 5, shape).astype(np.float64)


def plane(*rows):
    """One image of one channel."""
    return np.array(rows, dtype=np.float64)[None, None]


def close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)


equal = np.testing.assert_array_equal
inf, nan = math.inf, math.nan
NINE = plane([1, 2, 3], [4, 5, 6], [7, 8, 9])

# ------------------------------------------------------------------------------------------------ by hand


def test_conv2d_by_hand():
    w = plane([1, 0], [0, -1])
    equal(ref.conv2d(NINE, w), plane([-4, -4], [-4, -4]))
    equal(ref.conv2d(NINE, w, [10]), plane([6, 6], [6, 6]))
    equal(ref.conv2d(NINE, w, stride=2, padding=1), plane([-1, -3], [-7, -4]))
    equal(ref.conv2d(NINE, w, padding=((1, 0), (0, 1))), plane([-2, -3, 0], [-4, -4, 3], [-4, -4, 6]))
    equal(ref.conv2d(NINE, w, padding="same"), plane([-4, -4, 3], [-4, -4, 6], [7, 8, 9]))
    equal(ref.conv2d(NINE, w, padding="valid"), plane([-4, -4], [-4, -4]))
    equal(ref.conv2d(NINE, w, dilation=2), plane([-8]))
    equal(ref.conv2d(NINE, w, stride=(1, 2)), plane([-4], [-4]))


def test_conv2d_sums_over_channels():
    x = np.array([1.0, 10, 100, 1000]).reshape(1, 4, 1, 1)
    w = np.arange(1.0, 9).reshape(4, 2, 1, 1)
    equal(ref.conv2d(x, w, groups=2).ravel(), [21, 43, 6500, 8700])


def test_residual_and_bias_come_before_the_activation():
    y = ref.conv2d(NINE, plane([1]), [-5], residual=-NINE + plane([0, 9, 0], [0, 0, 0], [0, 0, 7]), activation="relu")
    equal(y, plane([0, 4, 0], [0, 0, 0], [0, 0, 2]))


def test_conv_transpose2d_by_hand():
    x, w = plane([1, 2]), plane([1, 10])
    equal(ref.conv_transpose2d(x, w), plane([1, 12, 20]))
    equal(ref.conv_transpose2d(x, w, [5]), plane([6, 17, 25]))
    equal(ref.conv_transpose2d(x, w, stride=2), plane([1, 10, 2, 20]))
    equal(ref.conv_transpose2d(x, w, stride=3), plane([1, 10, 0, 2, 20]))
    equal(ref.conv_transpose2d(x, w, dilation=2), plane([1, 2, 10, 20]))
    equal(ref.conv_transpose2d(x, w, stride=2, padding=((0, 0), (1, 0))), plane([10, 2, 20]))
    equal(ref.conv_transpose2d(x, w, stride=2, padding=((0, 0), (0, 1))), plane([1, 10, 2]))
    equal(ref.conv_transpose2d(x, w, [5], stride=2, output_padding=(0, 1)), plane([6, 15, 7, 25, 5]))
    equal(ref.conv_transpose2d(-x, w, stride=2, activation=("leaky_relu", 0.5)), plane([-0.5, -5, -1, -10]))


def test_max_pool2d_by_hand():
    y, at = ref.max_pool2d(NINE, 2, stride=1, return_indices=True)
    equal(y, plane([5, 6], [8, 9]))
    equal(at, plane([4, 5], [7, 8]))
    equal(ref.max_pool2d(NINE, 2), plane([5]))
    equal(ref.max_pool2d(NINE, 2, ceil_mode=True), plane([5, 6], [8, 9]))
    equal(ref.max_pool2d(-NINE, 2, padding=1), plane([-1, -2], [-4, -5]))
    equal(ref.max_pool2d(NINE, 2, dilation=2), plane([9]))
    equal(ref.max_pool2d(NINE, (1, 2), stride=1, padding=((0, 0), (1, 0))), NINE)
    # The second window would start in the trailing padding, so there is none.
    equal(ref.max_pool2d(plane([7]), 2, stride=2, padding=1, ceil_mode=True), plane([7]))


def test_max_pool2d_special_values():
    y, at = ref.max_pool2d(plane([1, nan, 3, 4], [nan, 0, 5, 5]), 2, return_indices=True)
    equal(y, plane([nan, 5]))
    equal(at, plane([4, 6]))
    y, at = ref.max_pool2d(plane([-inf, -inf]), (1, 2), stride=1, padding=((0, 0), (1, 1)), return_indices=True)
    equal(y, plane([-inf, -inf, -inf]))
    equal(at, plane([0, 0, 1]))
    y, at = ref.max_pool2d(plane([7]), 2, padding=1, dilation=2, return_indices=True)
    equal(y, plane([-inf]))
    equal(at, plane([-1]))


def test_avg_pool2d_by_hand():
    equal(ref.avg_pool2d(NINE, 2, stride=1), plane([3, 4], [6, 7]))
    equal(ref.avg_pool2d(NINE, 2), plane([3]))
    equal(ref.avg_pool2d(NINE, 2, ceil_mode=True), plane([3, 4.5], [7.5, 9]))
    equal(ref.avg_pool2d(NINE, 2, padding=1), plane([0.25, 1.25], [2.75, 7]))
    equal(ref.avg_pool2d(NINE, 2, padding=1, count_include_pad=False), plane([1, 2.5], [5.5, 7]))
    equal(ref.avg_pool2d(NINE, 2, padding=1, divisor_override=2), plane([0.5, 2.5], [5.5, 14]))
    # Columns 1..3 of x, then one of padding and one past it: the former counts, the latter does not.
    equal(ref.avg_pool2d(plane([0, 0, 6]), (1, 3), stride=2, padding=((0, 0), (0, 1)), ceil_mode=True), plane([2, 3]))


def test_max_unpool2d_by_hand():
    x = plane([5, 6])
    equal(ref.max_unpool2d(x, plane([3, 0]).astype(int), 2), plane([6, 0, 0, 5], [0, 0, 0, 0]))
    equal(ref.max_unpool2d(x, plane([3, 3]).astype(int), 2), plane([0, 0, 0, 6], [0, 0, 0, 0]))
    equal(ref.max_unpool2d(x, plane([3, 4]).astype(int), 2, output_size=(2, 3)), plane([0, 0, 0], [5, 6, 0]))
    equal(ref.max_unpool2d(x, plane([3, 4]).astype(int), 2, output_size=(1, 1, 2, 3)), plane([0, 0, 0], [5, 6, 0]))
    equal(ref.max_unpool2d(x, plane([0, 1]).astype(int), 3, stride=2, padding=((1, 0), (1, 1))).shape, (1, 1, 2, 3))


def test_global_and_adaptive_pooling_by_hand():
    equal(ref.global_avg_pool2d(NINE), plane([5]))
    equal(ref.global_max_pool2d(-NINE), plane([-1]))
    equal(ref.global_max_pool2d(plane([1, nan])), plane([nan]))
    equal(ref.adaptive_avg_pool2d(NINE, (1, 2)), plane([4.5, 5.5]))
    equal(ref.adaptive_avg_pool2d(NINE, (None, 1)), plane([2], [5], [8]))
    equal(ref.adaptive_avg_pool2d(plane([1, 2, 3]), (1, 5)), plane([1, 1.5, 2, 2.5, 3]))


def test_gemm_and_linear_by_hand():
    a, b = [[1, 2], [3, 4]], [[0, 1], [1, 1]]
    equal(ref.gemm(a, b), [[2, 3], [4, 7]])
    equal(ref.gemm(a, b, trans_a=True), [[3, 4], [4, 6]])
    equal(ref.gemm(b, a, trans_b=True), [[2, 4], [3, 7]])
    equal(ref.gemm(a, b, [1, 10], alpha=2, beta=3), [[7, 36], [11, 44]])
    equal(ref.gemm(a, b, [[1], [10]], alpha=-1, activation="relu"), [[0, 0], [6, 3]])
    equal(ref.gemm(a, b, 1), [[3, 4], [5, 8]])
    equal(ref.linear([1, 2], [[1, 1], [0, -1], [3, 0]], [0, 0, 1]), [3, -2, 4])
    equal(ref.linear([[[1, 2]]], [[0, -1]], activation="relu"), [[[0]]])


def test_normalisation_by_hand():
    equal(ref.batch_norm([[3.0]], [1], [3], [5], [7], eps=1), [[12]])
    equal(ref.batch_norm([[3.0, 3.0]], [1, 2], [3, 0], eps=1), [[1, 1]])
    x = np.array([1.0, 2, 3]).reshape(1, 3, 1, 1)
    close(ref.local_response_norm(x, 3, alpha=3, beta=1, k=1).ravel(), [1 / 6, 2 / 15, 3 / 14])
    close(ref.local_response_norm(x, 2, alpha=2, beta=1, k=1).ravel(), [1 / 2, 2 / 6, 3 / 14])
    close(ref.softmax([[0, math.log(3)]]), [[0.25, 0.75]])
    close(ref.softmax([[0, 1], [math.log(3), 1]], dim=0), [[0.25, 0.5], [0.75, 0.5]])
    close(ref.log_softmax([1000, 1000 + math.log(3)]), [math.log(0.25), math.log(0.75)])


@pytest.mark.parametrize(
    ("name", "expected"),
    {
        "relu": [0, 0, 0, 1, 8],
        "relu6": [0, 0, 0, 1, 6],
        "leaky_relu": [-0.04, -0.01, 0, 1, 8],
        "elu": [math.exp(-4) - 1, math.exp(-1) - 1, 0, 1, 8],
        "sigmoid": [1 / (1 + math.exp(4)), 1 / (1 + math.e), 0.5, 1 / (1 + 1 / math.e), 1 / (1 + math.exp(-8))],
        "tanh": [math.tanh(-4), math.tanh(-1), 0, math.tanh(1), math.tanh(8)],
        "hardswish": [0, -1 / 3, 0, 2 / 3, 8],
        "silu": [-4 / (1 + math.exp(4)), -1 / (1 + math.e), 0, 1 / (1 + 1 / math.e), 8 / (1 + math.exp(-8))],
        "gelu": [-2 * math.erfc(math.sqrt(8)), -0.5 * math.erfc(math.sqrt(0.5)), 0, 0.8413447460685429, 8],
    }.items(),
)
def test_activations_by_hand(name, expected):
    x = [-4, -1, 0, 1, 8]
    close(getattr(ref, name)(x), expected)
    close(ref.linear(np.reshape(x, (5, 1)), [[1]], activation=name)[:, 0], expected)
    assert np.isnan(getattr(ref, name)(nan))


def test_activation_parameters_by_hand():
    close(ref.leaky_relu([-2, 2], 0.25), [-0.5, 2])
    close(ref.elu([-1, 1], 2), [2 / math.e - 2, 1])
    close(ref.gelu([1.0], "tanh"), [0.5 * (1 + math.tanh(math.sqrt(2 / math.pi) * 1.044715))])
    close(ref.prelu([[-2, -2, 2]], [0.5, 3, 7]), [[-1, -6, 2]])
    close(ref.prelu([[-2, -2, 2]], [0.5]), [[-1, -1, 2]])
    close(ref.gemm([[-1]], [[1]], activation=("elu", 2)), [[2 / math.e - 2]])
    close(ref.gemm([[-1]], [[1]], activation=("leaky_relu", 0.25)), [[-0.25]])


def test_activations_neither_overflow_nor_lose_their_tails():
    with np.errstate(all="raise", under="ignore"):
        equal(ref.sigmoid([-1000, 1000]), [0, 1])
        equal(ref.elu([-1000, 1000]), [-1, 1000])
        equal(ref.silu([-1000, 1000]), [0, 1000])
        equal(ref.softmax([-1000, 1000]), [0, 1])
    np.testing.assert_allclose(ref.sigmoid(-100), math.exp(-100), rtol=1e-14)
    np.testing.assert_allclose(ref.gelu(-10), -7.61985302416047e-23, rtol=1e-13)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("constant", [9, 9, 1, 2, 3, 9]),
        ("reflect", [3, 2, 1, 2, 3, 2]),
        ("replicate", [1, 1, 1, 2, 3, 3]),
        ("circular", [2, 3, 1, 2, 3, 1]),
    ],
)
def test_pad_by_hand(mode, expected):
    x = plane([1, 2, 3])
    equal(ref.pad(x, ((0, 0), (2, 1)), mode=mode, value=9), plane(expected))
    equal(ref.pad(x.swapaxes(2, 3), ((2, 1), (0, 0)), mode=mode, value=9), plane(expected).swapaxes(2, 3))


def test_upsample_by_hand():
    up = ref.upsample
    equal(up(plane([1, 2], [3, 4]), scale_factor=(1, 2)), plane([1, 1, 2, 2], [3, 3, 4, 4]))
    equal(up(plane([1, 2, 3]), size=(2, 2)), plane([1, 2], [1, 2]))
    equal(up(plane([0, 1, 2]), scale_factor=(1, 1.7)), plane([0, 0, 1, 1, 2]))
    equal(up(plane([0, 10]), scale_factor=(1, 2), mode="bilinear"), plane([0, 2.5, 7.5, 10]))
    close(up(plane([0, 30]), size=(1, 4), mode="bilinear", align_corners=True), plane([0, 10, 20, 30]))
    equal(up(plane([4, 5], [6, 7]), size=1, mode="bilinear", align_corners=True), plane([4]))
    equal(up(plane([4, 5], [6, 7]), size=1, mode="bilinear"), plane([5.5]))
    # scale_factor, not the ratio of the sizes, places the samples: 0.5 / 1.5 - 0.5 < 0, then 1.5 / 1.5 - 0.5.
    equal(up(plane([0, 10, 20]), scale_factor=(1, 1.5), mode="bilinear")[..., :2], plane([0, 5]))


def test_nearest_index_is_exact():
    x = np.arange(16.0).reshape(1, 1, 16, 1)
    assert ref.upsample(x, scale_factor=(2.2, 1))[0, 0, 33, 0] == 15
    equal(ref.upsample(x[:, :, :2], size=(98, 1)).ravel(), np.repeat([0, 1], 49))
    equal(ref.upsample(x[:, :, :3], scale_factor=(1.1, 1)).ravel(), [0, 1, 2])
    equal(ref.upsample(x[:, :, :3], scale_factor=(2.1, 1)).ravel(), [0, 0, 1, 1, 2, 2])


def test_shape_operators_by_hand():
    equal(ref.pixel_shuffle(np.arange(4).reshape(1, 4, 1, 1), 2), plane([0, 1], [2, 3]))
    equal(ref.add([[1, 2]], [[10], [20]]), [[11, 12], [21, 22]])
    equal(ref.mul([[1, 2]], [[10], [20]]), [[10, 20], [20, 40]])
    equal(ref.concat([NINE, -NINE])[0, :, 0, 0], [1, -1])
    equal(ref.concat([[[1]], [[2]]], dim=0), [[1], [2]])
    x = np.arange(24).reshape(2, 3, 2, 2)
    equal(ref.flatten(x), x.reshape(2, 12))
    equal(ref.flatten(x, 0, 1), x.reshape(6, 2, 2))
    equal(ref.flatten(x, -2), x.reshape(2, 3, 4))
    assert ref.flatten(np.zeros((0, 3, 2))).shape == (0, 6)
    equal(ref.dropout(x, 0.9), x)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int32", "uint8", "bool"])
def test_every_dtype_is_computed_in_float64(dtype):
    x, row, index = np.ones((1, 1, 2, 2), dtype), np.ones(1, dtype), np.arange(4).reshape(1, 1, 2, 2)
    square = np.ones((2, 2), dtype)
    activations = (
        "relu leaky_relu relu6 elu sigmoid tanh hardswish silu gelu softmax log_softmax dropout flatten".split()
    )
    results = [
        *(getattr(ref, name)(x) for name in activations),
        *(f(x, x, row) for f in (ref.conv2d, ref.conv_transpose2d)),
        *(f(x, 2) for f in (ref.max_pool2d, ref.avg_pool2d, ref.adaptive_avg_pool2d, ref.local_response_norm, ref.pad)),
        *(f(x) for f in (ref.global_avg_pool2d, ref.global_max_pool2d)),
        ref.max_unpool2d(x, index, 1),
        ref.gemm(square, square, square),
        ref.linear(square, square),
        ref.batch_norm(x, row, row, row, row),
        ref.prelu(x, row),
        ref.add(x, x),
        ref.mul(x, x),
        ref.concat([x, x]),
        ref.upsample(x, size=3),
        ref.upsample(x, size=3, mode="bilinear"),
        ref.pixel_shuffle(x, 1),
    ]
    assert {y.dtype.name for y in results} == {"float64"}
    assert ref.max_pool2d(x, 2, return_indices=True)[1].dtype == np.int64


def test_an_empty_batch_is_a_batch():
    x, w = np.ones((0, 4, 6, 6)), np.ones((4, 2, 3, 3))
    assert ref.conv2d(x, w, np.ones(4), groups=2).shape == (0, 4, 4, 4)
    assert ref.conv_transpose2d(x, w, np.ones(4), groups=2).shape == (0, 4, 8, 8)
    y, indices = ref.max_pool2d(x, 2, return_indices=True)
    assert ref.max_unpool2d(y, indices, 2).shape == x.shape
    assert ref.avg_pool2d(x, 2).shape == ref.adaptive_avg_pool2d(x, 3).shape == (0, 4, 3, 3)
    assert ref.upsample(x, size=3, mode="bilinear").shape == (0, 4, 3, 3)
    assert ref.pixel_shuffle(x, 2).shape == (0, 1, 12, 12)


# ------------------------------------------------------------------------------------------------ identities

CONV_CASES = [
    pytest.param(*case, id="k{}s{}p{}d{}g{}".format(*case).replace(" ", ""))
    for case in itertools.product(
        [(1, 1), (3, 2), (4, 3)],  # kernel
        [(1, 1), (2, 2), (3, 2)],  # stride
        [((0, 0), (0, 0)), ((1, 1), (2, 2)), ((0, 2), (3, 1))],  # padding
        [(1, 1), (1, 3)],  # dilation
        [1, 3],  # groups
    )
]
conv_cases = pytest.mark.parametrize(("kernel", "stride", "padding", "dilation", "groups"), CONV_CASES)


def leftover(size, kernel, stride, padding, dilation):
    """The rows and columns that a convolution leaves unread: the output_padding of the way back."""
    return tuple(
        (n + sum(p) - d * (k - 1) - 1) % s
        for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True)
    )


@conv_cases
def test_conv_transpose2d_is_the_adjoint_of_conv2d(rng, kernel, stride, padding, dilation, groups):
    """<conv(x), y> = <x, conv_transpose(y)>"""
    options = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    x, w = integers(rng, 2, 2 * groups, 9, 8), integers(rng, 5 * groups, 2, *kernel)
    y = ref.conv2d(x, w, **options)
    v = integers(rng, *y.shape)
    back = ref.conv_transpose2d(v, w, output_padding=leftover((9, 8), kernel, stride, padding, dilation), **options)
    assert back.shape == x.shape
    assert np.vdot(y, v) == np.vdot(x, back)


@conv_cases
def test_conv_transpose2d_is_a_convolution_of_the_stretched_input(rng, kernel, stride, padding, dilation, groups):
    """Zeros between the inputs, the kernel turned by 180 degrees, and padding counted from the kernel's far end."""
    x, w = integers(rng, 2, 2 * groups, 4, 3), integers(rng, 2 * groups, 5, *kernel)
    full = ref.conv_transpose2d(x, w, stride=stride, dilation=dilation, groups=groups)
    stretched = np.zeros((*x.shape[:2], *((n - 1) * s + 1 for n, s in zip(x.shape[2:], stride, strict=True))))
    stretched[:, :, :: stride[0], :: stride[1]] = x
    turned = w.reshape(groups, 2, 5, *kernel).swapaxes(1, 2).reshape(5 * groups, 2, *kernel)[:, :, ::-1, ::-1]
    reach = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    equal(full, ref.conv2d(stretched, turned, padding=tuple(reach), dilation=dilation, groups=groups))

    (top, bottom), (left, right) = padding
    H, W = full.shape[2:]
    if H > top + bottom and W > left + right:
        y = ref.conv_transpose2d(x, w, stride=stride, padding=padding, dilation=dilation, groups=groups)
        equal(y, full[:, :, top : H - bottom, left : W - right])


@conv_cases
def test_conv2d_takes_itself_apart(rng, kernel, stride, padding, dilation, groups):
    """Padding is zeros around x, dilation zeros inside the kernel, stride a selection, and groups separate networks."""
    x, w = integers(rng, 2, 2 * groups, 9, 8), integers(rng, 5 * groups, 2, *kernel)
    b = integers(rng, 5 * groups)
    stuffed = np.zeros((*w.shape[:2], *(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))))
    stuffed[:, :, :: dilation[0], :: dilation[1]] = w
    padded = np.pad(x, ((0, 0), (0, 0), *padding))
    parts = [
        ref.conv2d(padded[:, 2 * g : 2 * g + 2], stuffed[5 * g : 5 * g + 5], b[5 * g : 5 * g + 5])
        for g in range(groups)
    ]
    y = ref.conv2d(x, w, b, stride=stride, padding=padding, dilation=dilation, groups=groups)
    equal(y, np.concatenate(parts, axis=1)[:, :, :: stride[0], :: stride[1]])


def test_conv2d_with_a_delta_kernel_shifts(rng):
    x = integers(rng, 2, 3, 6, 5)
    for kh, kw in np.ndindex(3, 4):
        w = np.zeros((3, 1, 3, 4))
        w[:, :, kh, kw] = 1
        equal(ref.conv2d(x, w, groups=3), x[:, :, kh : kh + 4, kw : kw + 2])
        equal(ref.conv_transpose2d(x, w, groups=3)[:, :, kh : kh + 6, kw : kw + 5], x)


@pytest.mark.parametrize("kernel", [(1, 1), (2, 3), (4, 6)])
@pytest.mark.parametrize("dilation", [1, 2, (3, 1)])
def test_conv2d_same_padding_keeps_the_size(rng, kernel, dilation):
    x, w = integers(rng, 1, 2, 7, 6), integers(rng, 3, 2, *kernel)
    reach = np.subtract(kernel, 1) * dilation
    y = ref.conv2d(x, w, padding="same", dilation=dilation)
    assert y.shape == (1, 3, 7, 6)
    equal(y, ref.conv2d(x, w, padding=tuple((r // 2, (r + 1) // 2) for r in reach.tolist()), dilation=dilation))


def test_output_padding_only_extends(rng):
    x, w, b = integers(rng, 1, 2, 4, 4), integers(rng, 2, 3, 2, 2), integers(rng, 3)
    short = ref.conv_transpose2d(x, w, b, stride=3)
    long = ref.conv_transpose2d(x, w, b, stride=3, output_padding=(2, 1))
    equal(long[:, :, :-2, :-1], short)
    equal(long[:, :, -2:], np.broadcast_to(b[:, None, None], (1, 3, 2, long.shape[3])))
    # With padding the added rows are not empty: they give back what the padding cut.
    cut = ref.conv_transpose2d(x, w, b, stride=3, padding=1, output_padding=1)
    equal(cut, short[:, :, 1:, 1:])


def test_a_linear_layer_is_a_gemm_is_a_convolution(rng):
    x, w, b = integers(rng, 5, 12), integers(rng, 7, 12), integers(rng, 7)
    y = ref.linear(x, w, b)
    equal(y, ref.gemm(x, w, b, trans_b=True))
    equal(y, ref.conv2d(x.reshape(5, 3, 2, 2), w.reshape(7, 3, 2, 2), b)[:, :, 0, 0])
    equal(y.reshape(5, 1, 7), ref.linear(x.reshape(5, 1, 12), w, b))
    equal(y.T, ref.gemm(w, x.T, b[:, None]))
    equal(ref.gemm(x.T, w, trans_a=True, trans_b=True, alpha=2), 2 * ref.linear(x, w))


def test_batch_norm_folds_into_the_convolution_before_it(rng):
    x, w, b = (rng.standard_normal(s) for s in ((2, 3, 6, 6), (4, 3, 3, 3), 4))
    mean, scale, shift = rng.standard_normal((3, 4))
    var = rng.uniform(0.1, 2, 4)
    s = scale / np.sqrt(var + 1e-3)
    folded = ref.conv2d(x, w * s[:, None, None, None], (b - mean) * s + shift)
    close(ref.batch_norm(ref.conv2d(x, w, b), mean, var, scale, shift, eps=1e-3), folded)


POOL_CASES = [
    # size, kernel, stride, padding, dilation
    ((7, 6), (2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1)),
    ((7, 6), (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1)),
    ((7, 8), (3, 2), (1, 3), ((2, 0), (0, 1)), (1, 1)),
    ((5, 9), (4, 3), (3, 2), ((3, 2), (1, 2)), (1, 1)),
    ((6, 7), (3, 2), (2, 3), ((1, 4), (2, 0)), (2, 3)),
    ((1, 3), (2, 2), (2, 2), ((1, 1), (1, 1)), (1, 1)),
    ((2, 4), (3, 3), (4, 2), ((0, 2), (0, 0)), (1, 1)),
]
pool_cases = pytest.mark.parametrize(("size", "kernel", "stride", "padding", "dilation"), POOL_CASES)


def windows(n, k, s, padding, d, ceil_mode):
    """The places that each window of one axis reads, counted from the first element; some lie outside 0..n-1."""
    before, after = padding
    starts = itertools.count(-before, s)
    if ceil_mode:
        # A window more as long as the last one does not yet reach the end, and never one that starts past the input.
        last = next(start for start in starts if start + d * (k - 1) >= n + after - 1)
        last -= s * (last >= n)
    else:
        last = next(start for start in starts if start + s + d * (k - 1) > n + after - 1)
    return [[start + i * d for i in range(k)] for start in range(-before, last + 1, s)]


@pool_cases
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_pooling_window_by_window(rng, size, kernel, stride, padding, dilation, ceil_mode):
    x = integers(rng, 2, 3, *size)
    H, W = size
    rows, columns = (windows(*axis, ceil_mode) for axis in zip(size, kernel, stride, padding, dilation, strict=True))
    options = dict(stride=stride, padding=padding, ceil_mode=ceil_mode)
    y, indices = ref.max_pool2d(x, kernel, dilation=dilation, return_indices=True, **options)
    assert y.shape == indices.shape == (2, 3, len(rows), len(columns))
    for oh, ow in np.ndindex(*y.shape[2:]):
        cells = [h * W + w for h in rows[oh] for w in columns[ow] if 0 <= h < H and 0 <= w < W]
        values = x.reshape(2, 3, -1)[:, :, cells]
        equal(y[:, :, oh, ow], values.max(-1))
        equal(indices[:, :, oh, ow], np.take(cells, values.argmax(-1)))

    if dilation == (1, 1):
        rows, columns = (windows(*axis, 1, ceil_mode) for axis in zip(size, kernel, stride, padding, strict=True))
        (_, bottom), (_, right) = padding
        counts = {name: np.zeros((len(rows), len(columns))) for name in ("inside", "padded")}
        total = np.zeros((2, 3, len(rows), len(columns)))
        for oh, ow in np.ndindex(*total.shape[2:]):
            for h, w in itertools.product(rows[oh], columns[ow]):
                counts["padded"][oh, ow] += h < H + bottom and w < W + right
                if 0 <= h < H and 0 <= w < W:
                    counts["inside"][oh, ow] += 1
                    total[:, :, oh, ow] += x[:, :, h, w]
        close(ref.avg_pool2d(x, kernel, **options), total / counts["padded"])
        close(ref.avg_pool2d(x, kernel, count_include_pad=False, **options), total / counts["inside"])
        close(ref.avg_pool2d(x, kernel, divisor_override=3, **options), total / 3)


@pytest.mark.parametrize(("size", "kernel", "stride", "padding"), [c[:4] for c in POOL_CASES if c[4] == (1, 1)])
def test_avg_pool2d_is_a_convolution_with_a_constant_kernel(rng, size, kernel, stride, padding):
    x = integers(rng, 2, 3, *size)
    w = np.ones((3, 1, *kernel))
    y = ref.avg_pool2d(x, kernel, stride=stride, padding=padding)
    close(y, ref.conv2d(x, w / w[0].size, stride=stride, padding=padding, groups=3))
    y = ref.avg_pool2d(x, kernel, stride=stride, padding=padding, divisor_override=1)
    equal(y, ref.conv2d(x, w, stride=stride, padding=padding, groups=3))


def test_max_unpool2d_puts_the_maxima_back(rng):
    x = rng.permutation(2 * 3 * 6 * 8).reshape(2, 3, 6, 8) + 1.0
    y, indices = ref.max_pool2d(x, (2, 4), return_indices=True)
    back = ref.max_unpool2d(y, indices, (2, 4))
    assert back.shape == x.shape
    equal(back, np.where(back > 0, x, 0))
    assert np.count_nonzero(back) == y.size
    equal(ref.max_pool2d(back, (2, 4)), y)
    overlapping, indices = ref.max_pool2d(x, 3, stride=1, padding=1, return_indices=True)
    equal(
        ref.max_pool2d(ref.max_unpool2d(overlapping, indices, 3, stride=1, padding=1), 3, stride=1, padding=1),
        overlapping,
    )


def test_adaptive_avg_pool2d_of_even_bins_is_avg_pool2d(rng):
    x = rng.standard_normal((2, 3, 12, 10))
    close(ref.adaptive_avg_pool2d(x, (4, 5)), ref.avg_pool2d(x, (3, 2)))
    close(ref.adaptive_avg_pool2d(x, 1), ref.global_avg_pool2d(x))
    equal(ref.adaptive_avg_pool2d(x, (None, None)), x)
    equal(ref.adaptive_avg_pool2d(x, (24, 30)), x.repeat(2, axis=2).repeat(3, axis=3))


def test_local_response_norm_of_one_channel_at_a_time(rng):
    x = rng.standard_normal((2, 5, 3, 4))
    close(ref.local_response_norm(x, 1, alpha=0.5, beta=0.5, k=0), np.sign(x) / math.sqrt(0.5))
    wide = ref.local_response_norm(x, 9, alpha=9, beta=1, k=2)
    close(wide, x / (2 + (x**2).sum(axis=1, keepdims=True)))


def test_softmax_identities(rng):
    x = rng.standard_normal((2, 3, 4, 5)) * 20
    for dim in range(-4, 4):
        y = ref.softmax(x, dim)
        close(y.sum(dim), 1)
        close(y, ref.softmax(x + 900, dim))
        close(np.log(y), ref.log_softmax(x, dim))


def test_activation_identities(rng):
    x = rng.standard_normal(1000) * 5
    close(ref.relu(x) - ref.relu(-x), x)
    close(ref.sigmoid(x) + ref.sigmoid(-x), 1)
    close(ref.silu(x) - ref.silu(-x), x)
    close(ref.gelu(x) - ref.gelu(-x), x)
    close(ref.hardswish(x) - ref.hardswish(-x), x)
    close(ref.tanh(x / 2), 2 * ref.sigmoid(x) - 1)
    close(ref.relu(x) - ref.relu(x - 6), ref.relu6(x))
    equal(ref.leaky_relu(x, 0), ref.relu(x))
    equal(ref.prelu(x, [0.2]), ref.leaky_relu(x, 0.2))
    assert np.abs(ref.gelu(x) - ref.gelu(x, "tanh")).max() < 5e-4


def test_pixel_shuffle_is_a_transposed_convolution(rng):
    x = integers(rng, 2, 18, 4, 5)
    y = ref.pixel_shuffle(x, 3)
    equal(y, ref.conv_transpose2d(x, np.tile(np.eye(9).reshape(9, 1, 3, 3), (2, 1, 1, 1)), stride=3, groups=2))
    back = y.reshape(2, 2, 4, 3, 5, 3).transpose(0, 1, 3, 5, 2, 4).reshape(x.shape)
    equal(back, x)


def test_pad_and_crop(rng):
    x = integers(rng, 2, 3, 5, 4)
    for mode in ("constant", "reflect", "replicate", "circular"):
        y = ref.pad(x, ((1, 2), (3, 0)), mode=mode)
        assert y.shape == (2, 3, 8, 7)
        equal(y[:, :, 1:6, 3:], x)
    equal(ref.pad(x, 4, mode="circular"), np.tile(x, (1, 1, 3, 3))[:, :, 1:14])


def test_upsample_identities(rng):
    x = integers(rng, 2, 3, 5, 4)
    equal(ref.upsample(x, scale_factor=3), x.repeat(3, axis=2).repeat(3, axis=3))
    equal(ref.upsample(ref.upsample(x, size=(35, 28)), size=(5, 4)), x)
    ramp = ref.add(np.arange(5.0).reshape(1, 1, 5, 1) * 7, np.arange(4.0))
    for options in ({"size": (13, 11)}, {"scale_factor": (2.6, 2.8)}):
        y = ref.upsample(ramp, mode="bilinear", align_corners=True, **options)
        close(y, ref.add(np.linspace(0, 28, 13)[:, None], np.linspace(0, 3, 11))[None, None])
    for align_corners in (False, True):
        equal(ref.upsample(x, size=(5, 4), mode="bilinear", align_corners=align_corners), x)
        equal(ref.upsample(x, scale_factor=1.15, mode="bilinear", align_corners=align_corners), x)
        ones = ref.upsample(
            np.ones((1, 1, 3, 4)), scale_factor=(1.7, 0.6), mode="bilinear", align_corners=align_corners
        )
        close(ones, np.ones((1, 1, 5, 2)))


# ------------------------------------------------------------------------------------------------ refusals

X = np.ones((1, 4, 5, 5))
W = np.ones((6, 4, 3, 3))
AT = np.zeros(X.shape, int)


@pytest.mark.parametrize(
    "call",
    [
        lambda: ref.conv2d(X[0], W),
        lambda: ref.conv2d(X, W[0]),
        lambda: ref.conv2d(X[:, :3], W),
        lambda: ref.conv2d(X, W, groups=2),
        lambda: ref.conv2d(X, W[:, :1], groups=4),
        lambda: ref.conv2d(X, W, groups=0),
        lambda: ref.conv2d(X, W, np.ones(1)),
        lambda: ref.conv2d(X, W, np.ones((6, 1))),
        lambda: ref.conv2d(X, W, stride=0),
        lambda: ref.conv2d(X, W, stride=(1, 1, 1)),
        lambda: ref.conv2d(X, W, dilation=-1),
        lambda: ref.conv2d(X, W, dilation=3),
        lambda: ref.conv2d(X, W, padding=-1),
        lambda: ref.conv2d(X, W, padding=((1, 1), (1, -1))),
        lambda: ref.conv2d(X, W, padding=(1, 1, 1, 1)),
        lambda: ref.conv2d(X, W, padding="same", stride=2),
        lambda: ref.conv2d(X, W, residual=np.ones((1, 6, 1, 1))),
        lambda: ref.conv2d(X, W, activation="swish"),
        lambda: ref.conv2d(X, W, activation=("relu", 1.0)),
        lambda: ref.conv_transpose2d(X, W),
        lambda: ref.conv_transpose2d(X[:, :2], W[:4]),
        lambda: ref.conv_transpose2d(X, W[:4], groups=3),
        lambda: ref.conv_transpose2d(X, W[:4], np.ones(1)),
        lambda: ref.conv_transpose2d(X, W[:4], padding=4),
        lambda: ref.conv_transpose2d(X, W[:4], output_padding=1),
        lambda: ref.conv_transpose2d(X, W[:4], output_padding=-1, stride=2),
        lambda: ref.max_pool2d(X[0], 2),
        lambda: ref.max_pool2d(X, 0),
        lambda: ref.max_pool2d(X, 6),
        lambda: ref.max_pool2d(X, 2, padding=2),
        lambda: ref.max_pool2d(X, 2, padding=((0, 2), (0, 0))),
        lambda: ref.max_pool2d(X, 2, stride=0),
        lambda: ref.avg_pool2d(X, 2, padding=2),
        lambda: ref.avg_pool2d(X, 2, divisor_override=0),
        lambda: ref.avg_pool2d(X, (6, 1)),
        lambda: ref.max_unpool2d(X, AT[:, :2], 2),
        lambda: ref.max_unpool2d(X, AT - 1, 2),
        lambda: ref.max_unpool2d(X, AT + 100, 2),
        lambda: ref.max_unpool2d(X, AT, 2, output_size=(1, 3, 10, 10)),
        lambda: ref.adaptive_avg_pool2d(X, 0),
        lambda: ref.gemm(np.ones((2, 3)), np.ones((4, 2))),
        lambda: ref.gemm(np.ones((2, 3)), np.ones((1, 3, 2))),
        lambda: ref.gemm(np.ones((1, 3)), np.ones((3, 2)), np.ones((2, 2))),
        lambda: ref.gemm(np.ones((2, 3)), np.ones((3, 2)), np.ones(3)),
        lambda: ref.linear(np.ones((2, 3)), np.ones((2, 4))),
        lambda: ref.linear(np.ones((2, 3)), np.ones((2, 3)), np.ones(1)),
        lambda: ref.batch_norm(X, np.ones(1), np.ones(4)),
        lambda: ref.batch_norm(X, np.ones(4), np.ones((4, 1, 1))),
        lambda: ref.batch_norm(X, np.ones(4), np.ones(4), np.ones(5)),
        lambda: ref.local_response_norm(X, 0),
        lambda: ref.softmax(X, 4),
        lambda: ref.prelu(X, np.ones(5)),
        lambda: ref.gelu(X, "erf"),
        lambda: ref.add(X, np.ones(3)),
        lambda: ref.concat([X, X[:, :, 1:]]),
        lambda: ref.pad(X, -1),
        lambda: ref.pad(X, 5, mode="reflect"),
        lambda: ref.pad(X, ((0, 6), (0, 0)), mode="circular"),
        lambda: ref.pad(X, 1, mode="edge"),
        lambda: ref.upsample(X),
        lambda: ref.upsample(X, size=3, scale_factor=2),
        lambda: ref.upsample(X, size=0),
        lambda: ref.upsample(X, scale_factor=0.1),
        lambda: ref.upsample(X, scale_factor=2, mode="bicubic"),
        lambda: ref.upsample(X, scale_factor=2, align_corners=True),
        lambda: ref.pixel_shuffle(X, 3),
        lambda: ref.pixel_shuffle(X, 0),
        lambda: ref.flatten(X, 2, 1),
    ],
)
def test_what_has_no_meaning_is_a_value_error(call):
    with pytest.raises(ValueError, match=r"."):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda: ref.relu(np.ones(2, complex)),
        lambda: ref.conv2d(X, W, stride=1.5),
        lambda: ref.conv2d(X, W, padding="full"),
        lambda: ref.max_unpool2d(X, AT.astype(float), 2),
    ],
)
def test_the_wrong_type_is_a_type_error(call):
    with pytest.raises(TypeError):
        call()


# ------------------------------------------------------------------------------------------------ PyTorch, float64


@conv_cases
def test_conv2d_agrees_with_torch(torch, rng, kernel, stride, padding, dilation, groups):
    x, w, b = (rng.standard_normal(s) for s in ((2, 2 * groups, 9, 8), (5 * groups, 2, *kernel), 5 * groups))
    tx, tw, tb = map(torch.from_numpy, (x, w, b))
    (top, bottom), (left, right) = padding
    padded = torch.nn.functional.pad(tx, (left, right, top, bottom))
    expected = torch.nn.functional.conv2d(padded, tw, tb, stride, 0, dilation, groups)
    close(ref.conv2d(x, w, b, stride=stride, padding=padding, dilation=dilation, groups=groups), expected)
    if top == bottom and left == right:
        expected = torch.nn.functional.conv2d(tx, tw, tb, stride, (top, left), dilation, groups)
        close(ref.conv2d(x, w, b, stride=stride, padding=(top, left), dilation=dilation, groups=groups), expected)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("kernel", [(1, 1), (2, 3), (4, 2)])
@pytest.mark.parametrize("dilation", [(1, 1), (2, 1), (3, 2)])
@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")
def test_conv2d_named_padding_agrees_with_torch(torch, rng, padding, kernel, dilation):
    x, w = rng.standard_normal((1, 2, 12, 11)), rng.standard_normal((3, 2, *kernel))
    expected = torch.nn.functional.conv2d(torch.from_numpy(x), torch.from_numpy(w), padding=padding, dilation=dilation)
    close(ref.conv2d(x, w, padding=padding, dilation=dilation), expected)


@conv_cases
def test_conv_transpose2d_agrees_with_torch(torch, rng, kernel, stride, padding, dilation, groups):
    x, w, b = (rng.standard_normal(s) for s in ((2, 2 * groups, 5, 6), (2 * groups, 5, *kernel), 5 * groups))
    extra = tuple(max(s, d) - 1 for s, d in zip(stride, dilation, strict=True))
    (top, bottom), (left, right) = padding
    full = torch.nn.functional.conv_transpose2d(*map(torch.from_numpy, (x, w, b)), stride, 0, extra, groups, dilation)
    H, W = full.shape[2:]
    y = ref.conv_transpose2d(
        x, w, b, stride=stride, padding=padding, output_padding=extra, dilation=dilation, groups=groups
    )
    close(y, full[:, :, top : H - bottom, left : W - right])


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("dilation", [(1, 1), (2, 3)])
@pytest.mark.parametrize("padding", [(0, 0), (1, 1), (0, 1)])
@pytest.mark.parametrize("stride", [None, (1, 1), (2, 3), (3, 2)])
@pytest.mark.parametrize("kernel", [(2, 2), (3, 2), (3, 4)])
def test_pooling_agrees_with_torch(torch, rng, kernel, stride, padding, dilation, ceil_mode):
    x = integers(rng, 2, 3, 10, 13)
    x[rng.random(x.shape) < 0.03] = nan
    expected, at = torch.nn.functional.max_pool2d(
        torch.from_numpy(x), kernel, stride, padding, dilation, ceil_mode, return_indices=True
    )
    options = dict(stride=stride, padding=padding, ceil_mode=ceil_mode)
    y, indices = ref.max_pool2d(x, kernel, dilation=dilation, return_indices=True, **options)
    equal(y, expected)
    equal(indices, at)

    if dilation == (1, 1):
        x = np.nan_to_num(x)
        for include, divisor in ((True, None), (False, None), (True, 7)):
            expected = torch.nn.functional.avg_pool2d(
                torch.from_numpy(x), kernel, stride, padding, ceil_mode, include, divisor
            )
            close(ref.avg_pool2d(x, kernel, count_include_pad=include, divisor_override=divisor, **options), expected)


@pytest.mark.parametrize("padding", [((2, 0), (1, 3)), ((0, 1), (0, 0))])
def test_pooling_with_uneven_padding_agrees_with_torch(torch, rng, padding):
    x = integers(rng, 2, 3, 10, 9)
    (top, bottom), (left, right) = padding
    framed = torch.nn.functional.pad(torch.from_numpy(x), (left, right, top, bottom), value=-inf)
    expected = torch.nn.functional.max_pool2d(framed, (3, 4), 2)
    equal(ref.max_pool2d(x, (3, 4), stride=2, padding=padding), expected)
    framed = torch.nn.functional.pad(torch.from_numpy(x), (left, right, top, bottom))
    cells = torch.nn.functional.pad(torch.ones(1, 1, 10, 9, dtype=torch.float64), (left, right, top, bottom))
    mean, share = (torch.nn.functional.avg_pool2d(t, (3, 4), 2) for t in (framed, cells))
    close(ref.avg_pool2d(x, (3, 4), stride=2, padding=padding), mean)
    close(ref.avg_pool2d(x, (3, 4), stride=2, padding=padding, count_include_pad=False), mean / share)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "output_size"),
    [
        (2, None, 0, None),
        ((3, 2), None, (1, 0), None),
        (3, 2, 1, None),
        (2, 2, 0, (11, 12)),
        (2, 2, 0, (2, 3, 10, 13)),
        (3, 2, 1, (10, 13)),
    ],
)
def test_max_unpool2d_agrees_with_torch(torch, rng, kernel, stride, padding, output_size):
    x = torch.from_numpy(rng.permutation(2 * 3 * 10 * 13).reshape(2, 3, 10, 13).astype(np.float64))
    y, indices = torch.nn.functional.max_pool2d(x, kernel, stride, padding, return_indices=True)
    if output_size is None:
        # Indices that fit the plane which the default size gives: unpooling never asks where they came from.
        plane_size = ref.max_unpool2d(y, 0 * indices, kernel, stride=stride, padding=padding)[0, 0].size
        count = indices[0, 0].numel()
        indices = torch.from_numpy(np.stack([rng.permutation(plane_size)[:count] for _ in range(6)])).reshape(y.shape)
    expected = torch.nn.functional.max_unpool2d(y, indices, kernel, stride, padding, output_size)
    equal(
        ref.max_unpool2d(y.numpy(), indices.numpy(), kernel, stride=stride, padding=padding, output_size=output_size),
        expected,
    )


@pytest.mark.parametrize("size", [1, 2, 7, (3, 5), (None, 4), (6, None), (20, 23)])
def test_adaptive_avg_pool2d_agrees_with_torch(torch, rng, size):
    x = rng.standard_normal((2, 3, 11, 13))
    close(ref.adaptive_avg_pool2d(x, size), torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(x), size))


def test_matrices_agree_with_torch(torch, rng):
    a, b, c, v = (rng.standard_normal(s) for s in ((4, 5), (5, 6), (4, 6), 6))
    ta, tb, tc, tv = map(torch.from_numpy, (a, b, c, v))
    close(ref.gemm(a, b, c, alpha=0.3, beta=-2), torch.addmm(tc, ta, tb, alpha=0.3, beta=-2))
    close(ref.gemm(a.T, b.T, v, trans_a=True, trans_b=True), torch.addmm(tv, ta, tb))
    x = rng.standard_normal((2, 3, 4, 5))
    close(ref.linear(x, b.T, v), torch.nn.functional.linear(torch.from_numpy(x), tb.T, tv))


@pytest.mark.parametrize("shape", [(4, 7), (2, 7, 5), (2, 7, 5, 4)])
def test_normalisation_agrees_with_torch(torch, rng, shape):
    x = rng.standard_normal(shape)
    t = torch.from_numpy(x)
    mean, weight, bias = rng.standard_normal((3, 7))
    var = rng.uniform(0.1, 2, 7)
    expected = torch.nn.functional.batch_norm(t, *map(torch.from_numpy, (mean, var, weight, bias)), eps=1e-3)
    close(ref.batch_norm(x, mean, var, weight, bias, eps=1e-3), expected)
    close(ref.batch_norm(x, mean, var), torch.nn.functional.batch_norm(t, *map(torch.from_numpy, (mean, var))))
    if x.ndim > 2:
        for size in (1, 2, 3, 4, 5, 9, 20):
            expected = torch.nn.functional.local_response_norm(t, size, alpha=0.7, beta=0.6, k=1.5)
            close(ref.local_response_norm(x, size, alpha=0.7, beta=0.6, k=1.5), expected)
        close(ref.local_response_norm(x, 5), torch.nn.functional.local_response_norm(t, 5))
    for dim in range(x.ndim):
        close(ref.softmax(x, dim), torch.softmax(t, dim))
        close(ref.log_softmax(x, dim), torch.log_softmax(t, dim))


def test_activations_agree_with_torch(torch, rng):
    x = np.concatenate([rng.standard_normal(500) * 4, [0, -3, 3, 6, 50, -50, nan]])
    t = torch.from_numpy(x)
    for name in "relu leaky_relu relu6 elu sigmoid tanh hardswish silu gelu".split():
        close(getattr(ref, name)(x), getattr(torch.nn.functional, name)(t))
    close(ref.leaky_relu(x, 0.3), torch.nn.functional.leaky_relu(t, 0.3))
    close(ref.elu(x, 0.3), torch.nn.functional.elu(t, 0.3))
    close(ref.gelu(x, "tanh"), torch.nn.functional.gelu(t, approximate="tanh"))
    x = rng.standard_normal((2, 3, 4, 5))
    for slopes in ([0.3], [0.3, -0.2, 1.5]):
        expected = torch.nn.functional.prelu(torch.from_numpy(x), torch.tensor(slopes, dtype=torch.float64))
        close(ref.prelu(x, slopes), expected)


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("padding", [((0, 0), (0, 0)), ((3, 1), (0, 4)), ((2, 4), (4, 3))])
def test_pad_agrees_with_torch(torch, rng, mode, padding):
    x = rng.standard_normal((2, 3, 5, 6))
    (top, bottom), (left, right) = padding
    value = 7.5 if mode == "constant" else None
    expected = torch.nn.functional.pad(torch.from_numpy(x), (left, right, top, bottom), mode, value)
    equal(ref.pad(x, padding, mode=mode, value=7.5), expected)


@pytest.mark.parametrize(
    "options",
    [{"size": s} for s in (1, 7, (3, 14), (20, 5), (14, 18))]
    + [{"scale_factor": f} for f in (1.7, 2, 2.0, 0.5, 0.4, (1.1, 2.05), (2.3, 0.9), (3, 1.5), (1.01, 1.12))],
    ids=str,
)
def test_upsample_agrees_with_torch(torch, rng, options):
    x = rng.standard_normal((2, 3, 7, 9))
    t = torch.from_numpy(x)
    equal(ref.upsample(x, **options), torch.nn.functional.interpolate(t, **options))
    for align_corners in (False, True):
        expected = torch.nn.functional.interpolate(t, mode="bilinear", align_corners=align_corners, **options)
        close(ref.upsample(x, mode="bilinear", align_corners=align_corners, **options), expected)


def test_shape_operators_agree_with_torch(torch, rng):
    x = rng.standard_normal((2, 18, 4, 5))
    t = torch.from_numpy(x)
    equal(ref.pixel_shuffle(x, 3), torch.nn.functional.pixel_shuffle(t, 3))
    for dims in ((0,), (2,), (0, 1), (1, 2), (-2, -1)):
        equal(ref.flatten(x, *dims), torch.flatten(t, *dims))
    equal(ref.concat([x, x[:, :2]]), torch.cat([t, t[:, :2]], 1))
    equal(ref.dropout(x, 0.3), torch.nn.functional.dropout(t, 0.3, training=False))
