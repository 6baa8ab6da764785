"""Translators of ONNX operators by family; importing them fills translation.TRANSLATORS."""

from . import arithmetic, convolution, layout, normalization, pooling, reduction, shapes

__all__ = ["arithmetic", "convolution", "layout", "normalization", "pooling", "reduction", "shapes"]
