"""A network read from an ONNX file: one Graph for each set of input sizes, made when first needed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from .. import _core, weights
from ..arguments import boolean
from ..compile import CompiledNetwork
from ..graph import Graph, Parameter
from ..network import Network, Remembered
from ..operators import Dims
from ..runtime import current_device
from ..tuning import tuned
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
        self._plans = Remembered()
        self._by_value = {name for name, given in model.inputs.items() if given.dtype.kind != "f"}
        self._compiled = Remembered()

    def __repr__(self) -> str:
        return f"OnnxNetwork({self.model.name!r}, {len(self.model.nodes)} nodes)"

    # ------------------------------------------------------------------------------------------------------- binding

    def _declared(self, batch: int, image_size: tuple[int, int] | None = None) -> dict[str, Dims]:
        """Sizes of all inputs: the file's, input_dims, and `batch` for a first axis that is open."""
        result = {}
        for name, given in self.model.inputs.items():
            dims = list(self._fixed.get(name, given.dims))
            if dims and not isinstance(dims[0], int):
                dims[0] = batch
            if image_size is not None and len(dims) == 4:
                dims[2:] = image_size
            missing = next((i for i, d in enumerate(dims) if not isinstance(d, int)), None)
            if missing is not None:
                raise ValueError(f"{self.model.name}: the size of {name!r} along axis {missing} is open; give it with "
                                 "load(..., input_dims=...) or call the network")  # fmt: skip
            result[name] = tuple(dims)
        return result

    def translation(self, dims: Mapping[str, Dims], values: Mapping[str, np.ndarray]) -> Translation:
        key = (tuple(dims.items()), tuple((name, v.shape, v.tobytes()) for name, v in values.items()))
        return self._plans.made(key, lambda: self._translate(dims, values))

    def _translate(self, dims: Mapping[str, Dims], values: Mapping[str, np.ndarray]) -> Translation:
        initializers = {**self.model.initializers, **self.parameters}
        return Translation(self.model, dims, values, initializers, self.max_bytes)

    def _bound(self, arrays: Sequence[np.ndarray]) -> tuple[dict[str, Dims], dict[str, np.ndarray], list[np.ndarray]]:
        """(sizes, values that decide the plan, arrays for the program)."""
        if len(arrays) != len(self.model.inputs):
            raise ValueError(f"{self.model.name}: expected {len(self.model.inputs)} inputs, got {len(arrays)}")
        dims, values, rest = {}, {}, []
        names: dict[str, int] = {}
        for (name, given), array in zip(self.model.inputs.items(), arrays, strict=True):
            if not isinstance(array, np.ndarray):
                raise TypeError(f"{self.model.name}: expected {name} as a NumPy array, got {type(array).__name__}")
            expected = self._fixed.get(name, given.dims)
            fits = len(expected) == array.ndim
            for axis, n in zip(expected, array.shape, strict=False):
                fits = fits and n == (
                    names.setdefault(axis, n) if isinstance(axis, str) else n if axis is None else axis
                )
            if not fits:
                raise ValueError(f"{self.model.name}: expected {name} of shape {expected}, got {array.shape}")
            by_value = name in self._by_value or array.size == 0
            dtype = np.dtype(np.float32) if given.dtype.kind == "f" else given.dtype
            if array.dtype != dtype:
                raise TypeError(f"{self.model.name}: expected {name} of dtype {dtype}, got {array.dtype}")
            dims[name] = array.shape
            if not by_value:
                rest.append(np.ascontiguousarray(array).reshape(array.shape))
            elif array.size > MOST_VALUES:
                raise ValueError(f"{self.model.name}: expected {name}, which decides sizes, with at most {MOST_VALUES} "
                                 f"elements, got {array.size}")  # fmt: skip
            else:
                values[name] = array
        return dims, values, rest

    def _translated(self, arrays: Sequence[np.ndarray]) -> tuple[Translation, list[np.ndarray]]:
        """The translation for these arrays, and those of them that its graph takes."""
        while True:
            dims, values, rest = self._bound(arrays)
            try:
                return self.translation(dims, values), rest
            except NeedsValue as needed:
                self._by_value.add(str(needed))

    def _planned(self, dims: Mapping[str, Dims]) -> Translation:
        """The translation for these sizes alone."""
        needed = next(iter(self._by_value), None)
        try:
            if needed is None:
                return self.translation(dims, {})
        except NeedsValue as error:
            needed = str(error)
        raise ValueError(f"{self.model.name}: the plan depends on the values of input {needed!r}; call the network")

    @property
    def graph(self) -> Graph:
        """The graph for a batch of one, or for the sizes that came last."""
        if self._plans:
            return list(self._plans.values())[-1].graph
        return self._planned(self._declared(1)).graph

    def _plan(self, found: Translation, outputs: Sequence[str], tune: bool = False, **options: Any) -> CompiledNetwork:
        inputs = {name: found.graph.dims[name] for name in found.graph.inputs}
        names = [self._layer(found, name) for name in outputs]
        options["max_bytes"] = self.max_bytes
        make = partial(CompiledNetwork, found.graph, found.parameters, inputs, names, **options)
        return tuned(make) if tune else make()

    @staticmethod
    def _layer(found: Translation, name: str) -> str:
        """A layer of the graph by its own name or by that of a value of the model."""
        if name in found.graph.dims:
            return name
        value = found.values.get(name)
        if value is None or value.name not in found.graph.dims:
            raise ValueError(f"unknown layer {name!r}; the network has {', '.join(found.graph.dims)}")
        return value.name

    # ------------------------------------------------------------------------------------------------------- running

    def _compiled_values(self, arrays: Sequence[np.ndarray], outputs: Sequence[str] | None):
        found, rest = self._translated(arrays)
        return self._compiled_translation(found, outputs), rest

    def _compiled_translation(self, found: Translation, outputs: Sequence[str] | None) -> CompiledNetwork:
        names = tuple(found.graph.outputs if outputs is None else outputs)
        key = (id(found), names, _core.selected_isa(), current_device())
        # The translation stays with its plan: its id is the key.
        return self._compiled.made(key, lambda: (self._plan(found, names, device=current_device()), found))[0]

    def __call__(self, *arrays: np.ndarray, out: Any = None) -> Any:
        found, rest = self._translated(arrays)
        results = self._compiled_translation(found, None)(*rest, out=out)
        if not found.rows:
            return results
        # Of boxes that were chosen, only the rows that hold some.
        results = [y[: int(results[found.rows[i]][0])] if i in found.rows else y for i, y in enumerate(results)]
        results = results[: len(self.model.outputs)]
        return results[0] if len(results) == 1 else tuple(results)

    def _compiled_for(self, arrays: Sequence[np.ndarray], outputs: Sequence[str] | None) -> CompiledNetwork:
        return self._compiled_values(arrays, outputs)[0]

    def extract(self, x: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        if isinstance(names, str) or not isinstance(names, Sequence):
            raise TypeError(f"{self.model.name}: expected names as a list of layers, got {names!r}")
        names = list(dict.fromkeys(names))
        if not names:
            return {}
        compiled, rest = self._compiled_values([x], names)
        results = compiled(*rest)
        return dict(zip(names, results if isinstance(results, tuple) else (results,), strict=True))

    def profile(self, x: np.ndarray, *, threads: int | None = None, repeats: int = 10):
        from ..report import Profile

        found, rest = self._translated([x])
        compiled = self._plan(found, found.graph.outputs, device=current_device(), threads=threads)
        return Profile(compiled.profile(*rest, repeats=repeats))

    def compile(self, batch: int = 1, *, device: str = "cpu", threads: int | None = None, precision: str = "float32",
                accuracy: str = "default", image_size: tuple[int, int] | None = None,
                outputs: Sequence[str] | None = None, tune: bool = False) -> CompiledNetwork:  # fmt: skip
        """As Network.compile; `batch` is the size of first axes that the file leaves open."""
        if isinstance(batch, bool) or not isinstance(batch, (int, np.integer)) or batch < 1:
            raise ValueError(f"compile: expected batch as an integer of at least 1, got {batch!r}")
        found = self._planned(self._declared(int(batch), image_size))
        names = found.graph.outputs if outputs is None else outputs
        tune = boolean("compile", "tune", tune)
        return self._plan(found, names, tune, device=device, threads=threads, precision=precision, accuracy=accuracy)

    def reference(self, *arrays: np.ndarray, outputs: Sequence[str] | None = None) -> Any:
        found, rest = self._translated(arrays)
        names = None if outputs is None else [self._layer(found, name) for name in outputs]
        results = found.graph.evaluate(found.parameters, dict(zip(found.graph.inputs, rest, strict=True)), names)
        return results[0] if len(results) == 1 else tuple(results)

    def load_state_dict(self, source: Mapping[str, Any] | str | os.PathLike[str]) -> None:
        if source is None:
            raise TypeError(f"{self.model.name}: expected weights as a dict or a path, got None")
        shapes = {name: Parameter(array.shape) for name, array in self.parameters.items()}
        self._parameters = weights.load(source, shapes, self.model.name)
        self._plans.clear()
        self._compiled.clear()

    def to_onnx(self, path: str | os.PathLike[str] | None = None, *, batch: int | None = None) -> onnx.ModelProto:
        """The model as it was read, its initializers with the present parameters in float32."""
        if batch is not None:
            raise ValueError(f"{self.model.name}: a loaded model keeps its own sizes, got batch={batch}")
        proto = onnx.ModelProto()
        proto.CopyFrom(self.model.proto)
        for tensor in proto.graph.initializer:
            if tensor.name in self.parameters and tensor.data_type == onnx.TensorProto.FLOAT:
                tensor.CopyFrom(numpy_helper.from_array(self.parameters[tensor.name], tensor.name))
        if path is not None:
            onnx.save(proto, os.fspath(path))
        return proto
