"""One call of an operator or a network: its arrays are all NumPy's, or all on one device, where the result stays."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from . import _core, in_flight
from .device_array import DeviceArray, device_of, is_device_array, named_stream, taken
from .operators import FLOAT, TABLE
from .runtime import current_device


def check_array(op: str, name: str, value: Any, dtype: Any = np.float32) -> np.ndarray:
    """`value` if it is an array that kernels can read as it is."""
    expected = np.dtype(dtype)
    if type(value) is not np.ndarray and (not isinstance(value, np.ndarray) or isinstance(value, np.ma.MaskedArray)):
        hint = "; call its .numpy()" if hasattr(value, "numpy") else ""
        raise TypeError(f"{op}: expected {name} as a NumPy array of {expected}, got {type(value).__name__}{hint}")
    _check_dtype(op, name, value, expected)
    flags = value.flags
    if not flags.c_contiguous:
        raise ValueError(
            f"{op}: expected {name} to be C-contiguous, got shape {value.shape} with strides {value.strides}; "
            "copy it with numpy.ascontiguousarray"
        )
    if not flags.aligned:
        raise ValueError(f"{op}: expected {name} aligned to its {expected} elements, got a view in between; copy it")
    return value


def _check_dtype(op: str, name: str, value: Any, expected: np.dtype) -> None:
    if value.dtype != expected:
        raise TypeError(
            f"{op}: expected {name} of dtype {expected}, got {value.dtype} of shape {value.shape}; "
            f"convert it with .astype(numpy.{expected})"
        )
    if value.size == 0:
        raise ValueError(f"{op}: expected {name} with at least one element, got shape {value.shape}")


class HostCall:
    """NumPy in, NumPy out; a device that is not the host gets copies."""

    def __init__(self, op: str):
        self.op = op
        self.device = current_device()

    def array(self, name: str, value: Any, dtype: Any = np.float32) -> np.ndarray:
        return check_array(self.op, name, value, dtype)

    parameter = array

    @staticmethod
    def from_host(array: np.ndarray) -> np.ndarray:
        return array

    @staticmethod
    def empty(dims: Sequence[int], dtype: Any) -> np.ndarray:
        return np.empty(dims, dtype)

    def check_out(self, name: str, array: np.ndarray, others: Sequence[np.ndarray]) -> None:
        _check_out(self.op, name, array.flags.writeable, any(np.may_share_memory(array, other) for other in others))

    @staticmethod
    def run(program: _core.Program, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], threads: int) -> None:
        program.run(inputs, outputs, threads)


class DeviceCall:
    """Arrays on one device, a stream for all of them, and results on both."""

    def __init__(self, op: str, arrays: Mapping[str, Any], device: str):
        for name, value in arrays.items():
            if value is not None and not is_device_array(value):
                there = next(name for name, value in arrays.items() if is_device_array(value))
                raise TypeError(
                    f"{op}: expected all arrays in one place, got {there} on a device and {name} as "
                    f"{'a NumPy array' if isinstance(value, np.ndarray) else type(value).__name__}"
                )
        self.op = op
        self.device = device
        self.stream = named_stream(list(arrays.values()))
        self._others: list[Any] = []

    def array(self, name: str, value: Any, dtype: Any = np.float32) -> DeviceArray:
        array = taken(self.op, name, value, self.device, self.stream)
        _check_dtype(self.op, name, array, np.dtype(dtype))
        if array.pointer % array.dtype.itemsize:
            raise ValueError(f"{self.op}: expected {name} aligned to its {array.dtype} elements; copy it")
        if array._memory is None:
            self._others.append(array)
        return array

    def parameter(self, name: str, value: Any) -> np.ndarray:
        """On the host, where parameters are packed."""
        return self.array(name, value).numpy()

    def from_host(self, array: np.ndarray) -> DeviceArray:
        made = self.empty(array.shape, array.dtype)
        _core.upload(self.device, made.pointer, np.ascontiguousarray(array), self.stream)
        return made

    def empty(self, dims: Sequence[int], dtype: Any) -> DeviceArray:
        return DeviceArray.empty(self.device, dims, dtype, self.stream)

    def check_out(self, name: str, array: DeviceArray, others: Sequence[DeviceArray]) -> None:
        shared = any(
            array.pointer < other.pointer + other.nbytes and other.pointer < array.pointer + array.nbytes
            for other in others
        )
        _check_out(self.op, name, not array._read_only, shared)

    def run(
        self, program: _core.Program, inputs: Sequence[DeviceArray], outputs: Sequence[DeviceArray], _: int
    ) -> None:
        in_flight.let_go()
        try:
            program.run_on_device([a.pointer for a in inputs], [a.pointer for a in outputs], self.stream)
        finally:  # after an error too: some of it may have been launched
            for array in (*inputs, *outputs):
                array._used(self.stream)
            if self._others:
                in_flight.keep(self._others, self.device, self.stream)


def _check_out(op: str, name: str, writable: bool, shared: bool) -> None:
    if not writable:
        raise ValueError(f"{op}: expected {name} to be writable, got a read-only array")
    if shared:
        raise ValueError(f"{op}: expected {name} in memory of its own, got memory of an input or another output")


def by_name(op: str, names: Collection[str], arrays: Sequence[Any]) -> dict[str, Any]:
    """The arrays by the names of the inputs that they are for."""
    if len(arrays) != len(names):
        raise ValueError(f"{op}: expected {len(names)} inputs, got {len(arrays)}")
    return dict(zip(names, arrays, strict=True))


def call_of(op: str, arrays: Mapping[str, Any]) -> HostCall | DeviceCall:
    """By where these arrays lie, which have to agree."""
    device = device_of(list(arrays.values()))
    return HostCall(op) if device is None else DeviceCall(op, arrays, device)


def run_operator(
    name: str, tensors: dict[str, Any], parameters: dict[str, Any] | None = None, **attributes: Any
) -> list[np.ndarray | DeviceArray]:
    """Plans a program of one operator and runs it. An operand that is None is left out."""
    operator = TABLE[name]
    attributes = operator.attributes(**attributes)
    given = {**tensors, **(parameters or {})}
    for operand, value in given.items():
        if value is None and operand in operator.required:
            raise TypeError(f"{name}: expected {operand} as a NumPy array of float32, got None")
    listed = {operand for operand in tensors if f"{operand}*" in operator.tensors}
    call = call_of(name, _flat(given, listed))
    program = _core.Program(call.device)
    program.set_label(name, name)
    arrays: list[np.ndarray | DeviceArray] = []
    dims: dict[str, Any] = {}
    operands: dict[str, Any] = {}

    def declare(label: str, value: Any) -> tuple[int, tuple[int, ...]]:
        accepted = operator.takes.get(label.split("[")[0], FLOAT)
        array = call.array(label, value, accepted[0])
        arrays.append(array)
        return program.input(array.shape, array.dtype.name), array.shape

    for operand, value in tensors.items():
        if operand in listed:
            declared = [declare(f"{operand}[{i}]", item) for i, item in enumerate(value)]
            operands[operand], dims[operand] = [d[0] for d in declared], [d[1] for d in declared]
        elif value is not None:
            operands[operand], dims[operand] = declare(operand, value)
    for operand, value in (parameters or {}).items():
        if value is not None:
            operands[operand] = call.parameter(operand, value)
            dims[operand] = operands[operand].shape

    operator.dims(attributes, **dims)
    results = operator.lower(program, attributes, **operands)
    program.finish(results)
    outputs = [call.empty(program.dims(r), program.dtype(r)) for r in results]
    call.run(program, arrays, outputs, _core.num_threads())
    return outputs


def _flat(operands: dict[str, Any], listed: set[str]) -> dict[str, Any]:
    """Every array by its label; those of a list as label[i]."""
    flat = {}
    for operand, value in operands.items():
        labels = {f"{operand}[{i}]": item for i, item in enumerate(value)} if operand in listed else {operand: value}
        flat.update(labels)
    return flat
