"""Residual networks: He, Zhang, Ren and Sun, "Deep residual learning for image recognition", 2016, table 1.

Parameters have torchvision's names, and as there the 3x3 convolution of a bottleneck has the stride (in the paper its
first 1x1), so that a torchvision state_dict saved as .safetensors loads as it is.

    relu, maxpool                     the stem
    layer1.0.conv1, .bn1, .relu1 ...  the residual branch of the first block of the first stage; its last is bn2 or bn3
    layer1.0.downsample.1             the projected shortcut, in blocks that change the size
    layer1.0.add, layer1.0.relu       their sum, and the value of the block
    avgpool, flatten, fc              the head: the mean over the plane, so that any image size works; logits

ResNeXt: Xie et al., "Aggregated residual transformations for deep neural networks", 2017, table 1: the 3x3 convolution
of a bottleneck has groups.
"""

from functools import partial

from ..graph import Graph
from ..network import Network


def resnet18(num_classes=1000, weights=None, seed=0) -> Network:
    """(N, 3, 224, 224), or any other size -> (N, num_classes) logits."""
    return _resnet("resnet18", _basic_block, (2, 2, 2, 2), num_classes, weights, seed)


def resnet34(num_classes=1000, weights=None, seed=0) -> Network:
    """(N, 3, 224, 224), or any other size -> (N, num_classes) logits."""
    return _resnet("resnet34", _basic_block, (3, 4, 6, 3), num_classes, weights, seed)


def resnet50(num_classes=1000, weights=None, seed=0) -> Network:
    """(N, 3, 224, 224), or any other size -> (N, num_classes) logits."""
    return _resnet("resnet50", _bottleneck, (3, 4, 6, 3), num_classes, weights, seed)


def resnet101(num_classes=1000, weights=None, seed=0) -> Network:
    """(N, 3, 224, 224), or any other size -> (N, num_classes) logits."""
    return _resnet("resnet101", _bottleneck, (3, 4, 23, 3), num_classes, weights, seed)


def resnet152(num_classes=1000, weights=None, seed=0) -> Network:
    """(N, 3, 224, 224), or any other size -> (N, num_classes) logits."""
    return _resnet("resnet152", _bottleneck, (3, 8, 36, 3), num_classes, weights, seed)


def resnext50_32x4d(num_classes=1000, weights=None, seed=0) -> Network:
    """(N, 3, 224, 224), or any other size -> (N, num_classes) logits; 32 groups of 4 channels in the first stage."""
    block = partial(_bottleneck, groups=32, group_width=4)
    return _resnet("resnext50_32x4d", block, (3, 4, 6, 3), num_classes, weights, seed)


def resnext101_32x8d(num_classes=1000, weights=None, seed=0) -> Network:
    """(N, 3, 224, 224), or any other size -> (N, num_classes) logits; 32 groups of 8 channels in the first stage."""
    block = partial(_bottleneck, groups=32, group_width=8)
    return _resnet("resnext101_32x8d", block, (3, 4, 23, 3), num_classes, weights, seed)


def _resnet(name, block, depths, num_classes, weights, seed):
    g = Graph(name)
    x = stages(g, g.input("image", (3, 224, 224)), block, depths)
    x = g.global_avg_pool2d("avgpool", x)
    x = g.flatten("flatten", x)
    g.output(g.linear("fc", x, num_classes))
    return Network(g, weights, seed=seed)


def stages(g, x, block, depths, dilated=(), prefix=""):
    """The stem and the four stages. Those in `dilated` keep the plane and spread their kernels instead."""
    x = _convolution(g, f"{prefix}conv1", f"{prefix}bn1", x, 64, 7, stride=2)
    x = g.relu(f"{prefix}relu", x)
    x = g.max_pool2d(f"{prefix}maxpool", x, kernel_size=3, stride=2, padding=1)
    gain, dilation = 1 / sum(depths), 1
    for stage, (width, depth) in enumerate(zip((64, 128, 256, 512), depths, strict=True), 1):
        for i in range(depth):
            # As in torchvision, the first block of a dilated stage has the dilation of the stage before.
            stride, spread = (2 if stage > 1 and i == 0 and stage not in dilated else 1), dilation
            if i == 0 and stage in dilated:
                dilation *= 2
            x = block(g, f"{prefix}layer{stage}.{i}", x, width, stride, spread, gain)
    return x


def _basic_block(g, name, x, width, stride, dilation, gain):
    """3x3, 3x3."""
    y = _convolution(g, f"{name}.conv1", f"{name}.bn1", x, width, 3, stride, dilation)
    y = g.relu(f"{name}.relu1", y)
    y = _convolution(g, f"{name}.conv2", f"{name}.bn2", y, width, 3, dilation=dilation, gain=gain)
    return _joined(g, name, x, y, stride)


def _bottleneck(g, name, x, width, stride, dilation, gain, groups=1, group_width=64):
    """1x1 to the inner width, 3x3, 1x1 to 4 * width. Without groups the inner width is `width`."""
    inner = width * group_width // 64 * groups
    y = _convolution(g, f"{name}.conv1", f"{name}.bn1", x, inner, 1)
    y = g.relu(f"{name}.relu1", y)
    y = _convolution(g, f"{name}.conv2", f"{name}.bn2", y, inner, 3, stride, dilation, groups)
    y = g.relu(f"{name}.relu2", y)
    y = _convolution(g, f"{name}.conv3", f"{name}.bn3", y, 4 * width, 1, gain=gain)
    return _joined(g, name, x, y, stride)


def _joined(g, name, x, y, stride):
    """relu(y + shortcut), where the shortcut is x, projected if its size is another."""
    if g.dims[x] != g.dims[y]:
        x = _convolution(g, f"{name}.downsample.0", f"{name}.downsample.1", x, g.dims[y][1], 1, stride, gain=1.0)
    return g.relu(f"{name}.relu", g.add(f"{name}.add", y, x))


def _convolution(g, conv, norm, x, channels, kernel_size, stride=1, dilation=1, groups=1, gain=2.0):
    """A convolution that keeps the plane but for its stride, and its batch norm.

    gain: the last one of a branch has the inverse of their number, so that seeded networks of any depth stay in range.
    """
    padding = dilation * (kernel_size // 2)
    geometry = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return g.batch_norm(norm, g.conv2d(conv, x, channels, kernel_size, **geometry, bias=False, gain=gain))
