"""The table of operators: for each, its attributes, the sizes of its result, and its lowering to planned steps.

An operator's meaning is the function of the same name in reference.py. Operands are told apart by name: those listed
in `tensors` are computed by other nodes or given by the caller, those in `parameters` are constants known when a
program is planned. Attributes are kept in one canonical form (arguments.py), which both `reference` and the functions
here take.

Adding an operator: a function in reference.py, a class here, kernels behind Backend, cases in tests/cases.py.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from . import _core, arguments
from .arguments import flat, number, pair

Dims = tuple[int, ...]
TABLE: dict[str, Operator] = {}


class Operator:
    """One row of the table: a subclass with a name is entered under it, as its only instance."""

    name: ClassVar[str]
    tensors: ClassVar[tuple[str, ...]] = ("x",)  # a name ending in * stands for any number of tensors
    parameters: ClassVar[tuple[str, ...]] = ()
    fuses_activation: ClassVar[bool] = False
    required: ClassVar[tuple[str, ...]] = ()  # operands without which dims() cannot do

    def __init_subclass__(cls, name: str | None = None, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        _, _, *operands = inspect.signature(cls.dims).parameters.values()
        cls.required = tuple(operand.name for operand in operands if operand.default is operand.empty)
        if name is not None:
            cls.name = name
            TABLE[name] = cls()

    def attributes(self) -> dict[str, Any]:
        """Checks and completes attributes; the keyword arguments are the operator's public ones."""
        return {}

    def dims(self, attributes: dict[str, Any], **operands: Any) -> list[Dims]:
        """Sizes of each result. Operands are the sizes of tensors and parameters."""
        raise NotImplementedError

    def lower(self, program: _core.Program, attributes: dict[str, Any], **operands: Any) -> list[int]:
        """Appends the steps. Tensors are ids of the program, parameters arrays; returns the ids of the results."""
        raise NotImplementedError

    def flops(self, attributes: dict[str, Any], **operands: Any) -> float:
        """Floating-point operations of the direct algorithm where products dominate, else 0."""
        return 0.0


def activation_arguments(attributes: dict[str, Any]) -> tuple[str, float]:
    """The attribute as the compiled module takes it: ("", 0.0) for none."""
    activation = attributes["activation"] or ""
    return (activation, 0.0) if isinstance(activation, str) else activation


# ------------------------------------------------------------------------------------------------------- convolution


class Conv2d(Operator, name="conv2d"):
    tensors = ("x", "residual")
    parameters = ("weight", "bias")
    fuses_activation = True

    def attributes(self, *, stride=1, padding=0, dilation=1, groups=1, activation=None):
        return {
            "stride": pair("conv2d", "stride", stride),
            "padding": padding if isinstance(padding, str) else arguments.padding("conv2d", padding),
            "dilation": pair("conv2d", "dilation", dilation),
            "groups": arguments.integer("conv2d", "groups", groups),
            "activation": arguments.activation("conv2d", activation),
        }

    def _padding(self, a, weight: Dims):
        return flat(arguments.convolution_padding(a["padding"], weight[2:], a["stride"], a["dilation"]))

    def _dims_and_flops(self, a, x, weight):
        sides = self._padding(a, weight) if len(weight) == 4 else (0, 0, 0, 0)
        return _core.conv2d_dims(x, weight, a["stride"], sides, a["dilation"], a["groups"])

    def dims(self, a, x, weight, bias=None, residual=None):
        y = tuple(self._dims_and_flops(a, x, weight)[0])
        expect_dims("conv2d", "bias", bias, (y[1],))
        expect_dims("conv2d", "residual", residual, y)
        return [y]

    def flops(self, a, x, weight, bias=None, residual=None):
        return self._dims_and_flops(a, x, weight)[1]

    def lower(self, program, a, x, weight, bias=None, residual=-1):
        sides = self._padding(a, weight.shape)
        return [
            program.conv2d(
                x, weight, bias, a["stride"], sides, a["dilation"], a["groups"], residual, *activation_arguments(a)
            )
        ]


