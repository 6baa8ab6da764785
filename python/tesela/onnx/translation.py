"""From the nodes of an ONNX model to a Graph, for inputs of known sizes.

Every operator has a translator in translate/: a function of a Translation, a Call and the values that the node reads.
A value is known now (initializers, constants and all that is computed from them or from sizes, in NumPy), or is
computed by the graph. Memory is asked for before it is taken: see Translation.reserve.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, helper

from .. import reference
from ..graph import Graph, Parameter
from ..operators import ANY, TABLE, Dims
from . import schema, tensors
from .model import Model, called, ordered

TRANSLATORS: dict[str, Callable[..., Any]] = {}


def translates(*op_types: str) -> Callable:
    def register(function: Callable) -> Callable:
        TRANSLATORS.update(dict.fromkeys(op_types, function))
        return function

    return register


@dataclass(frozen=True)
class Value:
    dims: Dims
    array: np.ndarray | None = None  # the elements, where they are known now
    name: str | None = None  # in the graph; of a known value, the initializer that it is
    in_plane: bool = False  # indices that count in each plane, where ONNX counts through all
    plane: Dims = ()  # (N, C, H, W) of what such indices point into
    rows: str | None = None  # the value of the graph that says how many of the first rows are meant

    @property
    def known(self) -> bool:
        return self.array is not None


class NeedsValue(Exception):
    """The plan depends on the elements of this input of the graph."""


class Call:
    """One node: its attributes by type, and how to speak of it."""

    def __init__(self, node: NodeProto, opset: int, read: Callable[[TensorProto, str], np.ndarray]):
        self.node, self.opset, self._read = node, opset, read
        self.op_type, self.what, self.outputs = node.op_type, called(node), len(node.output)
        self._attributes = {attribute.name: attribute for attribute in node.attribute}

    def _typed(self, name: str, kind: int, field: str, default: Any) -> Any:
        attribute = self._attributes.get(name)
        if attribute is None:
            return default
        if attribute.type != kind:
            expected = AttributeProto.AttributeType.Name(kind)
            raise ValueError(f"{self.what}: expected attribute {name} as {expected}")
        return getattr(attribute, field)

    def has(self, name: str) -> bool:
        return name in self._attributes

    def integer(self, name: str, default: int | None = None) -> Any:
        return self._typed(name, AttributeProto.INT, "i", default)

    def number(self, name: str, default: float | None = None) -> Any:
        """The shortest decimal of the float32 in the file: the 1e-5 that an exporter began with, not 9.99999974e-6."""
        value = self._typed(name, AttributeProto.FLOAT, "f", None)
        return default if value is None else float(str(np.float32(value)))

    def integers(self, name: str, default: Sequence[int] | None = None) -> Any:
        value = self._typed(name, AttributeProto.INTS, "ints", default)
        return None if value is None else tuple(value)

    def numbers(self, name: str, default: Sequence[float] | None = None) -> Any:
        value = self._typed(name, AttributeProto.FLOATS, "floats", default)
        return None if value is None else tuple(value)

    def text(self, name: str, default: str) -> str:
        return self._typed(name, AttributeProto.STRING, "s", default.encode()).decode(errors="replace")

    def with_integers(self, **attributes: Sequence[int]) -> Call:
        """The same call with other lists of integers."""
        node = NodeProto()
        node.CopyFrom(self.node)
        kept = [attribute for attribute in self.node.attribute if attribute.name not in attributes]
        del node.attribute[:]
        node.attribute.extend([*kept, *(helper.make_attribute(name, list(v)) for name, v in attributes.items())])
        return Call(node, self.opset, self._read)

    def graph(self, name: str) -> GraphProto:
        return self._typed(name, AttributeProto.GRAPH, "g", None) or GraphProto()

    def tensor(self, name: str) -> np.ndarray | None:
        value = self._typed(name, AttributeProto.TENSOR, "t", None)
        return None if value is None else self._read(value, f"{self.what}: attribute {name}")

    def error(self, expected: str) -> ValueError:
        return ValueError(f"{self.what}: {expected}")


def _read_by(node: NodeProto) -> Iterator[str]:
    """The values that a node reads, in its branches too."""
    yield from node.input
    for attribute in node.attribute:
        yield from (output.name for output in attribute.g.output)
        for inner in attribute.g.node:
            yield from _read_by(inner)


class Translation:
    """A Graph that grows. Calling it appends one operator and returns its value, or a tuple of them."""

    def __init__(self, model: Model, dims: Mapping[str, Dims], values: Mapping[str, np.ndarray],
                 initializers: Mapping[str, np.ndarray], max_bytes: int):  # fmt: skip
        self.model, self.max_bytes, self._left = model, max_bytes, max_bytes
        self.graph = Graph(model.name)
        self.parameters: dict[str, np.ndarray] = {}
        self.values: dict[str, Value] = {}
        self._taken: set[str] = set(initializers)
        self._layer = ""
        for name, array in initializers.items():
            self.values[name] = Value(array.shape, array, name)
        for name in model.inputs:
            if name in values:
                self.values[name] = Value(values[name].shape, values[name])
            else:
                self._taken.add(name)
                self.reserve(dims[name], np.float32, f"input {name!r}", keep=False)
                self.graph.input(name, dims[name], batched=False)
                self.values[name] = Value(dims[name], None, name)
        for node in model.nodes:
            self._node(node)
        self.graph.output(*(self._result(name) for name in model.outputs))
        # Positions of outputs of which only the first rows are meant, and of the outputs that say how many.
        self.rows = {}
        for i, name in enumerate(model.outputs):
            if self.values[name].rows is not None:
                self.rows[i] = len(self.graph.outputs)
                self.graph.outputs.append(self.values[name].rows)

    # -------------------------------------------------------------------------------------------------------- memory

    def reserve(self, dims: Sequence[int], dtype: Any, what: str, *, keep: bool = True) -> Dims:
        """dims, if such a tensor may be made; with `keep` it counts against what later ones may take."""
        size = tensors.element_count(dims, what) * np.dtype(dtype).itemsize
        if size > (self._left if keep else self.max_bytes):
            raise ValueError(f"{what}: a tensor of shape {tuple(dims)} is more than max_bytes={self.max_bytes:,} leave")
        if keep:
            self._left -= size
        return tuple(dims)

    # --------------------------------------------------------------------------------------------------------- nodes

    def _node(self, node: NodeProto) -> None:
        what = called(node)
        translator = TRANSLATORS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if translator is None:
            domain = f" of {node.domain}" if node.domain not in ("", "ai.onnx") else ""
            raise ValueError(f"{what}: the operator {node.op_type}{domain} is not supported")
        call = Call(node, self.model.opset, lambda tensor, name: tensors.read(tensor, None, self._left, name))
        self._layer = self._new_name(node.name or next(filter(None, node.output), node.op_type))
        first = len(self.graph.nodes)
        schema.check(node, self.model.opset, what)
        operands = [self.values[name] if name else None for name in node.input]
        if any(value is not None and value.rows for value in operands):
            raise ValueError(f"{what}: how many boxes NonMaxSuppression chooses is known only when the network has "
                             "run; its result is supported as an output of the model")  # fmt: skip
        try:
            if node.op_type != "MaxUnpool":
                operands = [self._through_all(value) for value in operands]
            results = translator(self, call, *operands)
        except (TypeError, ValueError) as error:
            text = str(error)
            raise ValueError(text if text.startswith(what) else f"{what}: {text}") from None
        except (IndexError, KeyError, OverflowError, ZeroDivisionError, AttributeError, MemoryError) as error:
            raise ValueError(f"{what}: the node is malformed ({type(error).__name__}: {error})") from None
        results = results if isinstance(results, tuple) else (results,)
        if len(self.graph.nodes) == first + 1 and len(self.graph.nodes[-1].outputs) == 1:
            results = (self._renamed(results[0]), *results[1:])
        if len(results) < len(node.output):
            raise ValueError(f"{what}: expected at most {len(results)} outputs, got {len(node.output)}")
        self.values.update((name, value) for name, value in zip(node.output, results, strict=False) if name)

    def inlined(self, call: Call, graph: GraphProto) -> tuple[Value, ...]:
        """The outputs of a graph in an attribute, translated in the place of its node. It sees what that node sees."""
        outside, layer = dict(self.values), self._layer
        for tensor in graph.initializer:
            array = tensors.read(tensor, None, self._left, f"{call.what}: initializer {tensor.name!r}")
            self.reserve(array.shape, array.dtype, call.what)
            self.values[tensor.name] = Value(array.shape, array)
        for node in ordered(graph, self.values):
            self._node(node)
        missing = [value.name for value in graph.output if value.name not in self.values]
        if missing:
            raise call.error(f"nothing computes the output {missing[0]!r} of its graph")
        results = tuple(self.values[value.name] for value in graph.output)
        self.values, self._layer = outside, layer
        return results

    def _new_name(self, name: str) -> str:
        unique, count = name, 1
        while unique in self._taken:
            count += 1
            unique = f"{name}:{count}"
        self._taken.add(unique)
        return unique

    def _through_all(self, value: Value | None) -> Value | None:
        """Indices of MaxPool as ONNX counts them: through all images and channels."""
        if value is None or not value.in_plane:
            return value
        *outer, H, W = value.plane
        planes = np.arange(math.prod(outer), dtype=np.int64).reshape(*outer, *(1,) * (len(value.dims) - 2))
        return self("add", replace(value, in_plane=False), planes * (H * W))

    def _renamed(self, value: Value) -> Value:
        """The only operator that a node became has the node's name."""
        graph, node = self.graph, self.graph.nodes[-1]
        if value.name != node.name or self._layer in graph.dims:
            return value
        graph.nodes[-1] = replace(node, name=self._layer, outputs=(self._layer,))
        graph.dims[self._layer], graph.dtypes[self._layer] = graph.dims.pop(node.name), graph.dtypes.pop(node.name)
        return replace(value, name=self._layer)

    def _result(self, name: str) -> str:
        value = self.values[name]
        self._layer = self._new_name(name)
        if value.known and value.array.size == 0:
            raise ValueError(f"output {name!r}: expected at least one element, got shape {value.dims}")
        if value.in_plane:
            value = self._through_all(value)
        if value.known or value.name in self.graph.outputs or value.name in self.graph.inputs:
            value = self("reshape", value, shape=value.dims)
        self.graph.outputs.append(value.name)
        return value.name

    # ----------------------------------------------------------------------------------------------------- operators

    def __call__(self, op: str, *inputs: Any, parameters: Mapping[str, Value | None] | None = None, **attributes: Any):
        """Inputs are values, arrays or lists of them; what is known becomes a parameter."""
        shapes: dict[str, Parameter] = {}
        names: dict[str, str] = {}
        layer = self._new_name(f"{self._layer}/{op}")
        operands: list[Any] = []
        for operand, value in zip(TABLE[op].tensors, inputs, strict=False):
            if isinstance(value, list):
                operands.append([self._computed(part) for part in value])
            elif value is None or not (value := self.value(value)).known:
                operands.append(None if value is None else value.name)
            else:
                operands.append(None)
                names[operand], shapes[operand] = self._parameter(layer, operand, value)
        for operand, value in (parameters or {}).items():
            if value is not None:
                names[operand], shapes[operand] = self._parameter(layer, operand, self.value(value))
        results = self.graph.apply(op, layer, *operands, parameters=shapes, names=names, **attributes)
        single = isinstance(results, str)
        values = []
        for name in (results,) if single else results:
            self.reserve(self.graph.dims[name], self.graph.dtypes[name], f"layer {self._layer!r}", keep=False)
            values.append(Value(self.graph.dims[name], None, name))
        return values[0] if single else tuple(values)

    def value(self, value: Any) -> Value:
        if isinstance(value, Value):
            return value
        array = np.asarray(value)
        return Value(array.shape, array)

    def only_multiplied(self, call: Call) -> bool:
        """Whether products, with weights or other computed values, are all that is made of what a node computes."""
        computed = set(call.node.output)
        readers = [node for node in self.model.nodes if not computed.isdisjoint(_read_by(node))]
        return (
            bool(readers)  # of a branch's node none is found
            and computed.isdisjoint(self.model.outputs)
            and all(
                node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul")
                or (node.op_type == "Mul" and not any(self._is_constant(name) for name in node.input))
                for node in readers
            )
        )

    def _is_constant(self, name: str) -> bool:
        if name in self.values:
            return self.values[name].known
        return any(name in node.output for node in self.model.nodes if node.op_type == "Constant")

    def dtype(self, value: Value) -> str:
        return value.array.dtype.name if value.known else self.graph.dtypes[value.name]

    def _computed(self, value: Value) -> str:
        """The name of a value of the graph, also for a known one: lists of tensors take no parameters."""
        return self("reshape", value, shape=value.dims).name if value.known else value.name

    def _parameter(self, layer: str, operand: str, value: Value) -> tuple[str, Parameter]:
        name = value.name if value.name is not None else self._new_name(f"{layer}.{operand}")
        array = np.ascontiguousarray(value.array).reshape(value.array.shape)
        if array.dtype.kind == "f":
            array = tensors.as_float32(array)
        if array.dtype.name not in ANY:
            raise ValueError(f"layer {self._layer!r}: expected {operand} of dtype {', '.join(ANY)}, got {array.dtype}")
        self.parameters.setdefault(name, array)
        return name, Parameter(array.shape, dtype=array.dtype.name)

    def known(self, call: Call, what: str, value: Value | None) -> np.ndarray | None:
        """The elements of an operand that decides sizes."""
        if value is not None and value.name in self.graph.inputs:
            raise NeedsValue(value.name)
        if value is not None and not value.known:
            raise call.error(f"expected {what} known when the network is planned, got a computed value")
        return None if value is None else value.array

    def scalar(self, call: Call, what: str, value: Value | None, default: float | None = None) -> Any:
        """The same for one number."""
        array = self.known(call, what, value)
        if array is not None and array.size != 1:
            raise call.error(f"expected {what} as one number, got shape {array.shape}")
        return default if array is None else array.item()

    def integer(self, call: Call, what: str, value: Value | None, default: int | None = None) -> int:
        """The same for one whole number."""
        number = self.scalar(call, what, value, default)
        if not isinstance(number, int) or isinstance(number, bool):
            raise call.error(f"expected {what} as an integer, got {number}")
        return number

    def integers(self, call: Call, what: str, value: Value | None) -> list[int] | None:
        """The same for sizes and places: a list."""
        array = self.known(call, what, value)
        if array is None:
            return None
        if array.dtype.kind not in "iu" or array.ndim > 1:
            raise call.error(f"expected {what} as a list of integers, got shape {array.shape} of {array.dtype}")
        return array.reshape(-1).tolist()

    def fold(self, call: Call, function: Callable[..., Any], *values: Value) -> Any:
        """function(*arrays), for functions whose result is no larger than their arguments broadcast together.

        A list stands for several results."""
        if not all(value.known for value in values):
            raise call.error(f"the operator {call.op_type} is supported for values known when the network is planned")
        arrays = [value.array for value in values]
        try:
            dims = np.broadcast_shapes(*(a.shape for a in arrays))
        except ValueError:
            dims = (sum(a.size for a in arrays),)
        self.reserve(dims, max((a.dtype for a in arrays), key=lambda d: d.itemsize, default=np.float32), call.what)
        try:
            with np.errstate(all="ignore"):
                result = function(*arrays)
        except (TypeError, ValueError) as error:
            if str(error).startswith(call.what):
                raise
            given = " and ".join(f"{a.shape} of {a.dtype}" for a in arrays)
            raise call.error(f"expected operands that fit the operator and each other, got {given}") from None
        if not isinstance(result, list):
            return self.value(result)
        return self.value(result[0]) if len(result) == 1 else tuple(map(self.value, result))

    def either(self, call: Call, op: str, *values: Value, **attributes: Any) -> Any:
        """The operator `op`, by its reference where everything is known; its result is no larger than its operands."""
        if not all(value.known for value in values):
            return self(op, *values, **attributes)
        operator = TABLE[op]
        attributes = operator.attributes(**attributes)
        operator.dims(attributes, **dict(zip(operator.tensors, (value.dims for value in values), strict=True)))

        def evaluate(*arrays: np.ndarray) -> Any:
            results = getattr(reference, op)(*arrays, **attributes)
            results = [np.asarray(r) for r in (results if isinstance(results, tuple) else (results,))]
            return [tensors.as_float32(r) if r.dtype.kind == "f" else r for r in results]

        return self.fold(call, evaluate, *values)

    def as_dtype(self, x: Value, dtype: str) -> Value:
        """x itself, or cast."""
        if self.dtype(x) == dtype:
            return x
        return self.value(tensors.converted(x.array, np.dtype(dtype))) if x.known else self("cast", x, dtype=dtype)

    def constant(self, number: float, dtype: str) -> Value:
        return self.value(tensors.converted(np.array(number), np.dtype(dtype)))

    def reshape(self, call: Call, x: Value, dims: Sequence[int]) -> Value:
        dims = tuple(int(d) for d in dims)
        if tensors.element_count(dims, call.what) != math.prod(x.dims):
            raise call.error(f"expected a shape of {math.prod(x.dims)} elements for {x.dims}, got {dims}")
        if dims == x.dims:
            return x
        return self.value(x.array.reshape(dims)) if x.known else self("reshape", x, shape=dims)
