"""Algorithms chosen by measuring, for net.compile(tune=True), and the file that remembers them.

What a layer costs depends on what the caches hold when it begins, and on what the other threads do. So layers are
measured where they stand: the network is compiled once more for every further candidate, all layers with theirs at the
same time, and takes turns with the network of the estimates. Layers that are alike share their times and one entry.

The file is tuning.json in the folder `cache()`: {machine and build: {layer: algorithm}}.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from . import _core
from .compile import CompiledNetwork
from .runtime import cache, cpu_name

_MARGIN = 0.02  # of its time that an algorithm must win over the estimate's choice: less is noise
_SECONDS = 1.0  # of measuring for each candidate, within these numbers of rounds
_ROUNDS = (5, 50)

Make = Callable[..., CompiledNetwork]  # takes `algorithms`, as CompiledNetwork does


def tuned(make: Make) -> CompiledNetwork:
    """The network with the fastest algorithm of each layer that has a choice: as remembered, else as measured now."""
    estimated = make()
    layers = {name: choice for name, choice in estimated.choices.items() if len(choice.algorithms) > 1}
    choices = {choice.key: choice.algorithms for choice in layers.values()}
    if not choices:
        return estimated
    path, machine = cache() / "tuning.json", _machine(estimated)
    known = _read(path).get(machine, {})
    chosen = {key: known[key] for key, algorithms in choices.items() if known.get(key) in algorithms}

    def with_candidates(i: int) -> CompiledNetwork:
        """Layers without an entry take their i-th candidate, or the first where there are fewer."""
        algorithms = {
            name: chosen.get(choice.key) or choice.algorithms[i if i < len(choice.algorithms) else 0]
            for name, choice in layers.items()
        }
        return make(algorithms=algorithms)

    missing = {key: algorithms for key, algorithms in choices.items() if key not in chosen}
    if missing:
        measured = _fastest(with_candidates, missing)
        _remember(path, machine, measured)
        chosen |= measured
    return with_candidates(0)


def _fastest(with_candidates: Callable[[int], CompiledNetwork], missing: Mapping[str, Sequence[str]]) -> dict[str, str]:
    first = with_candidates(0)
    fastest = {key: (1 - _MARGIN, algorithms[0]) for key, algorithms in missing.items()}
    for i in range(1, max(map(len, missing.values()))):
        base, other = _seconds([first, with_candidates(i)])
        for key, algorithms in missing.items():
            if i < len(algorithms):
                fastest[key] = min(fastest[key], (other[key] / base[key], algorithms[i]))
    return {key: algorithm for key, (_, algorithm) in fastest.items()}


def _seconds(networks: Sequence[CompiledNetwork]) -> list[dict[str, float]]:
    """The least seconds of each network's layers, by the keys of their choices, in runs that take turns."""
    rng = np.random.default_rng(0)
    arrays = []
    for name, dims in networks[0].input_dims.items():
        dtype = networks[0].input_dtypes[name]
        arrays.append(rng.random(dims, np.float32) if dtype == "float32" else np.zeros(dims, dtype))
    least = [np.full(len(network.steps()), np.inf) for network in networks]
    start, (fewest, most) = time.perf_counter(), _ROUNDS
    for turn in range(most):
        if turn >= fewest and time.perf_counter() - start > _SECONDS:
            break
        for network, times in zip(networks, least, strict=True):
            np.minimum(times, [step.seconds for step in network.profile(*arrays, repeats=1)], out=times)
    results = []
    for network, times in zip(networks, least, strict=True):
        results.append(defaultdict(float))
        for step, seconds in zip(network.steps(), times, strict=True):
            if step.name in network.choices:
                results[-1][network.choices[step.name].key] += seconds
    return results


# ------------------------------------------------------------------------------------------------------------ the file


def _machine(network: CompiledNetwork) -> str:
    """All but the layer that a choice depends on."""
    hardware = cpu_name() if network.device == "cpu" else _core.hardware(network.device)
    build = hashlib.sha256(Path(_core.__file__).read_bytes()).hexdigest()[:16]
    return f"{hardware}, {network.isa}, {network.threads or _core.num_threads()} threads, build {build}"


def _read(path: Path) -> dict[str, dict[str, str]]:
    try:
        machines = json.loads(path.read_text(encoding="utf-8"))
        if all(isinstance(name, str) for layers in machines.values() for name in layers.values()):
            return machines
    except OSError:  # none yet, or none that can be read: writing it will tell
        return {}
    except (ValueError, AttributeError, RecursionError):
        pass
    warnings.warn(f"{path} is not what tesela writes there; it is ignored, and replaced after measuring", stacklevel=4)
    return {}


def _remember(path: Path, machine: str, algorithms: Mapping[str, str]) -> None:
    """Adds the choices to what others may have written meanwhile; readers see the old file or the new one."""
    machines = _read(path)
    machines.setdefault(machine, {}).update(algorithms)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, new = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        with open(handle, "w", encoding="utf-8") as file:
            json.dump(machines, file, indent=1)
        os.replace(new, path)
    except OSError as error:
        warnings.warn(f"{path} could not be written, what was measured is forgotten: {error}", stacklevel=4)
