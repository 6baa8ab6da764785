"""Residual networks for CIFAR-10: He, Zhang, Ren and Sun, "Deep residual learning for image recognition", 2016, 4.2.

Parameters have the names of akamaster/pytorch_resnet_cifar10. Its input is (value / 255 - mean) / std with the mean
and deviation of ImageNet.
"""

from ..graph import Graph
from ..network import Network


def resnet20(num_classes=10, weights=None, seed=0) -> Network:
    """(N, 3, 32, 32) -> (N, num_classes) logits; 269,722 parameters."""
    return _resnet("resnet20", 3, num_classes, weights, seed)


def resnet56(num_classes=10, weights=None, seed=0) -> Network:
    """(N, 3, 32, 32) -> (N, num_classes) logits; 853,018 parameters."""
    return _resnet("resnet56", 9, num_classes, weights, seed)


def _resnet(name, depth, num_classes, weights, seed):
    g = Graph(name)
    x = g.conv2d("conv1", g.input("image", (3, 32, 32)), 16, 3, padding=1, bias=False)
    x = g.relu("relu", g.batch_norm("bn1", x))
    for stage, width in enumerate((16, 32, 64), 1):
        for i in range(depth):
            x = _block(g, f"layer{stage}.{i}", x, width, 1 / (3 * depth))
    x = g.flatten("flatten", g.global_avg_pool2d("avgpool", x))
    g.output(g.linear("linear", x, num_classes))
    return Network(g, weights, seed=seed)


def _block(g, name, x, width, gain):
    grows = g.dims[x][1] != width
    y = g.conv2d(f"{name}.conv1", x, width, 3, stride=2 if grows else 1, padding=1, bias=False)
    y = g.relu(f"{name}.relu1", g.batch_norm(f"{name}.bn1", y))
    y = g.conv2d(f"{name}.conv2", y, width, 3, padding=1, bias=False, gain=gain)
    y = g.batch_norm(f"{name}.bn2", y)
    if grows:
        x = _widened(g, f"{name}.shortcut", x, width)
    return g.relu(f"{name}.relu", g.add(f"{name}.add", y, x))


def _widened(g, name, x, width):
    """Option A of the paper: every second pixel, and channels of zeros on both sides, as many as there were in all."""
    x = g.avg_pool2d(f"{name}.pool", x, kernel_size=1, stride=2)
    _, channels, height, plane_width = g.dims[x]
    # Channels become the rows of one plane, and the zeros its padding.
    side = (width - channels) // 2
    x = g.reshape(f"{name}.rows", x, shape=(-1, 1, channels, height * plane_width))
    x = g.pad(f"{name}.pad", x, padding=((side, side), (0, 0)))
    return g.reshape(name, x, shape=(-1, width, height, plane_width))
