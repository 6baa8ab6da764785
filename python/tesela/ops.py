"""The functional operators: NumPy arrays in, a new NumPy array out; or arrays of a GPU in, a `DeviceArray` out.

Names and meanings are those of torch.nn.functional unless a docstring says otherwise; options after the tensors are
given by keyword, and interpolate is called upsample. Arrays are float32 (indices int64) and C-contiguous, activations
(N, C, H, W), convolution weights (OC, C / groups, KH, KW); nothing is cast or copied in silence. Each call plans a
program of one step and runs it: the same path to the same kernels as a compiled network, which should be preferred
where the same shapes come again, because it plans and packs weights only once (for arrays of a GPU, packing brings
weights to the host and back).

Common arguments: `stride`, `dilation` and `kernel_size` take an int or (h, w); `padding` an int, (h, w) or
((top, bottom), (left, right)); `activation` None, a name ("relu", "relu6", "leaky_relu", "elu", "sigmoid", "tanh",
"hardswish", "silu", "gelu", "gelu_tanh") or (name, parameter). A wrong type or dtype raises TypeError, a wrong shape or
parameter ValueError, both before any memory is touched. The meaning of every function, in float64, is the function of
the same name in `tesela.reference`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from . import _core, arguments
from .calls import call_of, run_operator
from .device_array import DeviceArray, is_device_array

__all__ = [
    "adaptive_avg_pool2d", "add", "avg_pool2d", "batch_norm", "concat", "conv2d", "conv_transpose2d", "dropout", "elu",
    "flatten", "gelu", "gemm", "global_avg_pool2d", "global_max_pool2d", "hardswish", "leaky_relu", "linear",
    "local_response_norm", "log_softmax", "max_pool2d", "max_unpool2d", "mul", "pad", "pixel_shuffle",
    "pointwise_depthwise_conv2d", "prelu", "relu", "relu6", "sigmoid", "silu", "softmax", "tanh", "upsample",
]  # fmt: skip

Array = np.ndarray | DeviceArray
Pair = int | tuple[int, int]
Padding = int | tuple[int, int] | tuple[tuple[int, int], tuple[int, int]]
Activation = None | str | tuple[str, float]


# ------------------------------------------------------------------------------------------------------- convolution


def conv2d(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    stride: Pair = 1,
    padding: Padding | str = 0,
    dilation: Pair = 1,
    groups: int = 1,
    residual: Array | None = None,
    gate: Array | None = None,
    activation: Activation = None,
) -> Array:
    """Two-dimensional cross-correlation, with what usually follows it in the same pass.

    x (N, C, H, W), weight (OC, C / groups, KH, KW), bias (OC,) or None, residual of the result's shape or None, gate
    (N, OC, 1, 1) or None: what squeeze-and-excitation multiplies a branch with. padding also "same" (stride 1 only;
    the odd one goes after) or "valid".

    Returns (N, OC, OH, OW), OH = (H + top + bottom - dilation * (KH - 1) - 1) // stride + 1:
    activation(gate * (conv(x) + bias) + residual). As torch.nn.functional.conv2d and ONNX Conv. Sums are direct;
    networks may use Winograd's algorithm or Strassen's instead (Network.compile).
    """
    return run_operator(
        "conv2d", {"x": x, "residual": residual, "gate": gate}, {"weight": weight, "bias": bias},
        stride=stride, padding=padding, dilation=dilation, groups=groups, activation=activation,
    )[0]  # fmt: skip


def pointwise_depthwise_conv2d(
    x: Array,
    pointwise_weight: Array,
    weight: Array,
    pointwise_bias: Array | None = None,
    bias: Array | None = None,
    *,
    stride: Pair = 1,
    padding: Padding | str = 0,
    dilation: Pair = 1,
    pointwise_activation: Activation = None,
    activation: Activation = None,
) -> Array:
    """A depthwise convolution of what a 1x1 convolution makes of x, which is kept in the cache between the two.

    x (N, C, H, W), pointwise_weight (OC, C, 1, 1), pointwise_bias (OC,) or None, weight (OC, 1, KH, KW), bias (OC,) or
    None; stride, padding and dilation are the depthwise convolution's.

    Returns (N, OC, OH, OW) as conv2d does: the first half of the inverted residual of Sandler et al., "MobileNetV2",
    2018, which networks use where they have the two convolutions next to each other.
    """
    return run_operator(
        "pointwise_depthwise_conv2d", {"x": x},
        {"pointwise_weight": pointwise_weight, "pointwise_bias": pointwise_bias, "weight": weight, "bias": bias},
        stride=stride, padding=padding, dilation=dilation, pointwise_activation=pointwise_activation,
        activation=activation,
    )[0]  # fmt: skip


def conv_transpose2d(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    output_padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    residual: Array | None = None,
    activation: Activation = None,
) -> Array:
    """Transposed convolution: the adjoint of conv2d with the same arguments, plus bias, residual and activation.

    x (N, C, H, W), weight (C, OC / groups, KH, KW), bias (OC,) or None; output_padding below stride or dilation.

    Returns (N, OC, OH, OW), OH = (H - 1) * stride - top - bottom + dilation * (KH - 1) + output_padding + 1.
    As torch.nn.functional.conv_transpose2d and ONNX ConvTranspose.
    """
    return run_operator(
        "conv_transpose2d", {"x": x, "residual": residual}, {"weight": weight, "bias": bias}, stride=stride,
        padding=padding, output_padding=output_padding, dilation=dilation, groups=groups,
        activation=activation,
    )[0]  # fmt: skip


# --------------------------------------------------------------------------------------------------- matrix products


def gemm(
    a: Array,
    b: Array,
    c: Array | float | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    trans_a: bool = False,
    trans_b: bool = False,
    activation: Activation = None,
) -> Array:
    """alpha * op(a) @ op(b) + beta * c, op transposing where asked. As ONNX Gemm.

    a (M, K) or (K, M), b (K, N) or (N, K); c a scalar or an array that broadcasts to (M, N). Returns (M, N).
    """
    if c is not None:
        scalar = not isinstance(c, np.ndarray) and not is_device_array(c)
        call = call_of("gemm", {"a": a, "b": b, **({} if scalar else {"c": c})})
        sizes = [call.array(name, operand).shape for name, operand in (("a", a), ("b", b))]
        transposed = (arguments.boolean("gemm", name, t) for name, t in (("trans_a", trans_a), ("trans_b", trans_b)))
        y = tuple(_core.gemm_dims(*sizes, *transposed))
        c = np.float32(arguments.number("gemm", "c", c)) if scalar else call.array("c", c)
        if c.shape not in (y, y[1:], (1, y[1])):
            try:
                c = np.ascontiguousarray(np.broadcast_to(c if scalar else call.parameter("c", c), y))
            except ValueError:
                raise ValueError(f"gemm: expected c to broadcast to {y}, got shape {c.shape}") from None
            c = call.from_host(c)
    return run_operator(
        "gemm",
        {"a": a, "b": b, "c": c},
        alpha=alpha,
        beta=beta,
        trans_a=trans_a,
        trans_b=trans_b,
        activation=activation,
    )[0]


def linear(x: Array, weight: Array, bias: Array | None = None, *, activation: Activation = None) -> Array:
    """Fully connected layer, x @ weight.T + bias.

    x (..., IN), weight (OUT, IN), bias (OUT,) or None; returns (..., OUT). As torch.nn.functional.linear.
    """
    return run_operator("linear", {"x": x}, {"weight": weight, "bias": bias}, activation=activation)[0]


# ----------------------------------------------------------------------------------------------------------- pooling


def max_pool2d(
    x: Array,
    kernel_size: Pair,
    *,
    stride: Pair | None = None,
    padding: Padding = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Array | tuple[Array, Array]:
    """Largest value of each window; padding counts as minus infinity and must be smaller than the kernel's extent.

    x (N, C, H, W); stride defaults to kernel_size. Returns (N, C, OH, OW) and, with return_indices, int64 positions of
    the same shape, counted row by row in the unpadded (H, W) plane: of the first of equal values, of the last NaN where
    there is one, -1 for a window of padding only.
    As torch.nn.functional.max_pool2d, which allows less padding, and ONNX MaxPool.
    """
    results = run_operator(
        "max_pool2d", {"x": x}, kernel_size=kernel_size, stride=stride, padding=padding, dilation=dilation,
        ceil_mode=ceil_mode, return_indices=return_indices,
    )  # fmt: skip
    return tuple(results) if return_indices else results[0]


def avg_pool2d(
    x: Array,
    kernel_size: Pair,
    *,
    stride: Pair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """Mean of each window. x (N, C, H, W); stride defaults to kernel_size.

    Zeros of the padding are counted with count_include_pad; divisor_override divides in place of the count.
    Returns (N, C, OH, OW), OH = (H + top + bottom - KH) // stride + 1, with ceil_mode rounded up unless the last window
    would begin in the padding. As torch.nn.functional.avg_pool2d and ONNX AveragePool.
    """
    return run_operator(
        "avg_pool2d", {"x": x}, kernel_size=kernel_size, stride=stride, padding=padding, ceil_mode=ceil_mode,
        count_include_pad=count_include_pad, divisor_override=divisor_override,
    )[0]  # fmt: skip


def max_unpool2d(
    x: Array,
    indices: Array,
    kernel_size: Pair,
    *,
    stride: Pair | None = None,
    padding: Padding = 0,
    output_size: Sequence[int] | None = None,
) -> Array:
    """Puts each x at its index in a plane of zeros: the partial inverse of max_pool2d with return_indices.

    x (N, C, H, W), indices int64 of the same shape, output_size (H, W) or the full shape to choose among the sizes that
    pool to x's. Of equal indices the last wins. An index outside its plane raises ValueError. As
    torch.nn.functional.max_unpool2d.
    """
    return run_operator(
        "max_unpool2d", {"x": x, "indices": indices}, kernel_size=kernel_size, stride=stride, padding=padding,
        output_size=output_size,
    )[0]  # fmt: skip


def global_avg_pool2d(x: Array) -> Array:
    """Mean of each plane: (N, C, H, W) -> (N, C, 1, 1). As ONNX GlobalAveragePool."""
    return run_operator("global_avg_pool2d", {"x": x})[0]


def global_max_pool2d(x: Array) -> Array:
    """Maximum of each plane: (N, C, H, W) -> (N, C, 1, 1). As ONNX GlobalMaxPool."""
    return run_operator("global_max_pool2d", {"x": x})[0]


def adaptive_avg_pool2d(x: Array, output_size: int | Sequence[int | None]) -> Array:
    """Means over output_size bins that cover the plane; None keeps a size.

    x (N, C, H, W); returns (N, C, OH, OW), (OH, OW) being output_size. Bin i covers rows floor(i * H / OH) to
    ceil((i + 1) * H / OH). As torch.nn.functional.adaptive_avg_pool2d.
    """
    return run_operator("adaptive_avg_pool2d", {"x": x}, output_size=output_size)[0]


# ----------------------------------------------------------------------------------------------------- normalization


def batch_norm(
    x: Array,
    running_mean: Array,
    running_var: Array,
    weight: Array | None = None,
    bias: Array | None = None,
    *,
    eps: float = 1e-5,
    activation: Activation = None,
) -> Array:
    """(x - mean) / sqrt(var + eps) * weight + bias with given statistics, channels along axis 1.

    x (N, C, ...), the others (C,); returns x's shape. As torch.nn.functional.batch_norm with training=False.
    """
    parameters = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    return run_operator("batch_norm", {"x": x}, parameters, eps=eps, activation=activation)[0]


def local_response_norm(x: Array, size: int, *, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Array:
    """x / (k + alpha / size * sum of squares over `size` neighbouring channels) ** beta.

    x (N, C, H, W); returns its shape. As torch.nn.functional.local_response_norm; Krizhevsky et al. 2012 do not divide
    alpha by size.
    """
    return run_operator("local_response_norm", {"x": x}, size=size, alpha=alpha, beta=beta, k=k)[0]


def softmax(x: Array, dim: int = -1) -> Array:
    """exp(x) / sum of exp(x) along `dim`, the maximum subtracted first.

    x of any rank; returns its shape. As torch.nn.functional.softmax.
    """
    return run_operator("softmax", {"x": x}, dim=dim)[0]


def log_softmax(x: Array, dim: int = -1) -> Array:
    """log(softmax(x)) along `dim` without the loss of precision.

    x of any rank; returns its shape. As torch.nn.functional.log_softmax.
    """
    return run_operator("log_softmax", {"x": x}, dim=dim)[0]


# ------------------------------------------------------------------------------------------------------- elementwise


def relu(x: Array) -> Array:
    """max(x, 0). x of any shape, which is the result's. As torch.nn.functional.relu."""
    return run_operator("relu", {"x": x})[0]


