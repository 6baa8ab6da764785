"""Tiles of the CUDA kernels, exhaustively on the host: fragments, swizzles, who computes what, and tensor maps."""

import itertools
from collections import Counter

import numpy as np
import pytest
from tesela import _core

pytestmark = pytest.mark.emulator

ROW = 128  # bytes of a tile's row
LANES = range(32)


@pytest.fixture(scope="module")
def of():
    return _core.arithmetic


# ---------------------------------------------------------------------------------------------------------- fragments


def test_fragments_are_those_of_the_ptx_manual(of):
    for lane in LANES:
        g, t = divmod(lane, 4)
        assert [of.a_element(lane, i) for i in range(4)] == [(g, t), (g + 8, t), (g, t + 4), (g + 8, t + 4)]
        assert [of.b_element(lane, i) for i in range(2)] == [(t, g), (t + 4, g)]
        assert [of.c_element(lane, i) for i in range(4)] == [
            (g, 2 * t), (g, 2 * t + 1), (g + 8, 2 * t), (g + 8, 2 * t + 1)
        ]  # fmt: skip


def test_ldmatrix_fills_the_fragments(of):
    """Register i of a lane gets word lane % 4 of what lane 8 i + lane / 4 has named: of a, of two b side by side."""
    for lane, i in itertools.product(LANES, range(4)):
        named_by, word = 8 * i + lane // 4, lane % 4
        row, chunk = of.a_chunk(named_by)
        assert (row, chunk * 4 + word) == of.a_element(lane, i)
        column, chunk = of.b_chunk(named_by)
        k, n = of.b_element(lane, i % 2)
        assert (column, chunk * 4 + word) == (n + i // 2 * 8, k)


@pytest.mark.parametrize("n", [64, 128, 192, 256])
def test_a_warpgroup_holds_every_sum_once(n, of):
    held = {(t, i): of.wgmma_sum(t, i) for t in range(128) for i in range(n // 2)}
    assert sorted(held.values()) == list(itertools.product(range(64), range(n)))
    for (t, i), (row, column) in held.items():
        assert row // 16 == t // 32  # of its warp's
        if i % 2 == 0:
            assert held[t, i + 1] == (row, column + 1)  # in pairs


# ------------------------------------------------------------------------------------------------------------ swizzles


def banks(places):
    """The banks of 4 bytes that accesses of 16 bytes at these places meet, each as often as it is met."""
    return Counter((place // 4 + word) % 32 for place in places for word in range(4))


def test_a_swizzle_is_a_bijection_of_chunks_that_tma_knows(of):
    for row, byte in itertools.product(range(24), range(ROW)):
        linear = row * ROW + byte
        assert of.swizzled_place(row, byte) == linear ^ linear // ROW % 8 * 16  # of bits 4 to 6, by bits 7 to 9
    rows = [[of.swizzled_place(row, byte) for byte in range(ROW)] for row in range(24)]
    for row, places in enumerate(rows):
        assert sorted(places) == list(range(row * ROW, (row + 1) * ROW))
        assert all(places[byte] % 16 == byte % 16 for byte in range(ROW))


def test_no_access_meets_a_bank_twice(of):
    for k, row in itertools.product(range(4), range(0, 64, 8)):
        for chunk in (of.a_chunk, of.b_chunk):  # ldmatrix: 8 lanes at a time
            for matrix in range(4):
                named = [chunk(lane) for lane in range(matrix * 8, matrix * 8 + 8)]
                places = [of.swizzled_place(row + r, k * 32 + c * 16) for r, c in named]
                assert set(banks(places).values()) == {1}
        for i in range(4):  # float32 read word by word, a warp at a time
            words = [of.a_element(lane, i) for lane in LANES]
            met = {of.swizzled_place(row + r, (k * 8 + c) * 4) // 4 % 32 for r, c in words}
            assert len(met) == 32
    for row in range(64):  # cp.async: 8 threads copy a row
        assert set(banks(of.swizzled_place(row, chunk * 16) for chunk in range(8)).values()) == {1}


def test_descriptors_say_where_and_how_a_tile_lies(of):
    for address in range(0, 227 << 10, 1024):
        for k in range(4):
            descriptor = of.wgmma_descriptor(address + 32 * k)
            assert descriptor & 0x3FFF == (address + 32 * k) >> 4
            assert descriptor >> 16 & 0x3FFF == 1 and descriptor >> 32 & 0x3FFF == 8 * ROW >> 4
            assert descriptor >> 62 == 1  # a swizzle of 128 bytes
            assert descriptor == of.wgmma_descriptor(address) + k * (32 >> 4)


# ------------------------------------------------------------------------------------------------- who computes what


def test_every_tile_and_part_is_computed_once(of):
    """Neighbours have the same pixels and other channels; groups follow, then parts of the sum."""
    for n, m, groups, splits in itertools.product(range(1, 6), range(1, 6), range(1, 4), range(1, 5)):
        expected = [
            [tile, row, group, split]
            for split, group, row, tile in itertools.product(range(splits), range(groups), range(m), range(n))
        ]
        assert [list(place) for place in of.tile_places(n, m, groups, splits)] == expected


def test_parts_of_a_sum_follow_one_another(of):
    for steps in range(1, 60):
        for splits in range(1, steps + 1):
            first = [of.first_step(steps, splits, split) for split in range(splits + 1)]
            lengths = np.diff(first)
            assert first[0] == 0 and first[-1] == steps
            assert lengths.min() >= 1 and lengths.max() - lengths.min() <= 1


def test_consumers_share_a_tile_and_stages_fit(of):
    tiles = of.wgmma_tiles()
    for tile in tiles:
        assert tile["BK"] * tile["bytes"] == ROW
        assert tile["consumers_m"] * tile["consumers_n"] == 2
        computed = Counter()
        for consumer in range(2):
            m0 = consumer % tile["consumers_m"] * tile["rows"] * 64
            n0 = consumer // tile["consumers_m"] * tile["columns"]
            for r in range(tile["rows"]):
                computed.update((m0 + r * 64, n0 + column) for column in range(tile["columns"]))
        assert computed == Counter(itertools.product(range(0, tile["BM"], 64), range(tile["BN"])))
        operands = tile["BM"] + tile["BN"] * (2 if tile["split"] else 1)
        assert tile["stage_bytes"] == operands * ROW and tile["stage_bytes"] % 1024 == 0
        free = (227 << 10) - tile["stages"] * tile["stage_bytes"]
        assert 22 << 10 <= free and (tile["stages"] == 8 or free - (22 << 10) < tile["stage_bytes"])
        assert 4 <= tile["stages"] <= 8 and tile["registers"] <= 200
    assert len(tiles) == 10


PRECISIONS = ["float32", "tf32", "bfloat16", "float16"]


@pytest.mark.parametrize("capability", [7, 8, 9, 10])
@pytest.mark.parametrize("precision", range(4), ids=PRECISIONS)
def test_choices_are_all_that_fits_best_first(precision, capability, of, monkeypatch):
    monkeypatch.setenv("TESELA_EMULATOR_CAPABILITY", str(capability))
    bytes_of = 4 if precision < 2 else 2
    tiles = {"mma": [(128, 128), (128, 64), (64, 64)],
             "wgmma": [(128, 128), (64, 128), (128, 256), (128, 192), (256, 64)]}  # fmt: skip
    sizes = itertools.product((1, 64, 300), (1, 49, 5000), (9, 64), (1, 9), (1, 2), (True, False))
    for m, n, channels, taps, groups, fits in sizes:
        found = of.choices(m, n, channels * taps, groups, taps, precision, fits, fits)
        expected = {("ffma", 0, 0, 1)}
        for rung, granule, has in [("mma", 16, capability >= 8), ("wgmma", ROW, capability == 9)]:
            steps = -(-taps * (-(-channels * bytes_of // granule) * granule) // ROW)
            for BM, BN in tiles[rung]:
                if precision == 0 and (BN == 128) != (rung == "wgmma"):
                    continue  # as three products there are fewer
                parts = [1] if BM != 64 else [s for s in (1, 2, 4, 8, 16) if s <= steps]
                expected |= {(rung, BM, BN, s) for s in parts if has and fits}
        assert {choice[:4] for choice in found} == expected and len(found) == len(expected)
        cycles = [choice[4] for choice in found]
        assert cycles == sorted(cycles) and cycles[0] > 0
        more = {choice[:4]: choice[4] for choice in of.choices(m, 4 * n, channels * taps, groups, taps, precision,
                                                               fits, fits)}  # fmt: skip
        assert all(choice[4] <= more[choice[:4]] for choice in found)


# --------------------------------------------------------------------------------------------------------- tensor maps


def test_im2col_boxes_cover_the_taps_and_no_more(of):
    """TMA goes through a box from its lower corner to the upper one, counted from the last pixel, in steps; what it
    reads there at a tap's offset are the inputs of every output, in order."""
    axes = list(itertools.product(range(1, 8), range(1, 4), range(1, 4), range(1, 4), range(3), range(3)))
    covered = 0
    for I, K, S, D, before, after in axes:
        if (I + before + after - (K - 1) * D - 1) < 0:
            continue
        O = (I + before + after - (K - 1) * D - 1) // S + 1
        fits, lower, upper, step = of.im2col_box((1, 1, 5, I), (1, 1, 2, K), (2, S), (1, 0, before, after), (2, D))
        assert fits
        assert list(range(lower[1], I - 1 + upper[1] + 1, step[1])) == [o * S - before for o in range(O)]
        assert list(range(lower[0], 5 - 1 + upper[0] + 1, step[0])) == [-1, 1]  # (5 + 1 - 2 - 1) // 2 + 1 rows
        covered += 1
    assert covered > 1000


def accepted(of, box, *, address=1 << 20, x=(1, 64, 300, 300), pixel=64, image=64 * 300 * 300, pixels=128):
    try:
        of.im2col_map(address, x, pixel, image, *box, pixels)
    except RuntimeError as error:
        assert "refuses a tensor map" in str(error)
        return False
    return True


def test_convolutions_fit_where_the_driver_takes_their_maps(of):
    """Around every limit: corners of a signed byte, steps of 8, taps at most 255 away."""
    x, seen = (1, 64, 300, 300), Counter()
    for K, D in [(1, 1), (2, 127), (2, 128), (2, 129), (2, 255), (2, 256), (52, 5), (86, 3)]:
        for padding in (0, 1, 127, 128, 129):
            for S in (1, 2, 8, 9):
                at_most = (K - 1) * D <= 255
                fits, *box = of.im2col_box(x, (8, 64, 1, K), (1, S), (0, 0, padding, padding), (1, D))
                assert fits == (at_most and accepted(of, box)), (K, D, padding, S)
                fits_down, *box = of.im2col_box(x, (8, 64, K, 1), (S, 1), (padding, padding, 0, 0), (D, 1))
                assert fits_down == fits
                seen[fits] += 1
    assert seen[True] > 20 and seen[False] > 20


def test_limits_of_tensor_maps_are_refused(of):
    box = ((0, 0), (0, 0), (1, 1))
    assert accepted(of, box)
    for broken in [{"address": (1 << 20) + 8}, {"pixel": 60}, {"image": 64 * 300 * 300 + 4}, {"pixels": 1025},
                   {"pixels": 0}, {"x": (1, 0, 300, 300)}, {"image": 1 << 39}]:  # fmt: skip
        assert not accepted(of, box, **broken), broken
    for pixels in (64, 128, 256, 1024):
        assert accepted(of, box, pixels=pixels)
    for corner, good in [(-129, False), (-128, True), (127, True), (128, False)]:
        for axis in range(2):
            at = [0, 0]
            at[axis] = corner
            assert accepted(of, (tuple(at), (0, 0), (1, 1))) == (good and corner < 300), (corner, axis)
            assert accepted(of, ((0, 0), tuple(at), (1, 1))) == good, (corner, axis)
    for step in range(1, 10):
        assert accepted(of, ((0, 0), (0, 0), (step, 1))) == accepted(of, ((0, 0), (0, 0), (1, step))) == (step <= 8)
    for rows, stride, box_rows, good in [(8, 64, 8, True), (8, 60, 8, False), (8, 64, 256, True), (8, 64, 257, False),
                                         (0, 64, 8, False), (8, 64, 0, False)]:  # fmt: skip
        if good:
            assert not of.tiled_map(1 << 20, rows, 64, stride, box_rows)
        else:
            with pytest.raises(RuntimeError, match="refuses a tensor map, error 1"):
                of.tiled_map(1 << 20, rows, 64, stride, box_rows)


def test_a_bit_is_cleared_for_small_tensors_only(of):
    for pixels, small in [(1, True), (1023, True), (1024, False), (5000, False)]:  # of 128 bytes
        bit = of.im2col_map(1 << 20, (1, 64, 1, pixels), 64, 64 * pixels, (0, 0), (0, 0), (1, 1), 128)
        assert bit == (not small), pixels
        assert of.tiled_map(1 << 20, pixels, 64, 64, 8) == bit
