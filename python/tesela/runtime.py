"""What was built, what is used, and how to change it."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _core
from .arguments import integer

if TYPE_CHECKING:
    from pathlib import Path


def num_threads() -> int:
    """Threads that a run may use: set_num_threads, else TESELA_NUM_THREADS, else OMP_NUM_THREADS, else what the
    affinity mask and the control group's quota allow."""
    return _core.num_threads()


def set_num_threads(threads: int) -> None:
    """Sets num_threads() for the whole process; 0 returns to the default. Results do not change, bit for bit.

    A network that is called again is planned again, for its work is cut for that many threads.
    """
    _core.set_num_threads(integer("set_num_threads", "threads", threads))


@contextlib.contextmanager
def max_isa(isa: str) -> Iterator[None]:
    """Within this context, programs are planned for `isa` ("generic", "avx2", "avx512") or less.

    The environment variable TESELA_MAX_ISA does the same for a whole process. Not to be entered or left
    while another thread plans: what it plans would be for both.
    """
    before = _core.selected_isa()
    _core.set_max_isa(isa)
    try:
        yield
    finally:
        _core.set_max_isa(before)


_device: ContextVar[str] = ContextVar("tesela_device", default="cpu")


def current_device() -> str:
    """The device that functional operators use for NumPy arrays."""
    return _device.get()


@contextlib.contextmanager
def default_device(device: str) -> Iterator[None]:
    """Within this context, functional operators and calls of networks take NumPy arrays to `device` and back.

    For tests and comparisons: each call copies its arrays. "cpu", "cuda", or "emulator", which runs the CUDA kernels
    without a GPU where it was built. Raises DeviceError if the device cannot be had.
    """
    _core.Program(device)
    token = _device.set(device)
    try:
        yield
    finally:
        _device.reset(token)


def cache() -> Path:
    """The folder for what can be had again: the one that TESELA_CACHE names, else "tesela" in the system's for caches.

    Weights that published.py downloads, and what net.compile(tune=True) has measured.
    """
    from pathlib import Path

    if folder := os.environ.get("TESELA_CACHE"):
        return Path(folder)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "tesela"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tesela"


def cpuinfo() -> dict[str, str]:
    """What Linux says about the first CPU; nothing elsewhere."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            lines = file.read().splitlines()
    except OSError:
        return {}
    pairs = [line.split(":", 1) for line in lines if ":" in line]
    return {key.strip(): value.strip() for key, value in reversed(pairs)}


def cpu_name() -> str:
    return cpuinfo().get("model name") or platform.processor() or platform.machine()


def build_info() -> dict[str, Any]:
    """What this build of tesela contains."""
    return _core.build_info()


def show_runtime() -> dict[str, Any]:
    """What is used on this machine now."""
    return {
        "isa": _core.selected_isa(),
        "supported_isas": _core.supported_isas(),
        "bfloat16_products": _core.has_bfloat16_products(),
        "threads": _core.num_threads(),
        "available_threads": _core.available_threads(),
        "devices": _core.devices(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": platform.machine(),
    }
