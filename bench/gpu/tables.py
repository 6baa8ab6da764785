"""What bench.gpu has measured, as the part of docs/performance.md that bench.report writes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

NOTHING = "Not measured on a GPU yet: `python -m bench.gpu --out DIR`, on a machine with one, makes the record.\n"
TIE = 0.03  # ratios nearer to 1 than this are even
WHO = ("tesela", "torch", "torch_tuned", "torch_tuned_graph", "cudnn_frontend")

HEAD = """\
Microseconds for the whole batch with a warm cache, and in brackets after the L2 cache was flushed; float64 errors as a
fraction of the largest value. *torch_tuned* is with channels last and benchmark mode, *graph* the same in a CUDA graph,
*cudnn_frontend* one fused graph, the fastest of all its plans. *Ratio* is the best other time over tesela's.
"""


def part(root: Path) -> str:
    """The section on GPUs, from bench/results/*/cudnn.json."""
    records = [json.loads(path.read_text()) for path in sorted((root / "bench/results").glob("*/cudnn.json"))]
    return "## GPUs\n\n" + ("".join(map(_of_card, records)) if records else NOTHING)


def _of_card(record: dict[str, Any]) -> str:
    card = record["card"] or {"name": record["device"], "driver_version": "none"}
    lines = [f"### {card['name']}\n\n", HEAD, f"\nDriver {card['driver_version']}, PyTorch {record['torch']}, ",
             f"cuDNN {record['cudnn']}.\n\n"]  # fmt: skip
    for precision in dict.fromkeys(row["precision"] for row in record["rows"]):
        rows = [row for row in record["rows"] if row["precision"] == precision]
        lines.append(f"#### {precision}\n\n{_table(rows)}\n")
    if record["left_out"]:
        names = ", ".join(f"{name} at {batch}" for name, batch in record["left_out"])
        lines.append(f"Left out for want of time: {names}.\n\n")
    return "".join(lines)


def _table(rows: list[dict[str, Any]]) -> str:
    who = [name for name in WHO if any(name in row["microseconds"] for row in rows)]
    cells = [["layer or network", "batch", *who, "ratio", *(f"error, {name}" for name in who)]]
    cells.append(["---", *["---:"] * (len(cells[0]) - 1)])
    for row in rows:
        times = [
            f"{row['microseconds'][name]:.1f} ({row['cold'][name]:.1f})" if name in row["microseconds"] else ""
            for name in who
        ]
        errors = [f"{row['error'][name]:.1e}" if name in row["error"] else "" for name in who]
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        cells.append([f"`{row['name']}`", str(row["batch"]), *times, ratio, *errors])
    table = "".join(f"| {' | '.join(line)} |\n" for line in cells)
    return table + "\n" + _sum([row["ratio"] for row in rows if row["ratio"] is not None]) + _skipped(rows)


def _sum(ratios: list[float]) -> str:
    if not ratios:
        return ""
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    ahead, behind = sum(r > 1 + TIE for r in ratios), sum(r < 1 - TIE for r in ratios)
    even = len(ratios) - ahead - behind
    return f"Geometric mean of ratios {mean:.2f}; {ahead} ahead, {even} even within 3 %, {behind} behind.\n"


def _skipped(rows: Iterable[dict[str, Any]]) -> str:
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for name, reason in row["skipped"].items():
            reasons.setdefault((name, reason), []).append(f"{row['name']} at {row['batch']}")
    return "".join(
        f"- {name} was not timed {len(where)} times ({where[0]}{', ...' if where[1:] else ''}): {reason}\n"
        for (name, reason), where in reasons.items()
    )
