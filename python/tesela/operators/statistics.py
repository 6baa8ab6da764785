"""Normalization by statistics of the input itself, from sums and maps: instance_norm, group_norm, layer_norm."""

from __future__ import annotations

import math

import numpy as np

from .. import _core, arguments
from .table import Operator, expect_dims


def normalized(program, x: int, axes: list[int], eps: float) -> int:
    """(x - mean) / sqrt(variance + eps), both over axes; the variance from differences, so nothing cancels."""
    centred = program.binary("add", x, program.map("neg", [program.reduce("mean", x, axes, False)], "float32"), "", 0.0)
    variance = program.reduce("mean", program.binary("mul", centred, centred, "", 0.0), axes, False)
    shifted = program.binary("add", variance, program.constant(np.array(eps, np.float32)), "", 0.0)
    scale = program.map("reciprocal", [program.map("sqrt", [shifted], "float32")], "float32")
    return program.binary("mul", centred, scale, "", 0.0)


def scaled(program, y: int, weight, bias, dims) -> int:
    for kind, values in (("mul", weight), ("add", bias)):
        if values is not None:
            y = program.binary(kind, y, program.constant(np.ascontiguousarray(values.reshape(dims))), "", 0.0)
    return y


class InstanceNorm(Operator, name="instance_norm"):
    """Each channel of each image by its own mean and variance; weight and bias (C,)."""

    parameters = ("weight", "bias")

    def attributes(self, *, eps=1e-5):
        return {"eps": arguments.number(self.name, "eps", eps)}

    def groups(self, a, x) -> int:
        return x[1]

    def dims(self, a, x, weight=None, bias=None):
        if len(x) < 3:
            raise ValueError(f"{self.name}: expected x of shape (N, C, ...), got {x}")
        for operand, size in {"weight": weight, "bias": bias}.items():
            expect_dims(self.name, operand, size, (x[1],))
        if self.groups(a, x) < 1 or x[1] % self.groups(a, x):
            raise ValueError(f"{self.name}: groups must divide the {x[1]} channels, got {self.groups(a, x)}")
        return [x]

    def lower(self, program, a, x, weight=None, bias=None):
        dims = tuple(program.dims(x))
        groups = self.groups(a, dims)
        rows = program.reshape(x, (dims[0], groups, math.prod(dims[1:]) // groups))
        y = program.reshape(normalized(program, rows, [2], a["eps"]), dims)
        return [scaled(program, y, weight, bias, (-1, *[1] * (len(dims) - 2)))]


class GroupNorm(InstanceNorm, name="group_norm"):
    """Groups of channels of each image. Wu and He 2018 (arXiv:1803.08494)."""

    def attributes(self, *, groups, eps=1e-5):
        return {"groups": arguments.integer("group_norm", "groups", groups), **super().attributes(eps=eps)}

    def groups(self, a, x):
        return a["groups"]


class LayerNorm(Operator, name="layer_norm"):
    """Over the dimensions from `axis` on, which weight and bias have too. Ba et al. 2016 (arXiv:1607.06450)."""

    parameters = ("weight", "bias")

    def attributes(self, *, axis=-1, eps=1e-5):
        return {
            "axis": arguments.integer("layer_norm", "axis", axis),
            "eps": arguments.number("layer_norm", "eps", eps),
        }

    def dims(self, a, x, weight=None, bias=None):
        axis = _core.normalized_dim("layer_norm", a["axis"], len(x))
        for operand, size in {"weight": weight, "bias": bias}.items():
            expect_dims("layer_norm", operand, size, x[axis:])
        return [x]

    def lower(self, program, a, x, weight=None, bias=None):
        dims = tuple(program.dims(x))
        axes = list(range(a["axis"] % len(dims), len(dims)))
        return [scaled(program, normalized(program, x, axes, a["eps"]), weight, bias, dims[axes[0] :])]
