"""The emulator itself: kernels with one fault each, and a correct one."""

import numpy as np
import pytest
from tesela import _core

pytestmark = pytest.mark.emulator


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
    ("early write", "a write of device memory that the kernel launched before may still use"),
    ("early read", "a read of device memory that the kernel launched before may still write"),
    ("early for others", "a write of device memory that the kernel launched before may still use"),
    ("early end", "never waits for the kernel launched before"),
    ("unaligned copy", "copy of 16 bytes at an address that is no multiple"),
    ("unaligned matrix", "ldmatrix from what is not 16 bytes of shared memory at a multiple"),
    ("matrix race", "race: it (reads|writes) byte"),
    ("no fence after init", "mbarrier that was initialised without a fence"),
    ("wrong bytes", r"deadlock: .* 128 at the mbarrier at byte \d+ \(0 arrivals and -16 bytes to come\)"),
    ("overwritten too early", "race: byte .* while a wgmma read it"),
    ("written without fence", "without a fence.proxy.async"),
    ("bad descriptor", "a matrix descriptor without the swizzle"),
    ("no wait for copies", "ends with a bulk copy under way|race: it reads"),
    ("wrong parity", "ends with a bulk copy under way|race: it reads|deadlock: .* at the mbarrier"),
    ("no wgmma fence", "wgmma without a wgmma.fence"),
    ("no wait for products", "a wgmma that it never waited for"),
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


def test_a_kernel_that_begins_early_waits(schedule):
    assert _core.run_faulty("early") == [1.0] * 64


def test_mma_multiplies(schedule):
    # c0 of a row (1, 2, ..., 8), c3 of a row of tens on top of 100.
    np.testing.assert_array_equal(_core.run_faulty("mma"), np.where(np.arange(64) % 2, 36, 180))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_mma_multiplies_what_ldmatrix_loads(dtype, schedule):
    m, n, k = np.arange(16)[:, None], np.arange(16)[:, None], np.arange(16)
    y = np.reshape(_core.run_faulty(f"fragments of {dtype}"), (16, 16))
    np.testing.assert_array_equal(y, ((m + 2 * k) % 7) @ ((3 * n + k) % 5).T)


def test_a_warpgroup_multiplies_what_tma_brings(schedule):
    m, n, k = np.arange(64)[:, None], np.arange(64)[:, None], np.arange(32)
    a, b = (m + 2 * k) % 7, (3 * n + k) % 5
    y = np.reshape(_core.run_faulty("product"), (64, 64))
    np.testing.assert_array_equal(y, a @ b.T)


def test_sums_are_nan_until_waited_for(schedule):
    y = np.reshape(_core.run_faulty("sums read too early"), (64, 64))
    y = y.reshape(8, 8, 64)  # the first sum of a thread is one of the even rows of 8 and of the first 8 columns
    assert np.isnan(y[::2, :, :8:2]).all() and np.isfinite(y[1::2]).all() and np.isfinite(y[:, :, 8:]).all()
