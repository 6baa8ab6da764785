"""A network as an ONNX model; what becomes of its layers is in write/."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import helper, numpy_helper

from .. import __version__
from ..arguments import integer
from ..graph import Graph
from ..operators import Dims
from . import write  # noqa: F401  (fills the table of exporters)
from .writer import OPSET, Writer

if TYPE_CHECKING:
    from ..network import Network

IR_VERSION = 9  # the file format that came with it
LARGEST = 2**31 - 1  # bytes: protobuf's limit


def export(
    network: Network, path: str | os.PathLike[str] | None = None, *, batch: int | None = None
) -> onnx.ModelProto:
    """The network as an ONNX model; written to `path` if given.

    batch: None leaves the batch size open, as the dimension "N".
    """
    graph = network.graph
    size = sum(parameter.nbytes for parameter in network.parameters.values())
    if size > LARGEST:
        raise ValueError(f"{graph.name}: an ONNX file holds less than 2 GiB, the parameters are {size:,} bytes")
    clash = next((name for name in network.parameters if name in graph.dims), None)
    if clash is not None:
        raise ValueError(f"{graph.name}: {clash!r} names both a layer and a parameter, which ONNX does not allow")
    if batch is not None and integer("to_onnx", "batch", batch) < 1:
        raise ValueError(f"to_onnx: expected batch of at least 1, got {batch}")

    sizes, shapes = _sizes(graph, batch)
    writer = Writer(graph, sizes, shapes)
    for node in graph.nodes:
        writer.write(node)
    values = {
        name: helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(graph.dtypes[name])), shape)
        for name, shape in shapes.items()
    }
    model = helper.make_model(
        helper.make_graph(
            writer.nodes,
            graph.name,
            inputs=[values[name] for name in graph.inputs],
            outputs=[values[name] for name in graph.outputs],
            value_info=[value for name, value in values.items() if name not in (*graph.inputs, *graph.outputs)],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="tesela",
        producer_version=__version__,
    )
    # Not through make_graph and make_model, each of which would copy them all once more.
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in network.parameters.items())
    if path is not None:
        onnx.save(model, os.fspath(path))
    return model


def _sizes(graph: Graph, batch: int | None) -> tuple[dict[str, Dims], dict[str, list[int | str | None]]]:
    """Of every value: sizes for some batch, and the shape that the model states, where "N" is an open batch size."""

    def sizes(batch: int) -> dict[str, Dims]:
        return graph.infer_all(graph.input_dims(batch))

    if batch is not None:
        return sizes(batch), {name: list(dims) for name, dims in sizes(batch).items()}
    try:
        two, three = sizes(2), sizes(3)
    except ValueError as error:
        raise ValueError(f"{graph.name} does not take every batch size, so export it with batch=1: {error}") from None
    # An axis that grows with the batch in another way, after flatten(start_dim=0) for one, stays without a name.
    axis = {(2, 3): "N"}
    return two, {
        name: [a if a == b else axis.get((a, b)) for a, b in zip(two[name], three[name], strict=True)] for name in two
    }
