"""Passes: each takes a graph and its parameters and returns a smaller graph that computes the same.

    drop_unused       what no output depends on
    drop_identities   dropout at inference
    fold_batch_norm   into the weights of the convolution or linear layer before it
    squeeze_early     the mean of a 1x1 convolution's planes becomes one of its input's
    fuse_gate         a product with one value a channel into the convolution that computes the other factor
    fuse_residual     an addition into the convolution that computes one of its terms
    fuse_activation   into the operator before it
    join_depthwise    a depthwise convolution and the 1x1 convolution that it reads

A value that is an output of the graph is never fused away. Concatenation needs no pass: the program lets its parts be
written in place (csrc/program.h).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from . import _core
from .graph import Graph, Node
from .operators import TABLE, Activation, BatchNorm


@dataclass(frozen=True)
class Scaled:
    """A weight whose rows are to be multiplied by one factor each. An array of it is made when its layer is planned:
    of all layers at once it would be the weights again."""

    weight: np.ndarray
    factors: np.ndarray  # float64

    @property
    def shape(self) -> tuple[int, ...]:
        return self.weight.shape

    @property
    def nbytes(self) -> int:
        return self.weight.nbytes

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(_core.scaled_rows(self.weight, self.factors), dtype)


Parameters = dict[str, np.ndarray | Scaled]


def optimize(graph: Graph, parameters: Parameters, *, strict: bool = False) -> tuple[Graph, Parameters]:
    """All passes, in the order in which each finds the most to do; strict: none that replaces a convolution's sums."""
    graph = drop_identities(drop_unused(graph))
    graph, parameters = fold_batch_norm(graph, parameters)
    if not strict:
        graph, parameters = squeeze_early(graph, parameters)
    graph = fuse_residual(fuse_gate(graph))
    return join_depthwise(fuse_activation(graph)), parameters


def _only_use(graph: Graph, value: str) -> bool:
    """Whether exactly one operand of one node reads the value, and nobody outside."""
    reads = sum(list(node.values()).count(value) for node in graph.uses()[value][:1])
    return len(graph.uses()[value]) == 1 and reads == 1 and value not in graph.outputs


def _producer(graph: Graph, node: Node) -> Node | None:
    """The node that computes x of this one; None where x is an input or a constant."""
    value = node.inputs.get("x")
    return next((other for other in graph.nodes if value in other.outputs), None)


def _merge(graph: Graph, first: Node, second: Node, merged: Node) -> Graph:
    """The graph with `merged` in place of `first` and `second` gone; merged computes what second computed."""
    nodes = [merged if node is first else node for node in graph.nodes if node is not second]
    return replace(graph, nodes=nodes)


def _extras(node: Node) -> set[str]:
    """What a convolution already does after its sum: tensors or parameters of these names."""
    return {"residual", "gate"}.intersection([*node.inputs, *node.parameters])


def _taking(producer: Node, second: Node, **operand: str) -> Node:
    """The producer with one more operand, computing what `second` made of the two, activation included."""
    return replace(
        producer,
        inputs=producer.inputs | operand,
        outputs=second.outputs,
        attributes=producer.attributes | {"activation": second.attributes["activation"]},
    )


def drop_unused(graph: Graph) -> Graph:
    needed, nodes = set(graph.outputs), []
    for node in reversed(graph.nodes):
        if needed.intersection(node.outputs):
            nodes.append(node)
            needed.update(node.values())
    return replace(graph, nodes=nodes[::-1])


def drop_identities(graph: Graph) -> Graph:
    names: dict[str, str] = {}
    nodes = []
    for node in graph.nodes:
        node = node.renamed(names)
        if node.op == "dropout" and "x" in node.inputs and node.outputs[0] not in graph.outputs:
            names[node.outputs[0]] = node.inputs["x"]
        else:
            nodes.append(node)
    return replace(graph, nodes=nodes)


