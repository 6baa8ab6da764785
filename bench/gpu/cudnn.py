"""tesela and cuDNN side by side on one card, layers, matrix products and networks: python -m bench.gpu.cudnn --out FILE

Every precision has rows of its own (contestants.py says who takes part, and how). Each takes its turn in every round,
so that clocks and heat fall on all alike: some launches in a row, with a warm cache, and single ones after the L2 cache
was flushed. The error of each is its largest difference from float64, relative to the largest value; an output that is
wrong by more than its precision allows is not timed. After `--seconds` the rest is left out, and named in the record.
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
from tesela import models
from tesela.graph import Graph, Parameter
from tesela.network import Network

from . import card
from .contestants import PRECISIONS, GpuClock, HostClock, Precision, contestants, in_float64, on_gpu, torch

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
LAYERS = ("alexnet", "resnet50", "vgg16", "googlenet", "resnext50", "mobilenet", "autoencoder", "dcgan", "deeplab",
          "lenet5")  # fmt: skip
MATRICES = (1024, 2048, 4096, 8192)
BATCHES = (1, 32, 8, 128)  # what is cut off at the end is the least
ROUNDS = 3
TURN_SECONDS = 0.01  # of one contestant in one round
COLD_LAUNCHES = 3  # in one round


def layer(case: Any) -> Network:
    """The network of this one layer."""
    arrays = case.arrays(np.random.default_rng(0))
    x = arrays.pop("x")
    graph = Graph(case.name)
    parameters = {operand: Parameter(array.shape) for operand, array in arrays.items()}
    graph.output(graph.apply(case.op, "layer", graph.input("x", x.shape[1:]), parameters=parameters, **case.arguments))
    return Network(graph, {f"layer.{operand}": array for operand, array in arrays.items()})


def table(expected: np.ndarray, network: Network, x: np.ndarray, precision: Precision, device: str) -> dict[str, Any]:
    """Microseconds of each contestant (medians; of cold launches apart), its error, and why others are not there."""
    largest = max(float(np.abs(expected).max()), 1e-30)
    running: dict[str, Any] = {}
    errors: dict[str, float] = {}
    skipped: dict[str, str] = {}
    for who, make in contestants(network, x, device, precision):
        try:
            made = make()
            made.launch()
            error = float(np.abs(made.result() - expected).max() / largest)
        except Exception as failure:  # cuDNN's frontend has exceptions of its own; whatever it is stands in the record
            skipped[who] = str(failure).splitlines()[0] if str(failure) else type(failure).__name__
            continue
        if error <= precision.tolerance:  # a NaN is not
            running[who], errors[who] = made, error
        else:
            skipped[who] = f"its error against float64 is {error:.1e} of the largest value"
    clock = GpuClock() if on_gpu(device) else HostClock()
    launches = {
        who: max(1, min(1000, int(TURN_SECONDS / max(clock.warm(made.launch, 2), 1e-7))))
        for who, made in running.items()
    }
    warm: dict[str, list[float]] = {who: [] for who in running}
    cold: dict[str, list[float]] = {who: [] for who in running}
    order = list(running)
    for _ in range(ROUNDS):
        for who in order:
            warm[who].append(clock.warm(running[who].launch, launches[who]))
            cold[who] += [clock.cold(running[who].launch) for _ in range(COLD_LAUNCHES)]
        order = order[1:] + order[:1]

    def median(times: dict[str, list[float]]) -> dict[str, float]:
        return {who: round(1e6 * statistics.median(t), 2) for who, t in times.items()}

    row = {"microseconds": median(warm), "cold": median(cold), "error": errors, "skipped": skipped}
    others = [time for who, time in row["microseconds"].items() if who != "tesela"]
    row["ratio"] = round(min(others) / row["microseconds"]["tesela"], 3) if others and "tesela" in running else None
    return row


def compare(
    name: str, network: Network, batch: int, device: str, precisions: dict[str, Precision] = PRECISIONS
) -> Iterator[dict[str, Any]]:
    """A row for each precision, in which all contestants compute the same."""
    (dims,) = network.graph.inputs.values()
    x = np.random.default_rng(0).standard_normal((batch, *dims), np.float32)
    expected = in_float64(network, x, device)
    gflop = round(2e-9 * batch * network.summary().macs, 4)
    about = {"name": name, "batch": batch, "input": list(x.shape), "gflop": gflop}
    for precision, asked in precisions.items():
        row = about | {"precision": precision} | table(expected, network, x, asked, device)
        if on_gpu(device):
            now = card.describe()
            row["clocks"] = {field: now[field] for field in ("clocks.sm", "clocks_event_reasons.active")}
        yield row


def rows() -> Iterator[tuple[str, Callable[[], Network], int]]:
    """Batch by batch, matrix products and networks before layers."""
    taken = [*cases.CONV2D_NETWORKS, *cases.CONV_TRANSPOSE2D_NETWORKS, *cases.MAX_POOL2D, *cases.LOCAL_RESPONSE_NORM]
    layers = {case.name: case for case in taken if ":" in case.name and case.name.split(":")[0] in LAYERS}
    for size in MATRICES:
        yield "gemm", lambda size=size: layer(cases.linear("gemm", size, size, size)), size
    for batch in BATCHES:
        for name in NETWORKS:
            yield name, models.NETWORKS[name], batch
        for name, case in layers.items():
            yield name, lambda case=case: layer(case), batch


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda", help="others than cuda are for tests")
    parser.add_argument("--only", default="", help="a part of the names")
    parser.add_argument("--batches", nargs="+", type=int, default=[*BATCHES, *MATRICES])
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--seconds", type=float, default=200, help="no row begins after these (default: %(default)s)")
    args = parser.parse_args()
    end = time.monotonic() + args.seconds
    record: dict[str, Any] = {
        "device": args.device,
        "card": card.describe() if on_gpu(args.device) else None,
        "torch": torch.__version__ if torch else None,
        "cudnn": torch.backends.cudnn.version() if torch else None,
        "rows": [],
        "left_out": [],
    }
    for name, make, batch in rows():
        if args.only not in name or batch not in args.batches:
            continue
        if time.monotonic() >= end:
            record["left_out"].append([name, batch])
        else:
            for row in compare(name, make(), batch, args.device, {p: PRECISIONS[p] for p in args.precisions}):
                record["rows"].append(row)
                print(json.dumps(row), flush=True)
        args.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
