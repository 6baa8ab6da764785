"""The race: who may take part, what is recorded, and what the report makes of it. Speed itself is not tested."""

import json
import os
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from tesela import benchmark
from tesela.benchmark import worker
from tesela.benchmark.side_by_side import TOLERANCE, difference
from tesela.graph import Graph
from tesela.network import Network

ROOT = Path(__file__).parents[1]
if not (ROOT / "bench").is_dir():
    pytest.skip("the repository's bench/ is not here", allow_module_level=True)
sys.path.insert(0, str(ROOT))

from bench import report  # noqa: E402

# Engines whose output is tesela's times FACTOR, in modules that a worker process can import.
FAKE = """
    from tesela.benchmark.engines.tesela import prepare as prepare_tesela

    DISTRIBUTION = "numpy"

    def prepare(model, threads):
        run = prepare_tesela(model, threads)
        return lambda x: [FACTOR * y for y in run(x)]
"""
FAKES = {
    "same": FAKE.replace("FACTOR", "1.0"),
    "close": FAKE.replace("FACTOR", f"(1 + {0.5 * TOLERANCE})"),
    "wrong": FAKE.replace("FACTOR", f"(1 + {2 * TOLERANCE})"),
    "other_wrong": FAKE.replace("FACTOR", "-1.0"),
    "nan": FAKE.replace("FACTOR", "float('nan')"),
    "misshapen": FAKE.replace("FACTOR * y", "y[0]"),
    "missing": "import no_such_engine",
    "failing": "raise KeyError('no such operator')",
    "crashing": "import os; os._exit(3)",
    "talkative": "print('hello'); import os; os.system('echo hello')\n"
    + textwrap.dedent(FAKE.replace("FACTOR", "1.0")),
}


@pytest.fixture
def engines(monkeypatch, tmp_path):
    for name, source in FAKES.items():
        (tmp_path / f"fake_{name}.py").write_text(textwrap.dedent(source))
        monkeypatch.setitem(benchmark.ENGINES, name, f"fake_{name}")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)


@pytest.fixture(scope="module")
def network():
    g = Graph("tiny")
    x = g.input("image", (3, 8, 8))
    x = g.conv2d("conv", x, 4, 3, padding=1, activation="relu")
    x = g.batch_norm("norm", x)
    x = g.max_pool2d("pool", x, kernel_size=3, stride=2, padding=((0, 1), (0, 1)))
    x = g.concat("concat", [x, g.sigmoid("sigmoid", x)])
    x = g.add("add", x, g.conv2d("project", x, 8, 1, bias=False))
    g.output(g.linear("fc", g.flatten("flatten", g.global_avg_pool2d("mean", x)), 5))
    return Network(g)


def race(network, *names):
    return benchmark.race(network, batch=2, threads=1, engines=names, seconds=0)


# -------------------------------------------------------------------------------------------------------- taking part


def test_engines_that_agree_are_timed(network, engines):
    result = race(network, "same", "close", "talkative")
    assert list(result["engines"]) == ["tesela", "same", "close", "talkative"] and not result["skipped"]
    for engine in result["engines"].values():
        assert engine["runs"] >= 8 and 0 < engine["min_ms"] <= engine["median_ms"]
    assert result["engines"]["same"]["difference"] == 0
    assert result["engines"]["close"]["difference"] == pytest.approx(0.5 * TOLERANCE, rel=0.01)
    best = min(e["median_ms"] for name, e in result["engines"].items() if name != "tesela")
    assert result["ratio"] == pytest.approx(best / result["engines"]["tesela"]["median_ms"], abs=2e-3)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("wrong", "differs from tesela's by 2.0e-03"),
        ("nan", "differs from tesela's by nan"),
        ("misshapen", "its outputs have shapes"),
        ("missing", "not installed (No module named 'no_such_engine')"),
        ("failing", "KeyError: 'no such operator'"),
        ("crashing", "its process ended with 3"),
    ],
)
def test_others_are_named_with_the_reason(name, reason, network, engines):
    result = race(network, name)
    assert list(result["engines"]) == ["tesela"] and result["ratio"] is None
    assert reason in result["skipped"][name]
    assert f"without {name}: " in benchmark.table(result)


def test_where_all_others_differ_nothing_is_timed(network, engines):
    with pytest.raises(RuntimeError, match="tesela's output is not that of wrong, other_wrong"):
        race(network, "wrong", "other_wrong")


