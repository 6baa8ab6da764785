"""Named problems as plain data: what the tests check and the benchmarks time.

A Case is an operator, the shapes of its operands and its arguments, all as the public functions take them, so that
`getattr(tesela, case.op)(**case.arrays(generator), **case.arguments)` runs it. Its id is the whole problem: a failing
test names everything needed to repeat it.

    NETWORKS   layers of published networks, at their full size and a batch of one
    EDGES      what kernels get wrong: channel tails, tiny images, odd groups, kernels larger than the image
    BENCHDNN   a selection of oneDNN's test problems, from shapes/*.tsv
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from tesela.operators import TABLE

SHAPES = Path(__file__).parent / "shapes"


@dataclass(frozen=True, eq=False)
class Case:
    op: str
    name: str
    operands: dict[str, Any]  # operand -> shape, or list of shapes
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """`conv2d-alexnet:conv2-x1,96,27,27-weight256,48,5,5-padding2-groups2`; defaults are left out."""
        operands = [f"{operand}{_text(shape)}" for operand, shape in self.operands.items()]
        return "-".join(
            [self.op, self.name, *operands, *(f"{key}{_text(value)}" for key, value in self.arguments.items())]
        )

    @property
    def macs(self) -> int:
        """Multiply-adds of the direct algorithm; 0 for operators that are not made of products."""
        operator = TABLE[self.op]
        return round(operator.flops(operator.attributes(**self.arguments), **self.operands) / 2)

    def arrays(self, generator: np.random.Generator, *, integers: bool = False) -> dict[str, Any]:
        """Operands with normal values, or with integers from -4 to 4: their sums are exact in float32 below 2^24."""

        def array(shape: tuple[int, ...]) -> np.ndarray:
            if integers:
                return generator.integers(-4, 5, shape).astype(np.float32)
            return generator.standard_normal(shape, np.float32)

        return {
            operand: [array(s) for s in shape] if isinstance(shape, list) else array(shape)
            for operand, shape in self.operands.items()
        }

    def cropped(self, most_macs: int) -> Case:
        """The same layer on a smaller image, when it would take more multiply-adds than that."""
        case = self
        while case.macs > most_macs:
            n, c, h, w = case.operands["x"]
            case = replace(case, operands=case.operands | {"x": (n, c, (h + 1) // 2, (w + 1) // 2)})
        return case


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "+".join(map(_text, value))
    return ",".join(map(_text, value)) if isinstance(value, tuple) else str(value)


def _pair(value: Any) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)


def _simplest(pair: tuple[int, int]) -> int | tuple[int, int]:
    """(a, a) as a."""
    return pair[0] if pair[0] == pair[1] else pair


def _given(defaults: dict[str, Any], **arguments: Any) -> dict[str, Any]:
    return {key: value for key, value in arguments.items() if value != defaults.get(key)}


_ONCE = {"stride": 1, "padding": 0, "output_padding": 0, "dilation": 1, "groups": 1}


def conv2d(
    name: str,
    channels: int,
    size: Any,
    out_channels: int,
    kernel: Any,
    *,
    n: int = 1,
    groups: int = 1,
    **arguments: Any,
) -> Case:
    """x (n, channels, *size), weight (out_channels, channels / groups, *kernel)."""
    operands = {"x": (n, channels, *_pair(size)), "weight": (out_channels, channels // groups, *_pair(kernel))}
    return Case("conv2d", name, operands, _given(_ONCE, **arguments, groups=groups))


def conv_transpose2d(
    name: str,
    channels: int,
    size: Any,
    out_channels: int,
    kernel: Any,
    *,
    n: int = 1,
    groups: int = 1,
    **arguments: Any,
) -> Case:
    """x (n, channels, *size), weight (channels, out_channels / groups, *kernel)."""
    operands = {"x": (n, channels, *_pair(size)), "weight": (channels, out_channels // groups, *_pair(kernel))}
    return Case("conv_transpose2d", name, operands, _given(_ONCE, **arguments, groups=groups))


def pointwise_depthwise_conv2d(
    name: str, channels: int, size: Any, out_channels: int, kernel: Any, *, n: int = 1, **arguments: Any
) -> Case:
    """x (n, channels, *size), weights (out_channels, channels, 1, 1) and (out_channels, 1, *kernel), both biases."""
    operands = {
        "x": (n, channels, *_pair(size)),
        "pointwise_weight": (out_channels, channels, 1, 1),
        "weight": (out_channels, 1, *_pair(kernel)),
        "pointwise_bias": (out_channels,),
        "bias": (out_channels,),
    }
    return Case("pointwise_depthwise_conv2d", name, operands, _given(_ONCE, **arguments))


def pool2d(op: str, name: str, channels: int, size: Any, kernel: Any, *, n: int = 1, **arguments: Any) -> Case:
    return Case(op, name, {"x": (n, channels, *_pair(size))}, {"kernel_size": kernel, **arguments})


def gemm(
    name: str, m: int, k: int, n: int, *, trans_a: bool = False, trans_b: bool = False, c: Any = None, **more
) -> Case:
    operands = {"a": (k, m) if trans_a else (m, k), "b": (n, k) if trans_b else (k, n)}
    if c is not None:
        operands["c"] = c
    return Case(
        "gemm", name, operands, _given({"trans_a": False, "trans_b": False}, trans_a=trans_a, trans_b=trans_b, **more)
    )


def linear(name: str, rows: int, features: int, out_features: int) -> Case:
    return Case("linear", name, {"x": (rows, features), "weight": (out_features, features)})


# --------------------------------------------------------------------------------------------------- convolution

CONV2D_NETWORKS = [
    # Krizhevsky et al. 2012, two groups; LeCun et al. 1998; Zeiler and Fergus 2013
    conv2d("alexnet:conv1", 3, 227, 96, 11, stride=4),
    conv2d("alexnet:conv2", 96, 27, 256, 5, padding=2, groups=2),
    conv2d("alexnet:conv3", 256, 13, 384, 3, padding=1),
    conv2d("alexnet:conv4", 384, 13, 384, 3, padding=1, groups=2),
    conv2d("alexnet:conv5", 384, 13, 256, 3, padding=1, groups=2),
    conv2d("lenet5:c1", 1, 28, 6, 5, padding=2),
    conv2d("lenet5:c3", 6, 14, 16, 5),
    conv2d("lenet5:c5", 16, 5, 120, 5),
    conv2d("zfnet:conv1", 3, 224, 96, 7, stride=2, padding=1),
    # Simonyan and Zisserman 2014
    conv2d("vgg16:conv1_1", 3, 224, 64, 3, padding=1),
    conv2d("vgg16:conv1_2", 64, 224, 64, 3, padding=1),
    conv2d("vgg16:conv2_1", 64, 112, 128, 3, padding=1),
    conv2d("vgg16:conv3_2", 256, 56, 256, 3, padding=1),
    conv2d("vgg16:conv4_2", 512, 28, 512, 3, padding=1),
    conv2d("vgg16:conv5_1", 512, 14, 512, 3, padding=1),
    # Szegedy et al. 2014
    conv2d("googlenet:conv1", 3, 224, 64, 7, stride=2, padding=3),
    conv2d("googlenet:conv2_reduce", 64, 56, 64, 1),
    conv2d("googlenet:inception3a_3x3", 96, 28, 128, 3, padding=1),
    conv2d("googlenet:inception3a_5x5", 16, 28, 32, 5, padding=2),
    conv2d("googlenet:inception4b_1x1", 512, 14, 160, 1),
    conv2d("googlenet:inception4b_3x3", 112, 14, 224, 3, padding=1),
    conv2d("googlenet:inception5b_5x5", 48, 7, 128, 5, padding=2),
    # He et al. 2015
    conv2d("resnet50:conv1", 3, 224, 64, 7, stride=2, padding=3),
    conv2d("resnet50:conv2_1a", 64, 56, 64, 1),
    conv2d("resnet50:conv2_1b", 64, 56, 64, 3, padding=1),
    conv2d("resnet50:conv2_1c", 64, 56, 256, 1),
    conv2d("resnet50:conv3_1b", 128, 56, 128, 3, stride=2, padding=1),
    conv2d("resnet50:conv3_1p", 256, 56, 512, 1, stride=2),
    conv2d("resnet50:conv4_2b", 256, 14, 256, 3, padding=1),
    conv2d("resnet50:conv5_2b", 512, 7, 512, 3, padding=1),
    conv2d("resnet50:conv5_2c", 512, 7, 2048, 1),
    # Xie et al. 2016, 32 groups; Howard et al. 2017; Tan and Le 2019
    conv2d("resnext50:conv2_1b", 128, 56, 128, 3, padding=1, groups=32),
    conv2d("resnext50:conv4_1b", 512, 28, 512, 3, stride=2, padding=1, groups=32),
    conv2d("mobilenet:dw1", 32, 112, 32, 3, padding=1, groups=32),
    conv2d("mobilenet:dw2", 64, 112, 64, 3, stride=2, padding=1, groups=64),
    conv2d("mobilenet:dw13", 1024, 7, 1024, 3, padding=1, groups=1024),
    conv2d("mobilenet:pw13", 1024, 7, 1024, 1),
    conv2d("efficientnet:dw5x5", 240, 28, 240, 5, stride=2, padding=2, groups=240),
    # Chen et al. 2014: dilated; Radford et al. 2015; a denoising autoencoder's ends
    conv2d("deeplab:conv5", 512, 28, 512, 3, padding=2, dilation=2),
    conv2d("deeplab:fc6", 512, 28, 1024, 3, padding=12, dilation=12),
    conv2d("dcgan:d1", 3, 64, 64, 4, stride=2, padding=1),
    conv2d("dcgan:d2", 64, 32, 128, 4, stride=2, padding=1),
    conv2d("autoencoder:encode1", 1, 28, 16, 3, stride=2, padding=1),
    conv2d("autoencoder:decode3", 64, 96, 3, 3, padding=1),
]

CONV2D_EDGES = [
    # Channels around the block of 16 lanes, on either side.
    *(conv2d("tail", c, 6, 18 - c, 3, padding=1) for c in range(1, 18)),
    *(conv2d("tail1x1", c, 5, 34 - c, 1) for c in (1, 2, 15, 16, 17, 31, 32, 33)),
    *(conv2d("rows", 16, (1, w), 16, 1) for w in (1, 2, 3, 4, 5, 6, 7, 8, 12, 13, 14, 15, 29)),
    *(conv2d("rows3x3", 16, (3, w), 48, 3, padding=1) for w in (1, 2, 3, 5, 7, 11, 17)),
    conv2d("pixel", 1, 1, 1, 1),
    conv2d("pixel", 19, 1, 23, 1, n=3),
    conv2d("pixel", 16, 1, 16, 3, padding=1),
    conv2d("pixel", 3, 1, 5, 7, padding=3),
    conv2d("pixel", 24, 1, 24, 3, padding=1, groups=24),
    conv2d("larger", 4, 2, 6, 5, padding=2),
    conv2d("larger", 20, (3, 2), 6, 7, padding=3),
    conv2d("larger", 20, 2, 20, 5, padding=2, groups=20),
    conv2d("larger", 3, 2, 4, 3, padding=4),
    conv2d("whole", 24, 6, 40, 6),
    conv2d("whole", 5, (4, 9), 40, (4, 9)),
    # Strides larger than the kernel, and rows of the image that nothing reads.
    conv2d("skip", 16, 11, 16, 1, stride=2),
    conv2d("skip", 16, 11, 20, 1, stride=3, padding=1),
    conv2d("skip", 3, 13, 8, 2, stride=5),
    conv2d("skip", 40, 13, 40, 3, stride=(4, 5), padding=1, groups=40),
    conv2d("skip", 33, (9, 14), 17, (2, 3), stride=(3, 4)),
    # Groups whose channels share blocks, or do not divide them; channel multipliers.
    conv2d("groups", 10, 7, 14, 3, padding=1, groups=2),
    conv2d("groups", 15, 7, 21, 3, padding=1, groups=3),
    conv2d("groups", 35, 5, 49, 1, groups=7),
    conv2d("groups", 30, 6, 42, (3, 1), stride=2, groups=6, n=2),
    conv2d("groups", 34, 6, 36, 3, padding=1, groups=2),
    conv2d("groups", 64, 6, 96, 3, padding=1, groups=2),
    conv2d("groups", 96, 5, 32, 3, padding=1, groups=32),
    conv2d("groups", 2, 6, 2, 3, padding=1, groups=2),
    conv2d("multiplier", 6, 7, 12, 3, padding=1, groups=6),
    conv2d("multiplier", 17, 7, 51, 3, padding=1, stride=2, groups=17),
    conv2d("multiplier", 32, 7, 64, 5, padding=2, groups=32),
    *(conv2d("groups", 4 * g, 9, 4 * g, 3, padding=1, groups=4) for g in (2, 4, 8, 12, 17, 20)),
    conv2d("groups", 48, 11, 24, 3, padding=2, dilation=2, stride=2, groups=12),
    conv2d("groups", 40, 13, 24, 2, stride=5, groups=8, n=2),  # strides that skip input rows and columns
    conv2d("groups", 12, 15, 12, 2, dilation=11, padding=1, groups=3),
    conv2d("groups", 80, 4, 20, 1, groups=2),
    conv2d("depthwise", 2, 5, 2, 3, groups=2),
    conv2d("depthwise", 17, (5, 23), 17, 3, padding=((1, 0), (2, 1)), groups=17, n=2),
    conv2d("depthwise", 33, 19, 33, 3, padding=2, dilation=2, stride=2, groups=33),
    conv2d("depthwise", 16, 15, 16, (1, 7), padding=(0, 3), groups=16),
    conv2d("depthwise", 48, 15, 48, (7, 1), padding=(3, 0), dilation=(2, 1), groups=48),
    # Padding that differs on every side, and is larger than the kernel.
    conv2d("sides", 16, 7, 16, 3, padding=((2, 0), (1, 3))),
    conv2d("sides", 5, (6, 8), 9, 4, padding=((0, 3), (2, 1)), stride=2),
    conv2d("sides", 21, 7, 12, 2, padding=((0, 1), (1, 0)), n=2),
    conv2d("sides", 16, 5, 16, 1, padding=((1, 2), (0, 4))),
    conv2d("same", 20, (6, 7), 12, (4, 3), padding="same", dilation=(1, 2)),
    conv2d("valid", 3, 9, 12, 3, padding="valid"),
    # Dilation.
    *(conv2d("dilated", 18, 14, 20, 3, padding=d, dilation=d) for d in range(2, 7)),
    conv2d("dilated", 3, 14, 8, 3, dilation=4, padding=2, stride=2),
    conv2d("dilated", 8, (9, 17), 24, (2, 3), dilation=(5, 6), padding=(1, 4)),
    conv2d("dilated", 4, 12, 6, 3, dilation=(1, 3), n=2),
    # One-dimensional kernels.
    conv2d("1xk", 16, 9, 32, (1, 7), padding=(0, 3)),
    conv2d("kx1", 16, 9, 32, (7, 1), padding=(3, 0)),
    conv2d("1xk", 1, (1, 50), 7, (1, 5), padding=(0, 2)),
    conv2d("kx1", 3, (50, 1), 7, (9, 1), stride=(2, 1)),
    # Several images, whose rows share tiles; planes of whole pages; many products, cut into slices.
    conv2d("batch", 16, 3, 32, 1, n=7),
    conv2d("batch", 64, 2, 16, 3, padding=1, n=5),
    conv2d("batch", 3, 9, 17, 3, padding=1, n=4),
    conv2d("page", 32, 8, 32, 1, n=2),
    conv2d("page", 48, 8, 40, 3, padding=1, n=2),
    conv2d("deep", 700, 3, 19, 1),
    conv2d("deep", 300, 3, 19, 3, padding=1, n=2),
    conv2d("deep", 11, 14, 8, 11),
    conv2d("wide", 12, (2, 300), 16, 3, padding=1),
    # Worth Winograd's transforms where accuracy allows them: tiles cut off at the edges, groups, planes below a tile.
    conv2d("winograd", 32, (13, 18), 40, 3, padding=1, n=2),
    conv2d("winograd", 70, (31, 17), 80, 3, padding=((0, 2), (1, 0))),
    conv2d("winograd", 64, 24, 64, 3, groups=2),
    conv2d("winograd", 32, 2, 40, 3, padding=1, n=40),
    conv2d("winograd", 48, (2, 3), 33, 3, padding=1, n=50),
    conv2d("winograd", 40, (13, 18), 32, 5, padding=2, n=2),
    conv2d("winograd", 64, 15, 96, 5, padding=((0, 3), (1, 2)), groups=2),
    conv2d("winograd", 33, (9, 14), 50, 2, padding=((1, 0), (0, 1)), n=2),
    conv2d("winograd", 64, (27, 22), 64, 3, padding=2, dilation=2, n=2),
    conv2d("winograd", 48, (30, 33), 40, 3, padding=((3, 1), (2, 4)), dilation=(3, 2), n=2),
    conv2d("winograd", 64, 28, 64, 3, padding=4, dilation=4, groups=2),
    conv2d("winograd", 40, (27, 32), 32, 5, padding=((4, 3), (2, 4)), dilation=2),
    conv2d("winograd", 40, (32, 29), 50, 2, padding=((1, 0), (0, 1)), dilation=(1, 3)),
    conv2d("winograd", 33, (9, 13), 48, 2, n=2),
    conv2d("winograd", 48, (6, 8), 40, 5, n=2),
    conv2d("winograd", 64, 8, 48, 5, n=2),
    conv2d("winograd", 48, 9, 5, 3, padding=1, n=2),
    conv2d("winograd", 64, (23, 29), 70, 3, stride=2, padding=1, n=2),
    conv2d("winograd", 70, (34, 41), 64, 3, stride=2, padding=((0, 1), (2, 0))),
    conv2d("winograd", 128, 29, 128, 3, stride=2, padding=1, groups=2),
    # Strided, of few channels, and by Winograd's algorithm as convolutions of stride 1; the fourth has odd sides.
    conv2d("space to depth", 3, (23, 31), 32, 7, stride=2, padding=3, n=2),
    conv2d("space to depth", 3, (40, 37), 64, 11, stride=4),
    conv2d("space to depth", 3, (83, 75), 96, 11, stride=4, padding=2),
    conv2d("space to depth", 4, (30, 41), 48, 7, stride=2, padding=((1, 2), (3, 0))),
    conv2d("space to depth", 3, (19, 23), 40, (7, 8), stride=2, padding=2, n=2),
    conv2d("space to depth", 3, (27, 24), 64, (8, 7), stride=2, padding=3),
    conv2d("space to depth", 2, (70, 30), 33, (9, 11), stride=4, padding=((0, 3), (5, 0))),
    conv2d("space to depth", 9, (20, 25), 32, 4, stride=2, padding=1),
    conv2d("space to depth", 3, (67, 61), 40, 7, stride=4),
    # Worth Strassen's algorithm: tiles of several heights, lines cut in two, several images.
    conv2d("strassen", 320, (4, 14), 128, 1),
    conv2d("strassen", 416, (2, 61), 128, 1),
    conv2d("strassen", 512, (4, 9), 192, 1, n=2),
    conv2d("strassen", 256, (2, 66), 320, 1),
]

POINTWISE_DEPTHWISE_CONV2D = [
    # Sandler et al. 2018; Howard et al. 2019 (kernels of 5); then tails of channels, cuts of rows, paddings
    pointwise_depthwise_conv2d("mobilenet_v2:2", 16, 56, 96, 3, stride=2, padding=1),
    pointwise_depthwise_conv2d("mobilenet_v2:3", 24, 56, 144, 3, padding=1),
    pointwise_depthwise_conv2d("mobilenet_v2:17", 160, 7, 960, 3, padding=1),
    pointwise_depthwise_conv2d("mobilenet_v3:5", 24, 28, 72, 5, stride=2, padding=2),
    *(pointwise_depthwise_conv2d("tail", 19 - c, (5, 6), c, 3, padding=1) for c in range(2, 19)),
    pointwise_depthwise_conv2d("tail", 7, (9, 4), 49, 3, padding=1, n=3),
    pointwise_depthwise_conv2d("apart", 5, (11, 700), 17, 3, padding=1),
    pointwise_depthwise_conv2d("rows", 20, (30, 301), 35, 3, stride=2, padding=1, n=2),
    pointwise_depthwise_conv2d("rows", 3, (20, 190), 8, (7, 3), padding=(3, 1)),
    pointwise_depthwise_conv2d("rows", 3, (60, 60), 40, (5, 3), stride=(1, 2), dilation=(4, 2)),
    pointwise_depthwise_conv2d("sides", 12, (6, 7), 20, 3, stride=(2, 1), padding=((2, 0), (0, 3))),
    pointwise_depthwise_conv2d("sides", 12, 5, 20, (2, 4), padding="same"),
    pointwise_depthwise_conv2d("sides", 4, (3, 4), 20, 3, padding=5),
    pointwise_depthwise_conv2d("dilated", 16, 9, 16, 3, dilation=3, padding=3),
    pointwise_depthwise_conv2d("apart", 40, 1, 33, 1, n=2),
    pointwise_depthwise_conv2d("apart", 18, (5, 6), 1, 3, padding=1),
]

CONV_TRANSPOSE2D_NETWORKS = [
    # Radford et al. 2015; Long et al. 2015 (bilinear upsampling of scores); Noh et al. 2015; an autoencoder's decoder
    conv_transpose2d("dcgan:g1", 100, 1, 512, 4),
    conv_transpose2d("dcgan:g2", 512, 4, 256, 4, stride=2, padding=1),
    conv_transpose2d("dcgan:g4", 128, 16, 64, 4, stride=2, padding=1),
    conv_transpose2d("dcgan:g5", 64, 32, 3, 4, stride=2, padding=1),
    conv_transpose2d("fcn32s:upscore", 21, 7, 21, 64, stride=32),
    conv_transpose2d("fcn16s:upscore2", 21, 8, 21, 4, stride=2),
    conv_transpose2d("deconvnet:deconv5_1", 512, 14, 512, 3, padding=1),
    conv_transpose2d("autoencoder:decode1", 16, 7, 16, 3, stride=2, padding=1, output_padding=1),
    conv_transpose2d("autoencoder:decode2", 8, 14, 1, 2, stride=2),
    conv_transpose2d("unet:up4", 128, 28, 64, 2, stride=2),
]

CONV_TRANSPOSE2D_EDGES = [
    *(conv_transpose2d("tail", c, 4, 18 - c, 3, stride=2, padding=1) for c in range(1, 18)),
    conv_transpose2d("pixel", 1, 1, 1, 1),
    conv_transpose2d("pixel", 17, 1, 5, 5, n=2),
    conv_transpose2d("pixel", 3, 1, 5, 3, padding=1),
    conv_transpose2d("pixel", 33, 1, 48, 4, n=3),
    conv_transpose2d("pixel", 20, 1, 5, (4, 3), stride=2, padding=1, output_padding=1, n=15),
    conv_transpose2d("pixel", 7, 1, 16, 3, stride=4, dilation=2, padding=((1, 0), (0, 2))),
    conv_transpose2d("gaps", 16, 4, 16, 1, stride=3),
    conv_transpose2d("gaps", 5, (3, 4), 7, 2, stride=(4, 5), output_padding=(3, 1)),
    conv_transpose2d("phases", 16, 5, 16, 4, stride=3, padding=2),
    conv_transpose2d("phases", 20, (5, 4), 8, (5, 3), stride=(2, 4), padding=(2, 1)),
    conv_transpose2d("dilated", 12, 5, 18, 3, dilation=2, padding=1),
    conv_transpose2d("dilated", 12, 5, 18, 3, stride=2, dilation=3, padding=2, output_padding=2),
    conv_transpose2d("dilated", 6, 5, 4, (3, 2), stride=(3, 2), dilation=(2, 5)),
    conv_transpose2d("sides", 9, 6, 10, 4, stride=2, padding=((2, 0), (1, 3))),
    conv_transpose2d("groups", 10, 5, 14, 3, stride=2, padding=1, groups=2),
    conv_transpose2d("groups", 15, 4, 21, 2, stride=2, groups=3, n=2),
    conv_transpose2d("groups", 24, (5, 4), 12, (3, 5), stride=(2, 3), dilation=(3, 2), padding=2, groups=6),
    conv_transpose2d("groups", 40, 4, 40, 2, stride=3, groups=2),
    conv_transpose2d("depthwise", 17, 5, 17, 4, stride=2, padding=1, groups=17),
    conv_transpose2d("multiplier", 6, 5, 18, 3, stride=2, groups=6),
    # Winograd's transforms for each phase.
    conv_transpose2d("winograd", 40, (9, 12), 48, 4, stride=2, padding=1, n=2),
    conv_transpose2d("winograd", 48, 13, 33, 6, stride=2, padding=2, output_padding=1),
    conv_transpose2d("winograd", 64, (10, 9), 64, 4, stride=2, padding=1, groups=2),
    conv_transpose2d("winograd", 64, 12, 64, 3, padding=1),
    conv_transpose2d("winograd", 32, (8, 7), 40, 4, stride=2, padding=1, n=2),
    # Few channels: worth computing all phases as channels of one convolution.
    conv_transpose2d("joined", 20, (5, 7), 3, 4, stride=2, padding=1, n=2),
    conv_transpose2d("joined", 6, 5, 4, 2, stride=2),
    conv_transpose2d("joined", 17, 4, 1, 5, stride=3, padding=1),
    conv_transpose2d("joined", 9, 5, 3, 3, stride=2, padding=((1, 0), (0, 1))),
    conv_transpose2d("1xk", 16, 5, 8, (1, 4), stride=(1, 2)),
    conv_transpose2d("kx1", 16, 5, 8, (4, 1), stride=(2, 1), padding=(1, 0)),
    conv_transpose2d("deep", 300, 3, 20, 3, stride=2, padding=1),
    conv_transpose2d("batch", 32, 2, 32, 2, stride=2, n=5),
]

# ------------------------------------------------------------------------------------------------------- pooling

MAX_POOL2D = [
    pool2d("max_pool2d", "alexnet:pool1", 96, 55, 3, stride=2),
    pool2d("max_pool2d", "vgg16:pool3", 64, 56, 2),
    pool2d("max_pool2d", "resnet50:pool1", 64, 112, 3, stride=2, padding=1),
    pool2d("max_pool2d", "googlenet:pool1", 32, 112, 3, stride=2, ceil_mode=True),
    pool2d("max_pool2d", "googlenet:inception3a", 48, 28, 3, stride=1, padding=1),
    pool2d("max_pool2d", "spp:13x13", 16, 19, 13, stride=1, padding=6),
    *(pool2d("max_pool2d", "tail", c, 7, 3, stride=2, padding=1) for c in (1, 2, 3, 15, 16, 17, 33)),
    pool2d("max_pool2d", "pixel", 5, 1, 1, n=3),
    pool2d("max_pool2d", "pixel", 5, 1, 3, padding=1),
    pool2d("max_pool2d", "skip", 9, 11, 2, stride=5),
    pool2d("max_pool2d", "dilated", 9, 13, 3, stride=2, dilation=3, padding=2),
    pool2d("max_pool2d", "only_padding", 4, 3, 2, padding=2, dilation=3, stride=1),
    pool2d("max_pool2d", "sides", 17, (6, 9), (4, 3), stride=(1, 2), padding=((3, 0), (1, 2))),
    pool2d("max_pool2d", "1xk", 3, (4, 20), (1, 5), stride=(1, 3), padding=(0, 2), ceil_mode=True),
    pool2d("max_pool2d", "hanging", 20, 8, 3, stride=3, padding=1, ceil_mode=True),
    pool2d("max_pool2d", "hanging", 3, 7, 2, stride=4, padding=1, ceil_mode=True),
    pool2d("max_pool2d", "page", 16, 16, 5, stride=1, padding=2, n=2),
    *(pool2d("max_pool2d", "row", 3, (5, w), 3, stride=2, padding=1) for w in (15, 16, 17, 31, 32, 33, 34, 47)),
    *(pool2d("max_pool2d", "row", 3, (5, w), 2, stride=2) for w in (16, 17, 33, 34, 64)),
    *(pool2d("max_pool2d", "row", 3, (5, w), 3, stride=1, padding=1) for w in (16, 17, 33, 50)),
    pool2d("max_pool2d", "row_sides", 2, (4, 35), (2, 3), stride=(3, 2), padding=((1, 0), (0, 1)), n=2),
    pool2d("max_pool2d", "row_hanging", 2, (7, 34), 3, stride=2, ceil_mode=True),
    pool2d("max_pool2d", "row_alone", 2, (6, 40), (3, 1), stride=(1, 2), padding=(1, 0)),
    pool2d("max_pool2d", "row_dilated", 2, (12, 40), (4, 2), stride=(2, 1), dilation=(3, 1), padding=(2, 1)),
    pool2d("max_pool2d", "row_only_padding", 4, (3, 40), (2, 2), padding=(2, 1), dilation=(3, 1), stride=1),
]

AVG_POOL2D = [
    pool2d("avg_pool2d", "resnet50:pool5", 64, 7, 7),
    pool2d("avg_pool2d", "densenet:transition", 40, 28, 2),
    pool2d("avg_pool2d", "inception:branch", 35, 17, 3, stride=1, padding=1, count_include_pad=False),
    *(pool2d("avg_pool2d", "tail", c, 7, 3, stride=2, padding=1) for c in (1, 2, 3, 15, 16, 17, 33)),
    pool2d("avg_pool2d", "pixel", 5, 1, 3, padding=1, n=2),
    pool2d("avg_pool2d", "pixel", 5, 1, 3, padding=1, count_include_pad=False),
    pool2d("avg_pool2d", "sides", 17, (6, 9), (4, 3), stride=(1, 2), padding=((3, 0), (1, 2))),
    pool2d("avg_pool2d", "sides", 17, (6, 9), (4, 3), stride=2, padding=((3, 0), (1, 2)), count_include_pad=False),
    pool2d("avg_pool2d", "hanging", 20, 8, 3, stride=3, padding=1, ceil_mode=True),
    pool2d("avg_pool2d", "hanging", 4, (7, 8), 2, stride=3, ceil_mode=True, count_include_pad=False),
    pool2d("avg_pool2d", "divisor", 6, 9, 3, stride=2, padding=1, divisor_override=5),
    pool2d("avg_pool2d", "skip", 9, 11, 2, stride=5),
    pool2d("avg_pool2d", "long", 16, (40, 33), (40, 31), stride=1),
    pool2d("avg_pool2d", "bands", 17, (90, 100), 5, stride=2, padding=1, count_include_pad=False),
    *(pool2d("avg_pool2d", "row", 3, (5, w), 3, stride=2, padding=1) for w in (15, 16, 17, 31, 32, 33, 34, 47)),
    *(pool2d("avg_pool2d", "row", 3, (5, w), 2, stride=2) for w in (16, 17, 33, 34, 64)),
    pool2d("avg_pool2d", "row", 17, (90, 100), 3, stride=1, padding=1, count_include_pad=False),
    pool2d("avg_pool2d", "row_sides", 2, (9, 35), (7, 3), stride=(3, 2), padding=((1, 0), (0, 1)), n=2),
    pool2d("avg_pool2d", "row_hanging", 2, (7, 34), 3, stride=2, ceil_mode=True),
    pool2d("avg_pool2d", "row_hanging", 2, (7, 34), 3, stride=2, ceil_mode=True, count_include_pad=False),
    pool2d("avg_pool2d", "row_divisor", 6, (9, 33), (3, 2), stride=(2, 1), padding=(1, 0), divisor_override=5),
]

_PLANES = [(1, 5, 6, 7), (2, 16, 8, 8), (1, 33, 1, 1), (3, 17, 13, 5), (1, 130, 3, 2)]

GLOBAL_POOLS = [
    Case(op, "planes", {"x": x})
    for op in ("global_avg_pool2d", "global_max_pool2d")
    for x in [*_PLANES, (1, 3, 130, 130)]
]
ADAPTIVE_POOLS = [
    Case("adaptive_avg_pool2d", "bins", {"x": x}, {"output_size": size})
    for x, size in [
        ((1, 20, 13, 9), (6, 6)),
        ((1, 3, 5, 7), (7, 5)),
        ((2, 17, 6, 6), (None, 1)),
        ((1, 16, 7, 7), 1),
        ((1, 4, 1, 1), 3),
        ((1, 9, 8, 12), (4, None)),
    ]
]

# ------------------------------------------------------------------------------------------------ matrix products

LINEAR_NETWORKS = [
    linear("alexnet:fc6", 1, 9216, 4096),
    linear("alexnet:fc7", 1, 4096, 4096),
    linear("alexnet:fc8", 1, 4096, 1000),
    linear("resnet50:fc", 4, 2048, 1000),
    linear("lenet5:f6", 10, 120, 84),
]
LINEAR_EDGES = [
    linear("sizes", m, k, n)
    for m, k, n in [
        (1, 1, 1), (1, 17, 5), (2, 16, 16), (3, 257, 33), (7, 31, 64), (13, 300, 15), (14, 5, 17), (29, 513, 47),
    ]
] + [
    Case("linear", "vector", {"x": (9,), "weight": (4, 9)}),
    Case("linear", "rank4", {"x": (2, 3, 1, 20), "weight": (18, 20)}),
]  # fmt: skip

GEMM = [
    *(
        gemm("sizes", m, k, n, trans_a=ta, trans_b=tb)
        for m, k, n in [(1, 1, 1), (5, 7, 3), (16, 16, 16), (6, 300, 17), (33, 17, 64), (1, 513, 40), (65, 3, 1)]
        for ta, tb in [(False, False), (True, False), (False, True), (True, True)]
    ),
    gemm("matrix", 20, 9, 18, c=(20, 18)),
    gemm("row", 20, 9, 18, c=(18,), beta=-2.0),
    gemm("row", 20, 9, 18, c=(1, 18), alpha=0.5),
    gemm("column", 20, 9, 18, c=(20, 1), trans_a=True),
    gemm("scalar", 20, 9, 18, c=(1, 1), alpha=2.0, beta=4.0, trans_b=True),
    gemm("one_row", 1, 9, 18, c=(1, 18), beta=0.25),
    gemm("slices", 20, 600, 33, c=(20, 33), alpha=-1.0, beta=2.0, trans_a=True, trans_b=True),
    gemm("blocks", 410, 1040, 530, c=(410, 530), alpha=2.0),  # of rows, panels and products
    gemm("blocks", 205, 530, 1090, trans_a=True, trans_b=True),
    gemm("few_rows", 1, 40, 4200),  # more columns than a block has
    gemm("few_rows", 3, 43, 35, c=(3, 35), alpha=-2.0, beta=0.5, trans_a=True),
    gemm("few_rows", 4, 24, 129, c=(129,)),
]  # fmt: skip

# ------------------------------------------------------------------------------------------------- normalization

BATCH_NORM = [
    Case("batch_norm", "planes", {"x": x, **{p: (x[1],) for p in ("running_mean", "running_var", *affine)}})
    for x in [*_PLANES, (4, 7), (2, 18, 5)]
    for affine in [(), ("weight", "bias")]
]
LOCAL_RESPONSE_NORM = [
    Case("local_response_norm", "alexnet:norm1", {"x": (1, 96, 55, 55)}, {"size": 5, "k": 2.0}),
    *(
        Case("local_response_norm", "sizes", {"x": (1, c, 3, 5)}, {"size": size, "alpha": 0.5, "beta": beta})
        for c, size, beta in [
            (1, 1, 0.75), (3, 5, 0.75), (16, 3, 0.5), (17, 4, 1.0), (20, 7, 0.6), (33, 2, 0.75), (5, 40, 0.75),
            (130, 5, 2.0),
        ]
    ),
]  # fmt: skip
SOFTMAX = [
    Case(op, "sizes", {"x": x}, {"dim": dim})
    for op in ("softmax", "log_softmax")
    for x, dim in [
        ((1, 1000), -1), ((3, 1), 1), ((5, 7), 0), ((2, 21, 9, 10), 1), ((2, 3, 4, 5), 2), ((4, 33), -1), ((17,), 0),
        ((3, 2, 700), 1), ((2, 100), -1),
    ]
]  # fmt: skip

# --------------------------------------------------------------------------------------------------- elementwise

SHAPES_OF_ANY_RANK = [(), (1,), (7,), (16,), (3, 33), (2, 5, 9), (2, 17, 3, 5), (1, 16, 8, 8), (2, 1, 2, 3, 4)]
BROADCASTS = [
    ((2, 5, 3, 4), (2, 5, 3, 4)), ((2, 5, 3, 4), (5, 1, 1)), ((2, 5, 3, 4), (2, 5, 1, 1)), ((2, 5, 3, 4), ()),
    ((2, 5, 3, 4), (1,)), ((2, 5, 3, 4), (4,)), ((2, 5, 3, 4), (1, 1, 3, 1)), ((5, 1, 3, 1), (2, 1, 4)),
    ((1, 3), (4, 1)), ((), ()), ((2, 1, 3, 4), (2, 5, 1, 1)), ((300,), (7, 300)), ((2, 16, 40, 40), (2, 16, 1, 1)),
]  # fmt: skip
BINARY = [Case(op, "broadcast", {"x": x, "y": y}) for op in ("add", "mul") for x, y in BROADCASTS]
PRELU = [
    Case("prelu", "slopes", {"x": x, "weight": w})
    for x, w in [((2, 5, 3, 4), (5,)), ((2, 17, 3, 4), (1,)), ((3, 20), (20,)), ((9,), (1,)), ((1, 16, 5, 5), (16,))]
]

# ---------------------------------------------------------------------------------------------- shape and layout

CONCAT = [
    Case("concat", "parts", {"tensors": shapes}, {"dim": dim})
    for shapes, dim in [
        ([(1, 16, 5, 5), (1, 32, 5, 5)], 1), ([(2, 3, 4, 5), (2, 1, 4, 5), (2, 17, 4, 5)], 1), ([(3, 4), (5, 4)], 0),
        ([(2, 3, 4, 5), (2, 3, 1, 5)], -2), ([(2, 3)], 1), ([(2, 5, 2), (2, 5, 300)], 2),
    ]
]  # fmt: skip
PAD = [
    Case("pad", "sides", {"x": x}, {"padding": padding, "mode": mode, **({"value": 3.0} if mode == "constant" else {})})
    for mode in ("constant", "reflect", "replicate", "circular")
    for x, padding in [((1, 3, 5, 6), 2), ((2, 17, 4, 4), ((0, 3), (1, 2))), ((1, 16, 8, 8), (0, 1)), ((1, 1, 2, 2), 1)]
] + [Case("pad", "replicate", {"x": (1, 2, 1, 1)}, {"padding": 9, "mode": "replicate"})]
UPSAMPLE = [
    Case("upsample", "sizes", {"x": x}, {**size, **mode})
    for mode in ({}, {"mode": "bilinear"}, {"mode": "bilinear", "align_corners": True})
    for x, size in [
        ((1, 3, 5, 6), {"scale_factor": 2}), ((2, 17, 4, 4), {"size": (7, 3)}), ((1, 2, 1, 1), {"size": 5}),
        ((1, 16, 8, 8), {"scale_factor": (1.5, 0.7)}), ((1, 5, 9, 7), {"size": 1}), ((1, 1, 3, 4), {"scale_factor": 3}),
    ]
]  # fmt: skip
PIXEL_SHUFFLE = [
    Case("pixel_shuffle", "factors", {"x": (n, c * r * r, h, w)}, {"upscale_factor": r})
    for n, c, r, h, w in [(1, 3, 2, 5, 4), (2, 1, 3, 3, 3), (1, 2, 4, 2, 9), (1, 1, 5, 3, 2), (2, 17, 1, 3, 3)]
]
FLATTEN = [
    Case("flatten", "dims", {"x": (2, 3, 4, 5)}, {"start_dim": a, "end_dim": b}) for a, b in [(1, -1), (0, 2), (2, 2)]
] + [Case("flatten", "dims", {"x": (2, 17, 3, 3)})]
DROPOUT = [Case("dropout", "identity", {"x": (2, 17, 3, 3)})]

# ------------------------------------------------------------------------------------------------------ benchdnn


def _table(name: str) -> list[dict[str, Any]]:
    """The rows of shapes/<name>.tsv, numbers as int; lines that begin with # tell where they come from."""
    with open(SHAPES / f"{name}.tsv", encoding="utf-8", newline="") as file:
        rows = csv.DictReader((line for line in file if not line.startswith("#")), delimiter="\t")
        return [{key: value if key == "name" else int(value) for key, value in row.items()} for row in rows]


