"""Reductions over axes, and the places of extremes."""

from __future__ import annotations

from ..translation import Call, Translation, Value, translates

REDUCTIONS = {
    f"Reduce{name}": f"reduce_{op}"
    for name, op in (
        ("Sum", "sum"), ("Mean", "mean"), ("Max", "max"), ("Min", "min"), ("Prod", "prod"), ("L1", "l1"), ("L2", "l2"),
        ("LogSum", "log_sum"), ("LogSumExp", "log_sum_exp"), ("SumSquare", "sum_square"),
    )
}  # fmt: skip


@translates(*REDUCTIONS)
def reduce(t: Translation, call: Call, x: Value, axes: Value | None = None):
    """axes are an attribute before opset 18 (ReduceSum: 13), and an input from then on."""
    given = t.integers(call, "axes", axes)
    given = call.integers("axes") if given is None else given
    if given is not None and len(given) == 0:
        given = None
    if given is None and call.integer("noop_with_empty_axes", 0):
        given = ()
    return t.either(call, REDUCTIONS[call.op_type], x, axes=given, keepdims=bool(call.integer("keepdims", 1)))


@translates("ArgMax", "ArgMin")
def place(t: Translation, call: Call, x: Value):
    return t.either(
        call, call.op_type.lower(), x, axis=call.integer("axis", 0), keepdims=bool(call.integer("keepdims", 1)),
        select_last=bool(call.integer("select_last_index", 0)),
    )  # fmt: skip