def relu6(x: Array) -> Array:
    """min(max(x, 0), 6). x of any shape, which is the result's. As torch.nn.functional.relu6."""
    return run_operator("relu6", {"x": x})[0]


def leaky_relu(x: Array, negative_slope: float = 0.01) -> Array:
    """x where positive, negative_slope * x elsewhere.

    x of any shape, which is the result's. As torch.nn.functional.leaky_relu.
    """
    return run_operator("leaky_relu", {"x": x}, negative_slope=negative_slope)[0]


def prelu(x: Array, weight: Array) -> Array:
    """x where positive, weight * x elsewhere; weight holds one value, or one for each channel (axis 1).

    x of any shape, which is the result's; weight (), (1,) or (C,). As torch.nn.functional.prelu.
    """
    return run_operator("prelu", {"x": x}, {"weight": weight})[0]


def elu(x: Array, alpha: float = 1.0) -> Array:
    """x where positive, alpha * (exp(x) - 1) elsewhere.

    x of any shape, which is the result's. As torch.nn.functional.elu.
    """
    return run_operator("elu", {"x": x}, alpha=alpha)[0]


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)). x of any shape, which is the result's. As torch.sigmoid."""
    return run_operator("sigmoid", {"x": x})[0]


def tanh(x: Array) -> Array:
    """Hyperbolic tangent. x of any shape, which is the result's. As torch.tanh."""
    return run_operator("tanh", {"x": x})[0]


