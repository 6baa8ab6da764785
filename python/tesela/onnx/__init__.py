"""Networks from and to ONNX models (https://onnx.ai).

net = tesela.onnx.load("squeezenet.onnx")   # a Network like any other
model = net.to_onnx("lenet5.onnx")          # so that other engines can run the same weights

Needs the onnx package: pip install 'tesela[onnx]'.
"""

from .export import export
from .load import load

__all__ = ["export", "load"]