def test_unknown_engine(network):
    with pytest.raises(ValueError, match="unknown engine 'tensorflow'; known are tesela, onnxruntime"):
        race(network, "tensorflow")


@pytest.fixture(scope="module")
def everyone(network):
    return race(network, *benchmark.ENGINES)


@pytest.mark.parametrize("name", [name for name in benchmark.ENGINES if name != "tesela"])
def test_adapters(name, everyone):
    if "not installed" in everyone["skipped"].get(name, ""):
        pytest.skip(everyone["skipped"][name])
    assert name not in everyone["skipped"], everyone["skipped"][name]
    assert everyone["engines"][name]["difference"] < 1e-5


def test_difference_is_relative_to_the_largest_value_of_the_worst_output():
    expected = [np.array([2.0, -4.0]), np.array([100.0])]
    assert difference([np.array([2.0, -5.0]), np.array([101.0])], expected) == 0.25


def test_timed_leaves_the_first_call_out():
    calls = []
    assert len(worker.timed(lambda: calls.append(0), 0)) == 1 and len(calls) == 2


# ---------------------------------------------------------------------------------------------------------- recording


def test_record_is_json_with_everything_to_judge_a_number(network, engines, monkeypatch):
    monkeypatch.setattr("tesela.benchmark.side_by_side.ceilings", lambda threads: {"gflops": 1.0, "read_gb_s": 2.0})
    record = json.loads(json.dumps(benchmark.record([race(network, "same", "missing")])))
    assert set(record) == {"machine", "date", "versions", "build", "ceilings", "races"}
    assert set(record["machine"]) == {"cpu", "flags", "cores", "system"} and record["machine"]["cores"] >= 1
    assert {"tesela", "same", "python", "numpy"} <= set(record["versions"])
    assert record["ceilings"] == {"1": {"gflops": 1.0, "read_gb_s": 2.0}}
    (one,) = record["races"]
    assert set(one) == {
        "network", "input", "batch", "threads", "tuned", "gflop", "load_before", "engines", "skipped", "ratio",
    }  # fmt: skip
    assert one["input"] == [2, 3, 8, 8] and one["threads"] == 1
    assert set(one["engines"]["same"]) == {"version", "median_ms", "min_ms", "runs", "difference"}
    assert "1 GFLOP/s in cache and reading 2 GB/s" in benchmark.machine_line(record, 1)


def test_ceilings_are_positive(monkeypatch):
    monkeypatch.setattr("tesela.benchmark.machine._BIG", 1 << 20)
    assert all(value > 0 for value in benchmark.ceilings(1).values())


def test_slug():
    machine = {"cpu": "Some(R) CPU @ 2.50GHz", "cores": 4, "flags": []}
    assert benchmark.slug(machine) == "some-r-cpu-2-50ghz-4"
    assert benchmark.slug(machine | {"flags": ["avx", "avx2"]}) == "some-r-cpu-2-50ghz-avx2-4"
    assert benchmark.slug(machine | {"flags": ["avx2", "avx512f"]}) == "some-r-cpu-2-50ghz-avx512-4"


# ---------------------------------------------------------------------------------------------------------- reporting

RECORD = {
    "machine": {"cpu": "Some CPU", "flags": ["avx2", "fma"], "cores": 2, "system": "Linux x86_64"},
    "date": "2020-02-02T02:02:02+00:00",
    "versions": {"tesela": "0.1.0", "onnxruntime": "1.2.3", "python": "3.10.0", "numpy": "2.0.0"},
    "build": {"compiler": "GNU 12", "build_type": "Release", "isas": ["avx2"], "cuda": False, "isa": "avx2"},
    "ceilings": {"2": {"gflops": 100.0, "read_gb_s": 20.0}},
    "races": [
        {
            "network": name, "input": [batch, 3, 224, 224], "batch": batch, "threads": 2, "gflop": 4.0 * batch,
            "load_before": 0.1, "ratio": ratio, "skipped": {"ncnn": "not installed (No module named 'ncnn')"},
            "engines": {
                "tesela": {"version": "0.1.0", "median_ms": 50.0, "min_ms": 49.0, "runs": 80, "difference": 0.0},
                "onnxruntime": {
                    "version": "1.2.3", "median_ms": 50.0 * ratio, "min_ms": 55.0, "runs": 70, "difference": 1e-6,
                },
            },
        }
        for name, batch, ratio in (("alexnet", 1, 1.25), ("resnet50", 1, 0.8), ("resnet50", 16, 1.1))
    ],
}  # fmt: skip


