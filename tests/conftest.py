"""What the tests share: the instruction sets, one process for each where needed, and runs between fences."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tesela
from tesela import _core
from tesela.operators import TABLE
from tesela.runtime import default_device

_end = pytest.StashKey[float]()  # of the time of --seconds
FENCE = 37  # elements on each side: odd, so that nothing stands on a boundary that a kernel may hope for


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="where functional operators and networks run: cpu, cuda, emulator")
    parser.addoption("--seconds", type=float, help="in which tests may begin, in an order that mixes all files")


@pytest.fixture(autouse=True)
def _device(request: pytest.FixtureRequest):
    """Operators and networks on NumPy arrays run on the device that was asked for, if it can be had."""
    with default_device(request.config.getoption("--device")):
        yield


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> str:
    """Where CUDA kernels are tested: as --device says, else on the emulator."""
    device = request.config.getoption("--device")
    if device == "cpu" and "emulator" not in _core.devices():
        pytest.skip("not built with TESELA_CUDA_EMULATOR=ON")
    return "emulator" if device == "cpu" else device


@pytest.fixture
def on_device(device: str):
    """Operators and networks, and what a test asks current_device() for, run there."""
    with default_device(device):
        yield


def pytest_configure(config: pytest.Config) -> None:
    # A run that is meant for one build must not pass on another that happens to be installed.
    expected = os.environ.get("TESELA_EXPECT_ISA")
    if expected and expected not in tesela.show_runtime()["supported_isas"]:
        pytest.exit(f"TESELA_EXPECT_ISA={expected}, but {tesela.__file__} has {tesela.show_runtime()}", returncode=3)
    if (seconds := config.getoption("--seconds")) is not None:
        config.stash[_end] = time.monotonic() + seconds


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    device = config.getoption("--device")
    emulator = "emulator" in _core.devices()
    for item in items:
        # Tests with the fixture `device` run where --device says.
        if item.get_closest_marker("emulator") and not emulator and "device" not in item.fixturenames:
            item.add_marker(pytest.mark.skip(reason="not built with TESELA_CUDA_EMULATOR=ON"))
        # The light models of the ONNX suite are AlexNet, VGG-19 and their like.
        if device == "emulator" and "RealModel" in item.nodeid:
            item.add_marker(pytest.mark.skip(reason="a network of 224x224 images takes the emulator hours"))
        if device != "cpu" and re.search("top_k|nonmaxsuppression|roialign", item.name):
            item.add_marker(pytest.mark.skip(reason="what detectors end in runs on the CPU only"))
    if config.getoption("--seconds") is not None:
        items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    """A place in an order that is the same in every run and in which whatever is left out is a bit of everything.

    What shares a fixture stays together, and so does one case on all instruction sets.
    """
    together = item.nodeid
    if parameters := getattr(item, "callspec", None):
        shared = {
            name: parameters.indices[name]
            for name, definitions in item._fixtureinfo.name2fixturedefs.items()
            if definitions[-1].scope != "function" and name in parameters.indices
        }
        together = f"{item.path.name}{shared}" if shared else together.replace(parameters.params.get("isa", ""), "")
    return zlib.crc32(together.encode())


TIME_IS_OVER = "the time of --seconds is over: the rest has not begun"
_interruptions: list[str] = []


def pytest_collection_finish(session: pytest.Session) -> None:
    if _end in session.config.stash:  # two minutes of tests even where it takes all the time to collect them
        session.config.stash[_end] = max(session.config.stash[_end], time.monotonic() + 120)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    if time.monotonic() <= item.config.stash.get(_end, float("inf")):
        return None
    item.session.shouldstop = TIME_IS_OVER
    return True


def pytest_keyboard_interrupt(excinfo: pytest.ExceptionInfo[BaseException]) -> None:
    _interruptions.append(str(excinfo.value))


def pytest_sessionfinish(session: pytest.Session) -> None:
    # A run that its time has ended is as good as the tests that ran; one in which none has passed proves nothing.
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not reporter or session.config.getoption("--seconds") is None:
        return
    if TIME_IS_OVER in _interruptions:
        failed = reporter.stats.get("failed") or reporter.stats.get("error")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED if failed else pytest.ExitCode.OK
    if session.exitstatus == pytest.ExitCode.OK and not reporter.stats.get("passed"):
        session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED


@pytest.hookimpl(trylast=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    # Last, so that one case runs on all instruction sets before the next: its reference is computed once.
    if "isa" in metafunc.fixturenames:
        metafunc.parametrize("isa", tesela.show_runtime()["supported_isas"], indirect=True)


@pytest.fixture
def isa(request: pytest.FixtureRequest):
    """Every instruction set that this machine can run, selected in turn."""
    with tesela.max_isa(request.param):
        yield request.param


@pytest.fixture
def set_num_threads():
    """tesela.set_num_threads, for one test: the next finds what the environment says."""
    yield tesela.set_num_threads
    tesela.set_num_threads(0)


@pytest.fixture(scope="session")
def data() -> Callable[[str], Path]:
    """Others' weights and photos, by their names in the folder that TESELA_TEST_DATA names; nothing of it is ours."""

    def path(name: str) -> Path:
        folder = os.environ.get("TESELA_TEST_DATA")
        if not folder or not (Path(folder) / name).exists():
            pytest.skip(f"TESELA_TEST_DATA names no folder with {name}")
        return Path(folder) / name

    return path


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(1989)


