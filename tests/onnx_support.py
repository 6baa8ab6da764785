"""Writes the table of docs/onnx.md: python -m tests.onnx_support, in the root of the repository."""

import re
import warnings
from collections import Counter
from pathlib import Path

import onnx
import tesela.onnx  # noqa: F401  (fills the table of translators)
from onnx.backend.test import loader
from tesela.onnx.translation import TRANSLATORS

DOCUMENT = Path(__file__).parent.parent / "docs" / "onnx.md"
REFUSED = {"Loop", "Scan"}


def passed() -> Counter:
    """How many cases of the suite that pass have an operator in their model; those with real networks left out."""
    passing, counts = set((Path(__file__).parent / "onnx_passing.txt").read_text().split()), Counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the suite's own making, when it computes what it expects
        for kind in ("node", "simple", "pytorch-converted", "pytorch-operator"):
            for case in loader.load_model_tests(kind=kind):
                if f"{case.name}_cpu" in passing:
                    model = case.model or onnx.load(Path(case.model_dir) / "model.onnx")
                    counts.update({node.op_type for node in model.graph.node})
    return counts


def table() -> str:
    counts = passed()
    lines = ["| operator | since opset | cases that have it and pass |", "| --- | ---: | ---: |"]
    for name in sorted(TRANSLATORS):
        if name not in REFUSED and "Sequence" not in name:
            since = min(s.since_version for s in onnx.defs.get_all_schemas_with_history() if s.name == name)
            lines.append(f"| {name} | {max(since, 6)} | {counts[name] or ''} |")
    return "\n".join(lines)


def written(text: str) -> str:
    return re.sub(r"(<!-- support -->\n).*(\n<!-- /support -->)", rf"\1{table()}\2", text, flags=re.DOTALL)


if __name__ == "__main__":
    DOCUMENT.write_text(written(DOCUMENT.read_text()))
