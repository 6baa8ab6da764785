"""From a graph to a program: every node is lowered to planned steps once, then `run` walks them without Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from . import _core
from .arguments import integer
from .batching import images_apart
from .calls import DeviceCall, HostCall, by_name, call_of
from .graph import Graph, Node
from .operators import TABLE, Dims
from .passes import optimize


@dataclass(frozen=True)
class Choice:
    """What a layer can be computed by, the algorithm with the best estimate first. Layers of one key are alike."""

    key: str
    algorithms: tuple[str, ...]


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
        weight_storage: str = "float32",
        accuracy: str = "default",
        max_bytes: int | None = None,
        algorithms: Mapping[str, str] | None = None,
    ):
        """max_bytes: what activations and the scratch of one thread may take; ValueError where they need more.

        algorithms: by the names of layers in `choices`, one of the algorithms there; the first where none is named.
        """
        if threads is not None and not 1 <= integer("compile", "threads", threads) <= _core.most_threads:
            raise ValueError(f"compile: expected threads from 1 to {_core.most_threads}, got {threads}")
        unknown = [name for name in outputs if name not in graph.dims]
        if isinstance(outputs, str) or not outputs or unknown or len(set(outputs)) < len(outputs):
            known = ", ".join(graph.dims)
            raise ValueError(f"compile: expected outputs as a list of different layers among {known}, got {outputs!r}")
        self.name = graph.name
        self.threads = threads
        self.device = device
        self.precision = precision
        self.weight_storage = weight_storage
        self.accuracy = accuracy
        self._most_bytes = {} if max_bytes is None else {"most_bytes": max_bytes}
        self.isa = _core.selected_isa()
        self.input_dims = {name: tuple(dims) for name, dims in inputs.items()}
        self.input_dtypes = {name: np.dtype(graph.dtypes[name]) for name in inputs}
        sizes = graph.infer_all(self.input_dims)
        self.output_dims = {name: sizes[name] for name in outputs}
        self.choices: dict[str, Choice] = {}
        self._algorithms = dict(algorithms or {})
        _core.set_planning_threads(threads or _core.num_threads())
        try:
            self._program = self._lower(replace(graph, outputs=list(outputs), dims=sizes), parameters)
        finally:
            _core.set_planning_threads(0)
        for layer in self._algorithms.keys() - self.choices.keys():
            raise ValueError(f"compile: layer {layer!r} has no choice of algorithm")

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {dims}" for name, dims in self.input_dims.items())
        return f"CompiledNetwork({self.name!r}, {sizes}, device={self.device!r}, precision={self.precision!r})"

    def _lower(self, graph: Graph, parameters: Mapping[str, np.ndarray]) -> _core.Program:
        graph, constants = optimize(graph, dict(parameters), strict=self.accuracy == "strict")
        program = _core.Program(self.device, self.accuracy, self.precision, self.weight_storage)
        values = {name: program.input(self.input_dims[name], graph.dtypes[name]) for name in graph.inputs}
        apart = self._images_apart(graph, constants)
        if apart:
            self._append_each_image(program, graph, apart, constants, values)
        self._append(program, graph.nodes[apart:], constants, values)
        program.finish([values[name] for name in graph.outputs], **self._most_bytes)
        self._dtypes = [np.dtype(program.dtype(values[name])) for name in graph.outputs]
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
        each = _core.Program(self.device, self.accuracy, self.precision, self.weight_storage)
        inner = {name: each.input((1, *self.input_dims[name][1:]), graph.dtypes[name]) for name in given}
        self._append(each, first, constants, inner, "of each image")
        each.finish([inner[name] for name in results], kept=[inner[name] for name in results if name in read])
        values.update(zip(results, program.each_image(each, [values[name] for name in given]), strict=True))

    def _append(
        self,
        program: _core.Program,
        nodes: Sequence[Node],
        constants: Mapping[str, np.ndarray],
        values: dict[str, int],
        where: str = "",
    ) -> None:
        """Lowers the nodes, and adds what they compute to the values."""
        for node in nodes:
            program.set_label(node.name, node.op, self._algorithms.get(node.name, ""))
            operands: dict[str, Any] = {
                operand: [values[v] for v in value] if isinstance(value, list) else values[value]
                for operand, value in node.inputs.items()
            }
            operator = TABLE[node.op]
            for operand, name in node.parameters.items():
                value = np.asarray(constants[name])
                operands[operand] = value if operand in operator.parameters else program.constant(value)
            try:
                results = operator.lower(program, node.attributes, **operands)
            except (TypeError, ValueError) as error:
                raise type(error)(f"layer {node.name!r}: {error}") from None
            if algorithms := program.candidates():
                sizes = [f"{operand} {program.dims(values[v])}" for operand, v in node.inputs.items()]
                sizes += [f"{operand} {constants[name].shape}" for operand, name in node.parameters.items()]
                options = [f"{name}={value}" for name, value in node.attributes.items()]
                kind = [node.op, *sizes, *options, self.precision, self.accuracy, where]
                self.choices[node.name] = Choice(", ".join(filter(None, kind)), tuple(algorithms))
            values.update(zip(node.outputs, results, strict=True))

    def _call(self, arrays: Sequence[Any], out: Any) -> tuple[HostCall | DeviceCall, list[Any], list[Any]]:
        """The call with its inputs and outputs, all of them checked."""
        named = by_name(self.name, self.input_dims, arrays)
        outs = [] if out is None else list(out) if isinstance(out, (tuple, list)) else [out]
        call = call_of(self.name, named | {f"out[{i}]": array for i, array in enumerate(outs)} if outs else named)
        if isinstance(call, DeviceCall) and call.device != self.device:
            raise _core.DeviceError(
                f"{self.name}: expected NumPy arrays, because the network was compiled for device {self.device!r}, "
                f"got arrays on device {call.device!r}"
            )
        inputs = []
        for name, dims in self.input_dims.items():
            inputs.append(call.array(name, named[name], self.input_dtypes[name]))
            if inputs[-1].shape != dims:
                raise ValueError(f"{self.name}: expected {name} of shape {dims}, got {inputs[-1].shape}")
        if out is None:
            results = zip(self.output_dims.values(), self._dtypes, strict=True)
            return call, inputs, [call.empty(dims, dtype) for dims, dtype in results]
        if len(outs) != len(self.output_dims):
            raise ValueError(f"{self.name}: expected {len(self.output_dims)} arrays in out, got {len(outs)}")
        outputs = []
        for (name, dims), dtype, given in zip(self.output_dims.items(), self._dtypes, outs, strict=True):
            array = call.array(f"out ({name})", given, dtype)
            if array.shape != dims:
                raise ValueError(f"{self.name}: expected out ({name}) of shape {dims}, got {array.shape}")
            call.check_out(f"out ({name})", array, [*inputs, *outputs])
            outputs.append(array)
        return call, inputs, outputs

    def __call__(self, *arrays: Any, out: Any = None) -> Any:
        """Results in the order of `output_dims`: one array, or a tuple of several. `out` takes arrays to write into.

        NumPy arrays, or arrays on the device that the network was compiled for (device_array.py): then the call is on
        the caller's stream and returns `DeviceArray`s before they are computed.
        """
        call, inputs, outputs = self._call(arrays, out)
        call.run(self._program, inputs, outputs, self.threads or _core.num_threads())
        results = outputs if out is None else out if isinstance(out, (tuple, list)) else [out]
        return results[0] if len(results) == 1 else tuple(results)

    def steps(self) -> list[_core.StepReport]:
        """What the program consists of: layer, operator, algorithm, flops and compulsory bytes of each step."""
        return self._program.steps()

    def memory(self) -> dict[str, int]:
        """Bytes: `arena` holds the activations, `scratch` is each thread's, `weights` the packed parameters."""
        return self._program.memory()

    def _host_call(self, arrays: Sequence[Any]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        call, inputs, outputs = self._call(arrays, None)
        if isinstance(call, DeviceCall):
            raise TypeError(f"{self.name}: expected NumPy arrays to measure with, got arrays on device {call.device!r}")
        return inputs, outputs

    def profile(self, *arrays: np.ndarray, repeats: int = 10) -> list[_core.StepReport]:
        """Runs `repeats` times, step by step; the steps with the fastest time of each. NumPy arrays only."""
        inputs, outputs = self._host_call(arrays)
        threads = self.threads or _core.num_threads()
        return self._program.profile(inputs, outputs, threads, _repeats("profile", repeats))

    def seconds(self, *arrays: np.ndarray, repeats: int = 10) -> float:
        """Seconds of one run, measured over `repeats` in a row after one that is not counted.

        Copies of the arrays to a device and back are left out: it is the time that the network takes where its
        neighbours live on the device too. NumPy arrays only.
        """
        inputs, outputs = self._host_call(arrays)
        threads = self.threads or _core.num_threads()
        return self._program.seconds(inputs, outputs, threads, _repeats("seconds", repeats))


def _repeats(op: str, repeats: int) -> int:
    if not 1 <= integer(op, "repeats", repeats) < 2**31:
        raise ValueError(f"{op}: expected repeats of at least 1, got {repeats}")
    return repeats
