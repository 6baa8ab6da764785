"""The emulator itself: kernels with one fault each, and a correct one."""

import numpy as np
import pytest
from tesela import _core

pytestmark = pytest.mark.skipif("emulator" not in _core.devices(), reason="not built with TESELA_CUDA_EMULATOR=ON")


@pytest.fixture(params=["0", "1", "2"], ids=lambda seed: f"seed{seed}")
def schedule(request, monkeypatch):
    monkeypatch.setenv("TESELA_EMULATOR_SEED", request.param)


def test_a_correct_kernel_passes(schedule):
    np.testing.assert_array_equal(_core.run_faulty("correct"), (np.arange(64) + 1) % 64 + 32)


@pytest.mark.parametrize("kernel, complaint", [
    ("missing barrier", "race: it (reads|writes) byte"),
    ("missing second barrier", "race: it (reads|writes) byte"),
    ("deadlock", "deadlock: 63 of 64 threads wait at __syncthreads"),
    ("divergent shuffle", "deadlock: .* 32 at a shuffle"),
    ("out of bounds", "write of 4 bytes that are neither"),
    ("shared out of bounds", "read of 4 bytes that are neither"),
    ("wrong group", "an asynchronous copy that it never waited for"),
    ("unaligned copy", "copy of 16 bytes at an address that is no multiple"),
])  # fmt: skip
def test_a_faulty_kernel_is_caught(kernel, complaint, schedule):
    with pytest.raises(RuntimeError, match=complaint):
        _core.run_faulty(kernel)
    _core.run_faulty("correct")


def test_what_was_never_written_is_nan():
    assert np.isnan(_core.run_faulty("uninitialized")).all()
    assert np.isnan(_core.run_faulty("missing wait")).all()


def test_asynchronous_copies_are_there_when_waited_for(schedule):
    np.testing.assert_array_equal(_core.run_faulty("asynchronous"), np.arange(64) * (np.arange(64) % 2))


def test_mma_multiplies(schedule):
    # c0 of a row (1, 2, ..., 8), c3 of a row of tens on top of 100.
    np.testing.assert_array_equal(_core.run_faulty("mma"), np.where(np.arange(64) % 2, 36, 180))
