"""linear and gemm."""

from __future__ import annotations

import math

from .. import _core, arguments
from ..arguments import number
from .table import Operator, activation_arguments, expect_dims


class Linear(Operator, name="linear"):
    parameters = ("weight", "bias")
    fuses_activation = True
    per_image = True

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
            "trans_a": arguments.boolean("gemm", "trans_a", trans_a),
            "trans_b": arguments.boolean("gemm", "trans_b", trans_b),
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