def fold_batch_norm(graph: Graph, parameters: Parameters) -> tuple[Graph, Parameters]:
    parameters = dict(parameters)
    for norm in [node for node in graph.nodes if node.op == "batch_norm"]:
        producer = _producer(graph, norm)
        if producer is None or producer.op not in ("conv2d", "conv_transpose2d", "linear"):
            continue
        if producer.op == "linear" and len(graph.dims[norm.inputs["x"]]) != 2:
            continue  # features lie on the last axis there, channels on axis 1
        if producer.attributes["activation"] or _extras(producer) or not _only_use(graph, norm.inputs["x"]):
            continue
        weight_name = producer.parameters["weight"]
        given = {operand: parameters[name] for operand, name in norm.parameters.items()}
        with np.errstate(all="ignore"):
            scale, shift = BatchNorm.scale_and_shift(norm.attributes, **given)
            weight, factors = np.asarray(parameters[weight_name]), np.asarray(scale, np.float64)
            if producer.op == "conv_transpose2d":
                # (IC, OC / groups, KH, KW): a row of input channels belongs to one group of output channels.
                groups = producer.attributes["groups"]
                inputs, each = weight.shape[0] // groups, weight.shape[1]
                factors = np.broadcast_to(factors.reshape(groups, 1, each), (groups, inputs, each)).reshape(-1)
            bias = parameters[producer.parameters["bias"]] * scale + shift if "bias" in producer.parameters else shift
        folded = {"weight": f"{weight_name} * {norm.name}", "bias": f"{producer.name}.bias * {norm.name}"}
        parameters[folded["weight"]] = Scaled(weight, factors)
        parameters[folded["bias"]] = np.ascontiguousarray(bias, np.float32)
        shapes = {
            name: replace(graph.parameters[weight_name], shape=parameters[name].shape) for name in folded.values()
        }
        merged = replace(
            producer,
            parameters=producer.parameters | folded,
            outputs=norm.outputs,
            attributes=producer.attributes | {"activation": norm.attributes["activation"]},
        )
        graph = _merge(replace(graph, parameters=graph.parameters | shapes), producer, norm, merged)
    return graph, parameters


def _is_pointwise(node: Node | None, graph: Graph) -> bool:
    """Whether it is a 1x1 convolution that gives each pixel its own, and nothing else, from all channels."""
    return (
        node is not None
        and node.op == "conv2d"
        and graph.parameters[node.parameters["weight"]].shape[2:] == (1, 1)
        and node.attributes["stride"] == (1, 1)
        and node.attributes["groups"] == 1
        and (isinstance(node.attributes["padding"], str) or not np.any(node.attributes["padding"]))
        and not _extras(node)
    )


def squeeze_early(graph: Graph, parameters: Parameters) -> tuple[Graph, Parameters]:
    """global_avg_pool2d and a 1x1 convolution after a widening 1x1: the mean of W x + b is W mean(x) + b.

    So squeeze-and-excitation knows its gate before the convolution that it is for, which then applies it.
    """
    parameters = dict(parameters)
    for pool in [node for node in graph.nodes if node.op == "global_avg_pool2d"]:
        wide, squeeze = _producer(graph, pool), next(iter(graph.uses()[pool.outputs[0]]), None)
        if not (_is_pointwise(wide, graph) and _is_pointwise(squeeze, graph) and _only_use(graph, pool.outputs[0])):
            continue
        out, into = graph.parameters[wide.parameters["weight"]].shape[:2]
        if wide.attributes["activation"] or squeeze.inputs["x"] != pool.outputs[0] or into > out:
            continue

        def of(node: Node, operand: str) -> np.ndarray:
            return (
                np.asarray(parameters[node.parameters[operand]], np.float64)
                if operand in node.parameters
                else np.zeros(1)
            )

        with np.errstate(all="ignore"):
            rows = of(squeeze, "weight")[:, :, 0, 0]
            weight = rows @ of(wide, "weight")[:, :, 0, 0]
            bias = rows @ np.broadcast_to(of(wide, "bias"), out) + of(squeeze, "bias")
        joined = {operand: f"{squeeze.name}.{operand} * {wide.name}" for operand in ("weight", "bias")}
        parameters[joined["weight"]] = np.ascontiguousarray(weight[:, :, None, None], np.float32)
        parameters[joined["bias"]] = np.ascontiguousarray(bias, np.float32)
        like = graph.parameters[wide.parameters["weight"]]
        shapes = {name: replace(like, shape=parameters[name].shape) for name in joined.values()}
        changed = {pool.name: replace(pool, inputs=wide.inputs), squeeze.name: replace(squeeze, parameters=joined)}
        graph = replace(
            graph,
            nodes=[changed.get(node.name, node) for node in graph.nodes],
            dims=graph.dims | {pool.outputs[0]: (*graph.dims[wide.inputs["x"]][:2], 1, 1)},
            parameters=graph.parameters | shapes,
        )
    return graph, parameters


