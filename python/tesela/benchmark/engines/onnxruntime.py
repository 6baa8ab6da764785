"""ONNX Runtime's CPU provider, all graph optimizations."""

import onnxruntime

from . import Model, Run

DISTRIBUTION = "onnxruntime"


def prepare(model: Model, threads: int) -> Run:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(str(model.to_onnx()), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})
