"""SqueezeNet: Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters", 2016.

Parameters have torchvision's names. A fire module squeezes to few channels and expands by 1x1 and 3x3 kernels side by
side: "features.3.squeeze", "features.3.expand1x1", "features.3.expand3x3", each after its ReLU, and "features.3".
"""

from ..graph import Graph
from ..network import Network


def squeezenet1_0(num_classes=1000, weights=None, seed=0) -> Network:
    """(N, 3, 224, 224), or any other size -> (N, num_classes) logits; 1,248,424 parameters. Table 1 of the paper."""
    fires = {3: 16, 4: 16, 5: 32, 7: 32, 8: 48, 9: 48, 10: 64, 12: 64}
    return _squeezenet("squeezenet1_0", (96, 7), fires, (2, 6, 11), num_classes, weights, seed)


def squeezenet1_1(num_classes=1000, weights=None, seed=0) -> Network:
    """(N, 3, 224, 224), or any other size -> (N, num_classes) logits; 1,235,496 parameters.

    The authors' later version, as accurate for 2.4 times fewer products: a smaller stem, and pooling earlier.
    """
    fires = {3: 16, 4: 16, 6: 32, 7: 32, 9: 48, 10: 48, 11: 64, 12: 64}
    return _squeezenet("squeezenet1_1", (64, 3), fires, (2, 5, 8), num_classes, weights, seed)


def _squeezenet(name, stem, fires, pools, num_classes, weights, seed):
    """stem: channels and kernel; fires: layer -> squeezed channels, an eighth of those that come out."""
    g = Graph(name)
    x = g.input("image", (3, 224, 224))
    x = g.relu("features.1", g.conv2d("features.0", x, *stem, stride=2))
    for i in range(2, 13):
        fire = f"features.{i}"
        if i in pools:
            x = g.max_pool2d(fire, x, kernel_size=3, stride=2, ceil_mode=True)
        else:
            x = g.conv2d(f"{fire}.squeeze", x, fires[i], 1, activation="relu")
            small = g.conv2d(f"{fire}.expand1x1", x, 4 * fires[i], 1, activation="relu")
            large = g.conv2d(f"{fire}.expand3x3", x, 4 * fires[i], 3, padding=1, activation="relu")
            x = g.concat(fire, [small, large])
    x = g.dropout("classifier.0", x)
    x = g.relu("classifier.2", g.conv2d("classifier.1", x, num_classes, 1))
    x = g.global_avg_pool2d("classifier.3", x)
    g.output(g.flatten("flatten", x))
    return Network(g, weights, seed=seed)
