"""Activations: alone, or fused into the operator before them."""

from __future__ import annotations

from typing import ClassVar

from .. import arguments
from ..arguments import number
from .table import Operator, activation_arguments


class Activation(Operator):
    """x -> f(x), one class per entry of ACTIVATIONS; `keyword` is the name of its parameter."""

    keyword: ClassVar[str | None] = None
    per_image = True

    def attributes(self, **keywords):
        unknown = set(keywords) - {self.keyword}
        if unknown:
            raise TypeError(f"{self.name}: unexpected argument {', '.join(sorted(unknown))}")
        if self.keyword is None:
            return {}
        value = keywords.get(self.keyword, arguments.ACTIVATIONS[self.name])
        return {self.keyword: number(self.name, self.keyword, value)}

    def keywords(self):
        return [self.keyword] if self.keyword else []

    def fused(self, a) -> arguments.Activation:
        """The same, as the `activation` attribute of another operator."""
        return (self.name, a[self.keyword]) if self.keyword else self.name

    def dims(self, a, x):
        return [x]

    def lower(self, program, a, x):
        return [program.activation(x, *activation_arguments({"activation": self.fused(a)}))]


class ReLU(Activation, name="relu"):
    pass


class ReLU6(Activation, name="relu6"):
    pass


class LeakyReLU(Activation, name="leaky_relu"):
    keyword = "negative_slope"


class ELU(Activation, name="elu"):
    keyword = "alpha"


class Sigmoid(Activation, name="sigmoid"):
    pass


class Tanh(Activation, name="tanh"):
    pass


class Hardswish(Activation, name="hardswish"):
    pass


class SiLU(Activation, name="silu"):
    pass


class GELU(Activation, name="gelu"):
    keyword = "approximate"

    def attributes(self, *, approximate="none"):
        if approximate not in ("none", "tanh"):
            raise ValueError(f"gelu: expected approximate 'none' or 'tanh', got {approximate!r}")
        return {"approximate": approximate}

    def fused(self, a):
        return "gelu" if a["approximate"] == "none" else "gelu_tanh"


class PReLU(Operator, name="prelu"):
    parameters = ("weight",)
    per_image = True

    def dims(self, a, x, weight):
        if weight not in ((), (1,)) and (len(x) < 2 or weight != (x[1],)):
            raise ValueError(f"prelu: expected weight of one value or one per channel of x {x}, got shape {weight}")
        return [x]

    def lower(self, program, a, x, weight):
        return [program.prelu(x, weight.reshape(-1))]