class ConvTranspose2d(Operator, name="conv_transpose2d"):
    parameters = ("weight", "bias")
    tensors = ("x", "residual")
    fuses_activation = True

    def attributes(self, *, stride=1, padding=0, output_padding=0, dilation=1, groups=1, activation=None):
        op = "conv_transpose2d"
        return {
            "stride": pair(op, "stride", stride),
            "padding": arguments.padding(op, padding),
            "output_padding": pair(op, "output_padding", output_padding),
            "dilation": pair(op, "dilation", dilation),
            "groups": arguments.integer(op, "groups", groups),
            "activation": arguments.activation(op, activation),
        }

    def _dims_and_flops(self, a, x, weight):
        return _core.conv_transpose2d_dims(
            x, weight, a["stride"], flat(a["padding"]), a["output_padding"], a["dilation"], a["groups"]
        )

    def dims(self, a, x, weight, bias=None, residual=None):
        y = tuple(self._dims_and_flops(a, x, weight)[0])
        expect_dims("conv_transpose2d", "bias", bias, (y[1],))
        expect_dims("conv_transpose2d", "residual", residual, y)
        return [y]

    def flops(self, a, x, weight, bias=None, residual=None):
        return self._dims_and_flops(a, x, weight)[1]

    def lower(self, program, a, x, weight, bias=None, residual=-1):
        return [
            program.conv_transpose2d(
                x, weight, bias, a["stride"], flat(a["padding"]), a["output_padding"], a["dilation"], a["groups"],
                residual, *activation_arguments(a),
            )
        ]  # fmt: skip


# --------------------------------------------------------------------------------------------------- matrix products


class Linear(Operator, name="linear"):
    parameters = ("weight", "bias")
    fuses_activation = True

    def attributes(self, *, activation=None):
        return {"activation": arguments.activation("linear", activation)}

    def dims(self, a, x, weight, bias=None):
        y = tuple(_core.linear_dims(x, weight))
        expect_dims("linear", "bias", bias, (weight[0],))
        return [y]

    def flops(self, a, x, weight, bias=None):
        return 2.0 * math.prod(x[:-1]) * math.prod(weight)

    def lower(self, program, a, x, weight, bias=None):
        return [program.linear(x, weight, bias, *activation_arguments(a))]


class Gemm(Operator, name="gemm"):
    tensors = ("a", "b", "c")
    fuses_activation = True

    def attributes(self, *, alpha=1.0, beta=1.0, trans_a=False, trans_b=False, activation=None):
        return {
            "alpha": number("gemm", "alpha", alpha),
            "beta": number("gemm", "beta", beta),
            "trans_a": bool(trans_a),
            "trans_b": bool(trans_b),
            "activation": arguments.activation("gemm", activation),
        }

    def dims(self, attributes, a, b, c=None):
        y = tuple(_core.gemm_dims(a, b, attributes["trans_a"], attributes["trans_b"]))
        if c is not None and c not in (y, y[1:], (1, y[1])):
            raise ValueError(f"gemm: expected c of shape {y}, {y[1:]} or {(1, y[1])}, got {c}")
        return [y]

    def flops(self, attributes, a, b, c=None):
        return 2.0 * math.prod(a) * (b[0] if attributes["trans_b"] else b[1])

    def lower(self, program, attributes, a, b, c=-1):
        alpha, beta, trans_a, trans_b = (attributes[key] for key in ("alpha", "beta", "trans_a", "trans_b"))
        return [program.gemm(a, b, c if beta else -1, alpha, beta, trans_a, trans_b, *activation_arguments(attributes))]


# ----------------------------------------------------------------------------------------------------------- pooling


