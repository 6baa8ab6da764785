"""python -m bench.gpu, as far as it can be tested without a GPU: its stages, its records, and the comparison itself."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
if not (ROOT / "bench" / "gpu").is_dir():
    pytest.skip("the repository's bench/ is not here", allow_module_level=True)
sys.path.insert(0, str(ROOT))

from bench.gpu import __main__ as main  # noqa: E402
from bench.gpu import card, stages  # noqa: E402

H100 = (
    "NVIDIA H100 80GB HBM3, 580.82.07, 9.0, 81559 MiB, 345 MHz, 2619 MHz, 1980 MHz, 2619 MHz, 70.1 W, 700.00 W, 31, 0x0"
)


def test_the_card():
    described = card.parse(H100 + "\n")
    assert described["name"] == "NVIDIA H100 80GB HBM3" and described["clocks.max.sm"] == "1980 MHz"
    assert card.architecture(described) == "90a-real"
    assert card.architecture(described | {"compute_cap": "8.6"}) == "86-real"
    with pytest.raises(RuntimeError, match="expected 12 fields"):
        card.parse("No devices were found")


def test_without_a_card_it_says_so(tmp_path):
    command = [sys.executable, "-m", "bench.gpu", "--out", str(tmp_path / "out")]
    result = subprocess.run(command, cwd=ROOT, env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert (
        result.returncode == 1
        and result.stderr == "bench.gpu: nvidia-smi was not found: this machine has no NVIDIA driver\n"
    )
    assert not (tmp_path / "out").exists()


def test_the_plan_fits_in_ten_minutes(tmp_path):
    planned = main.plan(tmp_path, card.parse(H100))
    assert [stage.name for stage in planned] == ["build", "selftest", "tests", "cudnn", "memcheck", "racecheck"]
    assert sum(stage.seconds for stage in planned) <= 600
    assert planned[0].environment["TESELA_CUDA"] == "ON" and planned[0].needed
    assert "--no-build-isolation" in planned[0].command
    files = [argument for argument in planned[2].command if argument.endswith(".py")]
    assert len(files) == 6 and all(Path(path).exists() for path in files)
    ampere = main.plan(tmp_path, card.parse(H100) | {"compute_cap": "8.6"})[2].command
    assert [Path(path).stem for path in files if path not in ampere] == ["test_stems", "test_hopper"]


def test_what_is_missing_for_the_build_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(main.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(main.shutil, "which", lambda name: "/usr/bin/ninja" if name == "ninja" else None)
    build = main.plan(tmp_path, card.parse(H100))[0]
    assert build.obstacle == "pip install scikit_build_core pybind11 pytest hypothesis cmake"


def python(name, script, seconds=30.0, **more):
    return stages.Stage(name, seconds, [sys.executable, "-c", script], **more)


def test_stages_end_and_are_recorded(tmp_path, capsys):
    record = {"card": "a card"}
    passed = stages.run(
        [
            python("first", "import os; print(os.environ['WORD'])", environment={"WORD": "hello"}),
            python("second", "raise SystemExit(3)"),
            python("third", "print(1)", obstacle="nothing to run it with"),
            python("fourth", "import time; time.sleep(60)", -60 + 3),
            python("fifth", "print(2)", 20),
        ],
        100, tmp_path, record, lambda: {"clocks.sm": "1 MHz"},
    )  # fmt: skip
    assert not passed
    written = json.loads((tmp_path / "record.json").read_text())
    assert written == record and written["card"] == "a card"
    by_name = written["stages"]
    assert [s["status"] for s in by_name.values()] == ["passed", "failed", "left out", "out of time", "passed"]
    assert by_name["second"]["reason"] == "exit status 3" and by_name["third"]["reason"] == "nothing to run it with"
    assert by_name["first"]["card_before"] == {"clocks.sm": "1 MHz"}
    assert (tmp_path / "first.log").read_text() == "hello\n"


def test_nothing_is_run_on_a_build_that_failed(tmp_path):
    record = {}
    stages.run([python("build", "raise SystemExit(1)", needed=True), python("tests", "")], 60, tmp_path, record, dict)
    assert record["stages"]["tests"] == {"status": "left out", "reason": "build: failed"}


def test_the_end_of_the_time_is_the_end(tmp_path):
    record = {}
    stages.run([python("late", "")], 0.5, tmp_path, record, dict)
    assert record["stages"]["late"] == {"status": "left out", "reason": "no time was left"}


# ------------------------------------------------------------------------------------------------------ the comparison

from bench.gpu import contestants, cudnn, tables  # noqa: E402


def small(name):
    return next(make for found, make, _ in cudnn.rows() if found == name)()


IEEE = {"float32, IEEE": contestants.PRECISIONS["float32, IEEE"]}


def test_rows_are_matrices_layers_and_networks_at_every_batch():
    names = [(name, batch) for name, _, batch in cudnn.rows()]
    assert {("gemm", 4096), ("alexnet", 1), ("resnet50:conv2_1b", 32), ("dcgan:g2", 128), ("alexnet:norm1", 8)} <= set(
        names
    )
    assert {batch for name, batch in names if name != "gemm"} == {1, 8, 32, 128}
    assert len(set(names)) == len(names)


def test_a_row_has_times_and_errors():
    pytest.importorskip("torch")
    (row,) = cudnn.compare("lenet5:c3", small("lenet5:c3"), 2, "cpu", IEEE)
    assert set(row["microseconds"]) == set(row["cold"]) == {"tesela", "torch", "torch_tuned"}
    assert set(row["skipped"]) == {"cudnn_frontend"} and row["precision"] == "float32, IEEE"
    assert all(0 < error < 1e-5 for error in row["error"].values())
    best = min(row["microseconds"]["torch"], row["microseconds"]["torch_tuned"])
    assert row["ratio"] == pytest.approx(best / row["microseconds"]["tesela"], rel=1e-2)


@pytest.mark.emulator
def test_every_precision_has_a_row_of_its_own():
    rows = list(cudnn.compare("lenet5:c3", small("lenet5:c3"), 1, "emulator"))
    assert [row["precision"] for row in rows] == list(contestants.PRECISIONS)
    for row in rows:
        assert row["error"]["tesela"] < contestants.PRECISIONS[row["precision"]].tolerance
    if contestants.torch:
        errors = {row["precision"]: row["error"]["torch"] for row in rows}
        assert errors["float32, IEEE"] < 1e-6 < 1e-4 < errors["float16"] < errors["bfloat16"]


def test_without_pytorch_tesela_is_alone(monkeypatch):
    monkeypatch.setattr(contestants, "torch", None)
    (row,) = cudnn.compare("lenet5:c3", small("lenet5:c3"), 1, "cpu", IEEE)
    assert set(row["microseconds"]) == {"tesela"} and row["ratio"] is None and row["error"]["tesela"] < 1e-5
    assert row["skipped"]["torch"] == row["skipped"]["torch_tuned"] == "PyTorch is not installed"


def test_whoever_fails_is_named(monkeypatch):
    class NotSupported(Exception):  # as cuDNN's frontend has
        pass

    def fails(*arguments):
        raise NotSupported("no engine for this graph\nmore")

    monkeypatch.setattr(contestants, "cudnn_contestant", fails)
    (row,) = cudnn.compare("lenet5:c3", small("lenet5:c3"), 1, "cpu", IEEE)
    assert row["skipped"]["cudnn_frontend"] == "no engine for this graph" and "tesela" in row["microseconds"]


def test_a_wrong_output_is_not_timed(monkeypatch):
    right = contestants.tesela_contestant

    def wrong(*arguments):
        made = right(*arguments)
        return contestants.Contestant(made.launch, lambda: made.result() * np.float32(1.01))

    monkeypatch.setattr(contestants, "tesela_contestant", wrong)
    (row,) = cudnn.compare("lenet5:c3", small("lenet5:c3"), 1, "cpu", IEEE)
    assert "tesela" not in row["microseconds"] and row["ratio"] is None
    assert "against float64 is 1.0e-02" in row["skipped"]["tesela"]


def test_what_no_time_is_left_for_is_named(tmp_path, monkeypatch):
    out = tmp_path / "cudnn.json"
    command = ["cudnn", "--out", str(out), "--device", "cpu", "--only", "lenet5:c3", "--batches", "1", "8"]
    monkeypatch.setattr(sys, "argv", [*command, "--seconds", "0"])
    cudnn.main()
    record = json.loads(out.read_text())
    assert record["rows"] == [] and record["left_out"] == [["lenet5:c3", 1], ["lenet5:c3", 8]]


def test_tables_are_made_from_records(tmp_path):
    assert "Not measured on a GPU yet" in tables.part(tmp_path)
    who = ("tesela", "torch_tuned_graph")
    row = {
        "name": "alexnet", "batch": 8, "precision": "tf32", "microseconds": dict(zip(who, (100.0, 150.0), strict=True)),
        "cold": dict(zip(who, (110.0, 160.0), strict=True)), "error": dict.fromkeys(who, 1e-4), "ratio": 1.5,
        "skipped": {"cudnn_frontend": "it is not there"},
    }  # fmt: skip
    record = {"card": card.parse(H100), "torch": "2.0", "cudnn": 90000, "rows": [row, row | {"precision": "float16"}],
              "left_out": [["vgg16", 128]], "device": "cuda"}  # fmt: skip
    folder = tmp_path / "bench/results/h100"
    folder.mkdir(parents=True)
    (folder / "cudnn.json").write_text(json.dumps(record))
    text = tables.part(tmp_path)
    assert "### NVIDIA H100 80GB HBM3" in text and text.index("#### tf32") < text.index("#### float16")
    assert "| `alexnet` | 8 | 100.0 (110.0) | 150.0 (160.0) | 1.50 | 1.0e-04 | 1.0e-04 |" in text
    assert "Geometric mean of ratios 1.50; 1 ahead, 0 even within 3 %, 0 behind." in text
    assert "- cudnn_frontend was not timed 1 times (alexnet at 8): it is not there" in text
    assert "Left out for want of time: vgg16 at 128." in text
