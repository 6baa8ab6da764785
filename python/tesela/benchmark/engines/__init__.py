"""Adapters, one file per engine. Each has two names:

    DISTRIBUTION             whose version is recorded
    prepare(model, threads)  -> run(x), float32 NumPy in, a list of NumPy arrays out

What `prepare` does is not timed; everything in `run` is, also what an engine needs to take and return NumPy arrays.
All compute in float32: an engine that would choose something narrower by itself is told not to. ImportError means that
an engine is not installed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...graph import Graph
from ...network import Network

Run = Callable[[np.ndarray], list[np.ndarray]]


@dataclass(frozen=True)
class Model:
    """What every engine is given: a network, and a folder of its own for files."""

    graph: Graph
    parameters: dict[str, np.ndarray]
    batch: int
    folder: Path
    tune: bool = False  # whether tesela measures its algorithms first

    def network(self) -> Network:
        return Network(self.graph, self.parameters)

    def to_onnx(self, batch: int | None = None) -> Path:
        """The path of the network as an ONNX file whose batch size is fixed."""
        path = self.folder / "model.onnx"
        self.network().to_onnx(path, batch=batch or self.batch)
        return path