class MaxPool2d(Operator, name="max_pool2d"):
    def attributes(self, *, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
        kernel = pair("max_pool2d", "kernel_size", kernel_size)
        return {
            "kernel_size": kernel,
            "stride": kernel if stride is None else pair("max_pool2d", "stride", stride),
            "padding": arguments.padding("max_pool2d", padding),
            "dilation": pair("max_pool2d", "dilation", dilation),
            "ceil_mode": bool(ceil_mode),
            "return_indices": bool(return_indices),
        }

    def dims(self, a, x):
        y = _core.pool2d_dims(
            "max_pool2d", x, a["kernel_size"], a["stride"], flat(a["padding"]), a["dilation"], a["ceil_mode"]
        )
        return [tuple(y)] * (2 if a["return_indices"] else 1)

    def lower(self, program, a, x):
        return program.max_pool2d(
            x, a["kernel_size"], a["stride"], flat(a["padding"]), a["dilation"], a["ceil_mode"], a["return_indices"]
        )


class AvgPool2d(Operator, name="avg_pool2d"):
    def attributes(
        self, *, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
    ):
        kernel = pair("avg_pool2d", "kernel_size", kernel_size)
        divisor = (
            None if divisor_override is None else arguments.integer("avg_pool2d", "divisor_override", divisor_override)
        )
        if divisor is not None and divisor < 1:
            raise ValueError(f"avg_pool2d: expected divisor_override of at least 1, got {divisor}")
        return {
            "kernel_size": kernel,
            "stride": kernel if stride is None else pair("avg_pool2d", "stride", stride),
            "padding": arguments.padding("avg_pool2d", padding),
            "ceil_mode": bool(ceil_mode),
            "count_include_pad": bool(count_include_pad),
            "divisor_override": divisor,
        }

    def dims(self, a, x):
        return [
            tuple(
                _core.pool2d_dims(
                    "avg_pool2d", x, a["kernel_size"], a["stride"], flat(a["padding"]), (1, 1), a["ceil_mode"]
                )
            )
        ]

    def lower(self, program, a, x):
        size = program.dims(x)
        (y,) = self.dims(a, size)
        axes = []
        for axis in (0, 1):
            before, after = a["padding"][axis]
            kernel, stride, extent = a["kernel_size"][axis], a["stride"][axis], size[2 + axis]
            begin = np.arange(y[2 + axis]) * stride - before
            # Windows may hang over the padding when ceil_mode added one; what hangs over does not count.
            padded_end = np.minimum(begin + kernel, extent + after)
            clipped_begin, clipped_end = np.maximum(begin, 0), np.minimum(begin + kernel, extent)
            count = padded_end - begin if a["count_include_pad"] else clipped_end - clipped_begin
            axes += [clipped_begin.tolist(), clipped_end.tolist(), count.tolist()]
        return [program.avg_pool2d(x, *axes, a["divisor_override"] or 0)]


class AdaptiveAvgPool2d(Operator, name="adaptive_avg_pool2d"):
    def attributes(self, *, output_size):
        sizes = output_size if isinstance(output_size, Sequence) else (output_size, output_size)
        if len(sizes) != 2:
            raise ValueError(f"adaptive_avg_pool2d: expected output_size as an int or (h, w), got {output_size!r}")
        integer = arguments.integer
        return {
            "output_size": tuple(s if s is None else integer("adaptive_avg_pool2d", "output_size", s) for s in sizes)
        }

    def dims(self, a, x):
        asked = [x[2 + i] if size is None and len(x) == 4 else size for i, size in enumerate(a["output_size"])]
        return [tuple(_core.adaptive_pool2d_dims(x, [1 if size is None else size for size in asked]))]

    def lower(self, program, a, x):
        size = program.dims(x)
        (y,) = self.dims(a, size)
        axes = []
        for extent, bins in zip(size[2:], y[2:], strict=True):
            begin = [i * extent // bins for i in range(bins)]
            end = [-(-(i + 1) * extent // bins) for i in range(bins)]
            axes += [begin, end, [e - b for b, e in zip(begin, end, strict=True)]]
        return [program.avg_pool2d(x, *axes, 0)]


class GlobalAvgPool2d(Operator, name="global_avg_pool2d"):
    def dims(self, a, x):
        expect_rank(self.name, x, 4, "(N, C, H, W)")
        return [tuple(_core.adaptive_pool2d_dims(x, (1, 1)))]

    def lower(self, program, a, x):
        return TABLE["adaptive_avg_pool2d"].lower(program, {"output_size": (1, 1)}, x)


class GlobalMaxPool2d(Operator, name="global_max_pool2d"):
    def dims(self, a, x):
        expect_rank(self.name, x, 4, "(N, C, H, W)")
        return [tuple(_core.adaptive_pool2d_dims(x, (1, 1)))]

    def lower(self, program, a, x):
        return [program.global_max_pool2d(x)]


class MaxUnpool2d(Operator, name="max_unpool2d"):
    tensors = ("x", "indices")

    def attributes(self, *, kernel_size, stride=None, padding=0, output_size=None):
        kernel = pair("max_unpool2d", "kernel_size", kernel_size)
        if output_size is not None:
            if not isinstance(output_size, Sequence):
                raise TypeError(f"max_unpool2d: expected output_size as a sequence of integers, got {output_size!r}")
            output_size = tuple(arguments.integer("max_unpool2d", "output_size", s) for s in output_size)
        return {
            "kernel_size": kernel,
            "stride": kernel if stride is None else pair("max_unpool2d", "stride", stride),
            "padding": arguments.padding("max_unpool2d", padding),
            "output_size": output_size,
        }

    def dims(self, a, x, indices):
        y = tuple(_core.max_unpool2d_dims(x, a["kernel_size"], a["stride"], flat(a["padding"])))
        expect_dims("max_unpool2d", "indices", indices, tuple(x))
        asked = a["output_size"]
        if asked is None:
            return [y]
        if len(asked) not in (2, 4) or (len(asked) == 4 and asked[:2] != y[:2]) or min(asked) < 1:
            raise ValueError(f"max_unpool2d: expected output_size as (H, W) or {(*y[:2], 'H', 'W')}, got {asked}")
        y = (*y[:2], *asked[-2:])
        _core.element_count(y, "max_unpool2d output")
        return [y]

    def lower(self, program, a, x, indices):
        (y,) = self.dims(a, tuple(program.dims(x)), tuple(program.dims(indices)))
        return [program.max_unpool2d(x, indices, y)]


# ----------------------------------------------------------------------------------------------------- normalization


class BatchNorm(Operator, name="batch_norm"):
    parameters = ("running_mean", "running_var", "weight", "bias")
    fuses_activation = True

    def attributes(self, *, eps=1e-5, activation=None):
        return {"eps": number("batch_norm", "eps", eps), "activation": arguments.activation("batch_norm", activation)}

    def dims(self, a, x, running_mean, running_var, weight=None, bias=None):
        if len(x) < 2:
            raise ValueError(f"batch_norm: expected x of shape (N, C, ...), got {x}")
        given = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
        for operand, size in given.items():
            expect_dims("batch_norm", operand, size, (x[1],))
        return [x]

    @staticmethod
    def scale_and_shift(a, running_mean, running_var, weight=None, bias=None):
        """float64 (scale, shift) such that the result is x * scale + shift."""
        scale = 1.0 / np.sqrt(running_var.astype(np.float64) + a["eps"])
        if weight is not None:
            scale = scale * weight
        shift = -running_mean * scale
        return scale, shift if bias is None else shift + bias

    def lower(self, program, a, x, running_mean, running_var, weight=None, bias=None):
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            scale, shift = self.scale_and_shift(a, running_mean, running_var, weight, bias)
            scale, shift = scale.astype(np.float32), shift.astype(np.float32)
        return [program.channel_affine(x, scale, shift, *activation_arguments(a))]


class LocalResponseNorm(Operator, name="local_response_norm"):
    def attributes(self, *, size, alpha=1e-4, beta=0.75, k=1.0):
        op = "local_response_norm"
        size = arguments.integer(op, "size", size)
        if size < 1:
            raise ValueError(f"{op}: expected size of at least 1, got {size}")
        return {
            "size": size,
            "alpha": number(op, "alpha", alpha),
            "beta": number(op, "beta", beta),
            "k": number(op, "k", k),
        }

    def dims(self, a, x):
        expect_rank("local_response_norm", x, 4, "(N, C, H, W)")
        return [x]

    def lower(self, program, a, x):
        size = a["size"]
        return [program.local_response_norm(x, size // 2, (size - 1) // 2, a["alpha"], a["beta"], a["k"])]


class Softmax(Operator, name="softmax"):
    log = False

    def attributes(self, *, dim=-1):
        return {"dim": arguments.integer(self.name, "dim", dim)}

    def dims(self, a, x):
        _core.normalized_dim(self.name, a["dim"], len(x))
        return [x]

    def lower(self, program, a, x):
        return [program.softmax(x, a["dim"], self.log)]


class LogSoftmax(Softmax, name="log_softmax"):
    log = True


# ------------------------------------------------------------------------------------------------------- elementwise


class Activation(Operator):
    """x -> f(x), one class per entry of ACTIVATIONS; `keyword` is the name of its parameter."""

    keyword: ClassVar[str | None] = None

    def attributes(self, **keywords):
        unknown = set(keywords) - {self.keyword}
        if unknown:
            raise TypeError(f"{self.name}: unexpected argument {', '.join(sorted(unknown))}")
        if self.keyword is None:
            return {}
        value = keywords.get(self.keyword, arguments.ACTIVATIONS[self.name])
        return {self.keyword: number(self.name, self.keyword, value)}

    def fused(self, a) -> arguments.Activation:
        """The same, as the `activation` attribute of another operator."""
        return (self.name, a[self.keyword]) if self.keyword else self.name

    def dims(self, a, x):
        return [x]

    def lower(self, program, a, x):
        return [program.activation(x, *activation_arguments({"activation": self.fused(a)}))]


class ReLU(Activation, name="relu"):
    pass


class ReLU6(Activation, name="relu6"):
    pass


class LeakyReLU(Activation, name="leaky_relu"):
    keyword = "negative_slope"


class ELU(Activation, name="elu"):
    keyword = "alpha"


class Sigmoid(Activation, name="sigmoid"):
    pass


class Tanh(Activation, name="tanh"):
    pass


class Hardswish(Activation, name="hardswish"):
    pass


class SiLU(Activation, name="silu"):
    pass


class GELU(Activation, name="gelu"):
    def attributes(self, *, approximate="none"):
        if approximate not in ("none", "tanh"):
            raise ValueError(f"gelu: expected approximate 'none' or 'tanh', got {approximate!r}")
        return {"approximate": approximate}

    def fused(self, a):
        return "gelu" if a["approximate"] == "none" else "gelu_tanh"


class PReLU(Operator, name="prelu"):
    parameters = ("weight",)

    def dims(self, a, x, weight):
        if weight not in ((), (1,)) and (len(x) < 2 or weight != (x[1],)):
            raise ValueError(f"prelu: expected weight of one value or one per channel of x {x}, got shape {weight}")
        return [x]

    def lower(self, program, a, x, weight):
        return [program.prelu(x, weight.reshape(-1))]


class Add(Operator, name="add"):
    tensors = ("x", "y")
    fuses_activation = True

    def attributes(self, *, activation=None):
        return {"activation": arguments.activation(self.name, activation)}

    def dims(self, a, x, y):
        return [tuple(_core.broadcast_dims(self.name, x, y))]

    def lower(self, program, a, x, y):
        return [program.binary(self.name, x, y, *activation_arguments(a))]


class Mul(Add, name="mul"):
    pass


# -------------------------------------------------------------------------------------------------- shape and layout


class Concat(Operator, name="concat"):
    tensors = ("tensors*",)

    def attributes(self, *, dim=1):
        return {"dim": arguments.integer("concat", "dim", dim)}

    def dims(self, a, tensors):
        return [tuple(_core.concat_dims(tensors, a["dim"]))]

    def lower(self, program, a, tensors):
        return [program.concat(tensors, a["dim"])]


class Pad(Operator, name="pad"):
    def attributes(self, *, padding, mode="constant", value=0.0):
        if not isinstance(mode, str):
            raise TypeError(f"pad: expected mode as a string, got {mode!r}")
        return {"padding": arguments.padding("pad", padding), "mode": mode, "value": number("pad", "value", value)}

    def dims(self, a, x):
        return [tuple(_core.pad2d_dims(x, flat(a["padding"]), a["mode"]))]

    def lower(self, program, a, x):
        axes = [_padded_index(extent, *a["padding"][i], a["mode"]) for i, extent in enumerate(program.dims(x)[2:])]
        return [program.resample2d(x, axes[0], [], axes[1], [], [], [], a["value"])]


def _padded_index(extent: int, before: int, after: int, mode: str) -> list[int]:
    """The input coordinate that each output coordinate copies; -1 where the constant stands."""
    at = np.arange(-before, extent + after)
    if mode == "constant":
        at = np.where((at < 0) | (at >= extent), -1, at)
    elif mode == "replicate":
        at = np.clip(at, 0, extent - 1)
    elif mode == "circular":
        at = at % extent
    else:
        at = np.abs(at)
        at = np.where(at >= extent, 2 * (extent - 1) - at, at)
    return at.tolist()


class Upsample(Operator, name="upsample"):
    def attributes(self, *, size=None, scale_factor=None, mode="nearest", align_corners=False):
        if (size is None) == (scale_factor is None):
            raise ValueError("upsample: expected either size or scale_factor")
        if mode not in ("nearest", "bilinear"):
            raise ValueError(f"upsample: expected mode 'nearest' or 'bilinear', got {mode!r}")
        if align_corners and mode == "nearest":
            raise ValueError("upsample: align_corners applies to mode 'bilinear' only")
        if scale_factor is not None:
            factors = scale_factor if isinstance(scale_factor, (tuple, list)) else (scale_factor, scale_factor)
            scale_factor = tuple(number("upsample", "scale_factor", f) for f in factors)
            if len(scale_factor) != 2 or not all(0 < f < math.inf for f in scale_factor):
                raise ValueError(f"upsample: expected a positive scale_factor, got {scale_factor}")
        return {
            "size": None if size is None else pair("upsample", "size", size),
            "scale_factor": scale_factor,
            "mode": mode,
            "align_corners": bool(align_corners),
        }

    def dims(self, a, x):
        expect_rank("upsample", x, 4, "(N, C, H, W)")
        size = a["size"] or [int(min(extent * f, 2.0**62)) for extent, f in zip(x[2:], a["scale_factor"], strict=True)]
        return [tuple(_core.upsample_dims(x, size))]

    def lower(self, program, a, x):
        extents = program.dims(x)[2:]
        (y,) = self.dims(a, tuple(program.dims(x)))
        factors = a["scale_factor"] or (None, None)
        axes = [
            _sampled_index(*axis, a["mode"], a["align_corners"]) for axis in zip(extents, y[2:], factors, strict=True)
        ]
        (low_h, high_h, weight_h), (low_w, high_w, weight_w) = axes
        return [program.resample2d(x, low_h, high_h, low_w, high_w, weight_h, weight_w, 0.0)]


def _sampled_index(
    extent: int, out: int, factor: float | None, mode: str, align_corners: bool
) -> tuple[list[int], list[int], list[float]]:
    """(low, high, weight) of each output coordinate; empty high and weight for "nearest". See reference.upsample."""
    at = np.arange(out)
    # PyTorch copies an axis that keeps its size, and doubles one exactly, whatever the factor that led there.
    if out == extent or (mode == "nearest" and out == 2 * extent):
        factor = None

    def scaled(place: np.ndarray) -> np.ndarray:
        return place * extent / out if factor is None else place / factor

    if mode == "nearest":
        # 33 / 2.2 falls just short of 15, because 2.2 is not exact in binary.
        return np.minimum(np.floor(scaled(at) + 1e-9).astype(int), extent - 1).tolist(), [], []
    place = at * (extent - 1) / max(out - 1, 1) if align_corners else np.maximum(scaled(at + 0.5) - 0.5, 0.0)
    low = np.floor(place).astype(int)
    return low.tolist(), np.minimum(low + 1, extent - 1).tolist(), (place - low).tolist()


class PixelShuffle(Operator, name="pixel_shuffle"):
    def attributes(self, *, upscale_factor):
        return {"upscale_factor": arguments.integer("pixel_shuffle", "upscale_factor", upscale_factor)}

    def dims(self, a, x):
        return [tuple(_core.pixel_shuffle_dims(x, a["upscale_factor"]))]

    def lower(self, program, a, x):
        return [program.pixel_shuffle(x, a["upscale_factor"])]


class Flatten(Operator, name="flatten"):
    def attributes(self, *, start_dim=1, end_dim=-1):
        integer = arguments.integer
        return {
            "start_dim": integer("flatten", "start_dim", start_dim),
            "end_dim": integer("flatten", "end_dim", end_dim),
        }

    def dims(self, a, x):
        return [tuple(_core.flatten_dims(x, a["start_dim"], a["end_dim"]))]

    def lower(self, program, a, x):
        (y,) = self.dims(a, tuple(program.dims(x)))
        return [program.reshape(x, y)]


class Dropout(Operator, name="dropout"):
    def attributes(self, *, p=0.5):
        p = number("dropout", "p", p)
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"dropout: expected p between 0 and 1, got {p}")
        return {"p": p}

    def dims(self, a, x):
        return [x]

    def lower(self, program, a, x):
        return [x]


# ------------------------------------------------------------------------------------------------------------ checks


def expect_dims(op: str, operand: str, dims: Dims | None, expected: Dims) -> None:
    if dims is not None and tuple(dims) != tuple(expected):
        raise ValueError(f"{op}: expected {operand} of shape {tuple(expected)}, got {tuple(dims)}")


def expect_rank(op: str, x: Dims, rank: int, layout: str) -> None:
    if len(x) != rank:
        raise ValueError(f"{op}: expected x of shape {layout}, got {tuple(x)}")
