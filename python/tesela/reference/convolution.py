"""Convolutions: a sum over kernel taps."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from .activation import _activate
from .rules import (
    Activation,
    Array,
    Padding,
    Pair,
    _array,
    _of_shape,
    _pair,
    _per_channel,
    _sides,
    _taps,
    _window_count,
)


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
    gate: ArrayLike | None = None,
    activation: Activation = None,
) -> Array:
    """y[n, oc, oh, ow] = activation(residual[n, oc, oh, ow] + gate[n, oc] * (bias[oc]
        + sum over ic, kh, kw of weight[oc, ic, kh, kw] * x[n, ic, oh*SH + kh*DH - top, ow*SW + kw*DW - left]))

    where x is 0 outside its plane and ic runs over the IC/G channels of oc's group.

    x (N, IC, IH, IW), weight (OC, IC/G, KH, KW), bias (OC,), gate (N, OC, 1, 1), residual and y (N, OC, OH, OW) with
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
    if gate is not None:
        y = y * _of_shape(gate, (*y.shape[:2], 1, 1))
    if residual is not None:
        y = y + _of_shape(residual, y.shape)
    return _activate(y, activation)


def pointwise_depthwise_conv2d(
    x: ArrayLike,
    pointwise_weight: ArrayLike,
    weight: ArrayLike,
    pointwise_bias: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    stride: Pair = 1,
    padding: Padding | str = 0,
    dilation: Pair = 1,
    pointwise_activation: Activation = None,
    activation: Activation = None,
) -> Array:
    """A 1x1 convolution that widens, pointwise_weight (OC, IC, 1, 1), and a depthwise one, weight (OC, 1, KH, KW).

    The first half of the inverted residual of Sandler et al., "MobileNetV2", 2018.
    """
    z = conv2d(x, pointwise_weight, pointwise_bias, activation=pointwise_activation)
    return conv2d(
        z, weight, bias,
        stride=stride, padding=padding, dilation=dilation, groups=z.shape[1], activation=activation,
    )  # fmt: skip


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
