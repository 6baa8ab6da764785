"""Does a device compute what the operators mean? Every kernel family against reference/, for `tesela selftest`.

Two inputs for each check. Integers from -4 to 4, where float32 sums are exact: the result must be equal. Then normal
numbers, within a bound that follows from the arithmetic: with u = 2^-24, a sum of n products is wrong by at most
n u sum |x| |w| (Higham, "Accuracy and stability of numerical algorithms", 2002, 3.1), and that sum is the reference on
absolute values. Functions are allowed FUNCTION_UNITS roundings of their largest result. With a precision of 16 bits the
reference gets numbers rounded to it, and its results are rounded once more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from . import _core, reference
from .operators import TABLE
from .runtime import num_threads

U = 2.0**-24
FUNCTION_UNITS = 32.0


@dataclass(frozen=True)
class Check:
    """One operator on operands of these shapes. `terms`: products in a sum, 0 for a copy or a choice, which is exact,
    None for a function."""

    op: str
    shapes: dict[str, Any]
    arguments: dict[str, Any] = field(default_factory=dict)
    terms: int | None = 0
    dtype: str = "float32"
    precision: str = ""  # of activations with channels last, as kernels for CUDA leave them to each other; "": plain

    def stored(self, x: np.ndarray) -> np.ndarray:
        """x as the device keeps it."""
        return stored(x, self.precision) if x.dtype == np.float32 else x


def stored(x: np.ndarray, precision: str) -> np.ndarray:
    """float32 rounded to the 16 bits of that precision, if it has 16, ties to even."""
    if precision == "float16":
        return x.astype(np.float16).astype(np.float32)
    if precision != "bfloat16":
        return x
    bits = x.view(np.uint32)
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)
    return np.where(np.isnan(x), x, rounded.view(np.float32))


STORED_UNITS = {"bfloat16": 2.0**-8, "float16": 2.0**-11}
FLOAT16_STEP = 2.0**-24  # between numbers below 2^-14


@dataclass(frozen=True)
class Result:
    op: str
    algorithms: tuple[str, ...]
    exact: bool | None  # on integers; None where no integers make the operator exact
    error: float  # on normal numbers, as a fraction of the bound: above 1 is wrong
    problem: str = ""  # what the device said instead of a result

    @property
    def passed(self) -> bool:
        return self.exact is not False and self.error <= 1 and not self.problem


def conv(op: str, x: tuple, weight: tuple, **arguments: Any) -> Check:
    transposed = op == "conv_transpose2d"
    groups = arguments.get("groups", 1)
    terms = (weight[0] // groups if transposed else weight[1]) * weight[2] * weight[3]
    out = weight[1] * groups if transposed else weight[0]
    return Check(op, {"x": x, "weight": weight, "bias": (out,)}, arguments, terms + 1)


def checks(device: str = "cpu") -> list[Check]:
    """Odd channels, one image and one pixel, tiles that are full and tiles that are not."""
    products = [
        conv("conv2d", (2, 3, 21, 19), (64, 3, 7, 7), stride=2, padding=3, activation="relu"),
        conv("conv2d", (1, 3, 6, 40), (64, 3, 1, 9), padding=(0, 4)),
        conv("conv2d", (1, 32, 12, 11), (67, 32, 3, 3), padding=1),
        conv("conv2d", (1, 64, 16, 16), (128, 64, 3, 3), padding=1, activation="relu"),
        conv("conv2d", (1, 65, 9, 7), (33, 65, 1, 1)),
        conv("conv2d", (1, 36, 6, 6), (64, 36, 3, 3), padding=2, dilation=2),
        conv("conv2d", (3, 96, 1, 1), (96, 96, 1, 1)),
        conv("conv2d", (1, 48, 9, 9), (64, 24, 5, 5), padding=2, groups=2),
        conv("conv2d", (2, 35, 9, 8), (35, 1, 3, 3), padding=1, groups=35),
        conv("conv2d", (1, 32, 7, 7), (32, 4, 3, 3), stride=2, padding=1, groups=8),
        conv("conv2d", (1, 40, 8, 8), (3, 40, 3, 3), padding=1),
        conv("conv_transpose2d", (1, 33, 5, 6), (33, 20, 4, 4), stride=2, padding=1),
        conv("conv_transpose2d", (2, 16, 4, 3), (16, 3, 3, 3), stride=2, output_padding=1),
        conv("conv_transpose2d", (1, 8, 5, 5), (8, 2, 2, 3), groups=4),
    ]
    matrices = [
        Check("linear", {"x": (1, 700), "weight": (130, 700), "bias": (130,)}, {"activation": "relu"}, 701),
        Check("linear", {"x": (67, 129), "weight": (65, 129)}, {}, 129),
        Check("gemm", {"a": (130, 96), "b": (96, 70)}, {}, 96),
        Check("gemm", {"a": (33, 65), "b": (17, 33), "c": (65, 17)},
              {"trans_a": True, "trans_b": True, "alpha": 2.0, "beta": -1.0}, 35),
    ]  # fmt: skip
    pools = [
        Check("max_pool2d", {"x": (2, 17, 14, 13)}, {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}),
        Check("max_pool2d", {"x": (1, 5, 20, 19)}, {"kernel_size": 9, "stride": 5, "padding": 4}),
        Check("max_pool2d", {"x": (1, 5, 8, 9)}, {"kernel_size": 2, "return_indices": True}),
        Check("avg_pool2d", {"x": (2, 17, 9, 8)}, {"kernel_size": 2, "padding": 1, "count_include_pad": False}, 5),
        Check("avg_pool2d", {"x": (1, 3, 20, 20)}, {"kernel_size": 10}, 101),
        Check("global_avg_pool2d", {"x": (2, 33, 8, 8)}, {}, 65),
        Check("global_max_pool2d", {"x": (2, 33, 7, 9)}),
        Check("max_unpool2d", {"x": (2, 3, 4, 5)}, {"kernel_size": 2}),
    ]
    maps = [
        *(Check(op, {"x": (3, 331)}, {}, None if op in ("sigmoid", "tanh", "elu", "silu", "gelu", "hardswish") else 0)
          for op in ("relu", "relu6", "sigmoid", "tanh", "elu", "hardswish", "silu", "gelu")),
        Check("gelu", {"x": (3, 331)}, {"approximate": "tanh"}, None),
        Check("leaky_relu", {"x": (3, 331)}, {"negative_slope": 0.25}, 2),
        Check("prelu", {"x": (2, 5, 3, 3), "weight": (5,)}, {}, 1),
        Check("batch_norm", {"x": (2, 5, 7, 3), "running_mean": (5,), "running_var": (5,), "weight": (5,),
                             "bias": (5,)}, {}, None),
        Check("add", {"x": (2, 1, 4, 1), "y": (3, 1, 5)}, {"activation": "relu"}, 2),
        Check("mul", {"x": (2, 5, 4, 6), "y": (2, 5, 1, 1)}, {}, 1),
        Check("local_response_norm", {"x": (2, 9, 5, 5)}, {"size": 5, "alpha": 0.5}, None),
        Check("softmax", {"x": (5, 1000)}, {}, None),
        Check("softmax", {"x": (2, 21, 5, 5)}, {"dim": 1}, None),
        Check("log_softmax", {"x": (3, 33)}, {}, None),
    ]  # fmt: skip
    copies = [
        Check("pad", {"x": (1, 3, 4, 5)}, {"padding": (2, 3), "mode": "reflect"}),
        Check("upsample", {"x": (1, 3, 4, 5)}, {"scale_factor": 2.0}),
        Check("upsample", {"x": (1, 3, 4, 5)}, {"size": (7, 9), "mode": "bilinear"}, None),
        Check("pixel_shuffle", {"x": (2, 18, 3, 4)}, {"upscale_factor": 3}),
        Check("concat", {"tensors": [(2, 3, 5), (2, 4, 5)]}, {"dim": 1}),
    ]
    arrays = [
        Check("transpose", {"x": (3, 4, 5)}, {"axes": (2, 0, 1)}),
        Check("slice", {"x": (9, 8)}, {"starts": (7, 1), "ends": (0, 7), "axes": (0, 1), "steps": (-2, 3)}, 0, "int64"),
        Check("pad_axes", {"x": (3, 4)}, {"padding": ((1, 2), (0, 3)), "mode": "edge"}, 0, "int8"),
        Check("gather", {"x": (5, 7), "indices": [[4, -5], [2, 0]]}, {"axis": 0}),
        *(Check("sub", {"x": (3, 1, 9), "y": (7, 1)}, {}, 2, dtype) for dtype in ("float32", "float64", "int32")),
        *(Check(op, {"x": (5, 67)}, {}, None) for op in ("exp", "erf", "sin", "tan", "atan", "asinh", "softplus")),
        Check("greater", {"x": (5, 67), "y": (67,)}),
        Check("cast", {"x": (5, 67)}, {"dtype": "uint8"}, 0, "int32"),
        *(Check("reduce_sum", {"x": (3, 70, 5)}, {"axes": (1,)}, 71, dtype) for dtype in ("float32", "int64")),
        Check("reduce_mean", {"x": (4, 9, 3)}, {"axes": (0, 2)}, 13),
        Check("reduce_max", {"x": (4, 90)}, {"axes": (1,)}),
        Check("reduce_log_sum_exp", {"x": (4, 90)}, {"axes": (1,)}, None),
        Check("argmax", {"x": (4, 90)}, {"axis": 1}),
    ]
    last = [] if device == "cpu" else channels_last_checks(device)
    return [*products, *matrices, *pools, *maps, *copies, *arrays, *last]


def channels_last_checks(device: str) -> list[Check]:
    """The kernels that CUDA has for activations with channels last, in every format that the device computes in."""
    kinds = [
        # So few products that integers are exact in 16 bits also where plain kernels leave them in 32.
        conv("conv2d", (1, 13, 9, 8), (40, 13, 1, 1), activation="relu"),
        conv("conv_transpose2d", (1, 3, 5, 6), (3, 20, 4, 4), stride=2, padding=1),
        conv("conv2d", (2, 35, 9, 10), (35, 1, 3, 3), padding=1, groups=35, activation="relu"),
        conv("conv2d", (1, 9, 8, 9), (9, 1, 5, 5), stride=2, padding=2, groups=9),
        conv("conv2d", (1, 9, 8, 9), (9, 1, 3, 3), padding=2, dilation=2, groups=9),
        conv("conv2d", (1, 12, 6, 7), (12, 2, 3, 3), padding=1, groups=6),
        conv("conv2d", (1, 24, 7, 7), (24, 4, 3, 3), stride=2, padding=1, groups=6),
        conv("conv2d", (1, 48, 5, 5), (48, 16, 3, 3), padding=1, groups=3),
        Check("max_pool2d", {"x": (2, 17, 14, 13)}, {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}),
        Check("avg_pool2d", {"x": (2, 17, 9, 8)}, {"kernel_size": 2, "padding": 1, "count_include_pad": False}, 5),
        Check("global_avg_pool2d", {"x": (2, 33, 8, 8)}, {}, 65),
        Check("global_max_pool2d", {"x": (2, 33, 7, 9)}),
        Check("sigmoid", {"x": (2, 5, 4, 3)}, {}, None),
        Check("prelu", {"x": (2, 5, 3, 3), "weight": (5,)}, {}, 1),
        Check("add", {"x": (2, 9, 4, 3), "y": (2, 9, 4, 3)}, {"activation": "relu"}, 2),
        Check("mul", {"x": (2, 5, 4, 6), "y": (2, 5, 1, 1)}, {}, 1),
        Check("local_response_norm", {"x": (2, 19, 5, 5)}, {"size": 5, "alpha": 0.5}, None),
        Check("local_response_norm", {"x": (1, 9, 3, 3)}, {"size": 4, "beta": 0.6}, None),
        Check("softmax", {"x": (2, 21, 5, 5)}, {"dim": 1}, None),
        Check("log_softmax", {"x": (1, 131, 2, 3)}, {"dim": 1}, None),
        Check("pad", {"x": (1, 3, 4, 5)}, {"padding": (2, 3), "value": 2.0}),
        Check("upsample", {"x": (1, 13, 4, 5)}, {"size": (7, 9), "mode": "bilinear"}, None),
        Check("pixel_shuffle", {"x": (2, 18, 3, 4)}, {"upscale_factor": 3}),
        Check("concat", {"tensors": [(2, 3, 5, 4), (2, 8, 5, 4)]}, {"dim": 1}),
    ]
    precisions = [p for p in ("float32", "bfloat16", "float16") if _computes_in(device, p)]
    return [replace(kind, precision=precision) for kind in kinds for precision in precisions]


def _computes_in(device: str, precision: str) -> bool:
    try:
        _core.Program(device, "default", precision)
    except ValueError:  # a GPU without tensor cores for it
        return False
    return True


def run(device: str, chosen: Sequence[Check] | None = None) -> Iterator[Result]:
    """One result for each check, of all unless they are chosen. DeviceError if the device cannot be had."""
    _core.Program(device)
    rng = np.random.default_rng(31)
    for check in checks(device) if chosen is None else chosen:
        try:
            yield _result(check, device, rng)
        except (RuntimeError, MemoryError) as error:
            yield Result(check.op, (), False, math.inf, str(error) or "out of memory")


def _result(check: Check, device: str, rng: np.random.Generator) -> Result:
    exact = None
    if check.terms is not None:
        operands = _operands(check, lambda shape: rng.integers(-4, 5, shape))
        algorithms, ys = _on_device(check, operands, device)
        # A mean is a quotient, rounded once by either side.
        expected = [check.stored(e.astype(y.dtype)) for y, e in zip(ys, _expected(check, operands), strict=True)]
        exact = all(np.array_equal(y, e) for y, e in zip(ys, expected, strict=True))
    operands = _operands(check, rng.standard_normal)
    algorithms, ys = _on_device(check, operands, device)
    error = 0.0
    for y, expected in zip(ys, _expected(check, operands), strict=True):
        rounding = STORED_UNITS.get(check.precision, 0.0) * np.abs(expected)
        if check.precision == "float16":
            rounding = np.maximum(rounding, FLOAT16_STEP / 2)
        difference = np.maximum(np.abs(y.astype(np.float64) - expected) - rounding, 0)
        if y.shape != expected.shape or not np.isfinite(y).all():
            error = math.inf
        elif check.terms == 0:
            error = max(error, math.inf if (y != expected.astype(y.dtype)).any() else 0.0)
        else:
            error = max(error, float(np.max(difference / np.maximum(bound(check, operands, expected), 2.0**-126))))
    return Result(check.op, tuple(dict.fromkeys(algorithms)), exact, error)


def bound(check: Check, operands: dict[str, Any], expected: np.ndarray) -> Any:
    """How far a sum or a function of these operands may be from the reference's, in float32."""
    if check.terms is None:
        return FUNCTION_UNITS * U * max(1.0, np.abs(expected).max())
    return (check.terms + 2) * U * _magnitude(check, operands)


