"""Layers of published networks on each engine that is installed, through pytest-benchmark:

    python -m pytest bench/bench_layers.py --benchmark-enable --benchmark-json layers.json [-k resnet50]

The engines sit in one process here and take turns layer by layer, which is good for finding a slow kernel. A claim of
speed is made with networks.py, where each has a process of its own.
"""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import tesela
from tesela.benchmark import ENGINES, ceilings
from tesela.benchmark.engines import Model
from tesela.benchmark.side_by_side import TOLERANCE, difference
from tesela.graph import Graph, Parameter

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import cases

LAYERS = [*cases.CONV2D_NETWORKS, *cases.CONV_TRANSPOSE2D_NETWORKS, *cases.LINEAR_NETWORKS]


def model_of(case: cases.Case, folder: Path) -> tuple[Model, np.ndarray]:
    """A network of this one layer, and its input."""
    arrays = case.arrays(np.random.default_rng(0))
    x = arrays.pop("x")
    g = Graph(case.name)
    parameters = {operand: Parameter(array.shape) for operand, array in arrays.items()}
    g.output(g.apply(case.op, "layer", g.input("x", x.shape[1:]), parameters=parameters, **case.arguments))
    return Model(g, {f"layer.{operand}": array for operand, array in arrays.items()}, len(x), folder), x


@pytest.fixture(scope="session")
def most() -> dict[str, float]:
    return ceilings(tesela.num_threads())


@pytest.mark.parametrize("engine", ["tesela", "onnxruntime", "torch"])
@pytest.mark.parametrize("case", LAYERS, ids=lambda case: case.id)
def test_layer(case, engine, most, benchmark, tmp_path):
    if engine != "tesela":
        pytest.importorskip(engine)
    model, x = model_of(case, tmp_path)
    compiled = model.network().compile(model.batch)
    run = importlib.import_module(ENGINES[engine]).prepare(model, tesela.num_threads())
    assert difference(run(x), [compiled(x)]) <= TOLERANCE
    benchmark.group = case.id
    benchmark(run, x)
    gflops = 2e-9 * case.macs / benchmark.stats.stats.min
    benchmark.extra_info |= {
        "engine": engine,
        "threads": tesela.num_threads(),
        "gflops": round(gflops, 2),
        "percent_of_peak": round(100 * gflops / most["gflops"], 1),
    }
    if engine == "tesela":
        steps = [step for step in compiled.steps() if step.flops]
        benchmark.extra_info["algorithm"] = ", ".join(step.algorithm for step in steps)
        benchmark.extra_info["flop_per_byte"] = round(2 * case.macs / sum(step.bytes for step in steps), 2)
