"""What every operator means: NumPy, float64, one formula each.

The kernels are judged against this file, so it is written to be read. Every function accepts any real dtype, computes
in float64 and returns float64 (indices are int64). Names, parameters and meanings follow torch.nn.functional, except
that padding may differ on every side. It refuses only what would otherwise give a wrong answer in silence.

Letters: N batch; IC IH IW input; OC OH OW output; KH KW kernel; SH SW stride; DH DW dilation; G groups.
A convolution is a sum over kernel taps, a pooling a running maximum or sum over them: see `_taps`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Pair = int | tuple[int, int]  # one number for both, or (h, w)
Padding = int | tuple[int, int] | tuple[tuple[int, int], tuple[int, int]]  # the last: ((top, bottom), (left, right))
Activation = str | tuple[str, float] | None  # "relu", ("leaky_relu", 0.1), ...

# ------------------------------------------------------------------------------------------------ rules


def _array(x: ArrayLike, ndim: int | None = None) -> Array:
    """x in float64, with ndim dimensions if that is asked."""
    if np.iscomplexobj(x):
        raise TypeError("expected real numbers, got complex ones")
    x = np.asarray(x, dtype=np.float64)
    if ndim is not None and x.ndim != ndim:
        raise ValueError(f"expected {ndim} dimensions, got shape {x.shape}")
    return x


def _vector(v: ArrayLike, length: int) -> Array:
    """v of shape (length,): one that merely broadcasts is refused."""
    v = _array(v, 1)
    if v.shape != (length,):
        raise ValueError(f"expected shape ({length},), got {v.shape}")
    return v


def _of_shape(v: ArrayLike, shape: tuple[int, ...]) -> Array:
    """v, which must not merely broadcast to the shape."""
    if np.shape(v) != shape:
        raise ValueError(f"expected shape {shape}, got {np.shape(v)}")
    return _array(v)


def _per_channel(v: ArrayLike, x: Array) -> Array:
    """v of shape (C,), made to broadcast along axis 1 of x."""
    return _vector(v, x.shape[1]).reshape(-1, *[1] * (x.ndim - 2))


def _two(value) -> tuple:
    """a -> (a, a);  (a, b) -> (a, b)."""
    first, second = (value, value) if np.ndim(value) == 0 else value
    return first, second


def _pair(value: Pair, least: int = 1) -> tuple[int, int]:
    """An int or (h, w) as (h, w), each at least `least`."""
    h, w = map(operator.index, _two(value))
    if min(h, w) < least:
        raise ValueError(f"expected integers of at least {least}, got {value}")
    return h, w


def _sides(padding: Padding) -> tuple[tuple[int, int], tuple[int, int]]:
    """Any padding as ((top, bottom), (left, right))."""
    rows, columns = _two(padding)
    return _pair(rows, 0), _pair(columns, 0)


def _taps(x: Array, kernel: Pair, stride: Pair, dilation: Pair, size: Pair) -> Iterator[tuple[int, int, Array]]:
    """For every kernel tap, (kh, kw, view) with view[..., oh, ow] = x[..., oh*SH + kh*DH, ow*SW + kw*DW]."""
    (SH, SW), (DH, DW), (OH, OW) = stride, dilation, size
    for kh, kw in np.ndindex(*kernel):
        rows = slice(kh * DH, kh * DH + (OH - 1) * SH + 1, SH)
        columns = slice(kw * DW, kw * DW + (OW - 1) * SW + 1, SW)
        yield kh, kw, x[..., rows, columns]


def _window_count(length: int, extent: int, stride: int) -> int:
    """How many windows of `extent`, `stride` apart, fit into `length`."""
    if length < extent:
        raise ValueError(f"expected a kernel no larger than the padded input, got {extent} over {length}")
    return (length - extent) // stride + 1


def _activate(y: Array, activation: Activation) -> Array:
    """activation: None, a name, or (name, parameter) for leaky_relu and elu."""
    if activation is None:
        return y
    name, *parameter = (activation,) if isinstance(activation, str) else activation
    if name not in _ACTIVATIONS or len(parameter) > (name in ("leaky_relu", "elu")):
        raise ValueError(f"expected an activation among {', '.join(_ACTIVATIONS)}, got {activation}")
    return _ACTIVATIONS[name](y, *parameter)


# ------------------------------------------------------------------------------------------------ convolution


def _tap_matrices(weight: Array, groups: int) -> Array:
    """(A, B, KH, KW) -> (KH, KW, G, A/G, B): for every tap and group a matrix, contiguous so that BLAS takes it."""
    A, B, KH, KW = weight.shape
    if groups < 1 or A % groups:
        raise ValueError(f"expected groups to divide {A} channels, got {groups}")
    return np.ascontiguousarray(weight.reshape(groups, A // groups, B, KH, KW).transpose(3, 4, 0, 1, 2))


def conv2d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: Pair = 1,
    padding: Padding | str = 0,
    dilation: Pair = 1,
    groups: int = 1,
    residual: ArrayLike | None = None,
    activation: Activation = None,
) -> Array:
    """y[n, oc, oh, ow] = activation(bias[oc] + residual[n, oc, oh, ow]
        + sum over ic, kh, kw of weight[oc, ic, kh, kw] * x[n, ic, oh*SH + kh*DH - top, ow*SW + kw*DW - left])

    where x is 0 outside its plane and ic runs over the IC/G channels of oc's group.

    x (N, IC, IH, IW), weight (OC, IC/G, KH, KW), bias (OC,), residual and y (N, OC, OH, OW) with
    OH = (IH + top + bottom - DH*(KH - 1) - 1) // SH + 1. padding "valid" is 0; "same" keeps the size at stride 1, an
    odd row or column going after. A cross-correlation, as in torch.nn.functional.conv2d and ONNX Conv.
    """
    x, weight = _array(x, 4), _array(weight, 4)
    kernel, stride, dilation = weight.shape[2:], _pair(stride), _pair(dilation)
    reach = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    if padding == "valid":
        padding = 0
    elif padding == "same":
        if stride != (1, 1):
            raise ValueError(f"expected stride 1 with padding 'same', got {stride}")
        padding = tuple((r // 2, r - r // 2) for r in reach)

    matrices = _tap_matrices(weight, groups)
    x = np.pad(x, ((0, 0), (0, 0), *_sides(padding)))
    x = x.reshape(len(x), groups, weight.shape[1], *x.shape[2:])
    size = tuple(_window_count(n, r + 1, s) for n, r, s in zip(x.shape[3:], reach, stride, strict=True))
    y = np.zeros((len(x), groups, len(weight) // groups, math.prod(size)))
    for kh, kw, tap in _taps(x, kernel, stride, dilation, size):
        y += matrices[kh, kw] @ tap.reshape(*tap.shape[:3], math.prod(size))
    y = y.reshape(len(x), len(weight), *size)

    if bias is not None:
        y = y + _per_channel(bias, y)
    if residual is not None:
        y = y + _of_shape(residual, y.shape)
    return _activate(y, activation)


def conv_transpose2d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    output_padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    residual: ArrayLike | None = None,
    activation: Activation = None,
) -> Array:
    """The adjoint of conv2d with the same weight: every input is spread over the outputs that its kernel reaches,

    y[n, oc, ih*SH + kh*DH - top, iw*SW + kw*DW - left] += weight[ic, oc, kh, kw] * x[n, ic, ih, iw],

    then bias[oc] and the residual are added and the activation applied; what falls outside y is dropped.

    x (N, IC, IH, IW), weight (IC, OC/G, KH, KW), bias (OC,), y (N, OC, OH, OW) with
    OH = (IH - 1)*SH - top - bottom + DH*(KH - 1) + output_padding + 1; output_padding < max(stride, dilation).
    torch.nn.functional.conv_transpose2d, ONNX ConvTranspose.
    """
    x, weight = _array(x, 4), _array(weight, 4)
    kernel, stride, dilation = weight.shape[2:], _pair(stride), _pair(dilation)
    (top, bottom), (left, right) = _sides(padding)
    extra = _pair(output_padding, 0)
    if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True)):
        raise ValueError(f"expected output_padding below stride {stride} or dilation {dilation}, got {extra}")

    matrices = _tap_matrices(weight, groups).swapaxes(-1, -2)
    N, _, IH, IW = x.shape
    axes = zip((IH, IW), stride, dilation, kernel, extra, strict=True)
    H, W = ((n - 1) * s + d * (k - 1) + 1 + e for n, s, d, k, e in axes)
    if H <= top + bottom or W <= left + right:
        raise ValueError(f"expected padding smaller than the output {H}x{W} without it, got {padding}")
    x = x.reshape(N, groups, len(weight) // groups, IH * IW)
    y = np.zeros((N, groups, weight.shape[1], H, W))
    for kh, kw, tap in _taps(y, kernel, stride, dilation, (IH, IW)):
        tap += (matrices[kh, kw] @ x).reshape(tap.shape)
    y = y.reshape(N, groups * weight.shape[1], H, W)[:, :, top : H - bottom, left : W - right]

    if bias is not None:
        y = y + _per_channel(bias, y)
    if residual is not None:
        y = y + _of_shape(residual, y.shape)
    return _activate(y, activation)


# ------------------------------------------------------------------------------------------------ pooling


def _pool_windows(size, kernel, stride, padding, dilation, ceil_mode):
    """(OH, OW) of a pooling, and how far its windows reach beyond the padded input as ((0, bottom), (0, right)).

    ceil_mode lets the last window hang over the end, as long as it starts inside the input or the leading padding.
    """
    counts, overhang = [], []
    for n, k, s, (before, after), d in zip(size, kernel, stride, padding, dilation, strict=True):
        extent, padded = d * (k - 1) + 1, n + before + after
        if max(before, after) >= extent:
            raise ValueError(f"expected padding below the kernel extent {extent}, got {(before, after)}")
        count = _window_count(padded + (s - 1 if ceil_mode else 0), extent, s)
        if ceil_mode and (count - 1) * s >= n + before:
            count -= 1
        counts.append(count)
        overhang.append((0, max(0, (count - 1) * s + extent - padded)))
    return tuple(counts), tuple(overhang)


def max_pool2d(
    x: ArrayLike,
    kernel_size: Pair,
    *,
    stride: Pair | None = None,
    padding: Padding = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Array | tuple[Array, NDArray[np.int64]]:
    """y[n, c, oh, ow] = max over kh, kw of x[n, c, oh*SH + kh*DH - top, ow*SW + kw*DW - left], -inf outside x.

    x (N, C, IH, IW), y (N, C, OH, OW) with OH = (IH + top + bottom - DH*(KH - 1) - 1) // SH + 1, or rounded up by
    ceil_mode. stride defaults to kernel_size; padding stays below the dilated kernel. A NaN wins.
    Indices are ih*IW + iw of the winner in x's plane: the first of equals, the last of NaNs, -1 where a window holds
    nothing but padding. torch.nn.functional.max_pool2d, ONNX MaxPool.
    """
    x = _array(x, 4)
    kernel, dilation, padding = _pair(kernel_size), _pair(dilation), _sides(padding)
    stride = kernel if stride is None else _pair(stride)
    size, overhang = _pool_windows(x.shape[2:], kernel, stride, padding, dilation, ceil_mode)
    frame = ((0, 0), (0, 0), *np.add(padding, overhang))

    place = np.arange(math.prod(x.shape[2:])).reshape(1, 1, *x.shape[2:])
    x_taps = _taps(np.pad(x, frame), kernel, stride, dilation, size)
    place_taps = _taps(np.pad(place, frame, constant_values=-1), kernel, stride, dilation, size)
    y = np.full(x.shape[:2] + size, -np.inf)
    indices = np.full(y.shape, -1)
    for (_, _, value), (_, _, at) in zip(x_taps, place_taps, strict=True):
        wins = (at >= 0) & ((value > y) | np.isnan(value) | (indices < 0))
        y, indices = np.where(wins, value, y), np.where(wins, at, indices)
    return (y, indices) if return_indices else y


def avg_pool2d(
    x: ArrayLike,
    kernel_size: Pair,
    *,
    stride: Pair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """y[n, c, oh, ow] = (sum over kh, kw of x[n, c, oh*SH + kh - top, ow*SW + kw - left]) / divisor, 0 outside x.

    The divisor is divisor_override, or the number of window cells inside the padded input (count_include_pad), or
    inside x. Cells that only ceil_mode reaches never count. Shapes as in max_pool2d.
    torch.nn.functional.avg_pool2d, ONNX AveragePool.
    """
    x = _array(x, 4)
    kernel, padding = _pair(kernel_size), _sides(padding)
    stride = kernel if stride is None else _pair(stride)
    if divisor_override == 0:
        raise ValueError("expected a divisor_override other than 0")
    size, overhang = _pool_windows(x.shape[2:], kernel, stride, padding, (1, 1), ceil_mode)
    batch = ((0, 0), (0, 0))

    def window_sum(planes: Array) -> Array:
        return sum(tap for _, _, tap in _taps(np.pad(planes, batch + overhang), kernel, stride, (1, 1), size))

    counted = np.pad(np.ones((1, 1, *x.shape[2:])), batch + padding, constant_values=float(count_include_pad))
    divisor = window_sum(counted) if divisor_override is None else divisor_override
    return window_sum(np.pad(x, batch + padding)) / divisor


def max_unpool2d(
    x: ArrayLike,
    indices: ArrayLike,
    kernel_size: Pair,
    *,
    stride: Pair | None = None,
    padding: Padding = 0,
    output_size: Sequence[int] | None = None,
) -> Array:
    """y[n, c].flat[indices[n, c, ih, iw]] = x[n, c, ih, iw], 0 elsewhere; of equal indices the last in row-major order.

    x and indices (N, C, IH, IW), y (N, C, OH, OW) with OH = (IH - 1)*SH - top - bottom + KH unless output_size,
    (OH, OW) or the whole shape, says otherwise. torch.nn.functional.max_unpool2d, ONNX MaxUnpool.
    """
    x, indices = _array(x, 4), np.asarray(indices)
    if indices.dtype.kind not in "iu":
        raise TypeError(f"expected integer indices, got {indices.dtype}")
    if indices.shape != x.shape:
        raise ValueError(f"expected indices of shape {x.shape}, got {indices.shape}")
    kernel, padding = _pair(kernel_size), _sides(padding)
    stride = kernel if stride is None else _pair(stride)
    if output_size is None:
        output_size = [
            (n - 1) * s - sum(p) + k for n, s, p, k in zip(x.shape[2:], stride, padding, kernel, strict=True)
        ]
    *batch, OH, OW = output_size
    if tuple(batch) not in ((), x.shape[:2]):
        raise ValueError(f"expected an output_size (H, W) or {x.shape[:2]} + (H, W), got {tuple(output_size)}")
    if x.size and not 0 <= indices.min() <= indices.max() < OH * OW:
        raise ValueError(f"expected indices from 0 to {OH * OW - 1}, got {indices.min()} to {indices.max()}")
    planes = math.prod(x.shape[:2])
    y = np.zeros((planes, OH * OW))
    np.put_along_axis(y, *(a.reshape(planes, math.prod(x.shape[2:])) for a in (indices, x)), axis=1)
    return y.reshape(*x.shape[:2], OH, OW)


def global_avg_pool2d(x: ArrayLike) -> Array:
    """(N, C, H, W) -> (N, C, 1, 1), the mean of each plane. ONNX GlobalAveragePool."""
    return _array(x, 4).mean(axis=(2, 3), keepdims=True)


def global_max_pool2d(x: ArrayLike) -> Array:
    """(N, C, H, W) -> (N, C, 1, 1), the maximum of each plane; a NaN wins. ONNX GlobalMaxPool."""
    return _array(x, 4).max(axis=(2, 3), keepdims=True)


def adaptive_avg_pool2d(x: ArrayLike, output_size: int | tuple[int | None, int | None]) -> Array:
    """Means of bins: output row oh averages the input rows from floor(oh*IH/OH) up to, not with, ceil((oh + 1)*IH/OH).

    The same for columns. x (N, C, IH, IW) -> (N, C, OH, OW); None in output_size keeps that size.
    torch.nn.functional.adaptive_avg_pool2d.
    """
    x = _array(x, 4)
    OH, OW = _two(output_size)
    OH, OW = _pair((x.shape[2] if OH is None else OH, x.shape[3] if OW is None else OW))

    def bin_means(x: Array, bins: int) -> Array:
        W = x.shape[-1]
        return np.stack([x[..., b * W // bins : -(-(b + 1) * W // bins)].mean(axis=-1) for b in range(bins)], axis=-1)

    return bin_means(bin_means(x.swapaxes(2, 3), OH).swapaxes(2, 3), OW)


# ------------------------------------------------------------------------------------------------ matrices


def gemm(
    a: ArrayLike,
    b: ArrayLike,
    c: ArrayLike | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    trans_a: bool = False,
    trans_b: bool = False,
    activation: Activation = None,
) -> Array:
    """activation(alpha * op(a) @ op(b) + beta * c), op being the transpose where trans_a or trans_b says so.

    op(a) (M, K), op(b) (K, N), c anything that broadcasts to (M, N). ONNX Gemm.
    """
    a, b = _array(a, 2), _array(b, 2)
    y = alpha * ((a.T if trans_a else a) @ (b.T if trans_b else b))
    if c is not None:
        y = y + beta * np.broadcast_to(_array(c), y.shape)
    return _activate(y, activation)


def linear(x: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None, *, activation: Activation = None) -> Array:
    """activation(x @ weight.T + bias): x (..., IN), weight (OUT, IN), bias (OUT,). torch.nn.functional.linear."""
    x, weight = _array(x), _array(weight, 2)
    y = x @ weight.T
    if bias is not None:
        y = y + _vector(bias, len(weight))
    return _activate(y, activation)


# ------------------------------------------------------------------------------------------------ normalisation


def batch_norm(
    x: ArrayLike,
    running_mean: ArrayLike,
    running_var: ArrayLike,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    eps: float = 1e-5,
    activation: Activation = None,
) -> Array:
    """(x - mean) / sqrt(var + eps) * weight + bias, each of shape (C,) along axis 1 of x (N, C, ...).

    Inference only: the statistics are given, never computed. torch.nn.functional.batch_norm, ONNX BatchNormalization,
    Ioffe and Szegedy 2015 (arXiv:1502.03167).
    """
    x = _array(x)
    y = (x - _per_channel(running_mean, x)) / np.sqrt(_per_channel(running_var, x) + eps)
    if weight is not None:
        y = y * _per_channel(weight, x)
    if bias is not None:
        y = y + _per_channel(bias, x)
    return _activate(y, activation)


def local_response_norm(x: ArrayLike, size: int, *, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Array:
    """x[n, c] / (k + alpha/size * sum of x[n, c']^2 over the c' from c - size//2 to c + (size - 1)//2 that exist)^beta.

    torch.nn.functional.local_response_norm; section 3.3 of Krizhevsky et al. 2012 (AlexNet), whose alpha is alpha/size
    here. ONNX LRN looks one channel further ahead, not back, for an even size.
    """
    x = _array(x)
    if size < 1:
        raise ValueError(f"expected a size of at least 1, got {size}")
    frame = [(0, 0), (size // 2, (size - 1) // 2)] + [(0, 0)] * (x.ndim - 2)
    squares = np.pad(x**2, frame)
    total = sum(squares[:, c : c + x.shape[1]] for c in range(size))
    return x / (k + alpha / size * total) ** beta


def softmax(x: ArrayLike, dim: int = -1) -> Array:
    """exp(x) / sum over dim of exp(x), x less its maximum so that nothing overflows. torch.nn.functional.softmax."""
    x = _array(x)
    e = np.exp(x - x.max(axis=dim, keepdims=True))
    return e / e.sum(axis=dim, keepdims=True)


def log_softmax(x: ArrayLike, dim: int = -1) -> Array:
    """x - log(sum over dim of exp(x)), x less its maximum likewise. torch.nn.functional.log_softmax."""
    x = _array(x)
    x = x - x.max(axis=dim, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=dim, keepdims=True))


# ------------------------------------------------------------------------------------------------ activations


def relu(x: ArrayLike) -> Array:
    """max(x, 0)."""
    return np.maximum(_array(x), 0.0)


def leaky_relu(x: ArrayLike, negative_slope: float = 0.01) -> Array:
    """x where x > 0, else negative_slope * x."""
    x = _array(x)
    return np.where(x > 0, x, negative_slope * x)


def prelu(x: ArrayLike, weight: ArrayLike) -> Array:
    """x where x > 0, else weight * x: weight (1,) for all or (C,) along axis 1. He et al. 2015 (arXiv:1502.01852)."""
    x, weight = _array(x), _array(weight)
    slope = weight.reshape(()) if weight.size == 1 else _per_channel(weight, x)
    return np.where(x > 0, x, slope * x)


def relu6(x: ArrayLike) -> Array:
    """min(max(x, 0), 6)."""
    return np.clip(_array(x), 0.0, 6.0)


def elu(x: ArrayLike, alpha: float = 1.0) -> Array:
    """x where x > 0, else alpha * (exp(x) - 1). Clevert et al. 2015 (arXiv:1511.07289)."""
    x = _array(x)
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0)))


def sigmoid(x: ArrayLike) -> Array:
    """1 / (1 + exp(-x)), with the exponent never positive so that nothing overflows."""
    x = _array(x)
    e = np.exp(-np.abs(x))
    return np.where(x > 0, 1.0, e) / (1.0 + e)


def tanh(x: ArrayLike) -> Array:
    """(exp(x) - exp(-x)) / (exp(x) + exp(-x))."""
    return np.tanh(_array(x))


def hardswish(x: ArrayLike) -> Array:
    """x * min(max(x + 3, 0), 6) / 6. Howard et al. 2019 (arXiv:1905.02244)."""
    x = _array(x)
    return x * np.clip(x + 3.0, 0.0, 6.0) / 6.0


def silu(x: ArrayLike) -> Array:
    """x * sigmoid(x)."""
    return _array(x) * sigmoid(x)


def gelu(x: ArrayLike, approximate: str = "none") -> Array:
    """x * P(Z <= x), Z standard normal, or its tanh approximation. Hendrycks and Gimpel 2016 (arXiv:1606.08415)."""
    x = _array(x)
    if approximate == "none":
        return 0.5 * x * np.asarray(_erfc(-x / math.sqrt(2.0)), dtype=np.float64)
    if approximate == "tanh":
        return 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))
    raise ValueError(f"expected approximate 'none' or 'tanh', got {approximate!r}")


# erfc, not 1 + erf: for x below -6 the sum has lost every digit that erfc keeps.
_erfc = np.frompyfunc(math.erfc, 1, 1)

_ACTIVATIONS = {f.__name__: f for f in (relu, relu6, leaky_relu, elu, sigmoid, tanh, hardswish, silu, gelu)}
_ACTIVATIONS["gelu_tanh"] = partial(gelu, approximate="tanh")

# ------------------------------------------------------------------------------------------------ arithmetic and shape


def add(x: ArrayLike, y: ArrayLike, *, activation: Activation = None) -> Array:
    """activation(x + y), with NumPy broadcasting. ONNX Add."""
    return _activate(_array(x) + _array(y), activation)


def mul(x: ArrayLike, y: ArrayLike, *, activation: Activation = None) -> Array:
    """activation(x * y), with NumPy broadcasting. ONNX Mul."""
    return _activate(_array(x) * _array(y), activation)


def concat(tensors: Sequence[ArrayLike], dim: int = 1) -> Array:
    """The tensors one after the other along dim. torch.cat, ONNX Concat."""
    return np.concatenate([_array(t) for t in tensors], axis=dim)


def pad(x: ArrayLike, padding: Padding, *, mode: str = "constant", value: float = 0.0) -> Array:
    """x (N, C, H, W) -> (N, C, top + H + bottom, left + W + right).

    The new cells hold `value` ("constant"), the mirror image without its edge ("reflect"), the edge ("replicate") or
    the opposite side ("circular"). torch.nn.functional.pad, though that orders its sides (left, right, top, bottom).
    """
    x, sides = _array(x, 4), _sides(padding)
    how = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
    if mode not in how:
        raise ValueError(f"expected a mode among {', '.join(how)}, got {mode!r}")
    most = {"reflect": np.subtract(x.shape[2:], 1), "circular": x.shape[2:]}.get(mode)
    if most is not None and np.any(np.max(sides, axis=1) > most):
        raise ValueError(f"expected {mode} padding of at most {tuple(map(int, most))}, got {sides}")
    fill = {"constant_values": value} if mode == "constant" else {}
    return np.pad(x, ((0, 0), (0, 0), *sides), mode=how[mode], **fill)


def upsample(
    x: ArrayLike,
    *,
    size: Pair | None = None,
    scale_factor: float | tuple[float, float] | None = None,
    mode: str = "nearest",
    align_corners: bool = False,
) -> Array:
    """x (N, C, IH, IW) resampled to (N, C, OH, OW) = size, or floor(scale_factor * (IH, IW)), along each axis alone.

    With scale = 1 / scale_factor, or IH / OH where size is given, output row oh reads the input at
        floor(oh * scale)                                     nearest
        max((oh + 1/2) * scale - 1/2, 0)                      bilinear
        oh * (IH - 1) / (OH - 1), 0 if OH is 1                bilinear, align_corners
    and bilinear weighs the two rows around that place, the last row standing in for the one after it. Where the size
    stays, or doubles in nearest, scale is IH / OH all the same.
    torch.nn.functional.interpolate, whose nearest scale is rounded to float32 while the index here is exact;
    ONNX Resize (asymmetric with floor, half_pixel, align_corners).
    """
    x = _array(x, 4)
    if (size is None) == (scale_factor is None):
        raise ValueError(f"expected either size or scale_factor, got {size} and {scale_factor}")
    if mode not in ("nearest", "bilinear") or (mode == "nearest" and align_corners):
        raise ValueError(f"expected mode 'nearest', or 'bilinear' with or without align_corners, got {mode!r}")
    FH, FW = _two(scale_factor)
    OH, OW = _pair((math.floor(x.shape[2] * FH), math.floor(x.shape[3] * FW)) if size is None else size)

    def resample(x: Array, length: int, factor: float | None) -> Array:
        n, out = x.shape[-1], np.arange(length)
        if length == n or (mode == "nearest" and length == 2 * n):
            factor = None

        def scaled(place: Array) -> Array:
            return place * n / length if factor is None else place / factor

        if mode == "nearest":
            # 33 / 2.2 falls just short of 15, because 2.2 is not exact in binary.
            return x[..., np.minimum(np.floor(scaled(out) + 1e-9).astype(int), n - 1)]
        place = out * (n - 1) / max(length - 1, 1) if align_corners else np.maximum(scaled(out + 0.5) - 0.5, 0.0)
        low = np.floor(place).astype(int)
        high = np.minimum(low + 1, n - 1)
        share = place - low
        return (1.0 - share) * x[..., low] + share * x[..., high]

    return resample(resample(x.swapaxes(2, 3), OH, FH).swapaxes(2, 3), OW, FW)


def pixel_shuffle(x: ArrayLike, upscale_factor: int) -> Array:
    """y[n, c, h*r + i, w*r + j] = x[n, c*r*r + i*r + j, h, w], where r = upscale_factor.

    x (N, C*r*r, H, W), y (N, C, H*r, W*r).
    torch.nn.functional.pixel_shuffle, ONNX DepthToSpace (mode CRD), Shi et al. 2016 (arXiv:1609.05158).
    """
    x, r = _array(x, 4), upscale_factor
    N, C, H, W = x.shape
    if r < 1 or C % (r * r):
        raise ValueError(f"expected channels in multiples of {r}^2, got {C}")
    return x.reshape(N, C // r**2, r, r, H, W).transpose(0, 1, 4, 2, 5, 3).reshape(N, C // r**2, H * r, W * r)


def flatten(x: ArrayLike, start_dim: int = 1, end_dim: int = -1) -> Array:
    """The dimensions from start_dim to end_dim, both included, as one. torch.flatten."""
    x = _array(x)
    start, end = (range(x.ndim)[d] for d in (start_dim, end_dim))
    if start > end:
        raise ValueError(f"expected start_dim before end_dim, got {start_dim} and {end_dim}")
    return x.reshape(*x.shape[:start], math.prod(x.shape[start : end + 1]), *x.shape[end + 1 :])


def dropout(x: ArrayLike, p: float = 0.5) -> Array:
    """x itself: at inference nothing is dropped. torch.nn.functional.dropout with training=False."""
    return _array(x)
