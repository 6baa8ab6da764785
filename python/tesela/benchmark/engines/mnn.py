"""MNN, precision "high", which is float32."""

import subprocess
import sys

import MNN.expr
import MNN.nn

from . import Model, Run

DISTRIBUTION = "MNN"


def prepare(model: Model, threads: int) -> Run:
    onnx = model.to_onnx()
    converted = onnx.with_suffix(".mnn")
    # The converter's log would install packages into this environment and report the conversion to its maker.
    silence = "import sys; sys.modules['MNN.tools.utils.log'] = None"
    convert = f"{silence}; from MNN.tools.mnnconvert import main; sys.exit(main())"
    arguments = ["-f", "ONNX", "--modelFile", str(onnx), "--MNNModel", str(converted), "--bizCode", "benchmark"]
    subprocess.run([sys.executable, "-c", convert, *arguments], check=True, capture_output=True)
    manager = MNN.nn.create_runtime_manager(({"backend": "CPU", "precision": "high", "numThread": threads},))
    net = MNN.nn.load_module_from_file(str(converted), [], [], runtime_manager=manager)

    def run(x):
        y = net.forward(MNN.expr.const(x, x.shape, MNN.expr.NCHW))
        return [part.read() for part in (y if isinstance(y, (list, tuple)) else [y])]

    return run
