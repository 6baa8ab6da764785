"""Normalization and softmax."""

from __future__ import annotations

import math

import numpy as np

from ..translation import Call, Translation, Value, translates


@translates("BatchNormalization")
def batch_normalization(t: Translation, call: Call, x: Value, scale: Value, bias: Value, mean: Value, var: Value):
    if call.outputs > 1 or call.integer("training_mode", 0):
        raise call.error("training is not supported")
    if call.integer("spatial", 1) != 1:
        raise call.error("statistics of every position are not supported")
    for name, value in (("scale", scale), ("B", bias), ("mean", mean), ("var", var)):
        t.known(call, name, value)
    parameters = {"running_mean": mean, "running_var": var, "weight": scale, "bias": bias}
    return t("batch_norm", x, parameters=parameters, eps=call.number("epsilon", 1e-5))


@translates("LRN")
def lrn(t: Translation, call: Call, x: Value):
    size = call.integer("size", 1)
    if size > 2**31:
        raise call.error(f"expected size below 2^31, got {size}")
    if size % 2 == 0:
        raise call.error(f"expected an odd size, got {size}")
    return t("local_response_norm", x, size=size, alpha=call.number("alpha", 1e-4), beta=call.number("beta", 0.75),
             k=call.number("bias", 1.0))  # fmt: skip


@translates("Softmax", "LogSoftmax")
def softmax(t: Translation, call: Call, x: Value):
    op = "softmax" if call.op_type == "Softmax" else "log_softmax"
    rank = len(x.dims)
    axis = call.integer("axis", 1 if call.opset < 13 else -1)
    if not -rank <= axis < max(rank, 1):
        raise call.error(f"expected axis of {rank} dimensions, got {axis}")
    axis %= max(rank, 1)
    if call.opset >= 13 or axis == rank - 1:
        return t(op, x, dim=axis)
    # Before opset 13: over all axes from this one on.
    y = t(op, t.reshape(call, x, (math.prod(x.dims[:axis]), math.prod(x.dims[axis:]))), dim=1)
    return t.reshape(call, y, x.dims)


@translates("InstanceNormalization")
def instance_normalization(t: Translation, call: Call, x: Value, scale: Value, bias: Value):
    for name, value in (("scale", scale), ("B", bias)):
        t.known(call, name, value)
    return t("instance_norm", x, parameters={"weight": scale, "bias": bias}, eps=call.number("epsilon", 1e-5))


@translates("GroupNormalization")
def group_normalization(t: Translation, call: Call, x: Value, scale: Value, bias: Value):
    """Before opset 21 scale and bias had a value for each group."""
    groups, parameters = call.integer("num_groups", 0), {}
    for name, value in (("weight", scale), ("bias", bias)):
        t.known(call, name, value)
        if groups > 0 and value.dims == (groups,) != (x.dims[1],):
            value = t.value(np.repeat(value.array, x.dims[1] // groups))
        parameters[name] = value
    return t("group_norm", x, parameters=parameters, groups=groups, eps=call.number("epsilon", 1e-5))


@translates("LayerNormalization")
def layer_normalization(t: Translation, call: Call, x: Value, scale: Value, bias: Value | None = None):
    for name, value in (("Scale", scale), ("B", bias)):
        t.known(call, name, value)
    axis, eps = call.integer("axis", -1), call.number("epsilon", 1e-5)
    y = t("layer_norm", x, parameters={"weight": scale, "bias": bias}, axis=axis, eps=eps)
    if call.outputs == 1:
        return y
    axes = tuple(range(axis % len(x.dims), len(x.dims)))
    mean = t("reduce_mean", x, axes=axes, keepdims=True)
    centred = t("sub", x, mean)
    variance = t("reduce_mean", t("mul", centred, centred), axes=axes, keepdims=True)
    return y, mean, t("reciprocal", t("sqrt", t("add", variance, np.float32(eps))))


@translates("RMSNormalization")
def rms_normalization(t: Translation, call: Call, x: Value, scale: Value):
    """x / sqrt(mean of x ** 2 + eps) * scale, over the axes from `axis` on. Zhang and Sennrich 2019."""
    axis, rank = call.integer("axis", -1), len(x.dims)
    if not -rank <= axis < rank:
        raise call.error(f"expected axis of {rank} dimensions, got {axis}")
    square = t("reduce_mean", t("mul", x, x), axes=tuple(range(axis % rank, rank)), keepdims=True)
    root = t("sqrt", t("add", square, np.float32(call.number("epsilon", 1e-5))))
    return t("mul", t("div", x, root), scale)


@translates("LpNormalization")
def lp_normalization(t: Translation, call: Call, x: Value):
    p = call.integer("p", 2)
    if p not in (1, 2):
        raise call.error(f"expected p 1 or 2, got {p}")
    norm = t(f"reduce_l{p}", x, axes=(call.integer("axis", -1),), keepdims=True)
    return t("div", x, t("maximum", norm, np.finfo(np.float32).tiny))  # zeros stay zeros


@translates("MeanVarianceNormalization")
def mean_variance_normalization(t: Translation, call: Call, x: Value):
    axes = call.integers("axes", (0, 2, 3))
    centred = t("sub", x, t("reduce_mean", x, axes=axes, keepdims=True))
    variance = t("reduce_mean", t("mul", centred, centred), axes=axes, keepdims=True)
    return t("div", centred, t("add", t("sqrt", variance), np.float32(1e-9)))
