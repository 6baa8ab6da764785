"""Writes the tables of docs/networks.md and docs/weights.md: python bench/networks_page.py.

Sizes come from summary(), weights from tesela.published; nothing is typed.
"""

from pathlib import Path

from tesela import models, published
from tesela.report import rounded

DOCS = Path(__file__).parents[1] / "docs"


def networks() -> str:
    lines = ["| network | input | output | parameters | multiply-adds |", "| --- | --- | --- | ---: | ---: |"]
    for name, network in models.NETWORKS.items():
        net = network()
        graph, summary = net.graph, net.summary()
        inputs, outputs = (
            ", ".join(" x ".join(map(str, dims)) for dims in sizes)
            for sizes in (graph.inputs.values(), [graph.dims[value][1:] for value in graph.outputs])
        )
        lines.append(f"| {name} | {inputs} | {outputs} | {summary.parameters:,} | {rounded(summary.macs)} |")
    return "\n".join(lines) + "\n"


def weights() -> str:
    lines = ["| name | network | claimed by its source | takes | licence |", "| --- | --- | --- | --- | --- |"]
    for name, entry in published.ENTRIES.items():
        options = ", ".join(f"{key}={value}" for key, value in entry.options.items())
        network = "an ONNX model" if entry.network is None else f"{entry.network}({options})"
        changes = "".join(f", {key}={value}" for key, value in entry.changes.items())
        accuracy = f"[{entry.accuracy}]({entry.source})"
        lines.append(f"| `{name}` | {network} | {accuracy} | {entry.preset}{changes} | {entry.licence} |")
    return "\n".join(lines) + "\n"


PAGES = {"networks": networks, "weights": weights}


def page(name: str) -> str:
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
    before, rest = (DOCS / f"{name}.md").read_text(encoding="utf-8").split(begin)
    return before + begin + PAGES[name]() + end + rest.split(end)[1]


if __name__ == "__main__":
    for name in PAGES:
        (DOCS / f"{name}.md").write_text(page(name), encoding="utf-8")
