"""Reductions over axes, the places of extremes, and products of matrices of any rank."""

from __future__ import annotations

from ...operators.reduce import REDUCTIONS
from ..writer import exports

# Over no axes: each element is reduced by itself. ONNX left open what its noop_with_empty_axes does to it.
_BY_ITSELF = {"l1": "Abs", "l2": "Abs", "log_sum": "Log"}


@exports(*(f"reduce_{name}" for name in REDUCTIONS))
def _reduce(w, a, x):
    name = w.layer.op.removeprefix("reduce_")
    if a["axes"] is not None and len(a["axes"]) == 0:
        if name == "sum_square":
            return w("Mul", x, x)
        return w.typed(_BY_ITSELF[name], x) if name in _BY_ITSELF else w("Identity", x)
    word = "".join(part.capitalize() for part in name.split("_"))
    axes = [] if a["axes"] is None else [w.integers(a["axes"])]
    return w.typed(f"Reduce{word}", x, operands=axes, keepdims=int(a["keepdims"]))


@exports("argmax", "argmin")
def _place(w, a, x):
    op_type = "ArgMax" if w.layer.op == "argmax" else "ArgMin"
    return w(op_type, x, axis=a["axis"], keepdims=int(a["keepdims"]), select_last_index=int(a["select_last"]))
