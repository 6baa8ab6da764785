"""LeNet-5: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", 1998."""

from pathlib import Path

from ..graph import Graph
from ..network import Network

DIGITS = Path(__file__).parents[1] / "pretrained" / "lenet5_digits.npz"


def lenet5(weights=None, seed=0) -> Network:
    """(N, 1, 32, 32) -> (N, 10) logits; 61,706 parameters.

    As it is taught today: conv2 sees all maps of pool1 (the paper connects each to a subset), pooling has no weights,
    tanh is not scaled, and the last layer is linear (the paper's measures distances to drawn digits).

    weights="digits" loads weights trained on handwritten digits: ink is 1, paper 0; see pretrained/README.md.
    """
    g = Graph("lenet5")
    x = g.input("image", (1, 32, 32))
    x = g.conv2d("conv1", x, 6, 5, activation="tanh")
    x = g.avg_pool2d("pool1", x, kernel_size=2)
    x = g.conv2d("conv2", x, 16, 5, activation="tanh")
    x = g.avg_pool2d("pool2", x, kernel_size=2)
    x = g.flatten("flatten", x)
    x = g.linear("fc1", x, 120, activation="tanh")
    x = g.linear("fc2", x, 84, activation="tanh")
    g.output(g.linear("fc3", x, 10))
    return Network(g, DIGITS if weights == "digits" else weights, seed=seed)
