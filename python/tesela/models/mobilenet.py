"""MobileNets: depthwise separable convolutions."""

from ..graph import Graph
from ..network import Network


def mobilenet_v1(num_classes=1000, weights=None, seed=0) -> Network:
    """(N, 3, 224, 224), or any other size -> (N, num_classes) logits; 4,231,976 parameters.

    Howard et al., "MobileNets: efficient convolutional neural networks for mobile vision applications", 2017, table 1.
    Layers have the names of timm's mobilenetv1_100, and ReLU6 as there: "blocks.1.0.conv_dw" sees each channel alone,
    "blocks.1.0.conv_pw" mixes them.
    """
    g = Graph("mobilenet_v1")
    x = g.input("image", (3, 224, 224))
    x = g.conv2d("conv_stem", x, 32, 3, stride=2, padding=1, bias=False)
    x = g.batch_norm("bn1", x, activation="relu6")
    for stage, (width, depth) in enumerate(((64, 1), (128, 2), (256, 2), (512, 6), (1024, 2))):
        for i in range(depth):
            name, channels = f"blocks.{stage}.{i}", g.dims[x][1]
            stride = 2 if stage > 0 and i == 0 else 1
            x = g.conv2d(f"{name}.conv_dw", x, channels, 3, stride=stride, padding=1, groups=channels, bias=False)
            x = g.batch_norm(f"{name}.bn1", x, activation="relu6")
            x = g.conv2d(f"{name}.conv_pw", x, width, 1, bias=False)
            x = g.batch_norm(f"{name}.bn2", x, activation="relu6")
    x = g.flatten("flatten", g.global_avg_pool2d("global_pool", x))
    g.output(g.linear("classifier", x, num_classes))
    return Network(g, weights, seed=seed)


def mobilenet_v2(num_classes=1000, weights=None, seed=0) -> Network:
    """(N, 3, 224, 224), or any other size -> (N, num_classes) logits; 3,504,872 parameters.

    Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", 2018, table 2. Parameters have
    torchvision's names: a block expands ("features.2.conv.0.0"), filters each channel (".conv.1.0"), projects
    (".conv.2") and, where the size stays, adds what came in ("features.3").
    """
    g = Graph("mobilenet_v2")

    def convolution(name, x, channels, kernel_size=1, stride=1, groups=1):
        padding = kernel_size // 2
        x = g.conv2d(f"{name}.0", x, channels, kernel_size, stride=stride, padding=padding, groups=groups, bias=False)
        return g.relu6(f"{name}.2", g.batch_norm(f"{name}.1", x))

    x = g.input("image", (3, 224, 224))
    x = convolution("features.0", x, 32, 3, stride=2)
    layer = 1
    table = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for expansion, width, depth, first_stride in table:
        for i in range(depth):
            name, stride, part = f"features.{layer}", first_stride if i == 0 else 1, 0
            y, hidden = x, expansion * g.dims[x][1]
            if expansion > 1:
                y, part = convolution(f"{name}.conv.0", y, hidden), 1
            y = convolution(f"{name}.conv.{part}", y, hidden, 3, stride, groups=hidden)
            # Nothing rectifies what a bottleneck returns: half the usual variance keeps its size.
            y = g.conv2d(f"{name}.conv.{part + 1}", y, width, 1, bias=False, gain=1.0)
            y = g.batch_norm(f"{name}.conv.{part + 2}", y)
            x = g.add(name, x, y) if g.dims[x] == g.dims[y] else y
            layer += 1
    x = convolution("features.18", x, 1280)
    x = g.flatten("flatten", g.global_avg_pool2d("avgpool", x))
    g.output(g.linear("classifier.1", g.dropout("classifier.0", x, p=0.2), num_classes))
    return Network(g, weights, seed=seed)
