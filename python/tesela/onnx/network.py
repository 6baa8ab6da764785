"""A network read from an ONNX file: one Graph for each set of input sizes, made when first needed."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from .. import weights
from ..calls import by_name, call_of
from ..graph import Graph, Parameter
from ..network import Bound, Network, Remembered, expect_images
from ..operators import Dims
from . import tensors, translate  # noqa: F401  (fills the table of translators)
from .model import Model
from .translation import NeedsValue, Translation

MOST_VALUES = 4096  # elements of an input whose values are read to plan


class OnnxNetwork(Network):
    """A Network whose graph is translated anew for other input sizes.

    Its parameters are the model's floating-point initializers, under their names, in float32. Inputs of integers or
    bool, and others on which a plan depends (a weight, the scales of Resize), are bound by value: there is one plan for
    each value, and they are no inputs of its graph.
    """

    def __init__(self, model: Model, input_dims: Mapping[str, Sequence[int]], max_bytes: int):
        self.model, self.max_bytes = model, max_bytes
        self._fixed: dict[str, Dims] = {}
        for name, dims in input_dims.items():
            if name not in model.inputs:
                raise ValueError(f"{model.name}: unknown input {name!r}; the model has {', '.join(model.inputs)}")
            self._fixed[name] = tuple(int(d) for d in dims)
        self._parameters = weights.read_only(
            {name: tensors.as_float32(array) for name, array in model.initializers.items() if array.dtype.kind == "f"}
        )
        self._changed = False  # by load_state_dict
        self._plans = Remembered()
        self._by_value = {name for name, given in model.inputs.items() if given.dtype.kind != "f"}
        self._compiled = Remembered()
        self._generation = 0  # of the parameters: a plan made from earlier ones is not found again

    @property
    def name(self) -> str:
        return self.model.name

    def __repr__(self) -> str:
        return f"OnnxNetwork({self.name!r}, {len(self.model.nodes)} nodes)"

    # ------------------------------------------------------------------------------------------------------- binding

    def _declared(self, batch: int | None, image_size: tuple[int, int] | None = None) -> dict[str, Dims]:
        """Sizes of all inputs: the file's, input_dims, and `batch` for a first axis that is open, one where None."""
        result = {}
        sizes = {name: list(self._fixed.get(name, given.dims)) for name, given in self.model.inputs.items()}
        first = [dims[0] for dims in sizes.values() if dims]
        if batch is not None and batch not in first and all(isinstance(size, int) for size in first):
            raise ValueError(f"{self.name}: expected batch {first[0] if first else None}, which the file or input_dims "
                             f"says, got {batch}")  # fmt: skip
        if image_size is not None:
            for name in expect_images(self.name, [name for name, dims in sizes.items() if len(dims) == 4]):
                sizes[name][2:] = image_size
        for name, dims in sizes.items():
            if dims and not isinstance(dims[0], int):
                dims[0] = batch or 1
            missing = next((i for i, d in enumerate(dims) if not isinstance(d, int)), None)
            if missing is not None:
                raise ValueError(f"{self.name}: the size of {name!r} along axis {missing} is open; give it with "
                                 "load(..., input_dims=...), compile(image_size=...) or a call")  # fmt: skip
            result[name] = tuple(dims)
        return result

    def translation(self, dims: Mapping[str, Dims], values: Mapping[str, np.ndarray]) -> Translation:
        known = tuple((name, v.shape, v.tobytes()) for name, v in values.items())
        key = (tuple(dims.items()), known, self._generation)
        return self._plans.made(key, lambda: self._translate(dims, values))

    def _translate(self, dims: Mapping[str, Dims], values: Mapping[str, np.ndarray]) -> Translation:
        initializers = {**self.model.initializers, **self.parameters}
        return Translation(self.model, dims, values, initializers, self.max_bytes)

    def _split(
        self, arrays: Mapping[str, Any], by_value: Collection[str]
    ) -> tuple[dict[str, Dims], dict[str, np.ndarray], list[Any], str]:
        """(sizes, values that decide the plan, arrays for the program, their device)."""
        dims, values, rest = {}, {}, []
        axes: dict[str, int] = {}
        call = call_of(self.name, {name: array for name, array in arrays.items() if name not in by_value})
        for name, given in self.model.inputs.items():
            array, dtype = arrays[name], np.dtype(np.float32) if given.dtype.kind == "f" else given.dtype
            if name not in by_value:
                rest.append(array := call.array(name, array, dtype))
            elif not isinstance(array, np.ndarray) or array.dtype != dtype:
                got = f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
                raise TypeError(f"{self.name}: expected {name}, which decides sizes, as a NumPy array of {dtype}, "
                                f"got {got}")  # fmt: skip
            elif array.size > MOST_VALUES:
                raise ValueError(f"{self.name}: expected {name}, which decides sizes, with at most {MOST_VALUES} "
                                 f"elements, got {array.size}")  # fmt: skip
            else:
                values[name] = array.copy()  # the plan keeps it; the caller may write to his
            expected = self._fixed.get(name, given.dims)
            fits = len(expected) == len(array.shape)
            for axis, n in zip(expected, array.shape, strict=False):
                fits = fits and n == (
                    axes.setdefault(axis, n) if isinstance(axis, str) else n if axis is None else axis
                )
            if not fits:
                raise ValueError(f"{self.name}: expected {name} of shape {expected}, got {array.shape}")
            dims[name] = array.shape
        return dims, values, rest, call.device

    def _bind(self, arrays: Sequence[Any]) -> Bound:
        named = by_name(self.name, self.model.inputs, arrays)
        empty = {name for name, array in named.items() if isinstance(array, np.ndarray) and array.size == 0}
        while True:
            dims, values, rest, device = self._split(named, self._by_value | empty)
            try:
                found = self.translation(dims, values)
                return Bound(found, self._inputs(found), rest, device)
            except NeedsValue as needed:
                self._by_value.add(str(needed))

    @staticmethod
    def _inputs(found: Translation) -> dict[str, Dims]:
        return {name: found.graph.dims[name] for name in found.graph.inputs}

    def _planned(self, dims: Mapping[str, Dims]) -> Translation:
        """The translation for these sizes alone."""
        needed = next(iter(self._by_value), None)
        try:
            if needed is None:
                return self.translation(dims, {})
        except NeedsValue as error:
            needed = str(error)
        raise ValueError(f"{self.name}: the plan depends on the values of input {needed!r}; call the network")

    @property
    def graph(self) -> Graph:
        """The graph for a batch of one, or for the sizes that came last."""
        if self._plans:
            return list(self._plans.values())[-1].graph
        return self._planned(self._declared(None)).graph

    def _sized(self, batch: int | None, image_size: tuple[int, int] | None) -> tuple[Translation, dict[str, Dims]]:
        found = self._planned(self._declared(batch, image_size))
        return found, self._inputs(found)

    def _layers(self, source: Translation, names: Sequence[str]) -> Sequence[str]:
        """Layers of the graph by their own names or by those of values of the model."""
        if isinstance(names, str):
            return names
        values = {name: value.name for name, value in source.values.items() if value.name in source.graph.dims}
        return [name if name in source.graph.dims else values.get(name, name) for name in names]

    # ------------------------------------------------------------------------------------------------------- running

    def __call__(self, *arrays: Any, out: Any = None) -> Any:
        bound = self._bind(arrays)
        results, rows = self._remembered(bound, None)(*bound.arrays, out=out), bound.source.rows
        if not rows:
            return results
        # Of boxes that were chosen, only the rows that hold some.
        results = [y[: int(results[rows[i]][0])] if i in rows else y for i, y in enumerate(results)]
        results = results[: len(self.model.outputs)]
        return results[0] if len(results) == 1 else tuple(results)

    def reference(self, *arrays: np.ndarray, outputs: Sequence[str] | None = None) -> Any:
        found, inputs, taken, _ = self._bind(arrays)
        names = None if outputs is None else self._known_layers(found, outputs)
        results = found.graph.evaluate(found.parameters, dict(zip(inputs, taken, strict=True)), names)
        return results[0] if len(results) == 1 else tuple(results)

    def load_state_dict(self, source: Mapping[str, Any] | str | os.PathLike[str]) -> None:
        if source is None:
            raise TypeError(f"{self.name}: expected weights as a dict or a path, got None")
        shapes = {name: Parameter(array.shape) for name, array in self.parameters.items()}
        self._parameters = weights.load(source, shapes, self.name)
        self._changed = True
        self._generation += 1
        self._plans.clear()
        self._compiled.clear()

    def to_onnx(self, path: str | os.PathLike[str] | None = None, *, batch: int | None = None) -> onnx.ModelProto:
        """The model as it was read; after load_state_dict with the present parameters, each rounded to its type in the
        file. ValueError where that type does not hold one."""
        if batch is not None:
            raise ValueError(f"{self.name}: a loaded model keeps its own sizes, got batch={batch}")
        proto = onnx.ModelProto()
        proto.CopyFrom(self.model.proto)
        for tensor in proto.graph.initializer if self._changed else ():
            if tensor.name in self.parameters:
                tensor.CopyFrom(numpy_helper.from_array(self._stored(tensor), tensor.name))
        if path is not None:
            onnx.save(proto, os.fspath(path))
        return proto

    def _stored(self, tensor: onnx.TensorProto) -> np.ndarray:
        """The parameter that replaces this initializer, in its type."""
        parameter, dtype = self.parameters[tensor.name], onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        with np.errstate(over="ignore"):
            stored = parameter.astype(dtype)
        if (np.isinf(stored.astype(np.float32)) & ~np.isinf(parameter)).any():
            raise ValueError(f"{self.name}: {tensor.name} has values that {dtype}, its type in the file, does not hold")
        return stored
