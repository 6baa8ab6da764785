"""Pooling and unpooling of planes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from .. import _core, arguments
from ..arguments import flat, pair
from .table import TABLE, Operator, expect_dims, expect_rank


class MaxPool2d(Operator, name="max_pool2d"):
    per_image = True

    def attributes(self, *, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
        kernel = pair("max_pool2d", "kernel_size", kernel_size)
        return {
            "kernel_size": kernel,
            "stride": kernel if stride is None else pair("max_pool2d", "stride", stride),
            "padding": arguments.padding("max_pool2d", padding),
            "dilation": pair("max_pool2d", "dilation", dilation),
            "ceil_mode": arguments.boolean("max_pool2d", "ceil_mode", ceil_mode),
            "return_indices": arguments.boolean("max_pool2d", "return_indices", return_indices),
        }

    def dims(self, a, x):
        y = _core.pool2d_dims(
            "max_pool2d", x, a["kernel_size"], a["stride"], flat(a["padding"]), a["dilation"], a["ceil_mode"]
        )
        return [tuple(y)] * (2 if a["return_indices"] else 1)

    def dtypes(self, a, **operands):
        return [*super().dtypes(a, **operands), *(["int64"] if a["return_indices"] else [])]

    def lower(self, program, a, x):
        return program.max_pool2d(
            x, a["kernel_size"], a["stride"], flat(a["padding"]), a["dilation"], a["ceil_mode"], a["return_indices"]
        )


class AvgPool2d(Operator, name="avg_pool2d"):
    per_image = True

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
            "ceil_mode": arguments.boolean("avg_pool2d", "ceil_mode", ceil_mode),
            "count_include_pad": arguments.boolean("avg_pool2d", "count_include_pad", count_include_pad),
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
    per_image = True

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
    per_image = True

    def dims(self, a, x):
        expect_rank(self.name, x, 4, "(N, C, H, W)")
        return [tuple(_core.adaptive_pool2d_dims(x, (1, 1)))]

    def lower(self, program, a, x):
        return TABLE["adaptive_avg_pool2d"].lower(program, {"output_size": (1, 1)}, x)


class GlobalMaxPool2d(Operator, name="global_max_pool2d"):
    per_image = True

    def dims(self, a, x):
        expect_rank(self.name, x, 4, "(N, C, H, W)")
        return [tuple(_core.adaptive_pool2d_dims(x, (1, 1)))]

    def lower(self, program, a, x):
        return [program.global_max_pool2d(x)]


class MaxUnpool2d(Operator, name="max_unpool2d"):
    tensors = ("x", "indices")
    takes: ClassVar = {"indices": ("int64",)}
    per_image = True

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
