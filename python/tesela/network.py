"""A network: a graph, its parameters, and what a user does with them."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np

from . import _core, report, weights
from .arguments import boolean, pair
from .calls import call_of
from .compile import CompiledNetwork
from .graph import Graph
from .operators import Dims
from .tuning import tuned

DEVICES = ("cpu", "cuda", "emulator", "auto")
PRECISIONS = ("float32", "tf32", "bfloat16", "float16")
WEIGHT_STORAGES = ("float32", "bfloat16")
ACCURACIES = ("strict", "default")
MOST_REMEMBERED = 16  # plans of a network, each with packed weights of its own


class Remembered(OrderedDict):
    """The values that were used last, as many as MOST_REMEMBERED."""

    def made(self, key: Any, make: Callable[[], Any]) -> Any:
        """The value of a key, made where there is none. Threads that ask at once may both make one."""
        value = self.get(key)
        if value is None:
            value = self.setdefault(key, make())
        with suppress(KeyError):  # another thread may have dropped it, or all
            self.move_to_end(key)
            while len(self) > MOST_REMEMBERED:
                self.popitem(last=False)
        return value


class Network:
    """A graph with parameters. Calling it compiles for the shapes at hand on first use and remembers the last of them.

    weights: None for seeded ones (He initialisation, always the same for one seed), a dict of arrays, the path of an
    .npz or .safetensors file with exactly the network's tensors, or a name in published.ENTRIES.
    """

    def __init__(
        self,
        graph: Graph,
        weights_from: Mapping[str, Any] | str | os.PathLike[str] | None = None,
        *,
        seed: int = 0,
    ):
        if not graph.outputs:
            raise ValueError(f"{graph.name}: the graph names no output; call graph.output(value)")
        self.graph = graph
        self._seed = seed
        self._parameters = None if weights_from is None else weights.load(weights_from, graph.parameters, graph.name)
        self._compiled = Remembered()

    @property
    def parameters(self) -> weights.State:
        """Every tensor by name, to be read: plans hold copies of their own, and load_state_dict changes them.

        Seeded ones are drawn when first asked for: sizes alone cost nothing.
        """
        if self._parameters is None:
            self._parameters = weights.seeded(self.graph.parameters, self._seed)
        return self._parameters

    def __repr__(self) -> str:
        return f"Network({self.graph.name!r}, {len(self.graph.nodes)} layers, {self.summary().parameters:,} parameters)"

    # ------------------------------------------------------------------------------------------------------- running

    def __call__(self, *arrays: Any, out: Any = None) -> Any:
        """Results for the given inputs, (N, C, H, W) float32 each; compiled on first use for their shapes.

        NumPy arrays, or arrays on a GPU (CuPy, PyTorch, JAX), where the results stay then.
        """
        return self._compiled_for(arrays, self.graph.outputs)(*arrays, out=out)

    def extract(self, x: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        """The values of the named layers: deep features. Names as in summary()."""
        if isinstance(names, str) or not isinstance(names, Sequence):
            raise TypeError(f"{self.graph.name}: expected names as a list of layers, got {names!r}")
        names = list(dict.fromkeys(names))
        if not names:
            return {}
        unknown = [name for name in names if name not in self.graph.dims]
        if unknown:
            raise ValueError(
                f"{self.graph.name}: unknown layer {unknown[0]!r}; the network has {', '.join(self.graph.dims)}"
            )
        results = self._compiled_for([x], names)(x)
        return dict(zip(names, results if isinstance(results, tuple) else (results,), strict=True))

    def compile(
        self,
        batch: int = 1,
        *,
        device: str = "cpu",
        threads: int | None = None,
        precision: str = "float32",
        weight_storage: str = "float32",
        accuracy: str = "default",
        image_size: tuple[int, int] | None = None,
        outputs: Sequence[str] | None = None,
        tune: bool = False,
    ) -> CompiledNetwork:
        """Plans the network for one batch size.

        device     "cpu"; "cuda" raises DeviceError where it cannot be had; "auto" takes the best there is; "emulator"
                   runs the CUDA kernels without a GPU, to test them
        threads    used by each call; None follows set_num_threads
        precision  "float32"; on a CPU with AVX512_BF16 also "bfloat16" (convolutions and fully connected layers of
                   products of bfloat16, all else float32); on CUDA also "tf32" (products of tensor cores, wrong by
                   2^-11), "bfloat16" and "float16" (activations and weights of 16 bits). Sums are float32, and so are
                   inputs and results, in each
        weight_storage  "bfloat16" keeps the weights of fully connected layers in half the bytes, and multiplies them in
                   float32: these layers are as fast as their weights arrive. Each is off by 2^-9 of itself at most
        accuracy   "strict" sums every convolution directly in float32; "default" allows algorithms with about twice
                   that rounding error (the forms of Winograd's in docs/accuracy.md) and lets a NaN or an infinity
                   spread beyond its receptive field: over a Winograd tile, or over the phases of a transposed
                   convolution with few channels
        image_size (H, W) other than the network's own, for networks that take any
        outputs    names of layers to return instead of the network's outputs
        tune       True measures the algorithms between which layers have a choice, once, and takes the fastest; False
                   estimates them. Accuracy promises the same. The choices are kept in tuning.json in the folder that
                   TESELA_CACHE names, or the system's for caches, by machine, build, threads and layer, so only layers
                   that are not there take time (some seconds for a network). Results are the same bits for any number
                   of threads by the same choices, but machines may choose differently
        """
        for what, value, known in (("device", device, DEVICES), ("precision", precision, PRECISIONS),
                                   ("weight_storage", weight_storage, WEIGHT_STORAGES),
                                   ("accuracy", accuracy, ACCURACIES)):  # fmt: skip
            if value not in known:
                raise ValueError(f"compile: expected {what} as one of {', '.join(map(repr, known))}, got {value!r}")
        if isinstance(batch, bool) or not isinstance(batch, (int, np.integer)) or batch < 1:
            raise ValueError(f"compile: expected batch as an integer of at least 1, got {batch!r}")
        if device == "auto":
            device = "cuda" if "cuda" in _core.devices() else "cpu"
        if image_size is not None:
            image_size = pair("compile", "image_size", image_size)
        inputs = self.graph.input_dims(int(batch))
        if image_size is not None:
            inputs = {name: (*dims[:-2], *image_size) for name, dims in inputs.items()}
        names = self.graph.outputs if outputs is None else outputs
        make = partial(
            CompiledNetwork,
            self.graph,
            self.parameters,
            inputs,
            names,
            device=device,
            threads=threads,
            precision=precision,
            weight_storage=weight_storage,
            accuracy=accuracy,
        )
        return tuned(make) if boolean("compile", "tune", tune) else make()

    def reference(self, *arrays: np.ndarray, outputs: Sequence[str] | None = None) -> Any:
        """The same on reference/ in float64, node by node: slow, and what the fast answer should be."""
        inputs = dict(zip(self.graph.inputs, arrays, strict=True))
        results = self.graph.evaluate(self.parameters, inputs, outputs)
        return results[0] if len(results) == 1 else tuple(results)

    def _compiled_for(self, arrays: Sequence[np.ndarray], outputs: Sequence[str]) -> CompiledNetwork:
        if len(arrays) != len(self.graph.inputs):
            raise ValueError(f"{self.graph.name}: expected {len(self.graph.inputs)} inputs, got {len(arrays)}")
        inputs: dict[str, Dims] = {}
        call = call_of(self.graph.name, dict(zip(self.graph.inputs, arrays, strict=True)))
        for (name, dims), array in zip(self.graph.inputs.items(), arrays, strict=True):
            shape = call.array(name, array, self.graph.dtypes[name]).shape
            if name in self.graph.whole:
                if shape != dims:
                    raise ValueError(f"{self.graph.name}: expected {name} of shape {dims}, got {shape}")
            elif len(shape) != len(dims) + 1 or shape[1:2] != dims[:1]:
                expected = ", ".join(["N", *map(str, dims)])
                raise ValueError(f"{self.graph.name}: expected {name} of shape ({expected}), got {shape}")
            inputs[name] = shape
        return self._compiled.made(
            (tuple(inputs.items()), tuple(outputs), _core.selected_isa(), call.device),
            lambda: CompiledNetwork(self.graph, self.parameters, inputs, list(outputs), device=call.device),
        )

    # ----------------------------------------------------------------------------------------------------- looking at

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters by name."""
        return {name: value.copy() for name, value in self.parameters.items()}

    def load_state_dict(self, source: Mapping[str, Any] | str | os.PathLike[str]) -> None:
        """Replaces all parameters, from a dict or a file with exactly the network's tensors."""
        if source is None:
            raise TypeError(f"{self.graph.name}: expected weights as a dict or a path, got None")
        self._parameters = weights.load(source, self.graph.parameters, self.graph.name)
        self._compiled.clear()

    def summary(self) -> report.Summary:
        """Layer by layer: operator, output size C x H x W, parameters, multiply-adds; prints as a table."""
        return report.summarize(self.graph)

    def profile(self, x: np.ndarray, *, threads: int | None = None, repeats: int = 10) -> report.Profile:
        """Layer by layer: milliseconds, GFLOP/s, share of the time, algorithm; prints as a table."""
        compiled = self._compiled_for([x], self.graph.outputs)
        if threads is not None:
            compiled = CompiledNetwork(
                self.graph,
                self.parameters,
                compiled.input_dims,
                self.graph.outputs,
                device=compiled.device,
                threads=threads,
            )
        return report.Profile(compiled.profile(x, repeats=repeats))

    def to_onnx(self, path: str | os.PathLike[str] | None = None, *, batch: int | None = None) -> Any:
        """The network as an ONNX model; written to `path` if given. Needs the onnx package.

        batch: None leaves the batch size open. Returns the onnx.ModelProto.
        """
        from .onnx import export

        return export(self, path, batch=batch)
