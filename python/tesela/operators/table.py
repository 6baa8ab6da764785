"""The table and what one of its rows must say."""

from __future__ import annotations

from typing import Any, ClassVar

from .. import _core

Dims = tuple[int, ...]
FLOAT = ("float32",)
INTEGERS = ("int8", "uint8", "int32", "int64")
NUMBERS = ("float32", "float64", *INTEGERS)
ANY = (*NUMBERS, "bool")
TABLE: dict[str, Operator] = {}


class Operator:
    """One row of the table: a subclass with a name is entered under it, as its only instance."""

    name: ClassVar[str]
    tensors: ClassVar[tuple[str, ...]] = ("x",)  # a name ending in * stands for any number of tensors
    parameters: ClassVar[tuple[str, ...]] = ()
    fuses_activation: ClassVar[bool] = False
    takes: ClassVar[dict[str, tuple[str, ...]]] = {}  # operand -> dtypes; float32 where it is not named
    alike: ClassVar[tuple[str, ...]] = ()  # operands that must agree in dtype
    takes_empty: ClassVar[bool] = False  # whether operands may have no elements
    per_image: ClassVar[bool] = False  # whether each image of the result is what that image of the operands alone gives
    required: ClassVar[tuple[str, ...]] = ()  # operands without which dims() cannot do

    def __init_subclass__(cls, name: str | None = None, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        # From the code: inspect.signature for every operator would take a fifth of `import tesela`.
        code, defaults = cls.dims.__code__, cls.dims.__defaults__ or ()
        cls.required = code.co_varnames[2 : code.co_argcount - len(defaults)]  # after self and attributes
        if name is not None:
            cls.name = name
            TABLE[name] = cls()

    def attributes(self) -> dict[str, Any]:
        """Checks and completes attributes; the keyword arguments are the operator's public ones."""
        return {}

    def keywords(self) -> list[str]:
        """The names that attributes() takes."""
        code = self.attributes.__code__
        return list(code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount])

    def dims(self, attributes: dict[str, Any], **operands: Any) -> list[Dims]:
        """Sizes of each result. Operands are the sizes of tensors and parameters."""
        raise NotImplementedError

    def checked_dims(self, attributes: dict[str, Any], **operands: Any) -> list[Dims]:
        """dims(), for operands that have as many elements as the operator needs."""
        results = self.dims(attributes, **operands)
        for operand, given in operands.items():
            for size in given if isinstance(given, list) else [given]:
                if 0 in size and not self.takes_empty:
                    raise ValueError(f"{self.name}: expected {operand} with at least one element, got shape {size}")
        return results

    def dtypes(self, attributes: dict[str, Any], **operands: Any) -> list[str]:
        """Checked dtypes of each result; operands are dtypes, or lists of them. Here: float32 makes float32."""
        self.expect_dtypes(**operands)
        return ["float32"]

    def expect_dtypes(self, **operands: Any) -> None:
        common = None
        for operand, given in operands.items():
            accepted = self.takes.get(operand, FLOAT)
            for dtype in given if isinstance(given, list) else [given]:
                if dtype not in accepted:
                    raise TypeError(f"{self.name}: expected {operand} of dtype {_listed(accepted)}, got {dtype}")
                if operand in self.alike:
                    common = common or dtype
                    if dtype != common:
                        raise TypeError(f"{self.name}: expected {operand} of dtype {common}, as before it, got {dtype}")

    def lower(self, program: _core.Program, attributes: dict[str, Any], **operands: Any) -> list[int]:
        """Appends the steps. Tensors are ids of the program, parameters arrays; returns the ids of the results."""
        raise NotImplementedError

    def flops(self, attributes: dict[str, Any], **operands: Any) -> float:
        """Floating-point operations of the direct algorithm where products dominate, else 0."""
        return 0.0


def activation_arguments(attributes: dict[str, Any], attribute: str = "activation") -> tuple[str, float]:
    """The attribute as the compiled module takes it: ("", 0.0) for none."""
    activation = attributes[attribute] or ""
    return (activation, 0.0) if isinstance(activation, str) else activation


def _listed(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def expect_dims(op: str, operand: str, dims: Dims | None, expected: Dims) -> None:
    if dims is not None and tuple(dims) != tuple(expected):
        raise ValueError(f"{op}: expected {operand} of shape {tuple(expected)}, got {tuple(dims)}")


def expect_rank(op: str, x: Dims, rank: int, layout: str, operand: str = "x") -> None:
    if len(x) != rank:
        raise ValueError(f"{op}: expected {operand} of shape {layout}, got {tuple(x)}")
