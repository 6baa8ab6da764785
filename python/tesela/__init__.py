"""tesela: convolutional networks from hand-written kernels, with no framework underneath.

import tesela as ts

y = ts.conv2d(x, weight, bias, stride=2, padding=1, activation="relu")   # NumPy in, NumPy out
net = ts.models.alexnet()                                                 # a Network: call it, compile it, profile it
print(net.summary())
"""

from ._core import DeviceError
from .compile import CompiledNetwork
from .device_array import DeviceArray, stream, to_device
from .graph import Graph
from .network import Network
from .ops import *  # noqa: F403
from .ops import __all__ as _operators
from .runtime import build_info, max_isa, num_threads, set_num_threads, show_runtime

__version__ = "0.1.0"

# Submodules that are imported when first used: `import tesela` stays fast and needs NumPy only.
_LAZY = ("audio", "features", "image", "models", "onnx", "published", "reference")

__all__ = [
    "CompiledNetwork",
    "DeviceArray",
    "DeviceError",
    "Graph",
    "Network",
    "build_info",
    "max_isa",
    "num_threads",
    "set_num_threads",
    "show_runtime",
    "stream",
    "to_device",
    *_LAZY,
    *_operators,
]


def __getattr__(name: str):
    if name in _LAZY:
        import importlib

        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, "__version__"})