def fuse_gate(graph: Graph) -> Graph:
    for mul in [node for node in graph.nodes if node.op == "mul" and not node.parameters]:
        for value, gate in ((mul.inputs["x"], mul.inputs["y"]), (mul.inputs["y"], mul.inputs["x"])):
            producer = next((node for node in graph.nodes if value in node.outputs), None)
            if (
                producer is not None
                and producer.op == "conv2d"
                and producer.attributes["activation"] is None
                and not _extras(producer)
                and graph.dims[gate] == (*graph.dims[value][:2], 1, 1)
                and _only_use(graph, value)
            ):
                merged = _taking(producer, mul, gate=gate)
                # In place of the product: the gate is there by then.
                nodes = [merged if node is mul else node for node in graph.nodes if node is not producer]
                graph = replace(graph, nodes=nodes)
                break
    return graph


def fuse_residual(graph: Graph) -> Graph:
    for add in [node for node in graph.nodes if node.op == "add"]:
        position = {value: i for i, node in enumerate(graph.nodes) for value in node.outputs}
        if add.parameters:
            continue
        terms = [(add.inputs["x"], add.inputs["y"]), (add.inputs["y"], add.inputs["x"])]
        # The later of two convolutions: the other's result is there by then.
        for value, other in sorted(terms, key=lambda term: -position.get(term[0], -1)):
            producer = graph.nodes[position[value]] if value in position else None
            if (
                producer is not None
                and producer.op in ("conv2d", "conv_transpose2d")
                and producer.attributes["activation"] is None
                and "residual" not in _extras(producer)
                and graph.dims[value] == graph.dims[other]
                and position.get(other, -1) < position[value]
                and _only_use(graph, value)
            ):
                graph = _merge(graph, producer, add, _taking(producer, add, residual=other))
                break
    return graph


def fuse_activation(graph: Graph) -> Graph:
    for node in list(graph.nodes):
        operator = TABLE[node.op]
        if not isinstance(operator, Activation):
            continue
        producer = _producer(graph, node)
        if (
            producer is not None
            and TABLE[producer.op].fuses_activation
            and producer.attributes["activation"] is None
            and _only_use(graph, node.inputs["x"])
        ):
            merged = replace(
                producer,
                outputs=node.outputs,
                attributes=producer.attributes | {"activation": operator.fused(node.attributes)},
            )
            graph = _merge(graph, producer, node, merged)
    return graph


def join_depthwise(graph: Graph) -> Graph:
    for node in list(graph.nodes):
        wide = _producer(graph, node)
        if node.op != "conv2d" or not _is_pointwise(wide, graph) or not _only_use(graph, node.inputs["x"]):
            continue
        channels = graph.dims[node.inputs["x"]][1]
        shape = graph.parameters[node.parameters["weight"]].shape
        if node.attributes["groups"] != channels or shape[0] != channels or _extras(node):
            continue
        first = {f"pointwise_{operand}": name for operand, name in wide.parameters.items()}
        attributes = {name: value for name, value in node.attributes.items() if name != "groups"}
        merged = replace(
            node,
            op="pointwise_depthwise_conv2d",
            inputs=wide.inputs,
            parameters=first | node.parameters,
            attributes=attributes | {"pointwise_activation": wide.attributes["activation"]},
        )
        graph = _merge(graph, wide, node, merged)
    return graph