class Fenced:
    """An array inside a larger buffer. All of it begins as NaN (int64: as a number that no index has)."""

    def __init__(self, shape: tuple[int, ...], dtype: Any):
        size = int(np.prod(shape, dtype=np.int64))
        self.nothing = np.nan if np.dtype(dtype).kind == "f" else np.iinfo(dtype).min
        self.buffer = np.full(size + 2 * FENCE, self.nothing, dtype)
        self.array = self.buffer[FENCE : FENCE + size].reshape(shape)

    @classmethod
    def copy_of(cls, array: np.ndarray) -> Fenced:
        fenced = cls(array.shape, array.dtype)
        fenced.array[...] = array
        return fenced

    def check(self) -> None:
        for fence in (self.buffer[:FENCE], self.buffer[-FENCE:]):
            np.testing.assert_array_equal(fence, np.full(FENCE, self.nothing, fence.dtype), "written past the end")


class Planned:
    """One operator, planned as the public function plans it, that runs on fenced copies of its operands."""

    def __init__(
        self,
        op: str,
        operands: dict[str, Any],
        arguments: dict[str, Any],
        accuracy: str = "strict",
        algorithm: str = "",
        **options: str,
    ):
        operator = TABLE[op]
        self.program = _core.Program("cpu", accuracy, **options)
        self.program.set_label("layer", op, algorithm)
        self.inputs: list[Fenced] = []
        lowered: dict[str, Any] = {}
        for operand, value in operands.items():
            if operand in operator.parameters:
                lowered[operand] = Fenced.copy_of(value).array
            elif isinstance(value, list):
                lowered[operand] = [self._input(item) for item in value]
            else:
                lowered[operand] = self._input(value)
        self.results = operator.lower(self.program, operator.attributes(**arguments), **lowered)
        self.candidates = self.program.candidates()
        self.program.finish(self.results)

    def _input(self, array: np.ndarray) -> int:
        self.inputs.append(Fenced.copy_of(array))
        return self.program.input(array.shape, array.dtype.name)

    @property
    def algorithms(self) -> list[str]:
        return [step.algorithm for step in self.program.steps()]

    def run(self, threads: int | None = None) -> list[np.ndarray]:
        """The results, after a look at what must not have changed."""
        before = [fenced.array.copy() for fenced in self.inputs]
        outputs = [Fenced(tuple(self.program.dims(r)), self.program.dtype(r)) for r in self.results]
        arrays = [fenced.array for fenced in self.inputs]
        self.program.run(arrays, [o.array for o in outputs], threads or tesela.num_threads())
        for fenced in (*self.inputs, *outputs):
            fenced.check()
        for array, copy in zip(arrays, before, strict=True):
            np.testing.assert_array_equal(array, copy, "an input was written to")
        return [output.array for output in outputs]


@pytest.fixture
def planned() -> type[Planned]:
    return Planned


@pytest.fixture(params=["0", "1", "2"], ids=lambda seed: f"seed{seed}")
def schedule(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The emulator's threads in one order after another."""
    monkeypatch.setenv("TESELA_EMULATOR_SEED", request.param)


@pytest.fixture
def python() -> Callable[..., str]:
    """Runs a script in a Python of its own and returns what it printed; fails if that one failed."""

    def run(script: str, *, command: tuple[str, ...] = (), timeout: float = 600, **environment: str) -> str:
        result = subprocess.run(
            [*command, sys.executable, "-W", "error", "-c", script],
            env={key: value for key, value in os.environ.items() if not key.startswith(("TESELA_", "OMP_"))}
            | environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert result.returncode == 0, f"exit status {result.returncode}\n{result.stdout}{result.stderr}"
        return result.stdout

    return run
