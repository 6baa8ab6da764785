"""Element by element."""

from __future__ import annotations

from ..writer import exports
from .activation import activated

# Operators of the graph -> ONNX's names for what means the same.
SAME = {
    **{name.lower(): name for name in (
        "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Cos", "Cosh", "Div", "Equal", "Erf", "Exp",
        "Floor", "Greater", "IsInf", "IsNaN", "Less", "Log", "Mish", "Neg", "Pow", "Reciprocal", "Round", "Sign", "Sin",
        "Sinh", "Softplus", "Softsign", "Sqrt", "Sub", "Tan", "Where",
    )},
    "maximum": "Max", "minimum": "Min", "greater_equal": "GreaterOrEqual", "less_equal": "LessOrEqual",
    "logical_not": "Not", "logical_and": "And", "logical_or": "Or", "logical_xor": "Xor",
    "bitwise_not": "BitwiseNot", "bitwise_and": "BitwiseAnd", "bitwise_or": "BitwiseOr", "bitwise_xor": "BitwiseXor",
}  # fmt: skip


@exports("add")
def _add(w, a, x, y):
    return activated(w, a["activation"], w("Add", x, y))


@exports("mul")
def _mul(w, a, x, y):
    return activated(w, a["activation"], w("Mul", x, y))


@exports(*SAME)
def _same(w, a, **operands):
    if w.layer.op == "where":
        return w("Where", operands["condition"], operands["x"], operands["y"])
    return w.typed(SAME[w.layer.op], *(operands[name] for name in ("x", "y") if name in operands))


@exports("cast")
def _cast(w, a, x):
    """ONNX leaves open what becomes of numbers that the type does not hold; here they are clamped to it."""
    return w.cast(x, a["dtype"])


@exports("fmod")
def _fmod(w, a, x, y):
    return w("Mod", x, y, fmod=1)


@exports("mod")
def _mod(w, a, x, y):
    """Mod has the sign of y for integers only."""
    dtype = w.dtype(x)
    if not dtype.startswith("float"):
        return w("Mod", x, y)
    zero, rest = w.constant(0, dtype), w("Mod", x, y, fmod=1)
    other_sign = w("Xor", w("Less", rest, zero), w("Less", y, zero))
    wrong = w("And", other_sign, w("Not", w("Equal", rest, zero)))
    return w("Where", wrong, w("Add", rest, y), rest)
