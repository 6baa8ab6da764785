"""What a build says about CUDA, and how it refuses a device that is not there."""

from pathlib import Path

import numpy as np
import pytest
import tesela as ts
from tesela import _core
from tesela.runtime import current_device, default_device

built = _core.build_info()["cuda"]
usable = "cuda" in _core.devices()


def test_build_info_names_compiler_and_architectures():
    info = ts.build_info()
    assert isinstance(info["cuda"], bool)
    if built:
        assert info["nvcc_version"].split(".")[0].isdigit()
        assert info["nvcc"]
        assert all(name.startswith(("sm_", "compute_")) for name in info["cuda_architectures"])


def test_nvcc_from_pypi_leaves_the_other_options_as_they_are():
    tomllib = pytest.importorskip("tomllib")  # from Python 3.11 on
    path = Path(__file__).parents[1] / "pyproject.toml"
    if not path.is_file():
        pytest.skip("the repository's pyproject.toml is not here")
    (override,) = tomllib.loads(path.read_text())["tool"]["scikit-build"]["overrides"]
    assert override["cmake"]["define"] == {"TESELA_CUDA": "ON"}
    assert override["inherit"] == {"build": {"requires": "append"}, "cmake": {"define": "append"}}


@pytest.mark.skipif(usable, reason="a GPU is here")
def test_cuda_is_refused_in_a_sentence():
    reason = "driver|GPU|no kernels for" if built else "no CUDA kernels"
    with pytest.raises(ts.DeviceError, match=f"device 'cuda': .*({reason})"):
        _core.Program("cuda")
    with pytest.raises(ts.DeviceError), default_device("cuda"):
        pass
    assert current_device() == "cpu"


@pytest.mark.skipif("emulator" in _core.devices(), reason="the emulator is built")
def test_the_emulator_is_refused_where_it_was_not_built():
    with pytest.raises(ts.DeviceError, match="TESELA_CUDA_EMULATOR=ON"):
        _core.Program("emulator")


def test_unknown_devices_are_refused():
    with pytest.raises(ValueError, match="expected 'cpu' or 'cuda', got 'tpu'"):
        _core.Program("tpu")


@pytest.mark.emulator
def test_auto_never_takes_the_emulator():
    g = ts.Graph("identity")
    g.output(g.relu("relu", g.input("x", (1, 2, 2))))
    assert ts.Network(g).compile(device="auto").device == ("cuda" if usable else "cpu")


@pytest.mark.skipif(not usable, reason="no GPU that this build can use")
def test_the_gpu_computes_what_the_reference_says():
    rng = np.random.default_rng(3)
    x, w = (rng.integers(-4, 5, shape).astype(np.float32) for shape in [(2, 3, 20, 20), (70, 3, 3, 3)])
    with default_device("cuda"):
        np.testing.assert_array_equal(ts.conv2d(x, w, padding=1), ts.reference.conv2d(x, w, padding=1))
