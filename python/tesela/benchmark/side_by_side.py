"""The race: engines on the same network, compared first, then timed in turns.

Each engine has a process to itself and takes its turn while the others wait; the order rotates from round to round, so
that slow drifts of the machine fall on all alike. A turn is one call that is not counted and then as many as fit.
"""

from __future__ import annotations

import os
import pickle
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from .. import report
from ..network import Network
from ..runtime import build_info, num_threads, show_runtime
from .engines import Model
from .machine import ceilings, describe, load_average

# Name -> module. tesela is what the others are compared with.
ENGINES = {
    name: f"{__package__}.engines.{name}"
    for name in ("tesela", "onnxruntime", "openvino", "ncnn", "mnn", "torch", "torch_channels_last")
}
TOLERANCE = 1e-3  # of the largest output; rounding stays well below, another network or narrower numbers do not
ROUNDS = 8


class Engine:
    """An engine in its process; a context manager. Raises RuntimeError where the engine cannot take part."""

    def __init__(self, module: str, model: Model, x: np.ndarray, threads: int):
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        try:
            self.outputs, self.version = self._ask((module, model, x, threads))
        except BaseException:
            self.close()
            raise

    def turn(self, seconds: float) -> list[float]:
        """Seconds of each call."""
        return self._ask(seconds)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _ask(self, message: object) -> Any:
        try:
            pickle.dump(message, self._process.stdin)
            self._process.stdin.flush()
            reply = pickle.load(self._process.stdout)
        except (EOFError, BrokenPipeError):
            raise RuntimeError(f"its process ended with {self._process.wait()}") from None
        except pickle.UnpicklingError:
            raise RuntimeError("its reply cannot be read") from None
        if isinstance(reply, RuntimeError):
            raise reply
        return reply


def difference(outputs: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> float:
    """Largest difference relative to the largest expected value, of the worst output; RuntimeError for other shapes."""
    shapes, expected_shapes = [y.shape for y in outputs], [y.shape for y in expected]
    if shapes != expected_shapes:
        raise RuntimeError(f"its outputs have shapes {shapes}, tesela's {expected_shapes}")
    return max(float(np.max(np.abs(y - e)) / np.max(np.abs(e))) for y, e in zip(outputs, expected, strict=True))


def race(
    network: Network,
    batch: int = 1,
    threads: int | None = None,
    engines: Iterable[str] | None = None,
    seconds: float = 4.0,
    say: Callable[[str], None] = lambda line: None,
    tune: bool = False,
) -> dict[str, Any]:
    """Times tesela and `engines` (default: all that are installed), about `seconds` each.

    An engine that is not installed, fails, or whose output differs from tesela's by more than TOLERANCE is not timed;
    the result says why under "skipped". Where several differ and none agrees, RuntimeError: it is tesela that is wrong.
    "ratio" is the best other engine's median time over tesela's. tune: as of Network.compile, before anything is timed.
    """
    threads = threads or num_threads()
    names = list(dict.fromkeys(["tesela", *(ENGINES if engines is None else engines)]))
    for name in names:
        if name not in ENGINES:
            raise ValueError(f"benchmark: unknown engine {name!r}; known are {', '.join(ENGINES)}")
    if len(network.graph.inputs) != 1:
        raise ValueError(f"benchmark: expected a network of one input, got {len(network.graph.inputs)}")
    (dims,) = network.graph.inputs.values()
    x = np.random.default_rng(0).random((batch, *dims), np.float32)
    load = load_average()

    with ExitStack() as stack:
        running, skipped = _prepare(stack, names, network, x, threads, say, tune)
        times = _take_turns(running, seconds, say)
    results = {
        name: {
            "version": engine.version,
            "median_ms": round(1e3 * statistics.median(times[name]), 4),
            "min_ms": round(1e3 * min(times[name]), 4),
            "runs": len(times[name]),
            "difference": difference(engine.outputs, running["tesela"].outputs),
        }
        for name, engine in running.items()
    }
    others = [result["median_ms"] for name, result in results.items() if name != "tesela"]
    return {
        "network": network.graph.name,
        "input": list(x.shape),
        "batch": batch,
        "threads": threads,
        "tuned": tune,
        "gflop": round(2e-9 * batch * network.summary().macs, 4),
        "load_before": load,
        "engines": results,
        "skipped": skipped,
        "ratio": round(min(others) / results["tesela"]["median_ms"], 3) if others else None,
    }


def _prepare(
    stack: ExitStack,
    names: Sequence[str],
    network: Network,
    x: np.ndarray,
    threads: int,
    say: Callable[[str], None],
    tune: bool,
) -> tuple[dict[str, Engine], dict[str, str]]:
    """The engines that compute what tesela does, and why the others do not run. tesela is the first of the names."""
    running: dict[str, Engine] = {}
    skipped: dict[str, str] = {}
    differing: list[str] = []
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    for name in names:
        say(f"preparing {name}")
        model = Model(network.graph, dict(network.parameters), len(x), folder / name, tune)
        model.folder.mkdir()
        try:
            engine = stack.enter_context(Engine(ENGINES[name], model, x, threads))
            error = difference(engine.outputs, running.get("tesela", engine).outputs)
        except RuntimeError as failure:
            if name == "tesela":
                raise
            skipped[name] = str(failure)
            continue
        if error <= TOLERANCE:  # a NaN is not
            running[name] = engine
        else:
            skipped[name] = f"its output differs from tesela's by {error:.1e} of the largest value"
            differing.append(name)
    if len(differing) > 1 and list(running) == ["tesela"]:
        raise RuntimeError(f"benchmark: tesela's output is not that of {', '.join(differing)}; nothing was timed")
    if "tesela" not in running:
        raise RuntimeError(f"benchmark: {skipped['tesela']}")
    return running, skipped


def _take_turns(running: dict[str, Engine], seconds: float, say: Callable[[str], None]) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in running}
    order = list(running)
    for turn in range(ROUNDS):
        say(f"round {turn + 1} of {ROUNDS}")
        for name in order:
            times[name] += running[name].turn(seconds / ROUNDS)
        order = order[1:] + order[:1]
    return times


