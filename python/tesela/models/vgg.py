"""VGG: Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition", 2015, table 1.

vgg11 to vgg19 are columns A, B, D and E under torchvision's names, where layers are counted:

    features.0, .1, ...    convolution, batch norm if asked for, ReLU; pooling after each stage
    avgpool                7 x 7 bins, so that other image sizes work: nothing at 224
    classifier.0, .3, .6   fully connected, ReLU and dropout between them; classifier.6 has the logits

vgg_face has the names of its Caffe model.
"""

from itertools import count

from ..graph import Graph
from ..network import Network

WIDTHS = (64, 128, 256, 512, 512)


def vgg11(batch_norm=False, num_classes=1000, weights=None, seed=0) -> Network:
    """(N, 3, 224, 224), or any size from 32 -> (N, num_classes) logits; 132,863,336 parameters."""
    return _vgg("vgg11", (1, 1, 2, 2, 2), batch_norm, num_classes, weights, seed)


def vgg13(batch_norm=False, num_classes=1000, weights=None, seed=0) -> Network:
    """(N, 3, 224, 224), or any size from 32 -> (N, num_classes) logits; 133,047,848 parameters."""
    return _vgg("vgg13", (2, 2, 2, 2, 2), batch_norm, num_classes, weights, seed)


def vgg16(batch_norm=False, num_classes=1000, weights=None, seed=0) -> Network:
    """(N, 3, 224, 224), or any size from 32 -> (N, num_classes) logits; 138,357,544 parameters."""
    return _vgg("vgg16", (2, 2, 3, 3, 3), batch_norm, num_classes, weights, seed)


def vgg19(batch_norm=False, num_classes=1000, weights=None, seed=0) -> Network:
    """(N, 3, 224, 224), or any size from 32 -> (N, num_classes) logits; 143,667,240 parameters."""
    return _vgg("vgg19", (2, 2, 4, 4, 4), batch_norm, num_classes, weights, seed)


def vgg_face(num_classes=2622, weights=None, seed=0) -> Network:
    """(N, 3, 224, 224) -> (N, num_classes) logits "fc8", one for each person; 145,002,878 parameters.

    Parkhi, Vedaldi and Zisserman, "Deep face recognition", 2015, table 3: vgg16 trained on faces. "fc7" describes a
    face. The Caffe model takes BGR values 0..255 less (93.594, 104.7624, 129.1863).
    """
    g = Graph("vgg_face")
    x = g.input("image", (3, 224, 224))
    for stage, (width, depth) in enumerate(zip(WIDTHS, (2, 2, 3, 3, 3), strict=True), 1):
        for i in range(1, depth + 1):
            x = g.conv2d(f"conv{stage}_{i}", x, width, 3, padding=1, activation="relu")
        x = g.max_pool2d(f"pool{stage}", x, kernel_size=2)
    x = g.flatten("flatten", x)
    x = g.dropout("drop6", g.linear("fc6", x, 4096, activation="relu"))
    x = g.dropout("drop7", g.linear("fc7", x, 4096, activation="relu"))
    g.output(g.linear("fc8", x, num_classes))
    return Network(g, weights, seed=seed)


def _vgg(name, depths, batch_norm, num_classes, weights, seed):
    g = Graph(f"{name}_bn" if batch_norm else name)
    x = g.input("image", (3, 224, 224))
    layer = (f"features.{i}" for i in count())
    for width, depth in zip(WIDTHS, depths, strict=True):
        for _ in range(depth):
            x = g.conv2d(next(layer), x, width, 3, padding=1)
            if batch_norm:
                x = g.batch_norm(next(layer), x)
            x = g.relu(next(layer), x)
        x = g.max_pool2d(next(layer), x, kernel_size=2)
    x = g.adaptive_avg_pool2d("avgpool", x, output_size=7)
    x = g.flatten("flatten", x)
    x = g.relu("classifier.1", g.linear("classifier.0", x, 4096))
    x = g.dropout("classifier.2", x)
    x = g.relu("classifier.4", g.linear("classifier.3", x, 4096))
    x = g.dropout("classifier.5", x)
    g.output(g.linear("classifier.6", x, num_classes))
    return Network(g, weights, seed=seed)
