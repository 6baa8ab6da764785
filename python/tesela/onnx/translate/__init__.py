"""Translators of ONNX operators by family; importing them fills translation.TRANSLATORS."""

from . import (
    arithmetic,
    convolution,
    detection,
    indexing,
    layout,
    normalization,
    pooling,
    quantization,
    reduction,
    resize,
    shapes,
)

__all__ = [
    "arithmetic",
    "convolution",
    "detection",
    "indexing",
    "layout",
    "normalization",
    "pooling",
    "quantization",
    "reduction",
    "resize",
    "shapes",
]
