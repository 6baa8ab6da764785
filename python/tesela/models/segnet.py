"""SegNet: Badrinarayanan, Kendall and Cipolla, "SegNet: a deep convolutional encoder-decoder architecture", 2017."""

from ..graph import Graph
from ..network import Network

WIDTHS, DEPTHS = (64, 128, 256, 512, 512), (2, 2, 3, 3, 3)


def segnet(num_classes=11, size=(360, 480), weights=None, seed=0) -> Network:
    """(N, 3, *size) -> (N, num_classes, *size) scores of each pixel; 29,449,355 parameters. `size` is CamVid's.

    The convolutions of vgg16 and their mirror image. Pooling remembers where each maximum was ("pool1:1"), and the
    decoder puts values back there and fills the gaps by convolution. Layers have the names of the authors' Caffe model:
    "conv1_1", "conv1_1_bn", "pool1", "upsample5", "conv5_3_D", ..., "conv1_1_D". Where `size` is a multiple of 32,
    image_size may be any other such; otherwise planes are odd, and each unpooling belongs to one size.
    """
    g = Graph("segnet")

    def convolution(name, x, channels, gain=2.0):
        x = g.conv2d(name, x, channels, 3, padding=1, gain=gain)
        return g.batch_norm(f"{name}_bn", x, activation="relu")

    x = g.input("image", (3, *size))
    pooled = []
    for stage, (width, depth) in enumerate(zip(WIDTHS, DEPTHS, strict=True), 1):
        for i in range(1, depth + 1):
            x = convolution(f"conv{stage}_{i}", x, width)
        plane = g.dims[x][2:]
        x, indices = g.max_pool2d(f"pool{stage}", x, kernel_size=2, ceil_mode=True, return_indices=True)
        pooled.append((indices, plane if any(n % 2 for n in plane) else None))
    for stage in range(5, 0, -1):
        indices, plane = pooled[stage - 1]
        x = g.max_unpool2d(f"upsample{stage}", x, indices, kernel_size=2, output_size=plane)
        gain = 8.0  # three quarters of what unpooling returns are zeros
        for i in range(DEPTHS[stage - 1], 1, -1):
            x, gain = convolution(f"conv{stage}_{i}_D", x, WIDTHS[stage - 1], gain), 2.0
        if stage > 1:
            x = convolution(f"conv{stage}_1_D", x, WIDTHS[stage - 2])
    g.output(g.conv2d("conv1_1_D", x, num_classes, 3, padding=1))
    return Network(g, weights, seed=seed)
