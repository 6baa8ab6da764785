"""Element-wise functions of one, two or three operands, with NumPy's broadcasting, on any dtype that makes sense.

The step's name is the operator's; see csrc/cpu/map.cpp. Operands agree in dtype, and but for comparisons and cast the
result has it too.
"""

from __future__ import annotations

import functools

from .. import _core
from .table import ANY, INTEGERS, NUMBERS, Operator

REALS = ("float32", "float64")
UNARY = {
    **dict.fromkeys(
        "exp log sqrt reciprocal floor ceil round erf sin cos tan asin acos atan sinh cosh asinh acosh atanh softplus "
        "softsign mish".split(),
        REALS,
    ),
    **dict.fromkeys(("neg", "abs", "sign"), NUMBERS),
    "isnan": REALS,
    "isinf": REALS,
    "logical_not": ("bool",),
    "bitwise_not": INTEGERS,
}
BINARY = {
    **dict.fromkeys(("sub", "div", "mod", "fmod", "pow", "maximum", "minimum"), NUMBERS),
    **dict.fromkeys(("greater", "greater_equal", "less", "less_equal"), NUMBERS),
    "equal": ANY,
    **dict.fromkeys(("logical_and", "logical_or", "logical_xor"), ("bool",)),
    **dict.fromkeys(("bitwise_and", "bitwise_or", "bitwise_xor"), INTEGERS),
}
_TO_BOOL = ("isnan", "isinf", "equal", "greater", "greater_equal", "less", "less_equal")


class Map(Operator):
    takes_empty = True

    def dims(self, a, x):
        return [x]

    def dtypes(self, a, **operands):
        self.expect_dtypes(**operands)
        return ["bool" if self.name in _TO_BOOL else operands["x"]]

    def lower(self, program, a, **operands):
        ids = [operands[name] for name in self.tensors]
        given = dict(zip(self.tensors, map(program.dtype, ids), strict=True))
        return [program.map(self.name, ids, self.dtypes(a, **given)[0])]


class BinaryMap(Map):
    tensors = ("x", "y")
    alike = ("x", "y")

    def dims(self, a, x, y):
        return [tuple(_core.broadcast_dims(self.name, x, y))]


for _name, _dtypes in UNARY.items():
    type(_name.capitalize(), (Map,), {"takes": {"x": _dtypes}, "__module__": __name__}, name=_name)
for _name, _dtypes in BINARY.items():
    type(_name.capitalize(), (BinaryMap,), {"takes": {"x": _dtypes, "y": _dtypes}, "__module__": __name__}, name=_name)


class Where(Map, name="where"):
    tensors = ("condition", "x", "y")
    alike = ("x", "y")
    takes = {"condition": ("bool",), "x": ANY, "y": ANY}  # noqa: RUF012

    def dims(self, a, condition, x, y):
        return [tuple(functools.reduce(lambda s, t: _core.broadcast_dims("where", s, t), (x, y), condition))]


class Cast(Map, name="cast"):
    """Floats are truncated to integers, clamped to what they hold, NaN to 0; to bool, all but 0 is true."""

    takes = {"x": ANY}  # noqa: RUF012

    def attributes(self, *, dtype):
        if dtype not in ANY:
            raise TypeError(f"cast: expected dtype as one of {', '.join(ANY)}, got {dtype!r}")
        return {"dtype": dtype}

    def dtypes(self, a, **operands):
        self.expect_dtypes(**operands)
        return [a["dtype"]]