def record(races: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What is written as JSON: the races with machine, date, versions, and the ceilings of each number of threads."""
    versions = {name: result["version"] for one in races for name, result in one["engines"].items()}
    return {
        "machine": describe(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": versions | {key: show_runtime()[key] for key in ("python", "numpy")},
        "build": build_info() | {"isa": show_runtime()["isa"]},
        "ceilings": {str(threads): ceilings(threads) for threads in sorted({one["threads"] for one in races})},
        "races": list(races),
    }


def machine_line(recorded: dict[str, Any], threads: int) -> str:
    """The machine of a record and its ceilings."""
    machine, most = recorded["machine"], recorded["ceilings"][str(threads)]
    return (
        f"{machine['cpu']}, {machine['cores']} cores ({' '.join(machine['flags'])}); with {threads} "
        f"thread{'s' if threads > 1 else ''} kernels reach {most['gflops']:.0f} GFLOP/s in cache and reading "
        f"{most['read_gb_s']:.0f} GB/s from memory"
    )


def table(result: dict[str, Any]) -> str:
    """One race as text, the fastest first, and below it who took no part."""
    engines = sorted(result["engines"].items(), key=lambda item: item[1]["median_ms"])
    rows = [
        [name, e["version"], f"{e['median_ms']:.3f}", f"{e['min_ms']:.3f}", str(e["runs"]),
         f"{result['gflop'] / e['median_ms'] * 1e3:.1f}", f"{e['difference']:.1e}"]
        for name, e in engines
    ]  # fmt: skip
    header = ["engine", "version", "median ms", "min ms", "runs", "GFLOP/s", "difference"]
    lines = [
        f"{result['network']}, batch {result['batch']}, threads {result['threads']}",
        report.table(header, rows),
        *(f"without {name}: {reason}" for name, reason in result["skipped"].items()),
    ]
    if result["ratio"] is not None:
        lines.append(f"ratio {result['ratio']:.2f}: the best other engine's median time over tesela's")
    return "\n".join(lines)
