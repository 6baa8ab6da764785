"""conv2d and conv_transpose2d."""

from __future__ import annotations

from .. import _core, arguments
from ..arguments import flat, pair
from .table import Dims, Operator, activation_arguments, expect_dims


class Conv2d(Operator, name="conv2d"):
    tensors = ("x", "residual", "gate")
    parameters = ("weight", "bias")
    fuses_activation = True
    per_image = True

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

    def dims(self, a, x, weight, bias=None, residual=None, gate=None):
        y = tuple(self._dims_and_flops(a, x, weight)[0])
        expect_dims("conv2d", "bias", bias, (y[1],))
        expect_dims("conv2d", "residual", residual, y)
        expect_dims("conv2d", "gate", gate, (*y[:2], 1, 1))
        return [y]

    def flops(self, a, x, weight, bias=None, residual=None, gate=None):
        return self._dims_and_flops(a, x, weight)[1]

    def lower(self, program, a, x, weight, bias=None, residual=-1, gate=-1):
        sides = self._padding(a, weight.shape)
        return [
            program.conv2d(
                x, weight, bias, a["stride"], sides, a["dilation"], a["groups"], residual, gate,
                *activation_arguments(a),
            )
        ]  # fmt: skip


class ConvTranspose2d(Operator, name="conv_transpose2d"):
    parameters = ("weight", "bias")
    tensors = ("x", "residual")
    fuses_activation = True
    per_image = True

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
