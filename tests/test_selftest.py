"""`tesela selftest`: that it passes, that it reaches every kernel family, and that it sees what is wrong."""

import numpy as np
import pytest
import tesela
from tesela import _core, commands, selftest
from typer.testing import CliRunner

# What the steps of csrc/cuda call themselves.
FAMILIES = {
    "wgmma 3xtf32", "mma", "mma 3xtf32", "implicit gemm", "direct", "tiles", "windows", "global", "indices",
    "scatter", "concat", "per channel", "broadcast", "across channels", "rows", "columns", "copy", "bilinear", "gather",
    "indexed", "map", "warps", "threads",
} | {
    "to channels last", "to plain", "per channel, channels last", "broadcast, channels last",
    "across channels, channels last", "pixels, channels last", "depthwise, channels last",
    "small groups, channels last", "bilinear, channels last", "copy, channels last", "gather, channels last",
    "concat, channels last", "windows, channels last", "global, channels last",
    "direct by parity", "implicit gemm by parity", "rows of taps to channels", "windows to channels",
}  # fmt: skip


def invoke(*arguments):
    return CliRunner().invoke(commands.app, ["selftest", *arguments], env={"COLUMNS": "200"})


def test_the_cpu_passes():
    result = invoke()
    count = len(selftest.checks())
    assert result.exit_code == 0 and f"{count} of {count} checks passed on cpu" in result.output
    assert "WRONG" not in result.output and "FAILED" not in result.output


@pytest.mark.emulator
def test_every_kernel_family_of_cuda_is_reached(monkeypatch):
    results = list(selftest.run("emulator"))
    of_products = ("conv2d", "conv_transpose2d", "linear", "gemm")
    precisions = {}
    for capability in "987":  # the last two without wgmma, without tensor cores
        monkeypatch.setenv("TESELA_EMULATOR_CAPABILITY", capability)
        known = selftest.checks("emulator")
        precisions[capability] = {check.precision for check in known}
        if capability != "9":
            results += selftest.run("emulator", [check for check in known if check.op in of_products])
    assert precisions["9"] == precisions["8"] == {"", "float32", "bfloat16", "float16"}
    assert precisions["7"] == {"", "float32"}
    assert all(result.passed for result in results), [result for result in results if not result.passed]
    assert {name for result in results for name in result.algorithms} == FAMILIES


@pytest.mark.parametrize("by", [1e-5, np.nan])
def test_a_wrong_result_is_seen(by, monkeypatch):
    right = selftest._on_device

    def wrong(check, operands, device):
        algorithms, ys = right(check, operands, device)
        if check.op == "linear":
            ys[0].flat[-1] += by * np.abs(ys[0]).max()
        return algorithms, ys

    monkeypatch.setattr(selftest, "_on_device", wrong)
    assert {result.op for result in selftest.run("cpu") if not result.passed} == {"linear"}
    result = invoke()
    count = len(selftest.checks())
    assert (
        result.exit_code == 1 and f"{count - 2} of {count} checks passed" in result.output and "FAILED" in result.output
    )


def test_what_a_device_says_is_a_failure(monkeypatch):
    def broken(check, operands, device):
        raise RuntimeError("CUDA: kernel: an illegal memory access")

    monkeypatch.setattr(selftest, "_on_device", broken)
    results = list(selftest.run("cpu", selftest.checks()[:2]))
    assert [result.problem for result in results] == ["CUDA: kernel: an illegal memory access"] * 2
    assert not any(result.passed for result in results)


@pytest.mark.skipif("cuda" in _core.devices(), reason="a GPU is here")
def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(tesela.DeviceError, match="device 'cuda'"):
        next(selftest.run("cuda"))
