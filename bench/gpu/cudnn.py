"""tesela and cuDNN side by side on one card, layers and networks: python -m bench.gpu.cudnn --out FILE

cuDNN is reached through PyTorch: as it comes; with channels last and benchmark mode; the same in a CUDA graph. All have
the same weights and input, which lie on the device before the clock starts, and compute in float32 without TF32. Each
takes its turn in every round, so that clocks and heat fall on all alike; a turn is several runs in a row. The error of
each is its largest difference from PyTorch in float64, relative to the largest value. An output that is wrong by more
than a thousandth is not timed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cases
import numpy as np
import torch
from tesela import models
from tesela.benchmark.engines.torch import forward
from tesela.benchmark.side_by_side import TOLERANCE
from tesela.graph import Graph, Parameter
from tesela.network import Network
from tesela.passes import fold_batch_norm

NETWORKS = (
    "alexnet",
    "resnet50",
    "vgg16",
    "googlenet",
    "resnext50_32x4d",
    "autoencoder",
    "dcgan_generator",
    "fcn_resnet50",
)
BATCHES = (1, 8, 32, 128)
ROUNDS = 5
TURN_SECONDS = 0.02  # of one contestant in one round


def layer(case: Any) -> Network:
    """The network of this one layer."""
    arrays = case.arrays(np.random.default_rng(0))
    x = arrays.pop("x")
    graph = Graph(case.name)
    parameters = {operand: Parameter(array.shape) for operand, array in arrays.items()}
    graph.output(graph.apply(case.op, "layer", graph.input("x", x.shape[1:]), parameters=parameters, **case.arguments))
    return Network(graph, {f"layer.{operand}": array for operand, array in arrays.items()})


class Contestant:
    """run() computes once and returns the result; seconds(n) is the mean of n runs in a row."""

    def __init__(self, run: Callable[[], np.ndarray], seconds: Callable[[int], float]):
        self.run, self.seconds = run, seconds


def tesela_contestant(network: Network, x: np.ndarray, device: str) -> Contestant:
    compiled = network.compile(len(x), device=device)

    def run() -> np.ndarray:
        y = compiled(x)
        return y[0] if isinstance(y, tuple) else y

    return Contestant(run, lambda n: compiled.seconds(x, repeats=n))


def torch_contestant(network: Network, x: np.ndarray, device: str, *, tuned: bool, captured: bool) -> Contestant:
    memory_format = torch.channels_last if tuned else torch.contiguous_format
    graph, parameters = fold_batch_norm(network.graph, network.parameters)

    def on_device(array: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(array).to(device)
        return tensor.contiguous(memory_format=memory_format) if tensor.ndim == 4 else tensor

    constants, image = {name: on_device(value) for name, value in parameters.items()}, on_device(x)

    def once() -> torch.Tensor:
        torch.backends.cudnn.benchmark = tuned
        return forward(graph, constants, image)[0]

    launch: Callable[[], Any] = once
    if captured:
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for _ in range(3):  # what is chosen by measuring has to be chosen before
                once()
        torch.cuda.synchronize()
        capture = torch.cuda.CUDAGraph()
        with torch.cuda.graph(capture):
            result = once()
        launch = capture.replay

    def run() -> np.ndarray:
        y = launch()
        return (result if captured else y).contiguous().cpu().numpy()

    def seconds(n: int) -> float:
        synchronize(device)
        start = time.perf_counter()
        for _ in range(n):
            launch()
        synchronize(device)
        return (time.perf_counter() - start) / n

    return Contestant(run, seconds)


def synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def contestants(network: Network, x: np.ndarray, device: str) -> Iterator[tuple[str, Callable[[], Contestant]]]:
    """`device` is tesela's; PyTorch is on the CPU for all but cuda, which is for tests."""
    of_torch = "cuda" if device == "cuda" else "cpu"
    yield "tesela", lambda: tesela_contestant(network, x, device)
    yield "torch", lambda: torch_contestant(network, x, of_torch, tuned=False, captured=False)
    yield "torch_tuned", lambda: torch_contestant(network, x, of_torch, tuned=True, captured=False)
    if of_torch == "cuda":
        yield "torch_tuned_graph", lambda: torch_contestant(network, x, of_torch, tuned=True, captured=True)


