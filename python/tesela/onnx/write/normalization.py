"""Normalization and softmax."""

from __future__ import annotations

import numpy as np

from ..writer import exports
from .activation import activated


@exports("batch_norm")
def _batch_norm(w, a, x, running_mean, running_var, weight=None, bias=None):
    channels = w.dims[x][1]
    weight = weight or w.constant(np.ones(channels))
    bias = bias or w.constant(np.zeros(channels))
    y = w("BatchNormalization", x, weight, bias, running_mean, running_var, epsilon=a["eps"])
    return activated(w, a["activation"], y)


@exports("local_response_norm")
def _local_response_norm(w, a, x):
    size, alpha, beta, k = (a[key] for key in ("size", "alpha", "beta", "k"))
    if size % 2:
        return w("LRN", x, size=size, alpha=alpha, beta=beta, bias=k)
    # For an even size LRN looks further ahead and we further back; onnxruntime refuses it. So, the mean over channels:
    _, channels, height, width = w.dims[x]
    squares = w("Reshape", w("Mul", x, x), w.constant([0, 1, channels, height * width], np.int64))
    pads = [size // 2, 0, (size - 1) // 2, 0]
    means = w("AveragePool", squares, kernel_shape=[size, 1], pads=pads, count_include_pad=1)
    means = w("Reshape", means, w.constant([0, channels, height, width], np.int64))
    scale = w("Add", w("Mul", means, w.constant(alpha)), w.constant(k))
    return w("Div", x, w("Pow", scale, w.constant(beta)))


@exports("instance_norm")
def _instance_norm(w, a, x, weight=None, bias=None):
    channels = w.dims[x][1]
    weight = weight or w.constant(np.ones(channels))
    return w("InstanceNormalization", x, weight, bias or w.constant(np.zeros(channels)), epsilon=a["eps"])


@exports("group_norm")
def _group_norm(w, a, x, weight=None, bias=None):
    """GroupNormalization had one weight for each group before opset 21; the groups are channels of lines here."""
    groups, (_, *rest) = a["groups"], w.dims[x]
    lines = w("Reshape", x, w.integers([0, groups, -1]))
    ones, zeros = w.constant(np.ones(groups)), w.constant(np.zeros(groups))
    y = w("Reshape", w("InstanceNormalization", lines, ones, zeros, epsilon=a["eps"]), w.integers([0, *rest]))
    for op_type, values in (("Mul", weight), ("Add", bias)):
        if values:
            y = w(op_type, y, w("Reshape", values, w.integers([-1] + [1] * (len(rest) - 1))))
    return y


@exports("layer_norm")
def _layer_norm(w, a, x, weight=None, bias=""):
    rank = len(w.dims[x])
    axis = a["axis"] % rank
    if weight is None:
        if any(w.is_open(x, i) for i in range(axis, rank)):
            raise ValueError(f"layer {w.layer.name!r}: a norm over the batch is for one size; export it with batch=1")
        weight = w.constant(np.ones(w.dims[x][axis:]))
    return w("LayerNormalization", x, weight, bias, axis=axis, epsilon=a["eps"])


@exports("softmax")
def _softmax(w, a, x):
    return w("Softmax", x, axis=a["dim"])


@exports("log_softmax")
def _log_softmax(w, a, x):
    return w("LogSoftmax", x, axis=a["dim"])
