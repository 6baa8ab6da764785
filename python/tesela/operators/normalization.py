"""Normalization with given or computed statistics."""

from __future__ import annotations

import numpy as np

from .. import _core, arguments
from ..arguments import number
from .table import Operator, activation_arguments, expect_dims, expect_rank


class BatchNorm(Operator, name="batch_norm"):
    parameters = ("running_mean", "running_var", "weight", "bias")
    fuses_activation = True
    per_image = True

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
    per_image = True

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
    per_image = True

    def attributes(self, *, dim=-1):
        return {"dim": arguments.integer(self.name, "dim", dim)}

    def dims(self, a, x):
        _core.normalized_dim(self.name, a["dim"], len(x))
        return [x]

    def lower(self, program, a, x):
        return [program.softmax(x, a["dim"], self.log)]


class LogSoftmax(Softmax, name="log_softmax"):
    log = True