def in_float64(network: Network, x: np.ndarray, device: str) -> np.ndarray:
    of_torch = "cuda" if device == "cuda" else "cpu"
    graph, parameters = fold_batch_norm(network.graph, network.parameters)
    constants = {name: torch.from_numpy(value).to(of_torch).double() for name, value in parameters.items()}
    return forward(graph, constants, torch.from_numpy(x).to(of_torch).double())[0].cpu().numpy()


@torch.inference_mode()
def compare(name: str, network: Network, batch: int, device: str) -> dict[str, Any]:
    """One row: the median and least microseconds of each contestant, its error, and why others are not there."""
    (dims,) = network.graph.inputs.values()
    x = np.random.default_rng(0).standard_normal((batch, *dims), np.float32)
    expected = in_float64(network, x, device)
    largest = np.abs(expected).max()
    running: dict[str, tuple[Contestant, float]] = {}
    skipped: dict[str, str] = {}
    for contestant, make in contestants(network, x, device):
        try:
            made = make()
            error = float(np.abs(made.run() - expected).max() / largest)
        except (RuntimeError, NotImplementedError, MemoryError) as failure:
            skipped[contestant] = str(failure).splitlines()[0] if str(failure) else type(failure).__name__
            continue
        if error <= TOLERANCE:
            running[contestant] = (made, error)
        else:
            skipped[contestant] = f"its error against float64 is {error:.1e} of the largest value"
    repeats = {
        who: max(1, min(1000, int(TURN_SECONDS / max(made.seconds(2), 1e-7)))) for who, (made, _) in running.items()
    }
    times: dict[str, list[float]] = {who: [] for who in running}
    order = list(running)
    for _ in range(ROUNDS):
        for who in order:
            times[who].append(running[who][0].seconds(repeats[who]))
        order = order[1:] + order[:1]
    row = {
        "name": name, "batch": batch, "input": list(x.shape), "gflop": round(2e-9 * batch * network.summary().macs, 4),
        "microseconds": {who: round(1e6 * statistics.median(t), 2) for who, t in times.items()},
        "least": {who: round(1e6 * min(t), 2) for who, t in times.items()},
        "error": {who: error for who, (_, error) in running.items()},
        "skipped": skipped,
    }  # fmt: skip
    others = [row["microseconds"][who] for who in running if who != "tesela"]
    row["ratio"] = round(min(others) / row["microseconds"]["tesela"], 3) if others and "tesela" in running else None
    return row


def rows() -> Iterator[tuple[str, Callable[[], Network], int]]:
    """Batch by batch, networks before layers: what is cut off at the end is the least."""
    layers = [*cases.CONV2D_NETWORKS, *cases.CONV_TRANSPOSE2D_NETWORKS]
    for batch in BATCHES:
        for name in NETWORKS:
            yield name, models.NETWORKS[name], batch
        for case in layers:
            yield case.name, lambda case=case: layer(case), batch


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--only", default="", help="a part of the names")
    parser.add_argument("--batches", nargs="+", type=int, default=BATCHES)
    args = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    record: dict[str, Any] = {
        "precision": "float32 (IEEE)",
        "torch": torch.__version__,
        "cudnn": torch.backends.cudnn.version(),
        "rows": [],
    }
    for name, make, batch in rows():
        if args.only not in name or batch not in args.batches:
            continue
        record["rows"].append(compare(name, make(), batch, args.device))
        args.out.write_text(json.dumps(record, indent=1) + "\n")
        print(json.dumps(record["rows"][-1]), flush=True)


if __name__ == "__main__":
    main()
