"""Sums and products that broadcast."""

from __future__ import annotations

from typing import ClassVar

from .. import _core, arguments
from .table import NUMBERS, Operator, activation_arguments


class Add(Operator, name="add"):
    tensors = ("x", "y")
    takes: ClassVar = {"x": NUMBERS, "y": NUMBERS}
    alike = ("x", "y")
    takes_empty = True
    fuses_activation = True
    per_image = True

    def attributes(self, *, activation=None):
        return {"activation": arguments.activation(self.name, activation)}

    def dims(self, a, x, y):
        return [tuple(_core.broadcast_dims(self.name, x, y))]

    def dtypes(self, a, **operands):
        self.expect_dtypes(**operands)
        if a["activation"] is not None and operands["x"] != "float32":
            raise TypeError(f"{self.name}: expected x of dtype float32 with an activation, got {operands['x']}")
        return [operands["x"]]

    def lower(self, program, a, x, y):
        if program.dtype(x) != "float32":
            return [program.map(self.name, [x, y], program.dtype(x))]
        return [program.binary(self.name, x, y, *activation_arguments(a))]


class Mul(Add, name="mul"):
    pass