def hardswish(x: Array) -> Array:
    """x * min(max(x + 3, 0), 6) / 6. x of any shape, which is the result's. As torch.nn.functional.hardswish."""
    return run_operator("hardswish", {"x": x})[0]


def silu(x: Array) -> Array:
    """x * sigmoid(x). x of any shape, which is the result's. As torch.nn.functional.silu."""
    return run_operator("silu", {"x": x})[0]


def gelu(x: Array, approximate: str = "none") -> Array:
    """x * Phi(x), Phi the normal distribution function; approximate="tanh" for the formula with tanh.

    x of any shape, which is the result's. As torch.nn.functional.gelu.
    """
    return run_operator("gelu", {"x": x}, approximate=approximate)[0]


def add(x: Array, y: Array, *, activation: Activation = None) -> Array:
    """activation(x + y) with NumPy's broadcasting.

    x and y of any shapes that broadcast, to the result's. As torch.add and ONNX Add.
    """
    return run_operator("add", {"x": x, "y": y}, activation=activation)[0]


def mul(x: Array, y: Array, *, activation: Activation = None) -> Array:
    """activation(x * y) with NumPy's broadcasting.

    x and y of any shapes that broadcast, to the result's. As torch.mul and ONNX Mul.
    """
    return run_operator("mul", {"x": x, "y": y}, activation=activation)[0]


