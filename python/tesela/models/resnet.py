"""Residual networks: He, Zhang, Ren and Sun, "Deep residual learning for image recognition", 2016, table 1.

Parameters have torchvision's names, and as there the 3x3 convolution of a bottleneck has the stride (in the paper its
first 1x1), so that a torchvision state_dict saved as .safetensors loads as it is.

    relu, maxpool                     the stem
    layer1.0.conv1, .bn1, .relu1 ...  the residual branch of the first block of the first stage; its last is bn2 or bn3
    layer1.0.downsample.1             the projected shortcut, in blocks that change the size
    layer1.0.add, layer1.0.relu       their sum, and the value of the block
    avgpool, flatten, fc              the head: the mean over the plane, so that any image size works; logits
"""

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


def _resnet(name, block, depths, num_classes, weights, seed):
    g = Graph(name)
    x = g.input("image", (3, 224, 224))
    x = _convolution(g, "conv1", "bn1", x, 64, 7, stride=2)
    x = g.relu("relu", x)
    x = g.max_pool2d("maxpool", x, kernel_size=3, stride=2, padding=1)
    for stage, (width, depth) in enumerate(zip((64, 128, 256, 512), depths, strict=True), 1):
        for i in range(depth):
            x = block(g, f"layer{stage}.{i}", x, width, stride=2 if stage > 1 and i == 0 else 1)
    x = g.global_avg_pool2d("avgpool", x)
    x = g.flatten("flatten", x)
    g.output(g.linear("fc", x, num_classes))
    return Network(g, weights, seed=seed)


def _basic_block(g, name, x, width, stride):
    """3x3, 3x3."""
    y = _convolution(g, f"{name}.conv1", f"{name}.bn1", x, width, 3, stride)
    y = g.relu(f"{name}.relu1", y)
    y = _convolution(g, f"{name}.conv2", f"{name}.bn2", y, width, 3)
    return _joined(g, name, x, y, stride)


def _bottleneck(g, name, x, width, stride):
    """1x1 to `width` channels, 3x3, 1x1 to four times as many."""
    y = _convolution(g, f"{name}.conv1", f"{name}.bn1", x, width, 1)
    y = g.relu(f"{name}.relu1", y)
    y = _convolution(g, f"{name}.conv2", f"{name}.bn2", y, width, 3, stride)
    y = g.relu(f"{name}.relu2", y)
    y = _convolution(g, f"{name}.conv3", f"{name}.bn3", y, 4 * width, 1)
    return _joined(g, name, x, y, stride)


def _joined(g, name, x, y, stride):
    """relu(y + shortcut), where the shortcut is x, projected if its size is another."""
    if g.dims[x] != g.dims[y]:
        x = _convolution(g, f"{name}.downsample.0", f"{name}.downsample.1", x, g.dims[y][1], 1, stride)
    return g.relu(f"{name}.relu", g.add(f"{name}.add", y, x))


def _convolution(g, conv, norm, x, channels, kernel_size, stride=1):
    """A convolution that keeps the plane but for its stride, and its batch norm."""
    x = g.conv2d(conv, x, channels, kernel_size, stride=stride, padding=kernel_size // 2, bias=False)
    return g.batch_norm(norm, x)
