"""Exporters of operators by family; importing them fills writer.EXPORTERS."""

from . import activation, arithmetic, array, convolution, detection, layout, normalization, pooling, reduction

__all__ = [
    "activation",
    "arithmetic",
    "array",
    "convolution",
    "detection",
    "layout",
    "normalization",
    "pooling",
    "reduction",
]
