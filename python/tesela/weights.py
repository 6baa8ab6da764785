"""Parameters of a network from where they are: a dict, an .npz or .safetensors file, published weights, or a seed.

Nothing is ever unpickled. Names and shapes must be exactly those of the network; a missing, extra or misshapen tensor
is named in the error. float16, bfloat16 and float64 numbers become float32, unless the parameter has another dtype.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _core
from .graph import Parameter

if TYPE_CHECKING:
    from pathlib import Path

State = Mapping[str, np.ndarray]

# PyTorch counts training batches in every batch norm; inference has no use for it.
_IGNORED_SUFFIX = ".num_batches_tracked"


def read_only(state: dict[str, np.ndarray]) -> State:
    """The tensors of a network, which are not to be written into: its plans hold copies and would not know."""
    for value in state.values():
        value.flags.writeable = False
    return MappingProxyType(state)


def seeded(parameters: Mapping[str, Parameter], seed: int = 0) -> State:
    """He et al. 2015: weights normal with variance gain / fan_in (2 / fan_in), biases zero, batch norm the identity.

    "bilinear" is interpolation of every channel on its own: Long et al. 2015, 3.3.
    """
    generator = np.random.default_rng(seed)
    state = {}
    for name, parameter in parameters.items():
        if parameter.kind == "he":
            values = generator.standard_normal(parameter.shape, np.float32)
            values *= np.float32(np.sqrt(parameter.gain / parameter.fan_in))
        elif parameter.kind == "bilinear":
            values = np.zeros(parameter.shape, np.float32)
            height, width = (1 - np.abs((2 * np.arange(n) + 1) / n - 1) for n in parameter.shape[2:])
            diagonal = np.arange(min(parameter.shape[:2]))
            values[diagonal, diagonal] = np.outer(height, width)
        else:
            values = np.full(parameter.shape, parameter.kind == "ones", parameter.dtype)
        state[name] = values
    return read_only(state)


def load(
    source: Mapping[str, Any] | str | os.PathLike[str] | None,
    parameters: Mapping[str, Parameter],
    network: str = "network",
    seed: int = 0,
) -> State:
    """The network's parameters from `source`: None (seeded), a dict, a path as in `read`, or a published name."""
    if source is None:
        return seeded(parameters, seed)
    if isinstance(source, Mapping):
        return checked(source, parameters, network)
    if isinstance(source, (str, os.PathLike)):
        from pathlib import Path  # this and what knows of files are for those who have one: importing tesela is fast

        from . import published

        if isinstance(source, str) and source in published.ENTRIES:
            unused = published.ENTRIES[source].unused
            state = read(published.weights_file(source))
            wanted = {name: v for name, v in state.items() if name in parameters or not name.startswith(unused)}
            return checked(wanted, parameters, network, fresh=True)
        return checked(read(Path(source)), parameters, network, fresh=True)
    raise TypeError(f"{network}: expected weights as a dict, a path or None, got {type(source).__name__}")


def read(path: Path) -> dict[str, np.ndarray]:
    """All tensors of an .npz or .safetensors file."""
    if not path.is_file():
        published_name = "" if path.suffix in (".npz", ".safetensors") else ", and no name in tesela.published.ENTRIES"
        raise FileNotFoundError(f"weights: no such file: {path}{published_name}")
    if path.suffix == ".npz":
        import tokenize
        import zipfile
        import zlib

        from . import npz

        threads = _core.num_threads()
        try:
            return npz.read(path, threads)
        # SyntaxError, TokenError, LookupError: of a header. TypeError: it promises more than there is, MemoryError:
        # than memory holds, ArithmeticError: than an integer. RuntimeError: of a member that is encrypted.
        except (
            OSError,
            ValueError,
            TypeError,
            EOFError,
            MemoryError,
            RuntimeError,
            SyntaxError,
            LookupError,
            ArithmeticError,
            tokenize.TokenError,
            zipfile.BadZipFile,
            zlib.error,
        ) as error:
            # NumPy's advice is to unpickle, which nothing here does.
            reason = "" if "pickle" in str(error) else f": {error}"
            raise ValueError(f"weights: {path} is no readable .npz file of plain arrays{reason}") from None
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    hint = "; convert files of PyTorch with examples/convert_torch_weights.py" if path.suffix in (".pth", ".pt") else ""
    raise ValueError(f"weights: expected a .npz or .safetensors file, got {path}{hint}")


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        import safetensors
    except ImportError:
        raise ImportError(
            "weights: reading .safetensors needs the safetensors package; pip install 'tesela[safetensors]'"
        ) from None
    try:
        tensors = dict(safetensors.deserialize(path.read_bytes()))
    except safetensors.SafetensorError as error:
        raise ValueError(f"weights: {path} is no readable .safetensors file: {error}") from None
    return {name: _from_bytes(name, tensor) for name, tensor in tensors.items()}


def _from_bytes(name: str, tensor: Mapping[str, Any]) -> np.ndarray:
    kinds = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64, "I32": np.int32, "U8": np.uint8}
    dtype, shape, data = tensor["dtype"], tensor["shape"], tensor["data"]
    if dtype == "BF16":  # the upper half of a float32
        return (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32).reshape(shape)
    if dtype not in kinds:
        raise ValueError(f"weights: tensor {name!r} has dtype {dtype}, expected one of {', '.join([*kinds, 'BF16'])}")
    return np.frombuffer(data, kinds[dtype]).reshape(shape)


def checked(
    state: Mapping[str, Any], parameters: Mapping[str, Parameter], network: str, *, fresh: bool = False
) -> State:
    """The tensors of `state` as float32, if they are exactly those the network has.

    Copies, so that what the caller does later changes no network; but for `fresh` ones, which nobody else has.
    """
    given = {name: value for name, value in state.items() if not name.endswith(_IGNORED_SUFFIX)}
    missing = [name for name in parameters if name not in given]
    extra = [name for name in given if name not in parameters]
    if missing or extra:
        parts = [f"{what} {_listed(names)}" for what, names in (("missing", missing), ("unexpected", extra)) if names]
        raise ValueError(f"{network}: the weights do not fit: {'; '.join(parts)}")
    result = {}
    for name, parameter in parameters.items():
        value = _array(network, name, given[name])
        if parameter.dtype == "float32" and value.dtype.kind != "f":
            raise TypeError(f"{network}: expected {name} as floating-point numbers, got {value.dtype}")
        if parameter.dtype != "float32" and value.dtype != parameter.dtype:
            raise TypeError(f"{network}: expected {name} of dtype {parameter.dtype}, got {value.dtype}")
        if value.shape != parameter.shape:
            raise ValueError(f"{network}: expected {name} of shape {parameter.shape}, got {value.shape}")
        result[name] = (np.asarray if fresh else np.array)(value, parameter.dtype, order="C")
    return read_only(result)


def _array(network: str, name: str, value: Any) -> np.ndarray:
    """An array of what was given: as it is, or a tensor of PyTorch on the CPU."""
    if hasattr(value, "detach"):  # also one that requires a gradient, or has a type that NumPy does not know
        value = value.detach()
        value = value.float() if str(value.dtype) == "torch.bfloat16" else value
    try:
        return np.asarray(value)
    except (TypeError, RuntimeError) as error:
        raise TypeError(f"{network}: expected {name} as an array or a tensor on the CPU: {error}") from None


def _listed(names: list[str], most: int = 6) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
