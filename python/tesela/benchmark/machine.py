"""What the numbers were measured on, and what it can do at most."""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from .. import _core
from ..graph import Graph
from ..network import Network
from ..runtime import cpu_name, cpuinfo

# The instruction sets that matter to a convolution, in the words of /proc/cpuinfo.
_FLAGS = ("avx", "fma", "avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "asimd", "sve")

_BIG = 32 << 20  # numbers of 8 bytes, 256 MiB: more than a cache holds


def describe() -> dict[str, Any]:
    info = cpuinfo()
    flags = (info.get("flags") or info.get("Features") or "").split()
    return {
        "cpu": cpu_name(),
        "flags": [flag for flag in _FLAGS if flag in flags],
        "cores": _core.available_threads(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def slug(machine: dict[str, Any]) -> str:
    """A folder name, with what tells processors of one name apart: "amd-epyc-avx512-2" for 2 cores with AVX-512."""
    widest = "avx512" if "avx512f" in machine["flags"] else "avx2" if "avx2" in machine["flags"] else ""
    return re.sub(r"[^a-z0-9]+", "-", f"{machine['cpu']} {widest} {machine['cores']}".lower()).strip("-")


def load_average() -> float | None:
    """Of the last minute; more than a little of it means that others were computing too."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def ceilings(threads: int) -> dict[str, float]:
    """What can be had at most, as far as it can be measured from here.

    gflops: the best of tesela's own matrix products on operands in cache, a lower bound of the arithmetic peak.
    read_gb_s: bytes per second, in units of 1e9, of sums over an array that no cache holds.
    """
    return {"gflops": round(_gflops(threads), 1), "read_gb_s": round(_read_bandwidth(threads), 1)}


def _gflops(threads: int) -> float:
    best = 0.0
    for channels, size in ((64, 28), (128, 28), (256, 14), (256, 28)):
        g = Graph("peak")
        # Kernels of one pixel are matrix products: nothing computes them with fewer operations than are counted.
        g.output(g.conv2d("conv", g.input("x", (channels, size, size)), channels, 1))
        compiled = Network(g).compile(threads=threads)
        steps = compiled.profile(np.ones((1, channels, size, size), np.float32), repeats=100)
        best = max(best, *(step.flops / step.seconds / 1e9 for step in steps))
    return best


def _read_bandwidth(threads: int) -> float:
    array = np.ones(_BIG, np.int64)  # integer sums cost the least beside reading
    parts = np.array_split(array, threads)
    with ThreadPoolExecutor(threads) as pool:
        return array.nbytes / min(_seconds(lambda: list(pool.map(np.sum, parts))) for _ in range(5)) / 1e9


def _seconds(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin
