"""Convolutions."""

from __future__ import annotations

from .. import _core, arguments
from ..arguments import flat, pair
from .table import Dims, Operator, activation_arguments, expect_dims, expect_rank


def _sides(op: str, a, weight: Dims):
    if len(weight) != 4:
        return (0, 0, 0, 0)  # refused by who is told the shape
    return flat(arguments.convolution_padding(op, a["padding"], weight[2:], a["stride"], a["dilation"]))


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

    def _dims_and_flops(self, a, x, weight):
        return _core.conv2d_dims(x, weight, a["stride"], _sides(self.name, a, weight), a["dilation"], a["groups"])

    def dims(self, a, x, weight, bias=None, residual=None, gate=None):
        y = tuple(self._dims_and_flops(a, x, weight)[0])
        expect_dims("conv2d", "bias", bias, (y[1],))
        expect_dims("conv2d", "residual", residual, y)
        expect_dims("conv2d", "gate", gate, (*y[:2], 1, 1))
        return [y]

    def flops(self, a, x, weight, bias=None, residual=None, gate=None):
        return self._dims_and_flops(a, x, weight)[1]

    def lower(self, program, a, x, weight, bias=None, residual=-1, gate=-1):
        return [
            program.conv2d(
                x, weight, bias, a["stride"], _sides(self.name, a, weight.shape), a["dilation"], a["groups"],
                residual, gate, *activation_arguments(a),
            )
        ]  # fmt: skip


class PointwiseDepthwiseConv2d(Operator, name="pointwise_depthwise_conv2d"):
    parameters = ("pointwise_weight", "pointwise_bias", "weight", "bias")
    fuses_activation = True
    per_image = True

    def attributes(self, *, stride=1, padding=0, dilation=1, pointwise_activation=None, activation=None):
        op = "pointwise_depthwise_conv2d"
        return {
            "stride": pair(op, "stride", stride),
            "padding": padding if isinstance(padding, str) else arguments.padding(op, padding),
            "dilation": pair(op, "dilation", dilation),
            "pointwise_activation": arguments.activation(op, pointwise_activation),
            "activation": arguments.activation(op, activation),
        }

    def _layers(self, a, x, pointwise_weight, weight):
        """Sizes and flops of both convolutions."""
        expect_rank(self.name, x, 4, "(N, C, H, W)")
        expect_rank(self.name, weight, 4, "(C, 1, kH, kW)", "weight")
        expect_rank(self.name, pointwise_weight, 4, "(OC, C, 1, 1)", "pointwise_weight")
        expect_dims(self.name, "pointwise_weight", pointwise_weight, (*pointwise_weight[:1], x[1], 1, 1))
        z, first = _core.conv2d_dims(x, pointwise_weight, (1, 1), (0, 0, 0, 0), (1, 1), 1)
        expect_dims(self.name, "weight", weight, (z[1], 1, *weight[2:]))
        y, second = _core.conv2d_dims(z, weight, a["stride"], _sides(self.name, a, weight), a["dilation"], z[1])
        return z, tuple(y), first + second

    def dims(self, a, x, pointwise_weight, weight, pointwise_bias=None, bias=None):
        z, y, _ = self._layers(a, x, pointwise_weight, weight)
        expect_dims(self.name, "pointwise_bias", pointwise_bias, (z[1],))
        expect_dims(self.name, "bias", bias, (y[1],))
        return [y]

    def flops(self, a, x, pointwise_weight, weight, pointwise_bias=None, bias=None):
        return self._layers(a, x, pointwise_weight, weight)[2]

    def lower(self, program, a, x, pointwise_weight, weight, pointwise_bias=None, bias=None):
        return [
            program.pointwise_depthwise_conv2d(
                x, pointwise_weight, pointwise_bias, weight, bias, a["stride"], _sides(self.name, a, weight.shape),
                a["dilation"], *activation_arguments(a, "pointwise_activation"), *activation_arguments(a),
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
