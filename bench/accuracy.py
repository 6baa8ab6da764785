"""How far results are from float64, by algorithm and by network: python -m bench.accuracy, from the root.

Writes bench/results/accuracy.json and the tables of docs/accuracy.md. Errors are the largest difference from reference/
in float64, relative to the largest value of the result. "strict" sums every convolution directly in float32; "default"
is what a network does unless asked otherwise; the others store numbers in bfloat16, on CPUs that can.
"""

import json
from collections.abc import Iterator
from datetime import datetime, timezone

import numpy as np
from tesela import Graph, Network, benchmark, models, show_runtime

from bench.source import ROOT, commit

RECORD, PAGE = ROOT / "bench/results/accuracy.json", ROOT / "docs/accuracy.md"
BEGIN, END = "<!-- accuracy -->\n", "<!-- /accuracy -->"

# Layers that take each algorithm: (channels, size, outputs, kernel, attributes), an even share of positive values.
LAYERS = {
    "conv2d 1x1": (64, 14, 256, 1, {}),
    "conv2d 1x1, 256 channels": (256, 14, 256, 1, {}),
    "conv2d 1x1, 1024 channels": (1024, 14, 256, 1, {}),
    "conv2d 3x3, 64 channels": (64, 28, 64, 3, {"padding": 1}),
    "conv2d 3x3, 512 channels": (512, 28, 512, 3, {"padding": 1}),
    "conv2d 3x3 on small maps": (512, 7, 512, 3, {"padding": 1}),
    "conv2d 5x5": (96, 27, 256, 5, {"padding": 2, "groups": 2}),
    "conv2d 7x7 stride 2": (3, 112, 64, 7, {"stride": 2, "padding": 3}),
    "conv2d 11x11 stride 4": (3, 115, 96, 11, {"stride": 4}),
    "conv2d 3x3 stride 2": (128, 28, 128, 3, {"stride": 2, "padding": 1}),
    "conv_transpose2d 4x4 stride 2": (128, 16, 64, 4, {"stride": 2, "padding": 1}),
}
NETWORKS = {  # and the size of a square image where the network's own would take float64 minutes
    "lenet5": None, "alexnet": None, "resnet18": 128, "resnet50": 96, "googlenet": 96, "squeezenet1_1": 128,
    "mobilenet_v2": 96, "vgg16": 64, "autoencoder": None, "dcgan_generator": None,
}  # fmt: skip


WAYS = {
    "strict": {"accuracy": "strict"},
    "default": {},
    "bfloat16 weights": {"weight_storage": "bfloat16"},
    "bfloat16 products": {"precision": "bfloat16"},
}


def error(result: np.ndarray, expected: np.ndarray) -> float:
    return float(np.max(np.abs(result - expected)) / np.max(np.abs(expected)))


def measure(network: Network, shape: tuple[int, ...], **sizes) -> dict:
    x = np.random.default_rng(0).standard_normal(shape, np.float32)
    expected = network.reference(x)
    row = {}
    for way, options in WAYS.items():
        if options.get("precision") == "bfloat16" and not show_runtime()["bfloat16_products"]:
            continue
        run = network.compile(len(x), **options, **sizes)
        algorithms = {step.algorithm for step in run.steps() if step.flops}
        row[way] = {"error": error(run(x), expected), "algorithms": sorted(algorithms)}
    return row


def layers() -> Iterator[tuple[str, dict]]:
    for name, (channels, size, outputs, kernel, attributes) in LAYERS.items():
        graph = Graph("layer")
        build = graph.conv_transpose2d if name.startswith("conv_transpose2d") else graph.conv2d
        graph.output(build("layer", graph.input("x", (channels, size, size)), outputs, kernel, **attributes))
        yield name, measure(Network(graph), (1, channels, size, size))


def networks() -> Iterator[tuple[str, dict]]:
    for name, size in NETWORKS.items():
        network = models.NETWORKS[name]()
        (dims,) = network.graph.inputs.values()
        if size:
            yield name, measure(network, (1, dims[0], size, size), image_size=(size, size))
        else:
            yield name, measure(network, (1, *dims))


def tables(record: dict) -> str:
    cpu, date = record["machine"]["cpu"], record["date"][:10]
    lines = [f"{cpu}, {record['isa']}, {date}, commit {record['commit']}.\n"]
    lines += ["| layer | direct sums | error | by default | error |", "| --- | --- | ---: | --- | ---: |"]
    for name, row in record["layers"].items():
        cells = [f"{', '.join(row[a]['algorithms'])} | {row[a]['error']:.1e}" for a in ("strict", "default")]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", "| network | strict | default | ratio | bfloat16 weights | bfloat16 products |"]
    lines += ["| --- | ---: | ---: | ---: | ---: | ---: |"]
    for name, row in record["networks"].items():
        strict, default = row["strict"]["error"], row["default"]["error"]
        stored = " | ".join(f"{row[way]['error']:.1e}" if way in row else "" for way in list(WAYS)[2:])
        lines.append(f"| {name} | {strict:.1e} | {default:.1e} | {default / strict:.1f} | {stored} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    record = {
        "machine": benchmark.describe(),
        "isa": show_runtime()["isa"],
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(),
        "layers": dict(layers()),
        "networks": dict(networks()),
    }
    RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    PAGE.write_text(before + BEGIN + tables(record) + END + rest.split(END)[1], encoding="utf-8")


if __name__ == "__main__":
    main()
