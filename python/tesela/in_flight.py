"""Arrays of other libraries that a run on a device may still read: kept until it has ended."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

from . import _core

_lock = threading.RLock()  # collecting garbage inside may bring a thread here again
_runs: deque[tuple[_core.DeviceMemory, Sequence[Any]]] = deque()  # the mark of each run's end, and its arrays


def keep(arrays: Sequence[Any], device: str, stream: int) -> None:
    """Until the work so far on the stream is done."""
    mark = _core.DeviceMemory(device, 0, stream)
    mark.used(stream)
    with _lock:
        _runs.append((mark, arrays))


def let_go() -> None:
    """Of the arrays whose runs have ended, in the order in which they began."""
    ended = []
    with _lock:
        while _runs and _runs[0][0].done():
            ended.append(_runs.popleft())
    del ended  # outside of the lock: an owner may do anything when its array is let go
