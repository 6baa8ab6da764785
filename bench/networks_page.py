"""Writes the table of docs/networks.md: python bench/networks_page.py. Sizes come from summary(), nothing is typed."""

from pathlib import Path

from tesela import models

PAGE = Path(__file__).parents[1] / "docs" / "networks.md"
BEGIN, END = "<!-- networks -->\n", "<!-- /networks -->"


def table() -> str:
    lines = ["| network | input | output | parameters | multiply-adds |", "| --- | --- | --- | ---: | ---: |"]
    for name, network in models.NETWORKS.items():
        net = network()
        graph, summary = net.graph, net.summary()
        inputs, outputs = (
            ", ".join(" x ".join(map(str, dims)) for dims in sizes)
            for sizes in (graph.inputs.values(), [graph.dims[value][1:] for value in graph.outputs])
        )
        lines.append(f"| {name} | {inputs} | {outputs} | {summary.parameters:,} | {summary.macs / 1e9:.3f} G |")
    return "\n".join(lines) + "\n"


def page() -> str:
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