# -------------------------------------------------------------------------------------------------- shape and layout


def concat(tensors: Sequence[Array], dim: int = 1) -> Array:
    """The tensors side by side along `dim`, whose sizes add up; all others must agree. As torch.cat, where dim is 0."""
    if not isinstance(tensors, Sequence) or isinstance(tensors, str):
        raise TypeError(f"concat: expected tensors as a sequence of arrays, got {type(tensors).__name__}")
    return run_operator("concat", {"tensors": list(tensors)}, dim=dim)[0]


def pad(x: Array, padding: Padding, *, mode: str = "constant", value: float = 0.0) -> Array:
    """Pads the planes of x (N, C, H, W) with `value`, or by "reflect", "replicate" or "circular" continuation.

    Returns (N, C, H + top + bottom, W + left + right). As torch.nn.functional.pad, with padding written as everywhere
    in this package.
    """
    return run_operator("pad", {"x": x}, padding=padding, mode=mode, value=value)[0]


def upsample(
    x: Array,
    *,
    size: Pair | None = None,
    scale_factor: float | tuple[float, float] | None = None,
    mode: str = "nearest",
    align_corners: bool = False,
) -> Array:
    """Resizes the planes of x (N, C, H, W), "nearest" or "bilinear", to `size` or by `scale_factor`.

    Returns (N, C, *size), or (N, C, floor(H * factor), floor(W * factor)). As torch.nn.functional.interpolate.
    """
    return run_operator(
        "upsample", {"x": x}, size=size, scale_factor=scale_factor, mode=mode, align_corners=align_corners
    )[0]


def pixel_shuffle(x: Array, upscale_factor: int) -> Array:
    """(N, C * r * r, H, W) -> (N, C, H * r, W * r). As torch.nn.functional.pixel_shuffle."""
    return run_operator("pixel_shuffle", {"x": x}, upscale_factor=upscale_factor)[0]


def flatten(x: Array, start_dim: int = 1, end_dim: int = -1) -> Array:
    """Joins dimensions start_dim to end_dim into one. As torch.flatten, but always a new array and the first kept."""
    return run_operator("flatten", {"x": x}, start_dim=start_dim, end_dim=end_dim)[0]


def dropout(x: Array, p: float = 0.5) -> Array:
    """x itself, copied: dropout does nothing at inference. As torch.nn.functional.dropout with training=False."""
    return run_operator("dropout", {"x": x}, p=p)[0]
