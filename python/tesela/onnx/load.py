"""Reading ONNX models, from files that nobody vouches for."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from . import model
from .model import MAX_BYTES
from .network import OnnxNetwork


def load(
    source: str | os.PathLike[str] | bytes,
    *,
    input_dims: Mapping[str, Sequence[int]] | None = None,
    max_bytes: int = MAX_BYTES,
) -> OnnxNetwork:
    """The network of an ONNX model: a path, or the bytes of a file.

    input_dims  sizes of inputs that the file leaves open; others are taken from the arrays of a call
    max_bytes   what weights and constants, and then activations, may take; ValueError where a model asks for more

    A file that is malformed, or has an operator that is not supported, raises ValueError with the node's name.
    """
    return OnnxNetwork(model.parse(source, max_bytes), input_dims or {}, max_bytes)
