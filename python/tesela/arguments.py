"""The forms in which operators take their arguments, brought into one: the only place that knows them.

pair      int or (h, w)                                        -> (h, w)
padding   int, (h, w) or ((top, bottom), (left, right))        -> ((top, bottom), (left, right))
boolean   True or False                                        -> bool
number    any real number                                      -> float
activation  None, "relu" or ("leaky_relu", 0.2)                -> None, name, or (name, parameter) where it has one
"""

from __future__ import annotations

import numbers
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

# Activations that can be fused into the operator before them, with the parameter each takes by default.
ACTIVATIONS: dict[str, float | None] = {
    "relu": None,
    "relu6": None,
    "leaky_relu": 0.01,
    "elu": 1.0,
    "sigmoid": None,
    "tanh": None,
    "hardswish": None,
    "silu": None,
    "gelu": None,
    "gelu_tanh": None,
}


def integer(op: str, name: str, value: Any) -> int:
    """`value` as an int of 64 bits; TypeError for anything that is not a whole number by type."""
    try:
        result = operator.index(value)
    except TypeError:
        result = None
    if result is None or isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{op}: expected {name} as an integer, got {value!r}")
    if not -(2**63) <= result < 2**63:
        raise ValueError(f"{op}: expected {name} as an integer of 64 bits, got {value}")
    return result


def number(op: str, name: str, value: Any) -> float:
    """`value` as a float; TypeError for anything that is not a real number by type."""
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise ValueError(f"{op}: expected {name} as a number that a float can hold") from None
    raise TypeError(f"{op}: expected {name} as a number, got {value!r}")


def boolean(op: str, name: str, value: Any) -> bool:
    """`value` as a bool; TypeError for anything else, so that "no" is not taken for true."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    raise TypeError(f"{op}: expected {name} as True or False, got {value!r}")


def _is_sequence(value: Any) -> bool:
    """A list or the like; an array without axes is a number."""
    return (isinstance(value, Sequence) and not isinstance(value, str)) or (
        isinstance(value, np.ndarray) and value.ndim > 0
    )


def pair(op: str, name: str, value: Any) -> tuple[int, int]:
    if _is_sequence(value):
        if len(value) != 2:
            raise ValueError(f"{op}: expected {name} as an int or (h, w), got {value!r}")
        return integer(op, name, value[0]), integer(op, name, value[1])
    return (integer(op, name, value),) * 2


Padding = tuple[tuple[int, int], tuple[int, int]]


def padding(op: str, value: Any) -> Padding:
    if _is_sequence(value) and len(value) == 2:
        h, w = value
        if _is_sequence(h) and _is_sequence(w):
            if len(h) == 2 and len(w) == 2:
                top, bottom, left, right = (integer(op, "padding", side) for side in (*h, *w))
                return (top, bottom), (left, right)
        else:
            h, w = integer(op, "padding", h), integer(op, "padding", w)
            return (h, h), (w, w)
    elif not _is_sequence(value) and not isinstance(value, str):
        side = integer(op, "padding", value)
        return (side, side), (side, side)
    raise ValueError(f"{op}: expected padding as an int, (h, w) or ((top, bottom), (left, right)), got {value!r}")


def flat(value: Padding) -> tuple[int, int, int, int]:
    """(top, bottom, left, right), as the compiled module takes it."""
    return (*value[0], *value[1])


def convolution_padding(
    op: str, value: Any, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> Padding:
    """`padding` of conv2d, where "same" and "valid" depend on the kernel. As in PyTorch, "same" asks for stride 1."""
    if not isinstance(value, str):
        return value
    if value == "valid":
        return (0, 0), (0, 0)
    if value == "same":
        if tuple(stride) != (1, 1):
            raise ValueError(f"{op}: padding='same' needs stride 1, got {tuple(stride)}")
        totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        if max(totals) >= 2**62:
            raise ValueError(f"{op}: expected dilation of less than 2^62 elements in all, got {tuple(dilation)} for "
                             f"kernel {tuple(kernel)}")  # fmt: skip
        return tuple((total // 2, total - total // 2) for total in totals)
    raise ValueError(f"{op}: expected padding 'same' or 'valid', got {value!r}")


Activation = None | str | tuple[str, float]


def activation(op: str, value: Any) -> Activation:
    if value is None:
        return None
    if isinstance(value, str):
        value = value, None
    if not isinstance(value, (tuple, list)) or len(value) != 2 or not isinstance(value[0], str):
        raise TypeError(f"{op}: expected activation as None, a name or (name, parameter), got {value!r}")
    name, parameter = value
    if name not in ACTIVATIONS:
        raise ValueError(f"{op}: unknown activation {name!r}; known are {', '.join(ACTIVATIONS)}")
    default = ACTIVATIONS[name]
    if default is None:
        if parameter is not None:
            raise ValueError(f"{op}: activation {name!r} takes no parameter, got {parameter!r}")
        return name
    return name, default if parameter is None else number(op, f"the parameter of activation {name!r}", parameter)
