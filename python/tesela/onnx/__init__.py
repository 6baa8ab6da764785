"""Networks from and to ONNX models (https://onnx.ai).

net = tesela.onnx.load("squeezenet.onnx")   # a Network like any other
model = net.to_onnx("lenet5.onnx")          # so that other engines can run the same weights

Needs the onnx package: pip install 'tesela[onnx]'.
"""

import importlib

__all__ = ["export", "load"]


def __getattr__(name: str):
    """`load` and `export`, when first asked for: only they need the onnx package."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        import onnx
    except ImportError:
        raise ImportError("ONNX models need the onnx package; pip install 'tesela[onnx]'") from None
    # Importing a submodule binds its name here; the function of that name takes its place.
    globals()[name] = getattr(importlib.import_module(f"{__name__}.{name}"), name)
    return globals()[name]
