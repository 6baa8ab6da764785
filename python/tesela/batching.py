"""Which layers of a batch run image by image.

Early layers have large maps and few weights: there an image's activations should stay in a core's caches from one layer
to the next, and threads take an image each. Late layers have small maps and many weights: there all images should share
one pass over the weights. A network is cut once, where the traffic of both parts is least.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from .graph import Graph, Node
from .operators import TABLE, Dims

_CACHED = 1 << 20  # bytes of activations that stay in a cache even for the whole batch
_WINOGRAD = 4  # F(4, 3) has 36 weights where a 3x3 kernel has 9


def images_apart(graph: Graph, parameters: Mapping[str, np.ndarray], sizes: Mapping[str, Dims], batch: int) -> int:
    """How many of the graph's first nodes should run image by image; 0 for all of them together."""
    saved = most_saved = count = 0
    for i, node in enumerate(graph.nodes):
        if batch < 2 or not _is_per_image(node, parameters, sizes, batch):
            break
        activations = 4 * sum(math.prod(sizes[value][1:]) for value in [*node.values(), *node.outputs])
        saved += (activations if batch * activations > _CACHED else 0) - _weight_bytes(node, parameters)
        if saved > most_saved:
            most_saved, count = saved, i + 1
    return count


def _is_per_image(node: Node, parameters: Mapping[str, np.ndarray], sizes: Mapping[str, Dims], batch: int) -> bool:
    values = [*node.values(), *node.outputs]
    return (
        TABLE[node.op].per_image
        and all(len(sizes[value]) >= 2 and sizes[value][0] == batch for value in values)
        # An axis counted from the end, or the first one, may be that of the images.
        and all(node.attributes.get(axis, 1) > 0 for axis in ("dim", "start_dim"))
        # Broadcasting aligns last axes: of tensors the first ones are the images, of a constant none is.
        and (
            node.op not in ("add", "mul")
            or (
                all(len(sizes[value]) == len(sizes[node.outputs[0]]) for value in node.values())
                and all(
                    len(parameters[p].shape) < len(sizes[node.outputs[0]]) or parameters[p].shape[0] == 1
                    for p in node.parameters.values()
                )
            )
        )
    )


def _weight_bytes(node: Node, parameters: Mapping[str, np.ndarray]) -> int:
    total = sum(parameters[name].nbytes for name in node.parameters.values())
    three = node.op == "conv2d" and parameters[node.parameters["weight"]].shape[2:] == (3, 3)
    return total * _WINOGRAD if three and node.attributes["stride"] == (1, 1) else total
