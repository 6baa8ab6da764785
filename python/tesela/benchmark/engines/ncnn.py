"""ncnn; the model converted by pnnx, float32 storage. It takes one image at a time: a batch is a loop."""

import importlib.util
import subprocess
from pathlib import Path

import ncnn
import numpy as np

from . import Model, Run

DISTRIBUTION = "ncnn"


def _converter() -> Path:
    package = importlib.util.find_spec("pnnx")  # found, not imported: it would import PyTorch
    if package is None:
        raise ImportError("No module named 'pnnx'")
    return Path(package.submodule_search_locations[0]) / "pnnx"


def prepare(model: Model, threads: int) -> Run:
    onnx = model.to_onnx(batch=1)
    dims = ",".join(str(d) for dims in model.graph.inputs.values() for d in dims)
    subprocess.run(
        [_converter(), onnx.name, "fp16=0", f"inputshape=[1,{dims}]f32"],
        cwd=onnx.parent,
        check=True,
        capture_output=True,
    )
    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.use_bf16_storage = False
    net.load_param(str(onnx.with_suffix(".ncnn.param")))
    net.load_model(str(onnx.with_suffix(".ncnn.bin")))

    def one(image):
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(image))
        return [np.array(extractor.extract(name)[1]) for name in net.output_names()]

    return lambda x: [np.stack(parts) for parts in zip(*map(one, x), strict=True)]
