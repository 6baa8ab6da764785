"""Reductions over any axes, and matmul. axes=None is all of them; integers wrap, float32 is summed in float64.

But for reduce_mean over the planes of (N, C, H, W), which is average pooling, in float32 as networks have it.
"""

from __future__ import annotations

import math
from typing import ClassVar

from .. import _core, arguments
from .array import indexed, integers, strides_of
from .table import ANY, NUMBERS, Operator

REDUCTIONS = ("sum", "mean", "max", "min", "prod", "l1", "l2", "log_sum", "log_sum_exp", "sum_square")


class Reduce(Operator):
    takes: ClassVar = {"x": NUMBERS}
    takes_empty = True

    def attributes(self, *, axes=None, keepdims=True):
        return {
            "axes": None if axes is None else integers(self.name, "axes", axes),
            "keepdims": arguments.boolean(self.name, "keepdims", keepdims),
        }

    def _axes(self, a, x) -> list[int]:
        axes = range(len(x)) if a["axes"] is None else a["axes"]
        return sorted({_core.normalized_dim(self.name, axis, len(x)) for axis in axes})

    def dims(self, a, x):
        axes = self._axes(a, x)
        if a["keepdims"]:
            return [tuple(1 if d in axes else n for d, n in enumerate(x))]
        return [tuple(n for d, n in enumerate(x) if d not in axes)]

    def dtypes(self, a, **operands):
        self.expect_dtypes(**operands)
        return [operands["x"]]

    def lower(self, program, a, x):
        dims = tuple(program.dims(x))
        (y,), axes = self.dims(a, dims), self._axes(a, dims)
        of_planes = len(dims) == 4 and axes == [2, 3] and 0 not in dims
        if self.name == "reduce_mean" and program.dtype(x) == "float32" and of_planes:
            windows = [item for n in dims[2:] for item in ([0], [n], [n])]
            return [program.reshape(program.avg_pool2d(x, *windows, 0), y)]
        result = program.reduce(self.name.removeprefix("reduce_"), x, axes, a.get("select_last", False))
        return [program.reshape(result, y)]


for _name in REDUCTIONS:
    _takes = ANY if _name in ("max", "min") else NUMBERS
    type(
        f"Reduce{_name.capitalize()}",
        (Reduce,),
        {"takes": {"x": _takes}, "__module__": __name__},
        name=f"reduce_{_name}",
    )


class ArgMax(Reduce, name="argmax"):
    """The place of the greatest element along `axis`: the first of equals, or the last with select_last."""

    def attributes(self, *, axis=0, keepdims=True, select_last=False):
        axis = arguments.integer(self.name, "axis", axis)
        return {
            "axis": axis,
            "keepdims": arguments.boolean(self.name, "keepdims", keepdims),
            "select_last": arguments.boolean(self.name, "select_last", select_last),
        }

    def _axes(self, a, x):
        return [_core.normalized_dim(self.name, a["axis"], len(x))]

    def dtypes(self, a, **operands):
        self.expect_dtypes(**operands)
        return ["int64"]


class ArgMin(ArgMax, name="argmin"):
    pass


class MatMul(Operator, name="matmul"):
    """x @ y as NumPy has it, float32: one product for each pair of matrices."""

    tensors = ("x", "y")

    def dims(self, a, x, y):
        if not x or not y:
            raise ValueError(f"matmul: expected x and y of at least one dimension, got {x} and {y}")
        m, n = (1, *x) if len(x) == 1 else x, (*y, 1) if len(y) == 1 else y
        if m[-1] != n[-2]:
            raise ValueError(f"matmul: x {x} has {m[-1]} columns and y {y} {n[-2]} rows")
        batch = tuple(_core.broadcast_dims("matmul", m[:-2], n[:-2]))
        z = (*batch, *(() if len(x) == 1 else m[-2:-1]), *(() if len(y) == 1 else n[-1:]))
        _core.element_count(z, "matmul output")
        return [z]

    def flops(self, a, x, y):
        (z,) = self.dims(a, x, y)
        return 2.0 * math.prod(z) * x[-1]

    def lower(self, program, a, x, y):
        x_dims, y_dims = tuple(program.dims(x)), tuple(program.dims(y))
        (z,) = self.dims(a, x_dims, y_dims)
        m, k = (1, *x_dims)[-2:]
        n = 1 if len(y_dims) == 1 else y_dims[-1]
        if math.prod(y_dims[:-2]) == 1:
            rows = program.reshape(x, (math.prod(x_dims[:-1]), k))
            return [program.reshape(self._product(program, rows, program.reshape(y, (k, n))), z)]
        batch = _core.broadcast_dims("matmul", x_dims[:-2], y_dims[:-2])
        left = self._matrices(program, x, (*x_dims[:-2], m, k), batch)
        right = self._matrices(program, y, (*y_dims[:-2], k, n), batch)
        parts = [self._product(program, p, q) for p, q in zip(left, right, strict=True)]
        return [program.reshape(program.concat(parts, 0), z)]

    @staticmethod
    def _product(program, x: int, y: int) -> int:
        return program.gemm(x, y, -1, 1.0, 0.0, False, False, "", 0.0)

    @staticmethod
    def _matrices(program, x: int, dims, batch) -> list[int]:
        """The matrices of x (..., rows, columns), in the order of a batch that x broadcasts to."""
        *own, rows, columns = [1] * (len(batch) + 2 - len(dims)) + list(dims)
        flat = [0]
        for size, here, stride in zip(batch, own, strides_of(own), strict=True):
            flat = [at + (i * stride if here > 1 else 0) for at in flat for i in range(size)]
        area = rows * columns
        found = {at: indexed(program, x, (rows, columns), (columns, 1), base=at * area) for at in dict.fromkeys(flat)}
        return [found[at] for at in flat]
