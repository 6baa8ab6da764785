"""From the nodes of a Graph to those of an ONNX model: what an exporter writes with.

Every operator has an exporter in write/: a function of a Writer, the attributes of a layer and the names of what it
reads. Values and parameters keep their names; what else an operator needs is a Constant node. Every size but the batch
is known, so what ONNX words differently, or engines read differently, is settled here: padding is explicit, ceil_mode
has become padding after the plane, and "nearest" by anything but a whole number a Gather of the rows and columns that
it repeats.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import defs, helper, numpy_helper

from ..graph import Graph, Node
from ..operators import Dims

OPSET = 20  # the first with Gelu; circular padding came with 19, sizes for some axes of Resize with 18
_ONNX_NAMES = {"float32": "float", "float64": "double"}
EXPORTERS: dict[str, Callable[..., str | tuple[str, ...]]] = {}


def exports(*names: str) -> Callable:
    def register(function: Callable) -> Callable:
        EXPORTERS.update(dict.fromkeys(names, function))
        return function

    return register


class Writer:
    """The nodes written so far. Calling it appends one and returns the name of its result, or a tuple of names."""

    def __init__(self, graph: Graph, sizes: Mapping[str, Dims], shapes: Mapping[str, list[int | str | None]]):
        self.graph = graph
        self.shapes = shapes  # of every value, as the model states them: an open size is no number
        self.dims = {**sizes, **{name: parameter.shape for name, parameter in graph.parameters.items()}}
        self.nodes: list[onnx.NodeProto] = []
        self.layer: Node
        self.flat: set[str] = set()  # indices that count through all planes, as ONNX has them, not through one
        self._taken = set(self.dims)

    def __call__(self, op_type: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [self._new_name(op_type) for _ in range(outputs)]
        while inputs and not inputs[-1]:
            inputs = inputs[:-1]
        self.nodes.append(helper.make_node(op_type, inputs, names, **attributes))
        return names[0] if outputs == 1 else tuple(names)

    def constant(self, value: Any, dtype: type = np.float32) -> str:
        return self("Constant", value=numpy_helper.from_array(np.asarray(value, dtype)))

    def integers(self, values: Any) -> str:
        """A constant list of sizes or places."""
        return self.constant(np.reshape(values, -1), np.int64)

    def dtype(self, value: str) -> str:
        parameter = self.graph.parameters.get(value)
        return self.graph.dtypes[value] if parameter is None else parameter.dtype

    def is_open(self, value: str, axis: int) -> bool:
        """Whether the size along this axis depends on the batch, which the model leaves open."""
        return value in self.shapes and not isinstance(self.shapes[value][axis], int)

    def cast(self, x: str, dtype: str) -> str:
        return self("Cast", x, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def typed(self, op_type: str, *inputs: str, operands: Sequence[str] = (), **attributes: Any) -> str:
        """The operator on inputs of one dtype, and operands. Where ONNX does not have it for that dtype, in int32.

        Both integers wrap, so what is lost on the way back is what wrapping would lose.
        """
        dtype = self.dtype(inputs[0])
        schema = defs.get_schema(op_type, OPSET, "")
        if f"tensor({_ONNX_NAMES.get(dtype, dtype)})" in schema.inputs[0].types:
            return self(op_type, *inputs, *operands, **attributes)
        wide = (self.cast(x, "int32") for x in inputs)
        return self.cast(self(op_type, *wide, *operands, **attributes), dtype)

    def write(self, layer: Node) -> None:
        """Appends the nodes of one layer; its results get the names that they have in the graph."""
        self.layer, first = layer, len(self.nodes)
        if layer.op not in EXPORTERS:
            raise ValueError(f"layer {layer.name!r}: {layer.op} cannot be written to ONNX yet")
        results = EXPORTERS[layer.op](self, layer.attributes, **layer.inputs, **layer.parameters)
        names = dict(zip((results,) if isinstance(results, str) else results, layer.outputs, strict=True))
        for node in self.nodes[first:]:
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names.get(name, name) for name in node.output]
            node.name = node.output[0]

    def _new_name(self, op_type: str) -> str:
        name, count = f"{self.layer.name}/{op_type}", 1
        while name in self._taken:
            count += 1
            name = f"{self.layer.name}/{op_type}{count}"
        self._taken.add(name)
        return name
