"""OpenVINO's CPU plugin; float32 asked for, because it takes bfloat16 by itself where the processor has it."""

import openvino

from . import Model, Run

DISTRIBUTION = "openvino"


def prepare(model: Model, threads: int) -> Run:
    compiled = openvino.Core().compile_model(
        str(model.to_onnx()),
        "CPU",
        {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads},
    )
    request = compiled.create_infer_request()

    def run(x):
        request.infer([x], share_inputs=True)
        return [request.get_output_tensor(i).data for i in range(len(compiled.outputs))]

    return run
