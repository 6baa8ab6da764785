"""Where elements go, for tensors of any rank."""

from __future__ import annotations

import numpy as np

from ...operators.array import padded_places
from ..writer import Writer, exports

_LEAST, _MOST = np.iinfo(np.int64).min, np.iinfo(np.int64).max


@exports("transpose")
def _transpose(w, a, x):
    return w("Transpose", x, perm=[axis % len(a["axes"]) for axis in a["axes"]])


@exports("slice")
def _slice(w, a, x):
    """Of an axis that is named twice, the last counts."""
    rank = len(w.dims[x])
    places = zip(a["axes"], a["starts"], a["ends"], a["steps"], strict=True)
    last = {axis % rank: place for axis, *place in places}
    return _sliced(w, x, last)


@exports("flip")
def _flip(w, a, x):
    return _sliced(w, x, {axis % len(w.dims[x]): [-1, _LEAST, -1] for axis in a["axes"]})


def _sliced(w: Writer, x: str, places: dict[int, list[int]]) -> str:
    """places: axis -> start, end, step."""
    if not places:
        return w("Identity", x)
    starts, ends, steps = zip(*places.values(), strict=True)
    return w("Slice", x, w.integers(starts), w.integers(ends), w.integers(list(places)), w.integers(steps))


@exports("expand")
def _expand(w, a, x):
    return w("Expand", x, w.integers(a["shape"]))


@exports("tile")
def _tile(w, a, x):
    return w("Tile", x, w.integers(a["repeats"]))


@exports("split")
def _split(w, a, x):
    return w("Split", x, w.integers(a["sizes"]), outputs=len(a["sizes"]), axis=a["axis"])


@exports("pad_axes")
def _pad_axes(w, a, x):
    """Pad; Gather along axes that are mirrored or repeated more than once, or cropped before, which engines refuse."""
    mode, sides, given = a["mode"], list(a["padding"]), x
    for axis, (before, after) in enumerate(sides):
        extent = w.dims[given][axis]
        most = {"reflect": extent - 1, "wrap": extent}.get(mode, _MOST)
        beyond = max(before, after) > most or (mode != "constant" and min(before, after) < 0)
        if beyond and not w.is_open(given, axis):
            x = w("Gather", x, w.integers(padded_places(extent, before, after, mode)), axis=axis)
            sides[axis] = 0, 0
    if not any(map(any, sides)):
        return w("Identity", x) if x == given else x
    fill = w.constant(a["value"], w.dtype(given)) if mode == "constant" else ""
    return w("Pad", x, w.integers(np.transpose(sides)), fill, mode=mode)


@exports("space_to_depth")
def _space_to_depth(w, a, x):
    return w("SpaceToDepth", x, blocksize=a["block_size"])


@exports("depth_to_space")
def _depth_to_space(w, a, x):
    return w("DepthToSpace", x, blocksize=a["block_size"], mode=a["mode"])


@exports("gather")
def _gather(w, a, x, indices):
    return w("Gather", x, indices, axis=a["axis"])