def _arguments(r: dict[str, Any]) -> dict[str, Any]:
    """Stride, padding and dilation of a row."""
    rows, columns = ((r["pt"], r["pb"]), (r["pl"], r["pr"])) if "pt" in r else ((r["ph"],) * 2, (r["pw"],) * 2)
    even = rows[0] == rows[1] and columns[0] == columns[1]
    return {
        "stride": _simplest((r["sh"], r["sw"])),
        "padding": _simplest((rows[0], columns[0])) if even else (rows, columns),
        "dilation": _simplest((r["dh"], r["dw"])),
    }


def _convolution(make: Any, r: dict[str, Any], **more: Any) -> Case:
    size, kernel = (r["ih"], r["iw"]), (r["kh"], r["kw"])
    return make(r["name"], r["ic"], size, r["oc"], kernel, n=r["n"], groups=r["g"], **_arguments(r), **more)


def benchdnn_conv2d() -> list[Case]:
    return [_convolution(conv2d, r) for r in _table("conv2d")]


def benchdnn_conv_transpose2d() -> list[Case]:
    return [
        _convolution(conv_transpose2d, r, output_padding=_simplest((r["oph"], r["opw"])))
        for r in _table("conv_transpose2d")
    ]


def benchdnn_pool2d(op: str) -> list[Case]:
    """For "max_pool2d" or "avg_pool2d", which knows no dilation."""
    cases = []
    for r in _table("pool2d"):
        arguments = _arguments(r)
        if op == "avg_pool2d" and arguments.pop("dilation") != 1:
            continue
        cases.append(pool2d(op, r["name"], r["c"], (r["ih"], r["iw"]), (r["kh"], r["kw"]), n=r["n"], **arguments))
    return cases
