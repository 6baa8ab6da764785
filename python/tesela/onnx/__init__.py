"""Networks as ONNX models (https://onnx.ai), so that other engines can run the same weights.

model = net.to_onnx("lenet5.onnx")       # or tesela.onnx.export(net, "lenet5.onnx")

Needs the onnx package: pip install 'tesela[onnx]'.
"""

from .export import export

__all__ = ["export"]
