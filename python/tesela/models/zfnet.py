"""ZFNet: Zeiler and Fergus, "Visualizing and understanding convolutional networks", 2014, figure 3."""

from ..graph import Graph
from ..network import Network


def zfnet(num_classes=1000, weights=None, seed=0) -> Network:
    """(N, 3, 224, 224) -> (N, num_classes) logits "fc8"; 62,357,608 parameters.

    AlexNet with a smaller first kernel and stride and without groups, drawn so that every layer can be projected back
    to the pixels. The figure's sizes 55, 13 and 6 after pooling need a border of 1 around the image and rounding up.
    Contrast normalization is AlexNet's.
    """
    normalization = {"size": 5, "alpha": 5 * 1e-4, "beta": 0.75, "k": 2.0}
    pooling = {"kernel_size": 3, "stride": 2, "ceil_mode": True}

    g = Graph("zfnet")
    x = g.input("image", (3, 224, 224))
    x = g.conv2d("conv1", x, 96, 7, stride=2, padding=1, activation="relu")
    x = g.max_pool2d("pool1", x, **pooling)
    x = g.local_response_norm("norm1", x, **normalization)
    x = g.conv2d("conv2", x, 256, 5, stride=2, activation="relu")
    x = g.max_pool2d("pool2", x, **pooling)
    x = g.local_response_norm("norm2", x, **normalization)
    x = g.conv2d("conv3", x, 384, 3, padding=1, activation="relu")
    x = g.conv2d("conv4", x, 384, 3, padding=1, activation="relu")
    x = g.conv2d("conv5", x, 256, 3, padding=1, activation="relu")
    x = g.max_pool2d("pool5", x, kernel_size=3, stride=2)
    x = g.flatten("flatten", x)
    x = g.linear("fc6", x, 4096, activation="relu")
    x = g.dropout("drop6", x)
    x = g.linear("fc7", x, 4096, activation="relu")
    x = g.dropout("drop7", x)
    g.output(g.linear("fc8", x, num_classes))
    return Network(g, weights, seed=seed)
