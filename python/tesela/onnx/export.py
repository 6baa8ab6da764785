"""From a network to an ONNX model: one small function per operator of operators/, in the same order.

Values and parameters keep their names, and the initializers of the model are exactly the parameters; what else an
operator needs is a Constant node. Every size but the batch is known here, so what ONNX words differently, or engines
read differently, is settled at export: padding is explicit, ceil_mode has become padding after the plane, and "nearest"
by anything but a whole number a Gather of the rows and columns that it repeats.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

try:
    import onnx
    from onnx import helper, numpy_helper
except ModuleNotFoundError:
    raise ImportError("writing ONNX models needs the onnx package; pip install 'tesela[onnx]'") from None

from .. import __version__, reference
from ..arguments import Padding, convolution_padding, integer
from ..graph import Graph, Node
from ..operators import TABLE, Activation, Dims

if TYPE_CHECKING:
    from ..network import Network

OPSET = 20  # the first with Gelu; circular padding came with 19, sizes for some axes of Resize with 18
IR_VERSION = 9  # the file format that came with it
LARGEST = 2**31 - 1  # bytes: protobuf's limit

EXPORTERS: dict[str, Callable[..., str | tuple[str, ...]]] = {}


def export(
    network: Network, path: str | os.PathLike[str] | None = None, *, batch: int | None = None
) -> onnx.ModelProto:
    """The network as an ONNX model; written to `path` if given.

    batch: None leaves the batch size open, as the dimension "N".
    """
    graph = network.graph
    size = sum(parameter.nbytes for parameter in network.parameters.values())
    if size > LARGEST:
        raise ValueError(f"{graph.name}: an ONNX file holds less than 2 GiB, the parameters are {size:,} bytes")
    clash = next((name for name in network.parameters if name in graph.dims), None)
    if clash is not None:
        raise ValueError(f"{graph.name}: {clash!r} names both a layer and a parameter, which ONNX does not allow")
    if batch is not None and integer("to_onnx", "batch", batch) < 1:
        raise ValueError(f"to_onnx: expected batch of at least 1, got {batch}")

    sizes, shapes = _sizes(graph, batch)
    writer = _Writer(graph, sizes)
    for node in graph.nodes:
        writer.write(node)
    values = {
        name: helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(graph.dtypes[name])), shape)
        for name, shape in shapes.items()
    }
    model = helper.make_model(
        helper.make_graph(
            writer.nodes,
            graph.name,
            inputs=[values[name] for name in graph.inputs],
            outputs=[values[name] for name in graph.outputs],
            value_info=[value for name, value in values.items() if name not in (*graph.inputs, *graph.outputs)],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="tesela",
        producer_version=__version__,
    )
    # Not through make_graph and make_model, each of which would copy them all once more.
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in network.parameters.items())
    if path is not None:
        onnx.save(model, os.fspath(path))
    return model


def _sizes(graph: Graph, batch: int | None) -> tuple[dict[str, Dims], dict[str, list[int | str | None]]]:
    """Of every value: sizes for some batch, and the shape that the model states, where "N" is an open batch size."""

    def sizes(batch: int) -> dict[str, Dims]:
        return graph.infer_all(graph.input_dims(batch))

    if batch is not None:
        return sizes(batch), {name: list(dims) for name, dims in sizes(batch).items()}
    try:
        two, three = sizes(2), sizes(3)
    except ValueError as error:
        raise ValueError(f"{graph.name} does not take every batch size, so export it with batch=1: {error}") from None
    # An axis that grows with the batch in another way, after flatten(start_dim=0) for one, stays without a name.
    axis = {(2, 3): "N"}
    return two, {
        name: [a if a == b else axis.get((a, b)) for a, b in zip(two[name], three[name], strict=True)] for name in two
    }


class _Writer:
    """The nodes written so far. Calling it appends one and returns the name of its result, or a tuple of names."""

    def __init__(self, graph: Graph, sizes: Mapping[str, Dims]):
        self.graph = graph
        self.dims = {**sizes, **{name: parameter.shape for name, parameter in graph.parameters.items()}}
        self.nodes: list[onnx.NodeProto] = []
        self.layer: Node
        self.flat: set[str] = set()  # indices that count through all planes, as ONNX has them, not through one
        self._taken = set(self.dims)

    def __call__(self, op_type: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [self._new_name(op_type) for _ in range(outputs)]
        while inputs and not inputs[-1]:
            inputs = inputs[:-1]
        self.nodes.append(helper.make_node(op_type, inputs, names, **attributes))
        return names[0] if outputs == 1 else tuple(names)

    def constant(self, value: Any, dtype: type = np.float32) -> str:
        return self("Constant", value=numpy_helper.from_array(np.asarray(value, dtype)))

    def write(self, layer: Node) -> None:
        """Appends the nodes of one layer; its results get the names that they have in the graph."""
        self.layer, first = layer, len(self.nodes)
        results = EXPORTERS[layer.op](self, layer.attributes, **layer.inputs, **layer.parameters)
        names = dict(zip((results,) if isinstance(results, str) else results, layer.outputs, strict=True))
        for node in self.nodes[first:]:
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names.get(name, name) for name in node.output]
            node.name = node.output[0]

    def _new_name(self, op_type: str) -> str:
        name, count = f"{self.layer.name}/{op_type}", 1
        while name in self._taken:
            count += 1
            name = f"{self.layer.name}/{op_type}{count}"
        self._taken.add(name)
        return name


def _exports(*names: str) -> Callable:
    def register(function: Callable) -> Callable:
        EXPORTERS.update(dict.fromkeys(names, function))
        return function

    return register


def _pads(sides: Padding) -> list[int]:
    """((top, bottom), (left, right)) in the order of ONNX."""
    (top, bottom), (left, right) = sides
    return [top, left, bottom, right]


# -------------------------------------------------------------------------------------------------------- activation

ACTIVATIONS: dict[str, Callable[..., str]] = {
    "relu": lambda w, x: w("Relu", x),
    "relu6": lambda w, x: w("Clip", x, w.constant(0.0), w.constant(6.0)),
    "leaky_relu": lambda w, x, slope: w("LeakyRelu", x, alpha=slope),
    "elu": lambda w, x, alpha: w("Elu", x, alpha=alpha),
    "sigmoid": lambda w, x: w("Sigmoid", x),
    "tanh": lambda w, x: w("Tanh", x),
    "hardswish": lambda w, x: w("HardSwish", x),
    "silu": lambda w, x: w("Mul", x, w("Sigmoid", x)),
    "gelu": lambda w, x: w("Gelu", x),
    "gelu_tanh": lambda w, x: w("Gelu", x, approximate="tanh"),
}


def _activated(w: _Writer, activation: Any, x: str) -> str:
    if activation is None:
        return x
    name, *parameter = [activation] if isinstance(activation, str) else activation
    return ACTIVATIONS[name](w, x, *parameter)


# ------------------------------------------------------------------------------------------------------- convolution


@_exports("conv2d")
def _conv2d(w, a, x, weight, bias="", residual=None):
    sides = convolution_padding(a["padding"], w.dims[weight][2:], a["stride"], a["dilation"])
    y = w(
        "Conv", x, weight, bias,
        strides=a["stride"], pads=_pads(sides), dilations=a["dilation"], group=a["groups"],
    )  # fmt: skip
    return _activated(w, a["activation"], y if residual is None else w("Add", y, residual))


@_exports("conv_transpose2d")
def _conv_transpose2d(w, a, x, weight, bias="", residual=None):
    stride, sides, extra = a["stride"], a["padding"], a["output_padding"]
    if any(e >= s for e, s in zip(extra, stride, strict=True)):
        # Allowed below a dilation, yet refused by onnxruntime. Zeros after x reach as far, and padding cuts the rest.
        zeros = [max(0, -((after - e) // s)) for e, s, (_, after) in zip(extra, stride, sides, strict=True)]
        x = _padded(w, x, tuple((0, n) for n in zeros), "constant", 0.0)
        axes = zip(zeros, extra, stride, sides, strict=True)
        sides = tuple((before, after + n * s - e) for n, e, s, (before, after) in axes)
        extra = (0, 0)
    y = w(
        "ConvTranspose", x, weight, bias,
        strides=stride, pads=_pads(sides), output_padding=extra, dilations=a["dilation"], group=a["groups"],
    )  # fmt: skip
    return _activated(w, a["activation"], y if residual is None else w("Add", y, residual))


# --------------------------------------------------------------------------------------------------- matrix products


@_exports("linear")
def _linear(w, a, x, weight, bias=""):
    if len(w.dims[x]) == 2:
        y = w("Gemm", x, weight, bias, transB=1)
    else:
        y = w("MatMul", x, w("Transpose", weight, perm=[1, 0]))
        y = w("Add", y, bias) if bias else y
    return _activated(w, a["activation"], y)


@_exports("gemm")
def _gemm(w, attributes, a, b, c=""):
    alpha, beta, trans_a, trans_b = (attributes[key] for key in ("alpha", "beta", "trans_a", "trans_b"))
    y = w("Gemm", a, b, c, alpha=alpha, beta=beta, transA=int(trans_a), transB=int(trans_b))
    return _activated(w, attributes["activation"], y)


# ----------------------------------------------------------------------------------------------------------- pooling


def _explicit_padding(w: _Writer, a: Mapping[str, Any], x: str) -> Padding:
    """`padding` long enough after the plane that the windows of ceil_mode exist without it."""
    sides = []
    for axis, (before, after) in enumerate(a["padding"]):
        extent, windows = w.dims[x][2 + axis], w.dims[w.layer.outputs[0]][2 + axis]
        reach = a.get("dilation", (1, 1))[axis] * (a["kernel_size"][axis] - 1) + 1
        end = (windows - 1) * a["stride"][axis] + reach
        sides.append((before, max(after, end - before - extent)))
    return tuple(sides)


@_exports("max_pool2d")
def _max_pool2d(w, a, x):
    kernel, sides = a["kernel_size"], _explicit_padding(w, a, x)
    place = np.arange(np.prod(w.dims[x][2:])).reshape(w.dims[x][2:])
    # Dilated windows may be padded by more than the kernel's size, which onnxruntime refuses.
    padded = any(max(side) >= k for side, k in zip(sides, kernel, strict=True))
    if padded:
        x = _padded(w, x, sides, "constant", -np.inf)
        place, sides = np.pad(place, sides, constant_values=-1), ((0, 0), (0, 0))
    pooling = {"kernel_shape": kernel, "strides": a["stride"], "pads": _pads(sides), "dilations": a["dilation"]}
    if not a["return_indices"]:
        return w("MaxPool", x, **pooling)

    y, flat = w("MaxPool", x, outputs=2, **pooling)
    indices = w.layer.outputs[1]
    if not padded and _only_undone(w, indices, place.shape):
        w.flat.add(indices)
        return y, flat
    in_plane = w("Mod", flat, w.constant(place.size, np.int64))
    return y, w("Gather", w.constant(place.ravel(), np.int64), in_plane) if padded else in_plane


def _only_undone(w: _Writer, indices: str, plane: Dims) -> bool:
    """Whether all that reads the indices is unpooling to the plane that they count in."""
    readers = w.graph.uses()[indices]
    return indices not in w.graph.outputs and all(
        node.op == "max_unpool2d" and w.dims[node.outputs[0]][2:] == plane for node in readers
    )


@_exports("avg_pool2d")
def _avg_pool2d(w, a, x):
    kernel, stride, divisor = a["kernel_size"], a["stride"], a["divisor_override"]
    sides = _explicit_padding(w, a, x)
    window = {"strides": stride, "pads": _pads(sides)}
    counted = a["count_include_pad"] and any(map(any, a["padding"]))
    if divisor is None and (sides == a["padding"] or not counted):
        return w("AveragePool", x, kernel_shape=kernel, count_include_pad=int(counted), **window)

    # AveragePool divides neither by a given number nor by a count that knows padding from what ceil_mode adds.
    _, channels, *extents = w.dims[x]
    if divisor is None:
        cells = []
        for extent, windows, k, s, padding in zip(
            extents, w.dims[w.layer.outputs[0]][2:], kernel, stride, a["padding"], strict=True
        ):
            begin = np.arange(windows) * s
            cells.append(np.minimum(begin + k, sum(padding) + extent) - begin)
        divisor = np.outer(*cells)
    total = w("Conv", x, w.constant(np.ones((channels, 1, *kernel))), group=channels, **window)
    return w("Div", total, w.constant(divisor))


@_exports("adaptive_avg_pool2d")
def _adaptive_avg_pool2d(w, a, x):
    extents, bins = w.dims[x][2:], w.dims[w.layer.outputs[0]][2:]
    if all(extent % count == 0 for extent, count in zip(extents, bins, strict=True)):
        kernel = [extent // count for extent, count in zip(extents, bins, strict=True)]
        return w("AveragePool", x, kernel_shape=kernel, strides=kernel)
    means = (
        reference.adaptive_avg_pool2d(np.eye(extent)[None, None], (count, None))[0, 0]
        for extent, count in zip(extents, bins, strict=True)
    )
    return _resampled(w, x, *means)


def _resampled(w: _Writer, x: str, rows: np.ndarray, columns: np.ndarray) -> str:
    """rows (OH, IH) @ plane (IH, IW) @ columns.T (IW, OW): any linear function that takes each axis for itself."""
    return w("MatMul", w("MatMul", w.constant(rows), x), w.constant(columns.T))


@_exports("global_avg_pool2d")
def _global_avg_pool2d(w, a, x):
    return w("GlobalAveragePool", x)


@_exports("global_max_pool2d")
def _global_max_pool2d(w, a, x):
    return w("GlobalMaxPool", x)


@_exports("max_unpool2d")
def _max_unpool2d(w, a, x, indices):
    _, channels, *extents = w.dims[x]
    plane = w.dims[w.layer.outputs[0]][2:]
    # MaxUnpool knows kernel, stride and padding only to size its result. Its output_shape would say the same, but
    # onnxruntime counts the indices in that shape, ONNX's own implementation in the size without it.
    kernel, stride, padding = [], [], []
    for extent, size, s, sides in zip(extents, plane, a["stride"], a["padding"], strict=True):
        k = size - (extent - 1) * s + sum(sides)
        if k <= max(sides):  # refused by onnxruntime
            more = max(0, extent - size)
            k, s, sides = size - extent + 1 + 2 * more, 1, (more, more)
        kernel, stride, padding = [*kernel, k], [*stride, s], [*padding, sides]
    if indices not in w.flat:
        limit = w("Div", w("Size", x), w.constant(np.prod(extents), np.int64))
        step = w.constant(np.prod(plane), np.int64)
        begins = w("Range", w.constant(0, np.int64), w("Mul", limit, step), step)
        indices = w("Add", indices, w("Reshape", begins, w.constant([-1, channels, 1, 1], np.int64)))
    return w("MaxUnpool", x, indices, kernel_shape=kernel, strides=stride, pads=_pads(padding))


# ----------------------------------------------------------------------------------------------------- normalization


@_exports("batch_norm")
def _batch_norm(w, a, x, running_mean, running_var, weight=None, bias=None):
    channels = w.dims[x][1]
    weight = weight or w.constant(np.ones(channels))
    bias = bias or w.constant(np.zeros(channels))
    y = w("BatchNormalization", x, weight, bias, running_mean, running_var, epsilon=a["eps"])
    return _activated(w, a["activation"], y)


@_exports("local_response_norm")
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


@_exports("softmax")
def _softmax(w, a, x):
    return w("Softmax", x, axis=a["dim"])


@_exports("log_softmax")
def _log_softmax(w, a, x):
    return w("LogSoftmax", x, axis=a["dim"])


# ------------------------------------------------------------------------------------------------------- elementwise


@_exports(*(name for name, operator in TABLE.items() if isinstance(operator, Activation)))
def _activation(w, a, x):
    return _activated(w, TABLE[w.layer.op].fused(a), x)


@_exports("prelu")
def _prelu(w, a, x, weight):
    after_channels = len(w.dims[x]) - 2
    if w.dims[weight] not in ((), (1,)) and after_channels:
        weight = w("Reshape", weight, w.constant([-1] + [1] * after_channels, np.int64))
    return w("PRelu", x, weight)


@_exports("add")
def _add(w, a, x, y):
    return _activated(w, a["activation"], w("Add", x, y))


@_exports("mul")
def _mul(w, a, x, y):
    return _activated(w, a["activation"], w("Mul", x, y))


# -------------------------------------------------------------------------------------------------- shape and layout


@_exports("concat")
def _concat(w, a, tensors):
    return w("Concat", *tensors, axis=a["dim"])


@_exports("pad")
def _pad(w, a, x):
    return _padded(w, x, a["padding"], a["mode"], a["value"])


def _padded(w: _Writer, x: str, sides: Padding, mode: str, value: float) -> str:
    names = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
    (top, bottom), (left, right) = sides
    pads = w.constant([0, 0, top, left, 0, 0, bottom, right], np.int64)
    return w("Pad", x, pads, w.constant(value) if mode == "constant" else "", mode=names[mode])


@_exports("upsample")
def _upsample(w, a, x):
    extents, sizes = w.dims[x][2:], w.dims[w.layer.outputs[0]][2:]
    factors = a["scale_factor"] or (None, None)
    mode, align_corners = a["mode"], a["align_corners"]

    def resample_rows(rows: np.ndarray, axis: int) -> np.ndarray:
        """What happens along an axis of x, to rows (IH, ...)."""
        to = {"size": (sizes[axis], rows.shape[1])} if factors[axis] is None else {"scale_factor": (factors[axis], 1.0)}
        return reference.upsample(rows[None, None], mode=mode, align_corners=align_corners, **to)[0, 0]

    axes = list(zip(extents, sizes, factors, strict=True))
    # Resize divides coordinates by sizes / extents, which is not the factor where that gave sizes rounded down, and
    # does so in float32: onnxruntime's "nearest" takes rows 0 and 6 of 14, not 0 and 7.
    same_scale = all(align_corners or factor is None or extent * factor == size for extent, size, factor in axes)
    if mode == "nearest":
        if same_scale and all(size % extent == 0 for extent, size, _ in axes):
            place = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
            return w("Resize", x, "", "", w.constant(sizes, np.int64), axes=[2, 3], **place)
        for axis, extent in enumerate(extents):
            rows = resample_rows(np.arange(extent)[:, None], axis).ravel()
            x = w("Gather", x, w.constant(rows, np.int64), axis=2 + axis)
        return x
    if same_scale:
        place = {"mode": "linear", "coordinate_transformation_mode": "align_corners" if align_corners else "half_pixel"}
        return w("Resize", x, "", "", w.constant(sizes, np.int64), axes=[2, 3], **place)
    return _resampled(w, x, *(resample_rows(np.eye(extent), axis) for axis, extent in enumerate(extents)))


@_exports("pixel_shuffle")
def _pixel_shuffle(w, a, x):
    return w("DepthToSpace", x, blocksize=a["upscale_factor"], mode="CRD")


@_exports("flatten")
def _flatten(w, a, x):
    dims = w.dims[x]
    start, end = (range(len(dims))[dim] for dim in (a["start_dim"], a["end_dim"]))
    if (start, end) == (1, len(dims) - 1):
        return w("Flatten", x, axis=1)
    return w("Reshape", x, w.constant([0] * start + [-1, *dims[end + 1 :]], np.int64))


@_exports("reshape")
def _reshape(w, a, x):
    return w("Reshape", x, w.constant(a["shape"], np.int64))


@_exports("dropout")
def _dropout(w, a, x):
    return w("Identity", x)
