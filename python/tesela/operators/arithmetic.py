"""Sums and products that broadcast."""

from __future__ import annotations

from .. import _core, arguments
from .table import Operator, activation_arguments


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
