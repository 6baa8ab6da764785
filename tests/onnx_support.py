"""Writes the table of docs/onnx.md: python -m tests.onnx_support, in the root of the repository."""

import re
from collections import Counter
from pathlib import Path

import onnx.defs
import tesela.onnx  # noqa: F401  (fills the table of translators)
from tesela.onnx.translation import TRANSLATORS

DOCUMENT = Path(__file__).parent.parent / "docs" / "onnx.md"
REFUSED = {"Loop", "Scan"}


def table() -> str:
    passed = Counter()
    operators = {name.lower(): name for name in TRANSLATORS}
    for case in (Path(__file__).parent / "onnx_passing.txt").read_text().split():
        word = re.sub(r"_", "", case.removeprefix("test_"))
        fits = [name for lower, name in operators.items() if word.startswith(lower)]
        if fits:
            passed[max(fits, key=len)] += 1
    lines = ["| operator | since opset | cases named after it that pass |", "| --- | ---: | ---: |"]
    for name in sorted(TRANSLATORS):
        if name not in REFUSED and "Sequence" not in name:
            since = min(s.since_version for s in onnx.defs.get_all_schemas_with_history() if s.name == name)
            lines.append(f"| {name} | {max(since, 6)} | {passed[name] or ''} |")
    return "\n".join(lines)


def written(text: str) -> str:
    return re.sub(r"(<!-- support -->\n).*(\n<!-- /support -->)", rf"\1{table()}\2", text, flags=re.DOTALL)


if __name__ == "__main__":
    DOCUMENT.write_text(written(DOCUMENT.read_text()))
