"""Convolutions and products of matrices."""

from __future__ import annotations

from ...arguments import convolution_padding
from ..writer import exports
from .activation import activated
from .layout import padded, pads


@exports("conv2d")
def _conv2d(w, a, x, weight, bias="", residual=None, gate=None):
    sides = convolution_padding("conv2d", a["padding"], w.dims[weight][2:], a["stride"], a["dilation"])
    y = w(
        "Conv", x, weight, bias,
        strides=a["stride"], pads=pads(sides), dilations=a["dilation"], group=a["groups"],
    )  # fmt: skip
    y = y if gate is None else w("Mul", y, gate)
    return activated(w, a["activation"], y if residual is None else w("Add", y, residual))


@exports("pointwise_depthwise_conv2d")
def _pointwise_depthwise_conv2d(w, a, x, pointwise_weight, weight, pointwise_bias="", bias=""):
    z = activated(w, a["pointwise_activation"], w("Conv", x, pointwise_weight, pointwise_bias))
    return _conv2d(w, a | {"groups": w.dims[weight][0]}, z, weight, bias)


@exports("conv_transpose2d")
def _conv_transpose2d(w, a, x, weight, bias="", residual=None):
    stride, sides, extra = a["stride"], a["padding"], a["output_padding"]
    if any(e >= s for e, s in zip(extra, stride, strict=True)):
        # Allowed below a dilation, yet refused by onnxruntime. Zeros after x reach as far, and padding cuts the rest.
        zeros = [max(0, -((after - e) // s)) for e, s, (_, after) in zip(extra, stride, sides, strict=True)]
        x = padded(w, x, tuple((0, n) for n in zeros), "constant", 0.0)
        axes = zip(zeros, extra, stride, sides, strict=True)
        sides = tuple((before, after + n * s - e) for n, e, s, (before, after) in axes)
        extra = (0, 0)
    y = w(
        "ConvTranspose", x, weight, bias,
        strides=stride, pads=pads(sides), output_padding=extra, dilations=a["dilation"], group=a["groups"],
    )  # fmt: skip
    return activated(w, a["activation"], y if residual is None else w("Add", y, residual))


@exports("linear")
def _linear(w, a, x, weight, bias=""):
    if len(w.dims[x]) == 2:
        y = w("Gemm", x, weight, bias, transB=1)
    else:
        y = w("MatMul", x, w("Transpose", weight, perm=[1, 0]))
        y = w("Add", y, bias) if bias else y
    return activated(w, a["activation"], y)


@exports("gemm")
def _gemm(w, attributes, a, b, c=""):
    alpha, beta, trans_a, trans_b = (attributes[key] for key in ("alpha", "beta", "trans_a", "trans_b"))
    y = w("Gemm", a, b, c, alpha=alpha, beta=beta, transA=int(trans_a), transB=int(trans_b))
    return activated(w, attributes["activation"], y)


@exports("matmul")
def _matmul(w, a, x, y):
    return w("MatMul", x, y)
