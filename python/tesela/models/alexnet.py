"""AlexNet: Krizhevsky, Sutskever, Hinton, "ImageNet classification with deep convolutional neural networks", 2012."""

from ..graph import Graph
from ..network import Network


def alexnet(conv3_groups=1, num_classes=1000, weights=None, seed=0) -> Network:
    """(N, 3, 227, 227) -> (N, num_classes) logits "fc8"; softmax gives the paper's probabilities.

    conv2, conv4 and conv5 have two groups: the halves of the network that the authors kept on two GPUs and that meet in
    conv3. conv3_groups=2 is the variant of some lectures, where they meet in fc6 only. The paper's images of 224 pixels
    have to be 227 for its own layer sizes.

    "conv1" ... "fc7" are values after the ReLU; "norm1" and "norm2" are the local response normalizations.
    """
    # The paper's alpha multiplies the plain sum of n squares; local_response_norm's multiplies their mean.
    normalization = {"size": 5, "alpha": 5 * 1e-4, "beta": 0.75, "k": 2.0}
    pooling = {"kernel_size": 3, "stride": 2}

    g = Graph("alexnet")
    x = g.input("image", (3, 227, 227))
    x = g.conv2d("conv1", x, 96, 11, stride=4, activation="relu")
    x = g.local_response_norm("norm1", x, **normalization)
    x = g.max_pool2d("pool1", x, **pooling)
    x = g.conv2d("conv2", x, 256, 5, padding=2, groups=2, activation="relu")
    x = g.local_response_norm("norm2", x, **normalization)
    x = g.max_pool2d("pool2", x, **pooling)
    x = g.conv2d("conv3", x, 384, 3, padding=1, groups=conv3_groups, activation="relu")
    x = g.conv2d("conv4", x, 384, 3, padding=1, groups=2, activation="relu")
    x = g.conv2d("conv5", x, 256, 3, padding=1, groups=2, activation="relu")
    x = g.max_pool2d("pool5", x, **pooling)
    x = g.flatten("flatten", x)
    x = g.linear("fc6", x, 4096, activation="relu")
    x = g.dropout("drop6", x)
    x = g.linear("fc7", x, 4096, activation="relu")
    x = g.dropout("drop7", x)
    g.output(g.linear("fc8", x, num_classes))
    return Network(g, weights, seed=seed)
