"""Siamese networks: two inputs, one set of parameters."""

from ..graph import Graph
from ..network import Network


def siamese(weights=None, seed=0) -> Network:
    """Two of (N, 1, 105, 105) -> their embeddings "left.fc1" and "right.fc1", (N, 4096) each in 0..1.

    Koch, Zemel and Salakhutdinov, "Siamese neural networks for one-shot image recognition", 2015, figure 4: the twins
    before their distance; 38,947,648 parameters. The paper's prediction weighs abs(left - right) by training; without
    that, abs(left - right).sum(axis=1) says how different the images are.
    """
    g = Graph("siamese")
    embeddings = []
    for side in ("left", "right"):
        x = g.input(side, (1, 105, 105))
        for i, (channels, kernel) in enumerate(((64, 10), (128, 7), (128, 4), (256, 4)), 1):
            shared = None if side == "left" else f"left.conv{i}"
            x = g.conv2d(f"{side}.conv{i}", x, channels, kernel, activation="relu", shared=shared)
            if i < 4:
                x = g.max_pool2d(f"{side}.pool{i}", x, kernel_size=2)
        x = g.flatten(f"{side}.flatten", x)
        shared = None if side == "left" else "left.fc1"
        embeddings.append(g.linear(f"{side}.fc1", x, 4096, activation="sigmoid", shared=shared))
    g.output(*embeddings)
    return Network(g, weights, seed=seed)
