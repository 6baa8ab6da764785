"""The graph: nodes, sizes and parameters as plain data, built in a few lines and printable.

A node computes one or more values, named after it ("pool1", and "pool1:1" for a second one). A layer with parameters
owns them ("conv1.weight"), or uses those of an earlier one: g.conv2d("right", y, 16, 3, shared="conv1"). Building
infers every size for a batch of one, so a mistake is reported at the layer where it is made. What a node means is the
function of its operator's name in reference/; `Graph.evaluate` runs them all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from . import _core, reference
from .arguments import integer, pair
from .operators import ANY, TABLE, Dims, Operator


@dataclass(frozen=True)
class Parameter:
    """A constant tensor of the network: its shape and how it begins when no weights are given."""

    shape: Dims
    kind: str = "zeros"  # "he" | "zeros" | "ones" | "bilinear"
    fan_in: int = 1  # products summed into one output, for "he"
    gain: float = 2.0  # variance of "he" times fan_in; 2 keeps the variance of activations through a ReLU
    dtype: str = "float32"


@dataclass(frozen=True)
class Node:
    name: str
    op: str
    inputs: dict[str, Any]  # operand -> value, or list of values
    parameters: dict[str, str]  # operand -> parameter of the graph
    attributes: dict[str, Any]
    outputs: tuple[str, ...] = ()

    def values(self) -> Iterator[str]:
        """The values that the node reads."""
        for value in self.inputs.values():
            yield from value if isinstance(value, list) else [value]

    def renamed(self, names: Mapping[str, str]) -> Node:
        """The node reading other values: names maps old to new."""

        def new(value: Any) -> Any:
            return [names.get(v, v) for v in value] if isinstance(value, list) else names.get(value, value)

        return replace(self, inputs={operand: new(value) for operand, value in self.inputs.items()})


@dataclass
class Graph:
    """What a network computes, as plain data: layers are appended, the name of each first, and give back its value.

        g = Graph("tiny")
        x = g.input("image", (3, 32, 32))
        x = g.conv2d("conv1", x, 16, 3, padding=1, activation="relu")
        x = g.max_pool2d("pool1", x, kernel_size=2)
        x = g.linear("fc", g.flatten("flat", x), 10)
        g.output(x)
        net = Network(g)

    A layer takes what the function of its operator's name in tesela takes, with sizes in place of weights. ValueError
    or TypeError, with the layer's name, where it does not fit what came before.
    """

    name: str = "graph"
    inputs: dict[str, Dims] = field(default_factory=dict)  # sizes of one image, without the batch, unless `whole`
    nodes: list[Node] = field(default_factory=list)  # in an order in which they can be computed
    outputs: list[str] = field(default_factory=list)
    parameters: dict[str, Parameter] = field(default_factory=dict)
    dims: dict[str, Dims] = field(default_factory=dict)  # of every value, for a batch of one
    dtypes: dict[str, str] = field(default_factory=dict)  # of every value
    whole: set[str] = field(default_factory=set)  # inputs whose sizes are all given: no batch comes before them

    # ------------------------------------------------------------------------------------------------------ building

    def input(self, name: str, dims: Sequence[int], dtype: str = "float32", *, batched: bool = True) -> str:
        """An input of the network; dims are those of one image, (C, H, W), or all of them if it is not batched."""
        self._check_new(name)
        if not isinstance(dims, Sequence):
            raise TypeError(f"input {name!r}: expected dims as a sequence of integers, got {dims!r}")
        dims = tuple(integer(f"input {name!r}", "dims", d) for d in dims)
        if min(dims, default=1) < 1:
            raise ValueError(f"input {name!r}: expected sizes of at least 1, got {dims}")
        _core.element_count((1, *dims), f"input {name!r}")
        if dtype not in ANY:
            raise TypeError(f"input {name!r}: expected dtype as one of {', '.join(ANY)}, got {dtype!r}")
        self.inputs[name] = dims
        self.dims[name] = (1, *dims) if batched else dims
        self.dtypes[name] = dtype
        if not batched:
            self.whole.add(name)
        return name

    def input_dims(self, batch: int) -> dict[str, Dims]:
        """Sizes of the inputs for a batch of so many images."""
        return {name: dims if name in self.whole else (batch, *dims) for name, dims in self.inputs.items()}

    def copy(self) -> Graph:
        """The same graph, of its own: what is appended to one of them is not in the other."""
        own = {key: type(value)(value) for key, value in vars(self).items() if isinstance(value, (dict, list, set))}
        return replace(self, **own)

    def output(self, *values: str) -> None:
        for value in values:
            self._check_known(value)
        self.outputs = list(values)

    def apply(
        self,
        op: str,
        name: str,
        *inputs: Any,
        parameters: Mapping[str, Parameter] | None = None,
        shared: str | None = None,
        names: Mapping[str, str] | None = None,
        **attributes: Any,
    ) -> Any:
        """Appends a node; returns its value, or a tuple of them. `inputs` follow the operator's tensors in order.

        shared: the name of an earlier layer whose parameters this one takes, in place of ones of its own.
        names: what parameters are called that are not called name.operand.
        """
        operator = TABLE.get(op)
        if operator is None:
            raise ValueError(f"layer {name!r}: unknown operator {op!r}")
        self._check_new(name)
        operands = self._in_layer(name, self._operands, operator, inputs, parameters or {})
        names = {operand: f"{shared or name}.{operand}" for operand in parameters or {}} | dict(names or {})
        if shared is not None:
            self._in_layer(name, self._check_shared, shared, names, parameters or {})
        self._in_layer(name, self._check_keywords, operator, attributes)
        node = Node(name, op, operands, names, self._in_layer(name, operator.attributes, **attributes))
        shapes = {operand: parameter.shape for operand, parameter in (parameters or {}).items()}
        sizes = self._in_layer(name, operator.checked_dims, node.attributes, **self._given(node, self.dims), **shapes)
        dtypes = {operand: parameter.dtype for operand, parameter in (parameters or {}).items()}
        try:
            dtypes = operator.dtypes(node.attributes, **self._given(node, self.dtypes), **dtypes)
        except TypeError as error:
            raise TypeError(f"layer {name!r}: {error}, from inputs {', '.join(map(repr, node.values()))}") from None
        node = replace(node, outputs=tuple(name if i == 0 else f"{name}:{i}" for i in range(len(sizes))))
        for output in node.outputs:
            self._check_new(output)
        # Only now: a layer that was refused leaves nothing behind.
        for operand, parameter in (parameters or {}).items():
            self.parameters.setdefault(names[operand], parameter)
        self.nodes.append(node)
        self.dims.update(zip(node.outputs, sizes, strict=True))
        self.dtypes.update(zip(node.outputs, dtypes, strict=True))
        return node.outputs[0] if len(sizes) == 1 else node.outputs

    def conv2d(
        self,
        name: str,
        x: str,
        out_channels: int,
        kernel_size: Any,
        *,
        bias: bool = True,
        gain: float = 2.0,
        **attributes: Any,
    ) -> str:
        """See ops.conv2d; parameters name.weight (out_channels, C / groups, KH, KW) and, with bias, name.bias.

        gain: of seeded weights, see Parameter.
        """
        out_channels, kernel, groups = self._kernels(name, "conv2d", out_channels, kernel_size, attributes)
        channels = self._channels(name, x) // max(groups, 1)
        fan_in = channels * math.prod(kernel)
        parameters = {"weight": Parameter((out_channels, channels, *kernel), "he", fan_in, gain)}
        if bias:
            parameters["bias"] = Parameter((out_channels,))
        return self.apply("conv2d", name, x, parameters=parameters, **attributes)

    def conv_transpose2d(
        self,
        name: str,
        x: str,
        out_channels: int,
        kernel_size: Any,
        *,
        bias: bool = True,
        gain: float = 2.0,
        begins: str = "he",
        **attributes: Any,
    ) -> str:
        """See ops.conv_transpose2d; parameters name.weight (C, out_channels / groups, KH, KW) and name.bias.

        begins: "he", or "bilinear" for seeded weights that enlarge each channel by the stride, half the kernel's size.
        """
        op = "conv_transpose2d"
        out_channels, kernel, groups = self._kernels(name, op, out_channels, kernel_size, attributes)
        if groups > 0 and out_channels % groups:
            raise ValueError(
                f"layer {name!r}: {op}: groups must divide the output channels, got {out_channels} with {groups} groups"
            )
        channels = self._channels(name, x)
        stride = self._in_layer(name, pair, op, "stride", attributes.get("stride", 1))
        fan_in = max(1, channels // max(groups, 1) * math.prod(kernel) // max(math.prod(stride), 1))
        parameters = {"weight": Parameter((channels, out_channels // max(groups, 1), *kernel), begins, fan_in, gain)}
        if bias:
            parameters["bias"] = Parameter((out_channels,))
        return self.apply("conv_transpose2d", name, x, parameters=parameters, **attributes)

    def linear(
        self, name: str, x: str, out_features: int, *, bias: bool = True, gain: float = 2.0, **attributes: Any
    ) -> str:
        """See ops.linear; parameters name.weight (out_features, IN) and, with bias, name.bias."""
        features = (self._dims(name, x) or (0,))[-1]
        out_features = self._in_layer(name, integer, "linear", "out_features", out_features)
        parameters = {"weight": Parameter((out_features, features), "he", features, gain)}
        if bias:
            parameters["bias"] = Parameter((out_features,))
        return self.apply("linear", name, x, parameters=parameters, **attributes)

    def batch_norm(self, name: str, x: str, **attributes: Any) -> str:
        """See ops.batch_norm; parameters name.weight, .bias, .running_mean and .running_var, all (C,)."""
        shape = (self._channels(name, x),)
        kinds = {"weight": "ones", "bias": "zeros", "running_mean": "zeros", "running_var": "ones"}
        return self.apply(
            "batch_norm",
            name,
            x,
            parameters={operand: Parameter(shape, kind) for operand, kind in kinds.items()},
            **attributes,
        )

    def prelu(self, name: str, x: str, *, per_channel: bool = True, **attributes: Any) -> str:
        """See ops.prelu; parameter name.weight (C,) or (1,)."""
        shape = (self._channels(name, x) if per_channel else 1,)
        return self.apply("prelu", name, x, parameters={"weight": Parameter(shape, "zeros")}, **attributes)

    # ----------------------------------------------------------------------------------------------------- reasoning

    @staticmethod
    def _given(node: Node, known: Mapping[str, Any]) -> dict[str, Any]:
        """What is known of each value that the node reads, by operand."""
        return {
            k: [known[v] for v in value] if isinstance(value, list) else known[value]
            for k, value in node.inputs.items()
        }

    def operand_dims(self, node: Node, dims: Mapping[str, Dims]) -> dict[str, Any]:
        sizes = self._given(node, dims)
        return sizes | {operand: self.parameters[name].shape for operand, name in node.parameters.items()}

    def infer(self, node: Node, dims: Mapping[str, Dims]) -> list[Dims]:
        """Sizes of a node's results, given those of all values before it."""
        return TABLE[node.op].checked_dims(node.attributes, **self.operand_dims(node, dims))

    def infer_all(self, inputs: Mapping[str, Dims]) -> dict[str, Dims]:
        """Sizes of every value for inputs of these sizes, batch included."""
        dims = {name: tuple(size) for name, size in inputs.items()}
        for node in self.nodes:
            dims.update(zip(node.outputs, self._in_layer(node.name, self.infer, node, dims), strict=True))
        return dims

    def flops(self, node: Node, dims: Mapping[str, Dims]) -> float:
        return TABLE[node.op].flops(node.attributes, **self.operand_dims(node, dims))

    def uses(self) -> dict[str, list[Node]]:
        """The nodes that read each value. An output of the graph counts as no node."""
        uses: dict[str, list[Node]] = {value: [] for value in self.dims}
        for node in self.nodes:
            for value in node.values():
                uses[value].append(node)
        return uses

    def evaluate(
        self,
        parameters: Mapping[str, np.ndarray],
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str] | None = None,
    ) -> list[np.ndarray]:
        """Runs the graph node by node on reference/, in float64: what every compiled program is compared with."""
        values: dict[str, Any] = dict(inputs)
        wanted = self.outputs if outputs is None else list(outputs)
        for node in self.nodes:
            if all(name in values for name in wanted):
                break
            operands = self._given(node, values)
            operands |= {operand: parameters[name] for operand, name in node.parameters.items()}
            results = getattr(reference, node.op)(**operands, **node.attributes)
            results = results if isinstance(results, tuple) else (results,)
            values.update(zip(node.outputs, results, strict=True))
        return [values[name] for name in wanted]

    # ------------------------------------------------------------------------------------------------------ printing

    def __str__(self) -> str:
        lines = [f"{self.name}({', '.join(f'{name}: {dims}' for name, dims in self.inputs.items())})"]
        for node in self.nodes:
            operands = ", ".join("[" + ", ".join(v) + "]" if isinstance(v, list) else v for v in node.inputs.values())
            given = ", ".join(f"{k}={v}" for k, v in node.attributes.items() if v is not None)
            sizes = " ".join(str(self.dims[o]) for o in node.outputs)
            lines.append(
                f"  {', '.join(node.outputs)} = {node.op}({operands}{', ' if given else ''}{given}) -> {sizes}"
            )
        lines.append(f"  return {', '.join(self.outputs)}")
        return "\n".join(lines)

    # ------------------------------------------------------------------------------------------------------- helpers

    def _operands(self, operator: Operator, inputs: Sequence[Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Operand -> value or list of values, for an operator that takes so many of these kinds."""
        if len(inputs) > len(operator.tensors):
            taken, keywords = ", ".join(operator.tensors), ", ".join(operator.keywords())
            raise TypeError(
                f"{operator.name}: expected at most {len(operator.tensors)} inputs ({taken}), and "
                f"{keywords or 'nothing else'} by name, got {inputs}"
            )
        operands: dict[str, Any] = {}
        for tensor, value in zip(operator.tensors, inputs, strict=False):
            if value is None:
                continue
            operand, several = tensor.rstrip("*"), isinstance(value, (list, tuple))
            if several != tensor.endswith("*"):
                expected = "a list of values" if tensor.endswith("*") else "one value"
                raise TypeError(f"{operator.name}: expected {operand} as {expected}, got {value!r}")
            operands[operand] = list(value) if several else value
            for v in operands[operand] if several else [value]:
                self._check_known(v)
        for operand in operator.required:
            if operand not in operands and operand not in parameters:
                raise TypeError(f"{operator.name}: expected {operand}, got {len(inputs)} inputs")
        return operands

    def _kernels(
        self, layer: str, op: str, out_channels: Any, kernel_size: Any, attributes: Mapping[str, Any]
    ) -> tuple[int, tuple[int, int], int]:
        """(out_channels, kernel, groups) of a convolution, checked for type."""
        return (
            self._in_layer(layer, integer, op, "out_channels", out_channels),
            self._in_layer(layer, pair, op, "kernel_size", kernel_size),
            self._in_layer(layer, integer, op, "groups", attributes.get("groups", 1)),
        )

    def _check_new(self, name: str) -> None:
        if not isinstance(name, str):
            raise TypeError(f"layer {name!r}: expected the name as a string, got {type(name).__name__}")
        if name in self.dims:
            hint = "; the name of a new layer comes before its inputs" if name in self.inputs else ""
            raise ValueError(f"layer {name!r}: the name is taken{hint}")

    @staticmethod
    def _check_keywords(operator: Operator, attributes: Mapping[str, Any]) -> None:
        known = operator.keywords()
        for keyword in attributes:
            if keyword not in known:
                expected = f"keywords among {', '.join(known)}" if known else "no keywords"
                raise TypeError(f"{operator.name}: expected {expected}, got {keyword!r}")

    def _check_shared(self, layer: Any, names: Mapping[str, str], parameters: Mapping[str, Parameter]) -> None:
        for operand, name in names.items():
            if name not in self.parameters:
                raise ValueError(f"expected shared as an earlier layer with a {operand}, got {layer!r}")
            if self.parameters[name].shape != parameters[operand].shape:
                there, here = self.parameters[name].shape, parameters[operand].shape
                raise ValueError(f"expected shared {name} of shape {here}, got {there}")
        if not names:
            raise ValueError(f"expected shared with a layer that has parameters, got {layer!r}")

    def _check_known(self, value: Any) -> None:
        if not isinstance(value, str) or value not in self.dims:
            raise ValueError(f"unknown value {value!r}; the graph has {', '.join(self.dims) or 'none'}")

    def _dims(self, layer: str, value: str) -> Dims:
        self._in_layer(layer, self._check_known, value)
        return self.dims[value]

    def _channels(self, layer: str, value: str) -> int:
        dims = self._dims(layer, value)
        if len(dims) < 2:
            raise ValueError(f"layer {layer!r}: expected a value of shape (N, C, ...), got {dims}")
        return dims[1]

    @staticmethod
    def _in_layer(layer: str, function: Callable, *args: Any, **kwargs: Any) -> Any:
        """Calls function; its TypeError or ValueError names the layer."""
        try:
            return function(*args, **kwargs)
        except (TypeError, ValueError) as error:
            raise type(error)(f"layer {layer!r}: {error}") from None


def _builder(op: str) -> Callable[..., Any]:
    def method(self: Graph, name: str, *inputs: Any, **attributes: Any) -> Any:
        return self.apply(op, name, *inputs, **attributes)

    method.__name__ = method.__qualname__ = op
    method.__doc__ = f"Appends {op}({', '.join(TABLE[op].keywords())}); see ops.{op}."
    return method


# Operators without parameters of their own need nothing special: g.relu("relu1", x), g.add("sum", x, y).
for _op in TABLE:
    if not hasattr(Graph, _op):
        setattr(Graph, _op, _builder(_op))
