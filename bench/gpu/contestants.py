"""Who computes a network on the device: tesela, and cuDNN by four ways. torch is PyTorch as it comes, torch_tuned with
channels last and benchmark mode over all algorithms, torch_tuned_graph the same in a CUDA graph, cudnn_frontend one
fused graph with all plans tried.

All get the same weights and the same input, which lie on the device before the clock starts, and launch on PyTorch's
current stream. On a device that is none of PyTorch's (for tests) it computes on the CPU, and may be missing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tesela as ts
from tesela.network import Network
from tesela.passes import fold_batch_norm

try:
    import torch
    from tesela.benchmark.engines.torch import forward
except ImportError:
    torch = None

FLUSHED_BYTES = 256 << 20  # five times the L2 cache of an H100


@dataclass(frozen=True)
class Precision:
    """What tesela is asked for and what the others get; a wrong result is one whose error, as a fraction of the largest
    value, is beyond `tolerance`."""

    precision: str
    accuracy: str
    others: str
    tolerance: float


# Each is a table of its own. Products of three tf32 stand against IEEE, with the errors beside them.
PRECISIONS = {
    "float32, IEEE": Precision("float32", "strict", "float32", 1e-3),
    "float32, 3xTF32": Precision("float32", "default", "float32", 1e-3),
    "tf32": Precision("tf32", "default", "tf32", 1e-2),
    "bfloat16": Precision("bfloat16", "default", "bfloat16", 5e-2),
    "float16": Precision("float16", "default", "float16", 1e-2),
}


class Contestant:
    """launch() computes once, perhaps later; result() is what the last launch computed."""

    def __init__(self, launch: Callable[[], Any], result: Callable[[], np.ndarray]):
        self.launch, self.result = launch, result


class Missing(Exception):
    """Why somebody takes no part."""


def on_gpu(device: str) -> bool:
    return device == "cuda"


def tesela_contestant(network: Network, x: np.ndarray, device: str, precision: Precision) -> Contestant:
    run = network.compile(len(x), device=device, precision=precision.precision, accuracy=precision.accuracy)
    (dims, *_) = run.output_dims.values()
    if not on_gpu(device):
        y = np.empty(dims, np.float32)
        outs = [y, *(np.empty(more, np.float32) for more in list(run.output_dims.values())[1:])]
        return Contestant(lambda: run(x, out=outs), lambda: y)
    image = torch.tensor(x).to(device)
    outs = [torch.empty(dims, device=device) for dims in run.output_dims.values()]

    def launch() -> None:
        with ts.stream(torch.cuda.current_stream()):
            run(image, out=outs)

    return Contestant(launch, lambda: outs[0].cpu().numpy())


def torch_contestant(
    network: Network, x: np.ndarray, device: str, precision: Precision, *, tuned: bool, captured: bool
) -> Contestant:
    if torch is None:
        raise Missing("PyTorch is not installed")
    where = device if on_gpu(device) else "cpu"
    dtype = getattr(torch, "float32" if precision.others == "tf32" else precision.others)
    memory_format = torch.channels_last if tuned else torch.contiguous_format
    graph, parameters = fold_batch_norm(network.graph, network.parameters)

    def on_device(array: np.ndarray) -> Any:
        tensor = torch.tensor(np.asarray(array)).to(where, dtype)
        return tensor.contiguous(memory_format=memory_format) if tensor.ndim == 4 else tensor

    constants, image = {name: on_device(value) for name, value in parameters.items()}, on_device(x)
    kept: list[Any] = [None]

    @torch.inference_mode()
    def once() -> None:
        torch.backends.cudnn.benchmark = tuned
        torch.backends.cudnn.benchmark_limit = 0  # all algorithms
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision.others == "tf32"
        kept[0] = forward(graph, constants, image)[0]

    launch: Callable[[], Any] = once
    if captured:
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for _ in range(3):  # what is chosen by measuring has to be chosen before
                once()
        torch.cuda.synchronize()
        capture = torch.cuda.CUDAGraph()
        with torch.cuda.graph(capture):
            once()
        launch = capture.replay
    return Contestant(launch, lambda: kept[0].float().contiguous().cpu().numpy())


def cudnn_contestant(network: Network, x: np.ndarray, device: str, precision: Precision) -> Contestant:
    """A network of one convolution as one graph of cuDNN's frontend, by the fastest of its plans."""
    try:
        import cudnn
    except ImportError:
        raise Missing("nvidia-cudnn-frontend is not installed") from None
    if not on_gpu(device):
        raise Missing("it needs a GPU")
    (node, *more) = network.graph.nodes
    if more or node.op != "conv2d" or node.attributes.get("activation") not in (None, "relu"):
        raise Missing("it takes single convolutions only")
    if precision.others == "float32":
        raise Missing("it uses TF32 for float32")
    number = {"tf32": cudnn.data_type.FLOAT, "bfloat16": cudnn.data_type.BFLOAT16,
              "float16": cudnn.data_type.HALF}[precision.others]  # fmt: skip
    dtype = getattr(torch, "float32" if precision.others == "tf32" else precision.others)

    def on_device(array: np.ndarray) -> Any:
        tensor = torch.tensor(array).to(device, dtype)
        return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor

    weight, image = on_device(network.parameters["layer.weight"]), on_device(x)
    sizes = network.graph.infer_all({"x": x.shape})
    y = torch.empty(sizes[network.graph.outputs[0]], dtype=dtype, device=device)
    y = y.contiguous(memory_format=torch.channels_last)
    graph = cudnn.pygraph(io_data_type=number, intermediate_data_type=cudnn.data_type.FLOAT,
                          compute_data_type=cudnn.data_type.FLOAT)  # fmt: skip

    def declared(tensor: Any) -> Any:
        return graph.tensor(dim=list(tensor.shape), stride=list(tensor.stride()), data_type=number)

    given, weights = declared(image), declared(weight)
    (top, bottom), (left, right) = node.attributes["padding"]
    result = graph.conv_fprop(
        image=given, weight=weights, pre_padding=[top, left], post_padding=[bottom, right],
        stride=list(node.attributes["stride"]), dilation=list(node.attributes["dilation"]),
    )  # fmt: skip
    pack = {given: image, weights: weight}
    if "layer.bias" in network.parameters:
        bias = on_device(network.parameters["layer.bias"]).reshape(1, -1, 1, 1)
        added = declared(bias)
        pack[added] = bias
        result = graph.bias(input=result, bias=added)
    if node.attributes.get("activation") == "relu":
        result = graph.relu(input=result)
    result.set_output(True).set_data_type(number).set_dim(list(y.shape)).set_stride(list(y.stride()))
    pack[result] = y
    graph.validate()
    graph.build_operation_graph()
    graph.create_execution_plans([cudnn.heur_mode.A, cudnn.heur_mode.B, cudnn.heur_mode.FALLBACK])
    graph.check_support()
    best, least = None, float("inf")
    for index in range(graph.get_execution_plan_count()):
        try:
            graph.build_plan_at_index(index)
            room = torch.empty(max(1, graph.get_workspace_size_plan_at_index(index)), dtype=torch.uint8, device=device)
            seconds = GpuClock().warm(lambda i=index, r=room: graph.execute_plan_at_index(pack, r, index=i), 5)
        except Exception:  # a plan that this device or shape does not have
            continue
        if seconds < least:
            best, least = (index, room), seconds
    if best is None:
        raise Missing("none of its plans runs")
    index, room = best
    graph.build_plan_at_index(index)
    return Contestant(lambda: graph.execute_plan_at_index(pack, room, index=index), lambda: y.float().cpu().numpy())


