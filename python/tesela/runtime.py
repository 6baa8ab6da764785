"""What was built, what is used, and how to change it."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator
from typing import Any

import numpy as np

from . import _core
from .arguments import integer


def num_threads() -> int:
    """Threads that a run may use: set_num_threads, else TESELA_NUM_THREADS, else OMP_NUM_THREADS, else what the
    affinity mask and the control group's quota allow."""
    return _core.num_threads()


def set_num_threads(threads: int) -> None:
    """Sets num_threads() for the whole process; 0 returns to the default. Results do not change, bit for bit."""
    if integer("set_num_threads", "threads", threads) < 0:
        raise ValueError(f"set_num_threads: expected threads of at least 0, got {threads}")
    _core.set_num_threads(threads)


@contextlib.contextmanager
def max_isa(isa: str) -> Iterator[None]:
    """Within this context, programs are planned for `isa` ("generic", "avx2", "avx512") or less.

    The environment variable TESELA_MAX_ISA does the same for a whole process. Not to be changed by several threads.
    """
    before = _core.selected_isa()
    _core.set_max_isa(isa)
    try:
        yield
    finally:
        _core.set_max_isa(before)


def build_info() -> dict[str, Any]:
    """What this build of tesela contains."""
    return _core.build_info()


def show_runtime() -> dict[str, Any]:
    """What is used on this machine now."""
    return {
        "isa": _core.selected_isa(),
        "supported_isas": _core.supported_isas(),
        "threads": _core.num_threads(),
        "available_threads": _core.available_threads(),
        "devices": _core.devices(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": platform.machine(),
    }