@pytest.fixture
def house(tmp_path):
    """A repository with one record."""
    (tmp_path / "bench/results/some-cpu-2").mkdir(parents=True)
    (tmp_path / "bench/results/some-cpu-2/networks.json").write_text(json.dumps(RECORD))
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("before\n<!-- performance -->\nold\n<!-- /performance -->\nafter\n")
    return tmp_path


def test_report_writes_every_number_from_the_records(house):
    report.write(house)
    page = (house / "docs/performance.md").read_text()
    for words in (
        "Some CPU",
        "2020-02-02",
        "onnxruntime 1.2.3",
        "100 GFLOP/s",
        "20 GB/s",
        "| 62.50 |",
        "| 1.25 | 0.87 |",
        "| 0.80 | **0.87** |",  # a goal that was missed
    ):
        assert words in page, words
    assert "ncnn" in page  # who took no part is named
    figure = (house / "docs/figures/some-cpu-2-batch1-threads2.svg").read_text()
    assert "(figures/some-cpu-2-batch1-threads2.svg)" in page
    assert all(f"<!-- {name} -->" in figure for name in ("alexnet", "resnet50", "onnxruntime"))


def test_report_shows_layers_where_they_were_recorded(house):
    def layer(engine, seconds, **more):
        return {"group": "conv2d-x", "stats": {"median": seconds}, "extra_info": {"engine": engine, **more}}

    own = layer("tesela", 1e-3, threads=2, gflops=80.0, percent_of_peak=75.0, algorithm="direct", flop_per_byte=9.0)
    path = house / "bench/results/some-cpu-2/layers.json"
    path.write_text(json.dumps({"benchmarks": [own, layer("torch", 2e-3)]}))
    kernel = house / "csrc/cpu/kernels/conv2d_direct.cpp"
    kernel.parent.mkdir(parents=True)
    for before in (
        "// conv2d.\n\n#include <stddef.h>\n",
        "// conv2d.\n//\n// Measured: no record yet; docs/performance.md.\n\n#include <stddef.h>\n",
        None,  # what the last one wrote
    ):
        if before:
            kernel.write_text(before)
        report.write(house)
        assert "| `conv2d-x` | 1000 | 2000 | direct | 80 | 75 % |" in (house / "docs/performance.md").read_text()
        assert "<!-- direct -->" in (house / "docs/figures/some-cpu-2-layers.svg").read_text()
        assert kernel.read_text() == (
            "// conv2d.\n//\n// Measured: one layer at 75 to 75 % of the ceiling, median 75 %;\n"
            "// Some CPU, avx2, 2 threads, 2020-02-02; docs/performance.md.\n\n#include <stddef.h>\n"
        )


def test_report_shows_operators_where_they_were_recorded(house):
    race = {"network": "norm1", "input": [1, 96, 55, 55], "threads": 2, "ratio": 1.5}
    race["engines"] = {"tesela": {"median_ms": 0.12}, "openvino": {"median_ms": 0.18}}
    product = {"m": 4, "k": 5, "n": 6, "threads": 2, "gflops": {"tesela": 90.0, "numpy": 80.0}, "ratio": 1.12}
    path = house / "bench/results/some-cpu-2/operators.json"
    path.write_text(json.dumps({"races": [race], "products": [product]}))
    report.write(house)
    page = (house / "docs/performance.md").read_text()
    assert "| norm1 | 96 x 55 x 55 | 120 | 180 | 1.50 |" in page and "| 4 x 5 x 6 | 2 | 90 | 80 | 1.12 |" in page


def test_report_replaces_only_what_is_between_the_markers(house):
    report.write(house)
    once = (house / "README.md").read_text()
    assert once.startswith("before\n<!-- performance -->\n") and once.endswith("<!-- /performance -->\nafter\n")
    assert "old" not in once and "alexnet" in once and "1.25" in once
    report.write(house)
    assert (house / "README.md").read_text() == once


def test_report_without_records_says_so(house):
    (house / "bench/results/some-cpu-2/networks.json").unlink()
    report.write(house)
    assert "No measurement" in (house / "README.md").read_text()
    assert "No measurement" in (house / "docs/performance.md").read_text()


def test_report_without_markers(house):
    (house / "README.md").write_text("no markers")
    with pytest.raises(ValueError, match="<!-- performance -->"):
        report.write(house)
