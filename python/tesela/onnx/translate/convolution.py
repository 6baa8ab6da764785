"""Convolutions and products of matrices."""

from __future__ import annotations

import numpy as np

from ..translation import Call, Translation, Value, translates


def window(call: Call, x: Value, kernel: tuple[int, ...], *, transposed: bool = False):
    """(kernel, stride, padding, dilation) for a plane, from a call on lines (N, C, W) or planes (N, C, H, W)."""
    rank = len(kernel)
    if rank not in (1, 2) or len(x.dims) != rank + 2:
        raise call.error(f"expected a line or a plane, got input {x.dims} and kernel {kernel}")
    stride = call.integers("strides", (1,) * rank)
    dilation = call.integers("dilations", (1,) * rank)
    pads = call.integers("pads", (0,) * (2 * rank))
    auto = call.text("auto_pad", "NOTSET")
    if (len(stride), len(dilation), len(pads)) != (rank, rank, 2 * rank):
        raise call.error(f"expected strides, dilations and pads for {rank} axes, got {stride}, {dilation}, {pads}")
    if min(*kernel, *stride, *dilation) < 1 or max(*kernel, *stride, *dilation, *pads) > 2**31 or min(pads) < 0:
        raise call.error(f"expected positive sizes below 2^31, got kernel {kernel}, {stride}, {dilation}, {pads}")
    sides = list(zip(pads[:rank], pads[rank:], strict=True))
    if auto in ("SAME_UPPER", "SAME_LOWER") and not transposed:
        sides = []
        for n, k, s, d in zip(x.dims[2:], kernel, stride, dilation, strict=True):
            total = max(0, (-(-n // s) - 1) * s + d * (k - 1) + 1 - n)
            sides.append((total // 2, total - total // 2) if auto == "SAME_UPPER" else (total - total // 2, total // 2))
    elif auto not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise call.error(f"unknown auto_pad {auto!r}")
    if rank == 1:
        return (1, *kernel), (1, *stride), ((0, 0), *sides), (1, *dilation)
    return kernel, stride, tuple(sides), dilation


def as_plane(t: Translation, call: Call, x: Value) -> Value:
    return t.reshape(call, x, (*x.dims[:2], 1, x.dims[2])) if len(x.dims) == 3 else x


def as_line(t: Translation, call: Call, y: Value, like: Value) -> Value:
    return t.reshape(call, y, (*y.dims[:2], y.dims[3])) if len(like.dims) == 3 else y


def _weight(t: Translation, call: Call, weight: Value) -> Value:
    t.known(call, "the weight", weight)
    return weight if len(weight.dims) != 3 else t.reshape(call, weight, (*weight.dims[:2], 1, weight.dims[2]))


def _kernel(call: Call, weight: Value) -> tuple[int, ...]:
    kernel = weight.dims[2:]
    if call.integers("kernel_shape", kernel) != kernel:
        raise call.error(f"expected kernel_shape {kernel}, as the weight has, got {call.integers('kernel_shape')}")
    return kernel


@translates("Conv")
def conv(t: Translation, call: Call, x: Value, weight: Value, bias: Value | None = None):
    t.known(call, "the bias", bias)
    _, stride, padding, dilation = window(call, x, _kernel(call, weight))
    y = t("conv2d", as_plane(t, call, x), parameters={"weight": _weight(t, call, weight), "bias": bias},
          stride=stride, padding=padding, dilation=dilation, groups=call.integer("group", 1))  # fmt: skip
    return as_line(t, call, y, x)


@translates("ConvTranspose")
def conv_transpose(t: Translation, call: Call, x: Value, weight: Value, bias: Value | None = None):
    t.known(call, "the bias", bias)
    kernel, stride, padding, dilation = window(call, x, _kernel(call, weight), transposed=True)
    rank = len(weight.dims) - 2
    plane = as_plane(t, call, x)
    extra = call.integers("output_padding", (0,) * rank)
    shape, auto = call.integers("output_shape"), call.text("auto_pad", "NOTSET")
    if len(extra) != rank or (shape is not None and len(shape) < rank):
        raise call.error(f"expected output_padding and output_shape for {rank} axes, got {extra} and {shape}")
    extra = (0,) * (2 - rank) + extra
    whole = [(n - 1) * s + d * (k - 1) + 1 + e
             for n, s, d, k, e in zip(plane.dims[2:], stride, dilation, kernel, extra, strict=True)]  # fmt: skip
    if shape is None and auto in ("SAME_UPPER", "SAME_LOWER"):
        shape = tuple(n * s for n, s in zip(x.dims[2:], stride[-rank:], strict=True))
    if shape is not None:
        totals = [w - n for w, n in zip(whole, (1,) * (2 - rank) + tuple(shape[-rank:]), strict=True)]
        # What is asked for beyond the whole is zeros after it.
        extra = tuple(e + max(0, -total) for e, total in zip(extra, totals, strict=True))
        totals = [max(0, total) for total in totals]
        upper = auto == "SAME_UPPER"
        padding = tuple((a // 2, a - a // 2) if upper else (a - a // 2, a // 2) for a in totals)
    y = t("conv_transpose2d", plane, parameters={"weight": _weight(t, call, weight), "bias": bias}, stride=stride,
          padding=padding, output_padding=extra, dilation=dilation, groups=call.integer("group", 1))  # fmt: skip
    return as_line(t, call, y, x)


@translates("Gemm")
def gemm(t: Translation, call: Call, a: Value, b: Value, c: Value | None = None):
    alpha, beta = call.number("alpha", 1.0), call.number("beta", 1.0)
    trans_a, trans_b = bool(call.integer("transA", 0)), bool(call.integer("transB", 0))
    if len(a.dims) != 2 or len(b.dims) != 2:
        raise call.error(f"expected matrices, got {a.dims} and {b.dims}")
    columns = b.dims[0] if trans_b else b.dims[1]
    rows = a.dims[1] if trans_a else a.dims[0]
    if c is not None and (
        len(c.dims) > 2 or any(n not in (1, m) for n, m in zip(c.dims[::-1], (columns, rows), strict=False))
    ):
        raise call.error(f"expected C to broadcast to {(rows, columns)}, got {c.dims}")
    row = c is None or (c.known and c.dims[:-1] in ((), (1,)))
    if b.known and not a.known and alpha == beta == 1.0 and not trans_a and row:
        weight = b if trans_b else t.fold(call, np.transpose, b)
        bias = c
        if c is not None and c.dims != (columns,):
            bias = t.fold(call, lambda v: np.broadcast_to(v.reshape(-1), (columns,)), c)
        return t("linear", a, parameters={"weight": weight, "bias": bias})
    if c is not None and c.dims not in ((rows, columns), (columns,), (1, columns)):
        dims = t.reserve((rows, columns), np.float32, call.what)
        c = t.value(np.broadcast_to(t.known(call, "C", c), dims))
    return t("gemm", a, b, c, alpha=alpha, beta=beta, trans_a=trans_a, trans_b=trans_b)


@translates("MatMul")
def matmul(t: Translation, call: Call, x: Value, y: Value):
    """By a matrix that is known: a linear layer, whose weights are packed once."""
    if not x.known and y.known and len(y.dims) == 2 and len(x.dims) >= 2:
        return t("linear", x, parameters={"weight": t.fold(call, np.transpose, y)})
    return t("matmul", x, y)
