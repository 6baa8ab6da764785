"""Squeeze-and-excitation networks: Hu, Shen and Sun, "Squeeze-and-excitation networks", 2018, table 1.

A block's branch is weighted channel by channel with a small network that sees the means of its planes:
".se_module.fc1" squeezes to a sixteenth, ".se_module.fc2" gives weights in 0..1. Parameters have the names of the
weights converted from the authors' Caffe models, in timm's legacy_seresnet50 and legacy_senet154 and before that in
Cadene's pretrained-models.pytorch; as in Caffe, the first 1x1 convolution of a SE-ResNet block has the stride.
"""

from ..graph import Graph
from ..network import Network


def se_resnet50(num_classes=1000, weights=None, seed=0) -> Network:
    """(N, 3, 224, 224), or any other size -> (N, num_classes) logits "last_linear"; 28,088,024 parameters."""
    g = Graph("se_resnet50")
    x = _convolution(g, "layer0.conv1", g.input("image", (3, 224, 224)), 64, 7, stride=2)
    return _senet(g, x, _se_resnet_block, (3, 4, 6, 3), 0.0, num_classes, weights, seed)


def senet154(num_classes=1000, weights=None, seed=0) -> Network:
    """(N, 3, 224, 224), or any other size -> (N, num_classes) logits "last_linear"; 115,088,984 parameters.

    The authors' entry for ILSVRC 2017: SE-ResNeXt-152 64x4d with a stem of three convolutions, half as many channels
    in the first 1x1 of a block, and projections of 3x3.
    """
    g = Graph("senet154")
    x = _convolution(g, "layer0.conv1", g.input("image", (3, 224, 224)), 64, 3, stride=2)
    x = _convolution(g, "layer0.conv2", x, 64, 3)
    x = _convolution(g, "layer0.conv3", x, 128, 3)
    return _senet(g, x, _senet_block, (3, 8, 36, 3), 0.2, num_classes, weights, seed)


def _senet(g, x, block, depths, dropout, num_classes, weights, seed):
    x = g.max_pool2d("pool0", x, kernel_size=3, stride=2, ceil_mode=True)
    gain = 1 / sum(depths)
    for stage, (width, depth) in enumerate(zip((64, 128, 256, 512), depths, strict=True), 1):
        for i in range(depth):
            x = block(g, f"layer{stage}.{i}", x, width, 2 if stage > 1 and i == 0 else 1, gain)
    x = g.flatten("flatten", g.global_avg_pool2d("avg_pool", x))
    g.output(g.linear("last_linear", g.dropout("dropout", x, p=dropout), num_classes))
    return Network(g, weights, seed=seed)


def _se_resnet_block(g, name, x, width, stride, gain):
    y = _convolution(g, f"{name}.conv1", x, width, 1, stride)
    y = _convolution(g, f"{name}.conv2", y, width, 3)
    y = _convolution(g, f"{name}.conv3", y, 4 * width, 1, activation=None, gain=gain)
    return _excited(g, name, x, y, stride, projection=1)


def _senet_block(g, name, x, width, stride, gain):
    y = _convolution(g, f"{name}.conv1", x, 2 * width, 1)
    y = _convolution(g, f"{name}.conv2", y, 4 * width, 3, stride, groups=64)
    y = _convolution(g, f"{name}.conv3", y, 4 * width, 1, activation=None, gain=gain)
    return _excited(g, name, x, y, stride, projection=1 if name.startswith("layer1") else 3)


def _excited(g, name, x, y, stride, projection):
    """relu(y * weights + shortcut); the shortcut is x, projected by a kernel of that size if its shape is another."""
    if g.dims[x] != g.dims[y]:
        channels, padding = g.dims[y][1], projection // 2
        x = g.conv2d(
            f"{name}.downsample.0", x, channels, projection, stride=stride, padding=padding, bias=False, gain=1.0
        )
        x = g.batch_norm(f"{name}.downsample.1", x)
    s = g.global_avg_pool2d(f"{name}.se_module.avg_pool", y)
    s = g.conv2d(f"{name}.se_module.fc1", s, g.dims[y][1] // 16, 1, activation="relu")
    s = g.conv2d(f"{name}.se_module.fc2", s, g.dims[y][1], 1, activation="sigmoid")
    return g.relu(f"{name}.relu", g.add(f"{name}.add", g.mul(f"{name}.se_module", y, s), x))


def _convolution(g, name, x, channels, kernel_size, stride=1, groups=1, activation="relu", gain=2.0):
    """A convolution that keeps the plane but for its stride, batch norm under its number, ReLU."""
    padding = kernel_size // 2
    x = g.conv2d(name, x, channels, kernel_size, stride=stride, padding=padding, groups=groups, bias=False, gain=gain)
    return g.batch_norm(name.replace("conv", "bn"), x, activation=activation)
