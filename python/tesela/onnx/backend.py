"""The interface of onnx.backend: `tesela.onnx.backend.prepare(model).run(inputs)`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, helper
from onnx.backend.base import Backend, BackendRep

from .model import MAX_BYTES, check
from .network import OnnxNetwork
from .tensors import carried


class TeselaRep(BackendRep):
    def __init__(self, network: OnnxNetwork, dtypes: Sequence[np.dtype]):
        self.network, self._dtypes = network, dtypes

    def run(self, inputs: Sequence[np.ndarray], **kwargs: Any) -> tuple[np.ndarray, ...]:
        """Results in the types that the model declares; float16 and float64 are computed in float32."""
        declared = self.network.model.inputs.values()
        arrays = [np.asarray(a, np.float32 if given.dtype.kind == "f" else None, order="C")
                  for a, given in zip(inputs, declared, strict=True)]  # fmt: skip
        results = self.network(*arrays)
        results = results if isinstance(results, tuple) else (results,)
        return tuple(r.astype(d, copy=False) for r, d in zip(results, self._dtypes, strict=True))


class TeselaBackend(Backend):
    @classmethod
    def prepare(cls, model: ModelProto, device: str = "CPU", **kwargs: Any) -> TeselaRep:
        if not cls.supports_device(device):
            raise ValueError(f"tesela.onnx.backend: expected the device CPU, got {device}")
        network = OnnxNetwork(check(model, None, MAX_BYTES), {}, MAX_BYTES)
        for value in model.graph.output:
            carried(value.type.tensor_type.elem_type, f"output {value.name!r}")
        types = [value.type.tensor_type.elem_type for value in model.graph.output]
        return TeselaRep(network, [np.dtype(helper.tensor_dtype_to_np_dtype(kind)) for kind in types])

    @classmethod
    def run_model(cls, model: ModelProto, inputs: Sequence[Any], device: str = "CPU", **kwargs: Any):
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(cls, node: NodeProto, inputs: Sequence[Any], device: str = "CPU", outputs_info=None, **kwargs: Any):
        arrays = [np.asarray(a) for a in inputs]
        kinds = [helper.np_dtype_to_tensor_dtype(a.dtype) for a in arrays]
        names = [name for name in node.input if name]
        values = [helper.make_tensor_value_info(n, k, a.shape) for n, k, a in zip(names, kinds, arrays, strict=True)]
        results = [helper.make_tensor_value_info(name, kinds[0], None) for name in node.output]
        return cls.run_model(helper.make_model(helper.make_graph([node], "node", values, results)), arrays, device)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        return device.split(":")[0] == "CPU"


prepare, run_model, run_node = TeselaBackend.prepare, TeselaBackend.run_model, TeselaBackend.run_node
supports_device = TeselaBackend.supports_device
