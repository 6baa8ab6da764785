"""The process of one engine, python -m tesela.benchmark.worker: speaks pickles with `Engine` in side_by_side.py.

One process per engine, because thread pools, allocators and rounding modes of different engines disturb each other, and
because an engine that crashes should not take the others with it.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import pickle
import sys
import textwrap
import time
from collections.abc import Callable


def timed(call: Callable[[], object], seconds: float) -> list[float]:
    """Seconds of each call for at least `seconds` and one call, after one that is not counted."""
    call()
    times: list[float] = []
    while sum(times) < seconds or not times:
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return times


def serve(requests, replies) -> None:
    """Request 1: (module, model, x, threads), answered by (outputs, version); then seconds, answered by times.

    An error is answered as a RuntimeError.
    """

    def reply(message: object) -> None:
        pickle.dump(message, replies)
        replies.flush()

    try:
        module, model, x, threads = pickle.load(requests)
        engine = importlib.import_module(module)
        run = engine.prepare(model, threads)
        reply((run(x), importlib.metadata.version(engine.DISTRIBUTION)))
        while True:
            seconds = pickle.load(requests)
            reply(timed(lambda: run(x), seconds))
    except ImportError as error:
        reply(RuntimeError(f"not installed ({error})"))
    except Exception as error:
        reply(RuntimeError(textwrap.shorten(f"{type(error).__name__}: {error}", 300)))


if __name__ == "__main__":
    # What an engine prints must not get among the replies.
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(sys.stdin.buffer, replies)
