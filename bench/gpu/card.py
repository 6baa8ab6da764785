"""The card, its driver and its clocks, as nvidia-smi tells them."""

from __future__ import annotations

import shutil
import subprocess

FIELDS = (
    "name", "driver_version", "compute_cap", "memory.total", "clocks.sm", "clocks.mem", "clocks.max.sm",
    "clocks.max.mem", "power.draw", "power.limit", "temperature.gpu", "clocks_event_reasons.active",
)  # fmt: skip


def describe() -> dict[str, str]:
    """Of the first card; RuntimeError, with what is missing, where there is none."""
    if shutil.which("nvidia-smi") is None:
        raise RuntimeError("nvidia-smi was not found: this machine has no NVIDIA driver")
    query = ["nvidia-smi", "--id=0", f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True)
    if answer.returncode:
        raise RuntimeError(f"nvidia-smi: {(answer.stdout + answer.stderr).strip()}")
    return parse(answer.stdout)


def parse(line: str) -> dict[str, str]:
    values = [value.strip() for value in line.strip().split(",")]
    if len(values) != len(FIELDS):
        raise RuntimeError(f"nvidia-smi: expected {len(FIELDS)} fields, got {line.strip()!r}")
    return dict(zip(FIELDS, values, strict=True))


def architecture(card: dict[str, str]) -> str:
    """What CUDAARCHS has to say for this card alone: 90a-real for 9.0, whose kernels of Hopper need the a."""
    number = card["compute_cap"].replace(".", "")
    return "90a-real" if number == "90" else f"{number}-real"
