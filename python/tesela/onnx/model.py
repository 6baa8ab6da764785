"""An ONNX file, checked: what a network is translated from. Whatever is wrong with it becomes a ValueError."""

from __future__ import annotations

import os
from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, ValueInfoProto

from . import tensors

OPSETS = range(6, 30)
MOST_NODES = 100_000
MOST_FILE_BYTES = 2**31 - 1  # protobuf's limit
MAX_BYTES = 2**31  # what weights and constants, and then activations, may take where nobody says


@dataclass(frozen=True)
class Input:
    """A value that the caller gives. An axis is a size, a name, or None where the file says nothing."""

    name: str
    dtype: np.dtype
    dims: tuple[int | str | None, ...]


@dataclass
class Model:
    name: str
    proto: ModelProto
    opset: int
    inputs: dict[str, Input] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)
    nodes: list[NodeProto] = field(default_factory=list)  # in an order in which they can be computed
    initializers: dict[str, np.ndarray] = field(default_factory=dict)


def parse(source: str | os.PathLike[str] | bytes, max_bytes: int) -> Model:
    if isinstance(source, (bytes, bytearray, memoryview)):
        data, folder = bytes(source), None
    elif isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if not path.is_file():
            raise FileNotFoundError(f"onnx: no such file: {path}")
        if path.stat().st_size > MOST_FILE_BYTES:
            raise ValueError(f"onnx: expected a file of at most {MOST_FILE_BYTES:,} bytes, got {path}")
        data, folder = path.read_bytes(), path.parent
    else:
        raise TypeError(f"onnx: expected a path or bytes, got {type(source).__name__}")
    proto = ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError as error:
        raise ValueError(f"onnx: this is no ONNX model: {error}") from None
    return check(proto, folder, max_bytes)


def check(proto: ModelProto, folder: Path | None, max_bytes: int) -> Model:
    graph = proto.graph
    if not graph.output:
        raise ValueError("onnx: the model has no outputs")
    versions = {entry.domain or "ai.onnx": entry.version for entry in proto.opset_import}
    opset = versions.get("ai.onnx", 0)
    if opset not in OPSETS:
        raise ValueError(f"onnx: expected an opset from {OPSETS[0]} to {OPSETS[-1]}, got {opset}")
    if graph.sparse_initializer:
        raise ValueError("onnx: sparse initializers are not supported")
    model = Model(graph.name or "onnx", proto, opset)
    left = max_bytes
    for tensor in graph.initializer:
        if not tensor.name or tensor.name in model.initializers:
            raise ValueError(f"onnx: expected initializers with different names, got {tensor.name!r} again")
        value = tensors.read(tensor, folder, left, f"initializer {tensor.name!r}")
        left -= value.nbytes
        model.initializers[tensor.name] = value
    for value in graph.input:
        if value.name in model.inputs or not value.name:
            raise ValueError(f"onnx: expected inputs with different names, got {value.name!r} again")
        if value.name not in model.initializers:
            model.inputs[value.name] = _input(value)
    model.nodes = ordered(graph, {*model.inputs, *model.initializers})
    known = {*model.inputs, *model.initializers, *(name for node in model.nodes for name in node.output)}
    model.outputs = [value.name for value in graph.output]
    for name in model.outputs:
        if name not in known:
            raise ValueError(f"onnx: nothing computes the output {name!r}")
    if len(set(model.outputs)) < len(model.outputs):
        raise ValueError(f"onnx: expected outputs with different names, got {model.outputs}")
    return model


def _input(value: ValueInfoProto) -> Input:
    what = f"input {value.name!r}"
    if value.type.WhichOneof("value") != "tensor_type":
        raise ValueError(f"{what}: expected a tensor, got {value.type.WhichOneof('value') or 'nothing'}")
    kind = value.type.tensor_type
    dims: list[int | str | None] = []
    for axis in kind.shape.dim:
        size = axis.dim_value if axis.WhichOneof("value") == "dim_value" else axis.dim_param or None
        if isinstance(size, int) and size < 0:
            raise ValueError(f"{what}: expected sizes of at least 0, got {size}")
        dims.append(size)
    return Input(value.name, tensors.carried(kind.elem_type, what), tuple(dims))


def reads(node: NodeProto) -> list[str]:
    """The values that the node reads: its inputs, and what the graphs in its attributes take from outside."""
    names = list(filter(None, node.input))
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            graph = attribute.g
            inside = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
            inside.update(name for inner in graph.node for name in inner.output)
            taken = [name for inner in graph.node for name in reads(inner)] + [value.name for value in graph.output]
            names += [name for name in taken if name not in inside]
    return names


def _check_names(graph: GraphProto) -> None:
    """What is not UTF-8 comes out of protobuf as bytes, which no other name can be put beside."""
    names = [graph.name, *(value.name for value in (*graph.input, *graph.output, *graph.initializer))]
    for node in graph.node:
        names += [node.name, node.op_type, node.domain, *node.input, *node.output, *(a.name for a in node.attribute)]
    wrong = next((name for name in names if not isinstance(name, str)), None)
    if wrong is not None:
        raise ValueError(f"onnx: expected names in UTF-8, got {wrong!r}")


def ordered(graph: GraphProto, known: Container[str]) -> list[NodeProto]:
    """The nodes such that each comes after those that it reads; `known` are the values that nothing here computes."""
    _check_names(graph)
    if len(graph.node) > MOST_NODES:
        raise ValueError(f"onnx: expected at most {MOST_NODES} nodes, got {len(graph.node)}")
    produced: dict[str, int] = {}
    for i, node in enumerate(graph.node):
        for name in filter(None, node.output):
            if name in produced or name in known:
                raise ValueError(f"{called(node)}: the value {name!r} is computed twice")
            produced[name] = i
    waiting = []
    readers: dict[int, list[int]] = {}
    for i, node in enumerate(graph.node):
        before = set()
        for name in reads(node):
            if name in produced:
                before.add(produced[name])
            elif name not in known:
                raise ValueError(f"{called(node)}: nothing computes its input {name!r}")
        waiting.append(len(before))
        for j in before:
            readers.setdefault(j, []).append(i)
    ready = [i for i, count in enumerate(waiting) if count == 0]
    order = []
    while ready:
        i = ready.pop()
        order.append(i)
        for reader in readers.get(i, []):
            waiting[reader] -= 1
            if waiting[reader] == 0:
                ready.append(reader)
    if len(order) < len(graph.node):
        stuck = next(i for i, count in enumerate(waiting) if count > 0)
        raise ValueError(f"{called(graph.node[stuck])}: the node depends on its own result")
    # The file's order where it is one.
    return [graph.node[i] for i in (sorted(order) if _in_order(graph, produced) else order)]


def _in_order(graph: GraphProto, produced: dict[str, int]) -> bool:
    return all(produced.get(name, -1) < i for i, node in enumerate(graph.node) for name in reads(node))


def called(node: NodeProto) -> str:
    """How errors speak of a node."""
    return f"node {node.name or (node.output[0] if node.output else '')!r} ({node.op_type})"