def contestants(network: Network, x: np.ndarray, device: str, precision: Precision) -> Iterator[tuple[str, Any]]:
    """Each by name, with what makes it."""
    yield "tesela", lambda: tesela_contestant(network, x, device, precision)
    yield "torch", lambda: torch_contestant(network, x, device, precision, tuned=False, captured=False)
    yield "torch_tuned", lambda: torch_contestant(network, x, device, precision, tuned=True, captured=False)
    if on_gpu(device):
        yield "torch_tuned_graph", lambda: torch_contestant(network, x, device, precision, tuned=True, captured=True)
    yield "cudnn_frontend", lambda: cudnn_contestant(network, x, device, precision)


def in_float64(network: Network, x: np.ndarray, device: str) -> np.ndarray:
    if torch is None:
        y = network.reference(x)
        return y[0] if isinstance(y, tuple) else y
    where = device if on_gpu(device) else "cpu"
    graph, parameters = fold_batch_norm(network.graph, network.parameters)
    with torch.inference_mode():
        constants = {name: torch.tensor(np.asarray(value)).to(where).double() for name, value in parameters.items()}
        return forward(graph, constants, torch.tensor(x).to(where).double())[0].cpu().numpy()


# ------------------------------------------------------------------------------------------------------------- clocks


class GpuClock:
    """Seconds by events of the device."""

    def __init__(self) -> None:
        self.flushed: Any = None

    @staticmethod
    def _between(work: Callable[[], Any]) -> float:
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        work()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3

    def warm(self, launch: Callable[[], Any], n: int) -> float:
        """Of one of n launches in a row: what a cache can hold is there."""

        def work() -> None:
            for _ in range(n):
                launch()

        launch()
        return self._between(work) / n

    def cold(self, launch: Callable[[], Any]) -> float:
        """Of one launch after the L2 cache was filled with something else."""
        if self.flushed is None:
            self.flushed = torch.empty(FLUSHED_BYTES, dtype=torch.uint8, device="cuda")
        self.flushed.zero_()
        return self._between(launch)


class HostClock:
    """The same for a device that has done its work when a launch returns: for tests."""

    def warm(self, launch: Callable[[], Any], n: int) -> float:
        start = time.perf_counter()
        for _ in range(n):
            launch()
        return (time.perf_counter() - start) / n

    def cold(self, launch: Callable[[], Any]) -> float:
        return self.warm(launch, 1)