def _operands(check: Check, draw: Any) -> dict[str, Any]:
    def array(name: str, shape: Any) -> np.ndarray:
        if isinstance(shape, list):
            return np.array(shape, np.int64)
        values = draw(shape)
        values = (np.abs(values) + 1 if name == "running_var" else values).astype(check.dtype)
        return check.stored(values) if values.ndim > 1 else values  # vectors of parameters are float32

    operands = {
        name: [array(name, s) for s in shape] if name == "tensors" else array(name, shape)
        for name, shape in check.shapes.items()
    }
    if check.op == "max_unpool2d":
        _, _, h, w = operands["x"].shape
        places = np.arange(h)[:, None] * 4 * w + np.arange(w) * 2  # the first of each 2 x 2 window
        operands["indices"] = np.zeros(operands["x"].shape, np.int64) + places
    return operands


def _on_device(check: Check, operands: dict[str, Any], device: str) -> tuple[list[str], list[np.ndarray]]:
    operator = TABLE[check.op]
    # Strict sums on a GPU are those of the plain kernels alone.
    accuracy = "strict" if device == "cpu" else "default"
    program = _core.Program(device, accuracy, check.precision or "float32")
    inputs: list[np.ndarray] = []

    def tensor(value: np.ndarray) -> int:
        inputs.append(value)
        x = program.input(value.shape, value.dtype.name)
        return program.channels_last(x) if check.precision else x

    lowered = {
        name: value
        if name in operator.parameters
        else [tensor(v) for v in value]
        if name == "tensors"
        else tensor(value)
        for name, value in operands.items()
    }
    results = operator.lower(program, operator.attributes(**check.arguments), **lowered)
    program.finish(results)
    ys = [np.empty(program.dims(r), program.dtype(r)) for r in results]
    program.run(inputs, ys, num_threads())
    return [step.algorithm for step in program.steps()], ys


def _expected(check: Check, operands: dict[str, Any], **more: Any) -> list[np.ndarray]:
    ys = getattr(reference, check.op)(*operands.values(), **check.arguments | more)
    return list(ys) if isinstance(ys, tuple) else [ys]


def _magnitude(check: Check, operands: dict[str, Any]) -> np.ndarray:
    """The sum of |x| |w|: the operator on absolute values, without what follows the sum."""
    positive = {name: np.abs(value) for name, value in operands.items()}
    if check.op in ("sub", "leaky_relu", "prelu"):
        names = list(positive)
        y = positive[names[0]] + (positive[names[1]] if check.op == "sub" else 0)
        return y if check.op != "prelu" else y * np.maximum(1, positive["weight"].max())
    neutral = {"activation": None} if "activation" in check.arguments else {}
    neutral |= {key: abs(check.arguments[key]) for key in ("alpha", "beta") if key in check.arguments}
    return _expected(check, positive, **neutral)[0]
