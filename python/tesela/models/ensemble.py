"""Several networks as one: the average of what they predict, as the entries to ILSVRC were combined."""

from collections.abc import Sequence
from dataclasses import replace

from ..graph import Graph
from ..network import Network


def ensemble(networks: Sequence[Network], name: str = "ensemble") -> Network:
    """Networks that take the same input and return (N, K) logits -> their mean probabilities "mean", (N, K).

    Layers and parameters of the first are called "0.conv1", "0.conv1.weight" and so on. The parts keep their weights.
    """
    if isinstance(networks, Network) or not networks:
        raise TypeError(f"ensemble: expected networks as a list of at least one Network, got {networks!r}")
    first = networks[0].graph
    (output,) = first.outputs
    sizes = first.inputs, first.dims[output]
    g, parameters, parts = Graph(name), {}, []
    for value, dims in first.inputs.items():
        g.input(value, dims)
    for i, network in enumerate(networks):
        graph = network.graph
        if (graph.inputs, *(graph.dims[value] for value in graph.outputs)) != sizes or len(sizes[1]) != 2:
            raise ValueError(
                f"ensemble: expected networks from {sizes[0]} to {sizes[1]} like the first, {first.name}, "
                f"got {graph.name} from {graph.inputs} to {[graph.dims[value] for value in graph.outputs]}"
            )
        _append(g, graph, f"{i}.")
        parameters |= {f"{i}.{tensor}": array for tensor, array in network.parameters.items()}
        x = g.softmax(f"{i}.probabilities", f"{i}.{graph.outputs[0]}")
        parts.append(g.reshape(f"{i}.row", x, shape=(-1, 1, 1, sizes[1][1])))
    # One row for each network; their mean is that of a column.
    x = g.concat("rows", parts, dim=2)
    g.output(g.flatten("mean", g.avg_pool2d("columns", x, kernel_size=(len(parts), 1))))
    return Network(g, parameters)


def _append(g: Graph, part: Graph, prefix: str) -> None:
    """All nodes and parameters of `part`, their names prefixed; its inputs keep theirs."""
    names = {value: value if value in part.inputs else prefix + value for value in part.dims}
    g.parameters.update({prefix + name: parameter for name, parameter in part.parameters.items()})
    for node in part.nodes:
        node = replace(
            node.renamed(names),
            name=prefix + node.name,
            parameters={operand: prefix + name for operand, name in node.parameters.items()},
            outputs=tuple(names[value] for value in node.outputs),
        )
        g.nodes.append(node)
    g.dims.update({names[value]: dims for value, dims in part.dims.items()})
    g.dtypes.update({names[value]: dtype for value, dtype in part.dtypes.items()})
