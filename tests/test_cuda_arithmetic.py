"""Index arithmetic and formats of the CUDA kernels, exhaustively on the host. Tiles: test_cuda_tiles.py."""

import itertools

import numpy as np
import pytest
from tesela import _core, selftest

pytestmark = pytest.mark.emulator

BITS = np.arange(2**16, dtype=np.uint16)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_every_number_of_16_bits_is_read_and_written(dtype):
    numbers = BITS.view(np.float16).astype(np.float32) if dtype == "float16" else (BITS.astype(np.uint32) << 16).view(
        np.float32)  # fmt: skip
    read = getattr(_core.arithmetic, f"from_{dtype}")(BITS)
    np.testing.assert_array_equal(read, numbers)
    written = getattr(_core.arithmetic, f"to_{dtype}")(numbers)
    kept = ~np.isnan(numbers)
    np.testing.assert_array_equal(written[kept], BITS[kept])
    assert np.isnan(getattr(_core.arithmetic, f"from_{dtype}")(written[~kept])).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_floats_are_rounded_to_the_nearest_of_16_bits(dtype):
    """Every tie between two neighbours, its neighbours in float32, and numbers of every exponent."""
    low = getattr(_core.arithmetic, f"from_{dtype}")(BITS)
    low = low[np.isfinite(low)].astype(np.float64)
    ties = ((low[:-1] + low[1:]) / 2).astype(np.float32)
    drawn = np.random.default_rng(5).integers(0, 2**32, 1 << 18, dtype=np.uint32).view(np.float32)
    x = np.concatenate([ties, np.nextafter(ties, np.float32(np.inf)), np.nextafter(ties, np.float32(-np.inf)),
                        drawn[np.isfinite(drawn)], np.float32([65519.996, 65520, np.inf, -np.inf])])  # fmt: skip
    rounded = getattr(_core.arithmetic, f"from_{dtype}")(getattr(_core.arithmetic, f"to_{dtype}")(x))
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(rounded, selftest.stored(x, dtype))


def test_every_small_quotient():
    for divisor, n in itertools.product(range(1, 200), range(600)):
        assert _core.arithmetic.quotient(n, divisor) == n // divisor, (n, divisor)


def test_division_by_multiplication():
    numerators = {0, 1, 2, 3, 63, 64, 65, 10**9, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**62, 2**63 - 1}
    for divisor in [*range(1, 300), 2**31 - 1, 2**31, 2**31 + 1, 2**40 - 3, 2**62 + 1, 2**63 - 1]:
        multiples = {divisor * (n // divisor) for n in numerators}
        for n in numerators | multiples | {m - 1 for m in multiples if m}:
            assert _core.arithmetic.quotient(n, divisor) == n // divisor, (n, divisor)


def test_windows_have_the_taps_inside():
    for origin, taps, dilation, size in itertools.product(range(-9, 9), range(1, 5), range(1, 4), range(1, 7)):
        inside = [at for at in (origin + k * dilation for k in range(taps)) if 0 <= at < size]
        first, count, step = _core.arithmetic.range_inside(origin, taps, dilation, size)
        assert [first + i * step for i in range(count)] == inside, (origin, taps, dilation, size)


def test_parity_classes_cover_every_product_once():
    """For every output and tap that meet in an input: one class has it, at the right place."""
    for K, S, D, P in itertools.product(range(1, 6), range(1, 5), range(1, 4), range(4)):
        taps = [_core.arithmetic.parity_taps(first, K, S, D, P) for first in range(S)]
        assert sorted(tap for of_class in taps for tap, _ in of_class) == list(range(K))
        for o in range(12):
            met = {(k, (o + P - k * D) // S) for k in range(K) if (o + P - k * D) % S == 0}
            assert {(tap, o // S + offset) for tap, offset in taps[o % S]} == met, (K, S, D, P, o)


@pytest.mark.parametrize("lanes", [4, 8])
def test_vectors_of_pixels_are_counted_channels_first(lanes):
    for n, c, h, w in itertools.product(range(1, 4), (1, 3, 7, 8, 9, 16, 20), range(1, 5), range(1, 6)):
        expected = itertools.product(range(n), range(h), range(w), range(0, -(-c // 8) * 8, lanes))
        found = [tuple(at) for at in _core.arithmetic.pixel_vectors((n, c, h, w), lanes)]
        assert found == list(expected), (n, c, h, w)


def test_loops_meet_every_element_in_order():
    """Sizes and strides innermost first, as a kernel's item counts them."""
    for sizes in itertools.chain.from_iterable(itertools.product(range(1, 5), repeat=rank) for rank in range(4)):
        a, b = [7**d for d in range(len(sizes))], [100 - 30 * d for d in range(len(sizes))]
        expected = [
            [sum(map(np.multiply, at[::-1], a)), sum(map(np.multiply, at[::-1], b))]
            for at in itertools.product(*(range(size) for size in sizes[::-1]))
        ]
        assert [list(at) for at in _core.arithmetic.places(sizes, [a, b])] == expected, sizes
