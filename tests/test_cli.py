"""The command `tesela`: what it prints, and that what goes wrong is a sentence."""

import functools
import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tesela
from PIL import Image
from tesela import cli, commands, demo, image
from typer.testing import CliRunner


def tesela_prints(*arguments):
    result = CliRunner().invoke(commands.app, arguments, catch_exceptions=False, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.output


def fails(monkeypatch, capsys, *arguments):
    """(exit status, stderr) of the entry point."""
    monkeypatch.setattr(sys, "argv", ["tesela", *arguments])
    with pytest.raises(SystemExit) as exit:
        cli.main()
    output = capsys.readouterr().err
    assert "Traceback" not in output
    return exit.value.code, output


# ----------------------------------------------------------------------------------------------------------- commands


def test_help_names_every_command_and_network():
    text = tesela_prints("--help")
    assert all(command in text for command in ("info", "summary", "profile", "demo", "bench"))
    for command in ("info", "summary", "profile", "demo", "bench"):
        assert "Usage" in tesela_prints(command, "--help")
    assert all(name in tesela_prints("summary", "--help") for name in tesela.models.NETWORKS)


def test_info():
    text = tesela_prints("info")
    assert all(key in text for key in (*tesela.build_info(), *tesela.show_runtime()))


def test_summary():
    assert tesela_prints("summary", "lenet5") == f"{tesela.models.lenet5().summary()}\n"


def test_a_model_from_a_file(tmp_path):
    pytest.importorskip("onnx")
    path = tmp_path / "mine.onnx"
    tesela.models.lenet5().to_onnx(path)
    assert "61,706" in tesela_prints("summary", str(path))
    assert "conv1" in tesela_prints("profile", str(path), "--batch", "3")


def test_a_network_of_two_inputs_is_profiled(monkeypatch):
    def pair(weights=None):
        g = tesela.Graph("pair")
        g.output(g.add("sum", g.input("left", (2, 3)), g.input("right", (2, 3))))
        return tesela.Network(g, weights)

    monkeypatch.setitem(tesela.models.NETWORKS, "pair", pair)
    assert "sum" in tesela_prints("profile", "pair", "--batch", "2")


def test_profile():
    text = tesela_prints("profile", "lenet5", "--batch", "2", "--threads", "1")
    assert all(word in text for word in ("conv1", "fc3", "total", "GFLOP/s"))


def test_weights_from_a_file(tmp_path):
    net = tesela.models.lenet5(seed=5)
    np.savez(tmp_path / "lenet5.npz", **net.state_dict())
    found = commands.find("lenet5", tmp_path / "lenet5.npz")
    np.testing.assert_array_equal(found.parameters["fc1.weight"], net.parameters["fc1.weight"])


def test_bench(tmp_path, monkeypatch):
    monkeypatch.setattr("tesela.benchmark.machine._BIG", 1 << 20)
    out = tmp_path / "results" / "lenet5.json"
    text = tesela_prints("bench", "lenet5", "--peers", "", "--threads", "1", "--seconds", "0", "--json", str(out))
    assert "lenet5, batch 1, threads 1" in text and "GFLOP/s in cache" in text
    assert json.loads(out.read_text())["races"][0]["network"] == "lenet5"


SMALL = ("autoencoder", "flower.jpg", image.Transform(resize=64, crop=64))


def test_demo(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "PHOTOGRAPHS", (SMALL,))
    monkeypatch.setattr(demo, "photographs", functools.partial(demo.photographs, seconds=0))
    text = tesela_prints("demo", "--out", str(tmp_path / "new"))
    assert "447 of 450" in text and "12.86 dB to 25.87 dB" in text  # as recorded in pretrained/README.md
    assert "autoencoder" in text and "flower.jpg" in text
    with Image.open(tmp_path / "new" / "denoised.png") as picture:
        assert picture.size == (12 * 66 - 2, 3 * 66 - 2)


def test_demo_measures_the_error_it_prints(monkeypatch):
    monkeypatch.setattr(demo, "PHOTOGRAPHS", (SMALL,))
    (result,) = demo.photographs(seconds=0)
    assert result.runs == 1 and result.milliseconds > 0
    assert 0 < result.error < 1e-5


def test_psnr():
    a = np.zeros((2, 2), np.float32)
    assert demo.psnr(a, a + 0.1) == pytest.approx(20)


# ----------------------------------------------------------------------------------------------------------- sentences


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["summary", "lenet6"], "unknown network 'lenet6'; known are lenet5"),
        (["summary", "lenet6.onnx"], "lenet6.onnx"),
        (["profile", "mine.onnx", "--weights", "w.npz"], "expected no weights for mine.onnx"),
        (["profile", "lenet5", "--weights", "missing.npz"], "no such file: missing.npz"),
        (["bench", "lenet5", "--peers", "tensorflow"], "unknown engine 'tensorflow'"),
    ],
)
def test_what_goes_wrong_is_a_sentence(arguments, words, monkeypatch, capsys):
    status, output = fails(monkeypatch, capsys, *arguments)
    assert status == 1 and output.startswith("tesela: ") and words in output


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_cli(missing, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, missing, None)
    status, output = fails(monkeypatch, capsys, "info")
    assert status == 2 and "pip install 'tesela[cli]'" in output


@pytest.mark.parametrize(("missing", "extra"), [("sklearn.datasets", "demo"), ("PIL", "image")])
def test_demo_without_its_extras(missing, extra, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, missing, None)
    for module in ("tesela.demo", "tesela.image"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.delattr(tesela, "demo", raising=False)
    monkeypatch.delattr(tesela, "image", raising=False)
    status, output = fails(monkeypatch, capsys, "demo")
    assert status == 1 and f"pip install 'tesela[{extra}]'" in output


def test_version():
    assert tesela_prints("--version") == f"tesela {tesela.__version__}\n"


def test_help_in_python_needs_numpy_only():
    script = "import sys; sys.modules |= dict.fromkeys(['PIL', 'onnx', 'pooch', 'typer']); import tesela, pydoc; "
    script += "print(len(pydoc.render_doc(tesela)), *dir(tesela))"
    length, *names = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    assert int(length) > 10000 and set(names) == {*tesela.__all__, "__version__"}


@pytest.mark.parametrize("call", [lambda onnx: onnx.load(b""), lambda onnx: onnx.export(None)])
def test_without_the_extra_onnx(call, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "onnx" or name.startswith("tesela.onnx")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.setattr(tesela, "onnx", tesela.onnx)  # to be put back: the import binds another
    with pytest.raises(ImportError, match=r"^ONNX models need the onnx package; pip install 'tesela\[onnx\]'$"):
        call(importlib.import_module("tesela.onnx"))


def test_as_a_process():
    command = [sys.executable, "-W", "error", "-m", "tesela.cli", "summary", "nothing"]
    result = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"COLUMNS": "80"}, timeout=600)
    assert result.returncode == 1 and result.stderr.startswith("tesela: unknown network")


def test_the_example_in_the_readme(tmp_path, monkeypatch, capsys):
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    example, *_ = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    values = {}
    exec(
        example.replace("alexnet()", "lenet5()")
        .replace("(1, 3, 227, 227)", "(1, 1, 32, 32)")
        .replace("(8, 3, 3, 3)", "(8, 1, 3, 3)")
        .replace("fc7", "fc2"),
        values,
    )
    assert values["y"].shape == (1, 8, 16, 16) and values["features"].shape == (1, 84)
    assert "GFLOP/s" in capsys.readouterr().out and (tmp_path / "alexnet.onnx").exists()
