"""PyTorch, eager, walking tesela's graph with batch norm folded, as torch.fx would do; see also torch_channels_last."""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F

from ...graph import Graph
from ...passes import fold_batch_norm
from . import Model, Run

DISTRIBUTION = "torch"


def prepare(model: Model, threads: int, memory_format=torch.contiguous_format) -> Run:
    torch.set_num_threads(threads)
    graph, parameters = fold_batch_norm(model.graph, model.parameters)
    constants = {name: torch.from_numpy(np.asarray(value)) for name, value in parameters.items()}
    constants = {n: c.contiguous(memory_format=memory_format) if c.ndim == 4 else c for n, c in constants.items()}

    @torch.inference_mode()
    def run(x: np.ndarray) -> list[np.ndarray]:
        image = torch.from_numpy(x).contiguous(memory_format=memory_format)
        return [y.contiguous().numpy() for y in forward(graph, constants, image)]

    return run


def forward(graph: Graph, constants: Mapping[str, torch.Tensor], image: torch.Tensor) -> list[torch.Tensor]:
    """The outputs of a network of one input, node by node, on whatever device the tensors are."""
    values = dict.fromkeys(graph.inputs, image)
    for node in graph.nodes:
        operands = {k: [values[v] for v in value] if isinstance(value, list) else values[value]
                    for k, value in node.inputs.items()}  # fmt: skip
        operands |= {operand: constants[name] for operand, name in node.parameters.items()}
        results = apply(node.op, node.attributes, **operands)
        values.update(zip(node.outputs, results if isinstance(results, tuple) else (results,), strict=True))
    return [values[name] for name in graph.outputs]


def apply(op: str, attributes: dict, **operands):
    """One operator, with the activation that tesela's may have."""
    if op not in OPERATORS:
        raise NotImplementedError(f"no translation of {op}")
    attributes = dict(attributes)
    activation = attributes.pop("activation", None)
    x = [operands.pop("x")] if "x" in operands else []  # PyTorch calls it input
    y = OPERATORS[op](*x, **operands, **attributes)
    if activation is not None:
        name, *parameter = (activation,) if isinstance(activation, str) else activation
        y = ACTIVATIONS[name](y, *parameter)
    return y


def padded(x, padding, value=0.0):
    """x and a padding that PyTorch takes: what differs between two sides is put on first."""
    (top, bottom), (left, right) = padding
    if top == bottom and left == right:
        return x, (top, left)
    return F.pad(x, (left, right, top, bottom), value=value), (0, 0)


def conv2d(x, weight, bias=None, *, padding, **attributes):
    if not isinstance(padding, str):
        x, padding = padded(x, padding)
    return F.conv2d(x, weight, bias, padding=padding, **attributes)


def conv_transpose2d(x, weight, bias=None, *, padding, **attributes):
    (top, bottom), (left, right) = padding
    if (top, left) != (bottom, right):
        raise NotImplementedError("conv_transpose2d with different padding on two sides")
    return F.conv_transpose2d(x, weight, bias, padding=(top, left), **attributes)


def max_pool2d(x, *, padding, **attributes):
    x, padding = padded(x, padding, -np.inf)
    return F.max_pool2d(x, padding=padding, **attributes)


def max_unpool2d(x, indices, *, padding, output_size, **attributes):
    (top, _), (left, _) = padding
    return F.max_unpool2d(x, indices, padding=(top, left), output_size=output_size, **attributes)


def avg_pool2d(x, *, padding, **attributes):
    (top, bottom), (left, right) = padding
    if (top, left) != (bottom, right):
        raise NotImplementedError("avg_pool2d with different padding on two sides")
    return F.avg_pool2d(x, padding=(top, left), **attributes)


ACTIVATIONS = {
    "relu": F.relu,
    "relu6": F.relu6,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "hardswish": F.hardswish,
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
}

OPERATORS = ACTIVATIONS | {
    "conv2d": conv2d,
    "conv_transpose2d": conv_transpose2d,
    "linear": F.linear,
    "max_pool2d": max_pool2d,
    "avg_pool2d": avg_pool2d,
    "max_unpool2d": max_unpool2d,
    "adaptive_avg_pool2d": F.adaptive_avg_pool2d,
    "global_avg_pool2d": lambda x: F.adaptive_avg_pool2d(x, 1),
    "global_max_pool2d": lambda x: F.adaptive_max_pool2d(x, 1),
    "batch_norm": lambda x, running_mean, running_var, weight=None, bias=None, *, eps: F.batch_norm(
        x, running_mean, running_var, weight, bias, eps=eps
    ),
    "local_response_norm": F.local_response_norm,
    "softmax": F.softmax,
    "log_softmax": F.log_softmax,
    "prelu": F.prelu,
    "add": lambda x, y: x + y,
    "mul": lambda x, y: x * y,
    "concat": lambda tensors, *, dim: torch.cat(tensors, dim),
    "pixel_shuffle": F.pixel_shuffle,
    "flatten": torch.flatten,
    "dropout": lambda x, *, p: x,
}
