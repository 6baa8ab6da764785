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
    assert all(Path(path).exists() for path in main.TESTS)


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


@pytest.fixture
def cudnn():
    pytest.importorskip("torch")
    from bench.gpu import cudnn

    return cudnn


def test_rows_are_layers_and_networks_at_every_batch(cudnn):
    names = [(name, batch) for name, _, batch in cudnn.rows()]
    assert {("alexnet", 1), ("resnet50:conv2_1b", 32), ("dcgan:g2", 128)} <= set(names)
    assert {batch for _, batch in names} == {1, 8, 32, 128}
    assert len(set(names)) == len(names)


def test_a_row_has_times_and_errors(cudnn):
    make = next(make for name, make, _ in cudnn.rows() if name == "lenet5:c3")
    row = cudnn.compare("lenet5:c3", make(), 2, "cpu")
    assert set(row["microseconds"]) == {"tesela", "torch", "torch_tuned"} and row["skipped"] == {}
    assert all(0 < row["least"][who] <= row["microseconds"][who] for who in row["least"])
    assert all(0 < error < 1e-5 for error in row["error"].values())
    best = min(row["microseconds"]["torch"], row["microseconds"]["torch_tuned"])
    assert row["ratio"] == pytest.approx(best / row["microseconds"]["tesela"], rel=1e-2)


def test_a_wrong_output_is_not_timed(cudnn, monkeypatch):
    right = cudnn.tesela_contestant
    wrong = lambda *arguments: cudnn.Contestant(lambda: right(*arguments).run() * np.float32(1.01), lambda n: 1e-9)  # noqa: E731
    monkeypatch.setattr(cudnn, "tesela_contestant", wrong)
    make = next(make for name, make, _ in cudnn.rows() if name == "lenet5:c3")
    row = cudnn.compare("lenet5:c3", make(), 1, "cpu")
    assert "tesela" not in row["microseconds"] and row["ratio"] is None
    assert "against float64 is 1.0e-02" in row["skipped"]["tesela"]
