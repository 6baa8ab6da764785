"""From a graph to a program: every node is lowered to planned steps once, then `run` walks them without Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from . import _core
from .arguments import integer
from .batching import images_apart
from .graph import Graph, Node
from .operators import TABLE, Dims
from .ops import check_array
from .passes import optimize

_MOST_THREADS = 4096


class CompiledNetwork:
    """A network planned for given input sizes, device and outputs.

    Calling it runs the program: no allocation but the results (none at all with `out`), the GIL released. It may be
    called from several threads at once; a second concurrent call makes itself a second arena. The results do not depend
    on the number of threads, bit for bit.
    """

    def __init__(
        self,
        graph: Graph,
        parameters: Mapping[str, np.ndarray],
        inputs: Mapping[str, Dims],
        outputs: Sequence[str],
        *,
        device: str = "cpu",
        threads: int | None = None,
        precision: str = "float32",
        accuracy: str = "default",
        max_bytes: int | None = None,
    ):
        """max_bytes: what activations and the scratch of one thread may take; ValueError where they need more."""
        if threads is not None and not 1 <= integer("compile", "threads", threads) <= _MOST_THREADS:
            raise ValueError(f"compile: expected threads from 1 to {_MOST_THREADS}, got {threads}")
        unknown = [name for name in outputs if name not in graph.dims]
        if isinstance(outputs, str) or not outputs or unknown or len(set(outputs)) < len(outputs):
            known = ", ".join(graph.dims)
            raise ValueError(f"compile: expected outputs as a list of different layers among {known}, got {outputs!r}")
        self.name = graph.name
        self.threads = threads
        self.device = device
        self.precision = precision
        self.accuracy = accuracy
        self._most_bytes = {} if max_bytes is None else {"most_bytes": max_bytes}
        self.isa = _core.selected_isa()
        self.input_dims = {name: tuple(dims) for name, dims in inputs.items()}
        self._input_dtypes = {name: graph.dtypes[name] for name in inputs}
        sizes = graph.infer_all(self.input_dims)
        self.output_dims = {name: sizes[name] for name in outputs}
        self._program = self._lower(replace(graph, outputs=list(outputs)), parameters)

    def _lower(self, graph: Graph, parameters: Mapping[str, np.ndarray]) -> _core.Program:
        graph, constants = optimize(graph, dict(parameters))
        program = _core.Program(self.device, self.accuracy, self.precision)
        values = {name: program.input(self.input_dims[name], graph.dtypes[name]) for name in graph.inputs}
        apart = self._images_apart(graph, constants)
        if apart:
            self._append_each_image(program, graph, apart, constants, values)
        self._append(program, graph.nodes[apart:], constants, values)
        program.finish([values[name] for name in graph.outputs], **self._most_bytes)
        self._dtypes = [program.dtype(values[name]) for name in graph.outputs]
        return program

    def _images_apart(self, graph: Graph, constants: Mapping[str, np.ndarray]) -> int:
        batches = {dims[0] for dims in self.input_dims.values() if dims}
        if self.device != "cpu" or len(batches) != 1:
            return 0
        return images_apart(graph, constants, graph.infer_all(self.input_dims), *batches)

    def _append_each_image(
        self,
        program: _core.Program,
        graph: Graph,
        apart: int,
        constants: Mapping[str, np.ndarray],
        values: dict[str, int],
    ) -> None:
        """The first `apart` nodes as a program of their own for one image; what later nodes read of it is kept."""
        first, later = graph.nodes[:apart], graph.nodes[apart:]
        made = {value for node in first for value in node.outputs}
        given = [name for name in graph.inputs if any(name in node.values() for node in first)]
        read = made.intersection(value for node in later for value in node.values())
        results = [value for node in first for value in node.outputs if value in read or value in graph.outputs]
        each = _core.Program(self.device, self.accuracy, self.precision)
        inner = {name: each.input((1, *self.input_dims[name][1:]), graph.dtypes[name]) for name in given}
        self._append(each, first, constants, inner)
        each.finish([inner[name] for name in results], kept=[inner[name] for name in results if name in read])
        values.update(zip(results, program.each_image(each, [values[name] for name in given]), strict=True))

    @staticmethod
    def _append(
        program: _core.Program, nodes: Sequence[Node], constants: Mapping[str, np.ndarray], values: dict[str, int]
    ) -> None:
        """Lowers the nodes, and adds what they compute to the values."""
        for node in nodes:
            program.set_label(node.name, node.op)
            operands: dict[str, Any] = {
                operand: [values[v] for v in value] if isinstance(value, list) else values[value]
                for operand, value in node.inputs.items()
            }
            operator = TABLE[node.op]
            for operand, name in node.parameters.items():
                value = constants[name]
                operands[operand] = value if operand in operator.parameters else program.constant(value)
            try:
                results = operator.lower(program, node.attributes, **operands)
            except (TypeError, ValueError) as error:
                raise type(error)(f"layer {node.name!r}: {error}") from None
            values.update(zip(node.outputs, results, strict=True))

    def _check(self, arrays: Sequence[np.ndarray], out: Any) -> tuple[list[np.ndarray], list[np.ndarray]]:
        if len(arrays) != len(self.input_dims):
            raise ValueError(f"{self.name}: expected {len(self.input_dims)} inputs, got {len(arrays)}")
        for (name, dims), array in zip(self.input_dims.items(), arrays, strict=True):
            check_array(self.name, name, array, self._input_dtypes[name])
            if array.shape != dims:
                raise ValueError(f"{self.name}: expected {name} of shape {dims}, got {array.shape}")
        if out is None:
            return list(arrays), [np.empty(d, t) for d, t in zip(self.output_dims.values(), self._dtypes, strict=True)]
        outs = list(out) if isinstance(out, (tuple, list)) else [out]
        if len(outs) != len(self.output_dims):
            raise ValueError(f"{self.name}: expected {len(self.output_dims)} arrays in out, got {len(outs)}")
        taken = list(arrays)
        for (name, dims), dtype, array in zip(self.output_dims.items(), self._dtypes, outs, strict=True):
            check_array(self.name, f"out ({name})", array, dtype)
            if array.shape != dims:
                raise ValueError(f"{self.name}: expected out ({name}) of shape {dims}, got {array.shape}")
            if not array.flags.writeable:
                raise ValueError(f"{self.name}: expected out ({name}) to be writable, got a read-only array")
            if any(np.may_share_memory(array, other) for other in taken):
                raise ValueError(
                    f"{self.name}: expected out ({name}) in memory of its own, got memory of an input or another output"
                )
            taken.append(array)
        return list(arrays), outs

    def __call__(self, *arrays: np.ndarray, out: Any = None) -> Any:
        """Results in the order of `output_dims`: one array, or a tuple of several. `out` takes arrays to write into."""
        inputs, outputs = self._check(arrays, out)
        self._program.run(inputs, outputs, self.threads or _core.num_threads())
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def steps(self) -> list[_core.StepReport]:
        """What the program consists of: layer, operator, algorithm, flops and compulsory bytes of each step."""
        return self._program.steps()

    def memory(self) -> dict[str, int]:
        """Bytes: `arena` holds the activations, `scratch` is each thread's, `weights` the packed parameters."""
        return self._program.memory()

    def profile(self, *arrays: np.ndarray, repeats: int = 10) -> list[_core.StepReport]:
        """Runs `repeats` times; the steps with the fastest time of each."""
        inputs, outputs = self._check(arrays, None)
        return self._program.profile(inputs, outputs, self.threads or _core.num_threads(), max(1, repeats))

    def seconds(self, *arrays: np.ndarray, repeats: int = 10) -> float:
        """Seconds of one run, measured over `repeats` in a row after one that is not counted.

        Copies of the arrays to a device and back are left out: it is the time that the network takes where its
        neighbours live on the device too.
        """
        inputs, outputs = self._check(arrays, None)
        return self._program.seconds(inputs, outputs, self.threads or _core.num_threads(), repeats)
