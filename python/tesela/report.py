"""Tables that a network prints about itself: its layers and sizes, and where its time goes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from . import _core
from .graph import Graph


def table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 2) -> str:
    """Columns as wide as their widest cell; the first `left` columns flush left, the others right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        return "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ).rstrip()

    return "\n".join([line(header), line(["-" * width for width in widths]), *map(line, rows)])


def rounded(count: float) -> str:
    """Three digits or more and the unit: 61.7 k, 25.6 M, 15.5 G."""
    unit, of = next(((u, n) for u, n in (("G", 1e9), ("M", 1e6), ("k", 1e3)) if count >= n), ("", 1))
    value = count / of
    return f"{value:.{0 if of == 1 else 1 if value >= 10 else 2}f} {unit}"


@dataclass(frozen=True)
class LayerSummary:
    name: str
    op: str
    output: tuple[int, ...]  # without the batch
    parameters: int
    macs: int  # multiply-adds of the direct algorithm for one image


@dataclass(frozen=True)
class Summary(Sequence):
    """One LayerSummary per layer; str() is the table."""

    network: str
    layers: tuple[LayerSummary, ...]

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, index):
        return self.layers[index]

    def __iter__(self) -> Iterator[LayerSummary]:
        return iter(self.layers)

    @property
    def parameters(self) -> int:
        return sum(layer.parameters for layer in self.layers)

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)

    def __str__(self) -> str:
        rows = []
        for layer in self.layers:
            size = " x ".join(map(str, layer.output))
            rows.append([layer.name, layer.op, size, f"{layer.parameters:,}", f"{layer.macs:,}"])
        rows.append(["total", "", "", f"{self.parameters:,}", f"{self.macs:,}"])
        size = f"{rounded(self.parameters)} parameters, {rounded(4 * self.parameters)}B in float32"
        return (
            f"{self.network}\n{table(['layer', 'operator', 'output', 'parameters', 'multiply-adds'], rows)}\n"
            f"{size}, {rounded(self.macs)} multiply-adds"
        )

    __repr__ = __str__


def summarize(graph: Graph) -> Summary:
    layers = []
    counted: set[str] = set()  # parameters that layers share belong to the first
    for node in graph.nodes:
        # Running means and variances are measured, not learned; published counts leave them out.
        learned = [name for operand, name in node.parameters.items() if not operand.startswith("running_")]
        learned = [name for name in learned if name not in counted]
        counted.update(learned)
        count = sum(math.prod(graph.parameters[name].shape) for name in learned)
        macs = round(graph.flops(node, graph.dims) / 2)
        layers.append(LayerSummary(node.name, node.op, graph.dims[node.outputs[0]][1:], count, macs))
    return Summary(graph.name, tuple(layers))


class Profile(Sequence):
    """One step of the program after another, with the fastest time of each; str() is the table."""

    def __init__(self, steps: Sequence[_core.StepReport]):
        self.steps = tuple(steps)

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, index):
        return self.steps[index]

    @property
    def seconds(self) -> float:
        return sum(step.seconds for step in self.steps)

    def __str__(self) -> str:
        rows = []
        for step in self.steps:
            rate = f"{step.flops / step.seconds / 1e9:.1f}" if step.flops else ""
            share = step.seconds / self.seconds
            rows.append([step.name, step.op, step.algorithm, f"{1e3 * step.seconds:.3f}", rate, f"{share:.1%}"])
        rows.append(["total", "", "", f"{1e3 * self.seconds:.3f}", "", ""])
        return table(["layer", "operator", "algorithm", "ms", "GFLOP/s", "share"], rows, left=3)

    __repr__ = __str__
