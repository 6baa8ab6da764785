"""A network: a graph, its parameters, and what a user does with them."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from . import _core, report, weights
from .arguments import boolean, integer, pair
from .calls import by_name, call_of
from .compile import CompiledNetwork
from .graph import Graph
from .operators import Dims

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


def _options(device: str, **others: str) -> dict[str, str]:
    """Options of compile by their names, each of them one that exists; "auto" is the best device there is."""
    known = {"device": DEVICES, "precision": PRECISIONS, "weight_storage": WEIGHT_STORAGES, "accuracy": ACCURACIES}
    for what, value in {"device": device, **others}.items():
        if value not in known[what]:
            raise ValueError(f"compile: expected {what} as one of {', '.join(map(repr, known[what]))}, got {value!r}")
    if others["accuracy"] == "strict" and others["precision"] != "float32":
        raise ValueError(f"compile: expected accuracy 'strict' with precision 'float32', got {others['precision']!r}")
    if device == "auto":
        device = "cuda" if "cuda" in _core.devices() else "cpu"
    return {"device": device, **others}


def expect_images(network: str, names: Sequence[str]) -> Sequence[str]:
    if not names:
        raise ValueError(f"{network}: expected no image_size, as no input is a batch of images (N, C, H, W)")
    return names


class Bound(NamedTuple):
    """What a network plans for arrays at hand: something with a graph and parameters, and the sizes of its inputs."""

    source: Any
    inputs: dict[str, Dims]
    arrays: list[Any]  # those of the given ones that the graph takes
    device: str  # where they lie, or are taken to


class Network:
    """A graph with parameters. Calling it compiles for the shapes at hand on first use and remembers the last of them.

    weights_from: None for seeded ones (He initialisation, always the same for one seed), a dict of arrays, the path of
    an .npz or .safetensors file with exactly the network's tensors, or a name in published.ENTRIES.
    """

    max_bytes: int | None = None  # what activations may take

    def __init__(
        self,
        graph: Graph,
        weights_from: Mapping[str, Any] | str | os.PathLike[str] | None = None,
        *,
        seed: int = 0,
    ):
        if not graph.outputs:
            raise ValueError(f"{graph.name}: the graph names no output; call graph.output(value)")
        self.graph = graph.copy()  # which nobody else appends to
        self._seed = seed
        self._parameters = None if weights_from is None else weights.load(weights_from, graph.parameters, graph.name)
        self._compiled = Remembered()
        self._generation = 0  # of the parameters: a plan made from earlier ones is not found again

    @property
    def name(self) -> str:
        return self.graph.name

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
        bound = self._bind(arrays)
        return self._remembered(bound, None)(*bound.arrays, out=out)

    def extract(self, *arrays: Any, names: Sequence[str] | None = None) -> dict[str, Any]:
        """The values of the named layers: deep features. Names as in summary().

        extract(x, names), or extract(left, right, names=names) where it reads better.
        """
        if names is None and len(arrays) > 1:
            *arrays, names = arrays
        if isinstance(names, str) or not isinstance(names, Sequence):
            raise TypeError(f"{self.name}: expected names as a list of layers, got {names!r}")
        names = list(dict.fromkeys(names))
        if not names:
            return {}
        bound = self._bind(arrays)
        layers = self._known_layers(bound.source, names)
        results = self._remembered(bound, layers)(*bound.arrays)
        return dict(zip(names, results if isinstance(results, tuple) else (results,), strict=True))

    def compile(
        self,
        batch: int | None = None,
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

        batch      images at once; None: one, or as many as the file of a loaded model says. ValueError where that file
                   says another number
        device     "cpu"; "cuda" raises DeviceError where it cannot be had; "auto" takes the best there is; "emulator"
                   runs the CUDA kernels without a GPU, to test them
        threads    used by each call; None follows set_num_threads
        precision  "float32"; on a CPU with AVX512_BF16 also "bfloat16" (convolutions and fully connected layers of
                   products of bfloat16, all else float32); on CUDA also "tf32" (products of tensor cores, wrong by
                   2^-11), "bfloat16" and "float16" (activations and weights of 16 bits), from compute capability 8.0
                   on. Sums are float32, and so are inputs and results, in each. It says how activations are stored and
                   how wrong products may be: a layer that no kernel for tensor cores takes is computed more exactly, in
                   float32 products of what is stored, and profile() names its algorithm
        weight_storage  "bfloat16" keeps the weights of fully connected layers in half the bytes, and multiplies them in
                   float32: these layers are as fast as their weights arrive. Each is off by 2^-9 of itself at most
        accuracy   "strict" sums every convolution directly, products of float32 only (precision "float32"); "default"
                   allows algorithms with about twice that rounding error (Strassen's and the forms of Winograd's in
                   docs/accuracy.md) and lets a NaN or an infinity spread beyond its receptive field: over a Winograd
                   tile, over the two lines of the image that Strassen's algorithm takes together, or over the phases of
                   a transposed convolution with few channels
        image_size (H, W) of all inputs that are batches of images, other than the network's own, where it takes any
        outputs    names of layers to return instead of the network's outputs
        tune       True measures the algorithms between which layers have a choice, once, and takes the fastest; False
                   estimates them. Accuracy promises the same. The choices are kept in tuning.json in the folder that
                   TESELA_CACHE names, or the system's for caches, by machine, build, threads and layer, so only layers
                   that are not there take time (some seconds for a network). Results are the same bits for any number
                   of threads by the same choices, but machines may choose differently
        """
        source, inputs = self._asked(batch, image_size)
        options = _options(device=device, precision=precision, weight_storage=weight_storage, accuracy=accuracy)
        layers = None if outputs is None else self._layers(source, outputs)
        plan = partial(self._plan, source, inputs, layers, threads=threads, **options)
        if not boolean("compile", "tune", tune):
            return plan()
        from .tuning import tuned  # reads and writes a file: nothing that every import needs

        return tuned(plan)

    def input_dims(self, batch: int | None = None, image_size: tuple[int, int] | None = None) -> dict[str, Dims]:
        """The sizes of the inputs that compile(batch, image_size=...) plans for."""
        return self._asked(batch, image_size)[1]

    def reference(self, *arrays: np.ndarray, outputs: Sequence[str] | None = None) -> Any:
        """The same on reference/ in float64, node by node: slow, and what the fast answer should be."""
        inputs = by_name(self.name, self.graph.inputs, arrays)
        names = None if outputs is None else self._known_layers(self, outputs)
        results = self.graph.evaluate(self.parameters, inputs, names)
        return results[0] if len(results) == 1 else tuple(results)

    def _asked(self, batch: Any, image_size: Any) -> tuple[Any, dict[str, Dims]]:
        """_sized, for what a user gives."""
        if batch is not None and integer("compile", "batch", batch) < 1:
            raise ValueError(f"compile: expected batch of at least 1, got {batch}")
        size = None if image_size is None else pair("compile", "image_size", image_size)
        return self._sized(None if batch is None else int(batch), size)

    def _sized(self, batch: int | None, image_size: tuple[int, int] | None) -> tuple[Any, dict[str, Dims]]:
        """What is planned for a batch, with its graph and parameters, and the sizes of its inputs."""
        inputs = self.graph.input_dims(batch or 1)
        if image_size is not None:
            images = [
                name for name, dims in self.graph.inputs.items() if len(dims) == 3 and name not in self.graph.whole
            ]
            inputs |= {name: (*inputs[name][:2], *image_size) for name in expect_images(self.name, images)}
        return self, inputs

    def _bind(self, arrays: Sequence[Any]) -> Bound:
        named = by_name(self.name, self.graph.inputs, arrays)
        call = call_of(self.name, named)
        inputs: dict[str, Dims] = {}
        for name, dims in self.graph.inputs.items():
            shape = call.array(name, named[name], self.graph.dtypes[name]).shape
            if name in self.graph.whole:
                if shape != dims:
                    raise ValueError(f"{self.name}: expected {name} of shape {dims}, got {shape}")
            elif len(shape) != len(dims) + 1 or shape[1:2] != dims[:1]:
                expected = ", ".join(["N", *map(str, dims)])
                raise ValueError(f"{self.name}: expected {name} of shape ({expected}), got {shape}")
            inputs[name] = shape
        return Bound(self, inputs, list(arrays), call.device)

    def _remembered(self, bound: Bound, outputs: Sequence[str] | None) -> CompiledNetwork:
        """The plan for what was bound, made where there is none yet."""
        graph = bound.source.graph
        names = None if outputs is None else tuple(outputs)
        # What a plan depends on. The graph stays with its plan: its id is part of the key.
        running = _core.selected_isa(), _core.num_threads(), bound.device
        key = (tuple(bound.inputs.items()), names, running, id(graph), self._generation)
        return self._compiled.made(
            key, lambda: (self._plan(bound.source, bound.inputs, names, device=bound.device), graph)
        )[0]

    def _plan(
        self, source: Any, inputs: Mapping[str, Dims], layers: Sequence[str] | None, **options: Any
    ) -> CompiledNetwork:
        names = source.graph.outputs if layers is None else layers
        self._check_sizes(source.graph, inputs)  # before any weights are drawn
        return CompiledNetwork(source.graph, source.parameters, inputs, names, max_bytes=self.max_bytes, **options)

    def _check_sizes(self, graph: Graph, inputs: Mapping[str, Dims]) -> None:
        """A layer in which images of these sizes end is no help without the sizes that the network is built for."""
        if all(dims[1:] == graph.dims[name][1:] for name, dims in inputs.items()):
            return  # as it was built
        try:
            graph.infer_all(inputs)
        except (TypeError, ValueError) as error:
            given = ", ".join(f"{name} of shape {dims}" for name, dims in inputs.items())
            built = ", ".join(
                str(tuple(dims)) if name in graph.whole else f"(N, {', '.join(map(str, dims))})"
                for name, dims in graph.inputs.items()
            )
            raise type(error)(f"{self.name}: {given} does not fit, its graph is for {built}: {error}") from None

    def _layers(self, source: Any, names: Sequence[str]) -> Sequence[str]:
        """Layers of the graph by the names that they have outside."""
        return names

    def _known_layers(self, source: Any, names: Sequence[str]) -> Sequence[str]:
        layers, known = self._layers(source, names), source.graph.dims
        unknown = [name for name, layer in zip(names, layers, strict=True) if layer not in known]
        if unknown:
            raise ValueError(f"{self.name}: unknown layer {unknown[0]!r}; the network has {', '.join(known)}")
        return layers

    # ----------------------------------------------------------------------------------------------------- looking at

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters by name."""
        return {name: value.copy() for name, value in self.parameters.items()}

    def load_state_dict(self, source: Mapping[str, Any] | str | os.PathLike[str]) -> None:
        """Replaces all parameters, from a dict or a file with exactly the network's tensors."""
        if source is None:
            raise TypeError(f"{self.name}: expected weights as a dict or a path, got None")
        self._parameters = weights.load(source, self.graph.parameters, self.graph.name)
        self._generation += 1
        self._compiled.clear()

    def summary(self) -> report.Summary:
        """Layer by layer: operator, output size C x H x W, parameters, multiply-adds; prints as a table."""
        return report.summarize(self.graph)

    def profile(
        self,
        *arrays: np.ndarray,
        threads: int | None = None,
        repeats: int = 10,
        device: str | None = None,
        precision: str = "float32",
        weight_storage: str = "float32",
        accuracy: str = "default",
    ) -> report.Profile:
        """Layer by layer: milliseconds, GFLOP/s, share of the time, algorithm; prints as a table.

        The fastest of `repeats` runs. The other options are compile's; device None is the one of default_device.
        """
        bound = self._bind(arrays)
        options = _options(
            device=bound.device if device is None else device,
            precision=precision,
            weight_storage=weight_storage,
            accuracy=accuracy,
        )
        compiled = self._plan(bound.source, bound.inputs, None, threads=threads, **options)
        return report.Profile(compiled.profile(*bound.arrays, repeats=repeats))

    def to_onnx(self, path: str | os.PathLike[str] | None = None, *, batch: int | None = None) -> Any:
        """The network as an ONNX model; written to `path` if given. Needs the onnx package.

        batch: None leaves the batch size open. Returns the onnx.ModelProto.
        """
        from .onnx import export

        return export(self, path, batch=batch)
