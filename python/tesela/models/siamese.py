"""Siamese networks: two inputs, one set of parameters."""

from ..graph import Graph
from ..network import Network

DISTANCES = ("l1", "l2", "cosine", "learned")


def siamese(distance=None, weights=None, seed=0) -> Network:
    """Two of (N, 1, 105, 105) -> their embeddings, or how different they are; 38,947,648 parameters.

    Koch, Zemel and Salakhutdinov, "Siamese neural networks for one-shot image recognition", 2015, figure 4. Each twin
    gives an embedding (N, 4096) in 0..1, "left.fc1" and "right.fc1".

    distance  None       both embeddings
              "l1"       "distance" (N,), the sum of their differences
              "l2"       "distance" (N,), the Euclidean distance
              "cosine"   "distance" (N,), 1 less the cosine of the angle between them
              "learned"  "prediction" (N, 1) in 0..1, the probability that both show the same, as in the paper: the
                         sigmoid of their differences weighed by training; 38,951,745 parameters
    """
    if distance is not None and distance not in DISTANCES:
        known = ", ".join(map(repr, DISTANCES))
        raise ValueError(f"siamese: expected distance as None or one of {known}, got {distance!r}")
    g = Graph("siamese")
    left, right = _twin(g, "left"), _twin(g, "right")
    if distance is None:
        g.output(left, right)
    elif distance == "cosine":
        # 1 - p / n = (n - p) / n. Embeddings are positive, so no norm is zero.
        product = g.reduce_sum("product", g.mul("products", left, right), axes=(1,), keepdims=False)
        norms = [g.reduce_l2(f"{x}.norm", x, axes=(1,), keepdims=False) for x in (left, right)]
        norm = g.mul("norm", *norms)
        g.output(g.div("distance", g.sub("difference", norm, product), norm))
    else:
        difference = g.sub("difference", left, right)
        if distance == "learned":
            g.output(g.linear("prediction", g.abs("magnitude", difference), 1, activation="sigmoid", gain=1.0))
        else:
            g.output(g.apply(f"reduce_{distance}", "distance", difference, axes=(1,), keepdims=False))
    return Network(g, weights, seed=seed)


def _twin(g, side):
    x = g.input(side, (1, 105, 105))
    for i, (channels, kernel) in enumerate(((64, 10), (128, 7), (128, 4), (256, 4)), 1):
        shared = None if side == "left" else f"left.conv{i}"
        x = g.conv2d(f"{side}.conv{i}", x, channels, kernel, activation="relu", shared=shared)
        if i < 4:
            x = g.max_pool2d(f"{side}.pool{i}", x, kernel_size=2)
    x = g.flatten(f"{side}.flatten", x)
    return g.linear(f"{side}.fc1", x, 4096, activation="sigmoid", shared=None if side == "left" else "left.fc1")
