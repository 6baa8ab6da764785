"""Arrays that lie on a device: taken from other libraries without a copy, and given to them.

Taken is whatever speaks `__cuda_array_interface__` (version 3 with its stream, 2 without) or DLPack (`__dlpack__`):
CuPy, PyTorch, JAX, Numba. A call runs on the stream that `tesela.stream` names, else on that of the first array whose
interface names one (for a tensor of PyTorch: on its current one), else on the legacy default stream; it waits for the
streams of the other arrays. Results are `DeviceArray`s, which speak both protocols: whoever takes one waits for the
call on its own stream, not on the host.
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np

from . import _core, in_flight
from .runtime import current_device

LEGACY_STREAM, THREAD_STREAM = 1, 2  # by their numbers
# DLPack's numbers of devices. The emulator's is the one that is reserved for extensions: nobody else takes its arrays.
_DLPACK_DEVICE = {"cuda": 2, "emulator": 12}
_DLPACK_HOSTS = (1, 3, 11)  # CPU, and memory of the host that a GPU can read
_DLPACK_CODES = {"i": 0, "u": 1, "f": 2, "b": 6}
_DLPACK_KINDS = {0: "int", 1: "uint", 2: "float", 4: "bfloat", 5: "complex", 6: "bool"}


class Stream(int):
    """The address of a stream, with whatever keeps it alive."""

    owner: Any = None

    @classmethod
    def of(cls, address: int, owner: Any) -> Stream:
        stream = cls(address)
        stream.owner = owner
        return stream


_stream: ContextVar[Stream | None] = ContextVar("tesela_stream", default=None)


@contextlib.contextmanager
def stream(stream: Any) -> Iterator[None]:
    """Within this context, calls with arrays of a device run on this stream.

    An address as an integer (0 or 1: the legacy default stream, 2: the thread's), or a stream of CuPy (`.ptr`), PyTorch
    (`.cuda_stream`), Numba (`.handle`) or whatever has `__cuda_stream__`. Results keep such an object alive; what an
    address stands for must live as long as they do.
    """
    token = _stream.set(Stream.of(_address(stream), stream))
    try:
        yield
    finally:
        _stream.reset(token)


def _address(stream: Any) -> int:
    if hasattr(stream, "__cuda_stream__"):
        stream = stream.__cuda_stream__()[1]
    for attribute in ("ptr", "cuda_stream", "handle"):
        stream = getattr(stream, attribute, stream)
    stream = getattr(stream, "value", stream)  # of ctypes, whose null is None
    if hasattr(stream, "getPtr"):  # of NVIDIA's bindings
        stream = int(stream)
    if stream is None:
        return LEGACY_STREAM
    if isinstance(stream, bool) or not isinstance(stream, int) or stream < 0:
        raise TypeError(f"stream: expected an address or a stream of CuPy, PyTorch or Numba, got {stream!r}")
    return stream or LEGACY_STREAM


class DeviceArray:
    """A row-major array in the memory of a device; immutable but for `out` of a call that names it.

    Other libraries take it without a copy: cupy.asarray(y), torch.from_dlpack(y), jax.dlpack.from_dlpack(y). Work that
    they queue on a non-blocking stream must be done before the array is let go, as with any memory in stream order.

    shape, dtype   as NumPy's
    device         "cuda" or "emulator"
    pointer        address of the first element
    """

    __slots__ = ("__weakref__", "_memory", "_owner", "_read_only", "_stream", "device", "dtype", "pointer", "shape")

    def __init__(
        self, device: str, shape: Sequence[int], dtype: Any, pointer: int, *, owner: Any = None, memory: Any = None,
        stream: int = LEGACY_STREAM, read_only: bool = False,
    ):  # fmt: skip
        self.device = device
        self.shape = tuple(shape)
        self.dtype = np.dtype(dtype)
        self.pointer = pointer
        self._owner = owner
        self._memory = memory
        self._stream = stream
        self._read_only = read_only

    @classmethod
    def empty(cls, device: str, shape: Sequence[int], dtype: Any, stream: int = LEGACY_STREAM) -> DeviceArray:
        """Memory of its own, not initialised."""
        dtype = np.dtype(dtype)
        memory = _core.DeviceMemory(device, max(1, math.prod(shape) * dtype.itemsize), stream)
        return cls(device, shape, dtype, memory.pointer, memory=memory, stream=stream)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of an array without dimensions")
        return self.shape[0]

    def __repr__(self) -> str:
        return f"DeviceArray(shape={self.shape}, dtype={self.dtype}, device={self.device!r})"

    def __array__(self, *arguments: Any, **keywords: Any) -> np.ndarray:
        raise TypeError("DeviceArray: nothing is copied to the host in silence; call .numpy()")

    def numpy(self) -> np.ndarray:
        """A copy on the host, once what computes the array is done."""
        array = np.empty(self.shape, self.dtype)
        self._before(LEGACY_STREAM)
        _core.download(self.device, array, self.pointer, LEGACY_STREAM)
        in_flight.let_go()
        return array

    def _used(self, stream: int) -> None:
        self._stream = stream
        if self._memory is not None:
            self._memory.used(stream)

    def _before(self, stream: int) -> None:
        """Later work on that stream comes after what has used the array."""
        if self._memory is not None:
            self._memory.before(stream)
        elif stream != self._stream:
            _core.order(self.device, stream, self._stream)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "version": 3,
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.pointer, self._read_only),
            "strides": None,
            "stream": int(self._stream),
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        return _DLPACK_DEVICE[self.device], 0

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """As the Python array API has it; dl_device (1, 0) asks for a copy on the host."""
        if dl_device is not None and tuple(dl_device) == (1, 0) and copy is not False:
            host = self.numpy()
            try:
                return host.__dlpack__(max_version=max_version)
            except TypeError:  # NumPy before 2.1 knows no versions
                return host.__dlpack__()
        if copy or (dl_device is not None and tuple(dl_device) != self.__dlpack_device__()):
            raise BufferError(f"{self!r} is given to others where it lies, or as a copy on the host")
        if stream != -1:
            self._before(_address(stream))
        code = _DLPACK_CODES[self.dtype.kind]
        versioned = max_version is not None and max_version[0] >= 1
        owner = (self._memory, self._owner)
        return _core.export_dlpack(
            self.pointer, self.__dlpack_device__(), self.shape, (code, 8 * self.dtype.itemsize), owner, versioned
        )


def to_device(array: np.ndarray, device: str = "cuda") -> DeviceArray:
    """A copy of a NumPy array in the memory of a device, on the stream that `tesela.stream` names."""
    if not isinstance(array, np.ndarray) or array.dtype.kind not in _DLPACK_CODES:
        raise TypeError(f"to_device: expected a NumPy array of numbers, got {type(array).__name__}")
    on = _stream.get() or LEGACY_STREAM
    made = DeviceArray.empty(device, array.shape, array.dtype, on)
    _core.upload(device, made.pointer, np.ascontiguousarray(array), on)
    made._used(on)
    return made


# ------------------------------------------------------------------------------------------------- arrays of others


def is_device_array(value: Any) -> bool:
    """Whether it says of itself that it lies on a device. NumPy arrays and scalars do not."""
    if isinstance(value, DeviceArray):
        return True
    if isinstance(value, (np.ndarray, np.generic)) or value is None:
        return False
    if _interface(value) is not None:
        return True
    return hasattr(value, "__dlpack_device__") and value.__dlpack_device__()[0] not in _DLPACK_HOSTS


def _interface(value: Any) -> dict[str, Any] | None:
    try:
        return getattr(value, "__cuda_array_interface__", None)
    except (RuntimeError, TypeError):  # PyTorch's, for what has no such form; DLPack says why
        return None


def device_of(values: Sequence[Any]) -> str | None:
    """The device of the arrays among these values, None without any; the interface does not name it."""
    for value in values:
        if type(value) is np.ndarray:  # as a rule; a call takes microseconds
            continue
        if isinstance(value, DeviceArray):
            return value.device
        if is_device_array(value):
            if _interface(value) is None and value.__dlpack_device__()[0] == _DLPACK_DEVICE["emulator"]:
                return "emulator"
            return "emulator" if current_device() == "emulator" else "cuda"
    return None


def named_stream(values: Sequence[Any]) -> int:
    """Where a call with these arrays runs."""
    chosen = _stream.get()
    if chosen is not None:
        return chosen
    for value in values:
        if isinstance(value, DeviceArray):
            return value._stream
        if (stream := _stream_of_torch(value)) is not None:
            return stream
        interface = _interface(value) if is_device_array(value) else None
        if interface is not None and interface.get("stream") is not None:
            return _stream_of_interface(_address(interface["stream"]), value)
    return LEGACY_STREAM


def _stream_of_interface(address: int, value: Any) -> int:
    """With what keeps it alive: for an array of CuPy its current stream, which the array does not own, else the array,
    as the interface has it. The default streams need nothing, and results nothing of their inputs."""
    if address <= THREAD_STREAM:
        return address
    cupy = sys.modules.get("cupy")
    if cupy is not None and isinstance(value, cupy.ndarray):
        current = cupy.cuda.get_current_stream()
        if _address(current) == address:
            return Stream.of(address, current)
    return Stream.of(address, value)


def _stream_of_torch(value: Any) -> Stream | None:
    """PyTorch's current one for its tensors on a GPU, whose interface names none: what it does next is there too."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(value, torch.Tensor) or not value.is_cuda:
        return None
    current = torch.cuda.current_stream(value.device)
    return Stream.of(_address(current), current)


def taken(op: str, name: str, value: Any, device: str, stream: int) -> DeviceArray:
    """`value` as a DeviceArray over the same memory, which later work on the stream may read.

    DeviceError for memory that is not that device's, ValueError for an array that is not C-contiguous.
    """
    what = f"{op}: {name}"
    if isinstance(value, DeviceArray):
        if value.device != device:
            raise _core.DeviceError(f"{what}: expected an array on device {device!r}, got one on {value.device!r}")
        value._before(stream)
        return value
    interface = _interface(value)
    names_stream = interface is not None and interface.get("stream") is not None
    if names_stream or not hasattr(value, "__dlpack__"):
        array = _by_interface(what, interface, device)
    else:  # which waits for the stream of its owner
        array = _by_dlpack(what, value, device, stream)
    array._owner = (value, array._owner)
    if array.size:
        _core.expect_memory(device, array.pointer, array.nbytes, what)
    if names_stream:
        array._before(stream)
    array._stream = stream
    return array


def _by_interface(what: str, interface: dict[str, Any], device: str) -> DeviceArray:
    if interface.get("mask") is not None:
        raise TypeError(f"{what}: expected an array without a mask")
    dtype, shape, strides = np.dtype(interface["typestr"]), tuple(interface["shape"]), interface.get("strides")
    _expect_contiguous(what, shape, strides, dtype.itemsize)
    pointer, read_only = interface["data"]
    named = interface.get("stream")
    return DeviceArray(device, shape, dtype, pointer or 0, read_only=bool(read_only),
                       stream=LEGACY_STREAM if named is None else _address(named))  # fmt: skip


def _by_dlpack(what: str, value: Any, device: str, stream: int) -> DeviceArray:
    kind, ordinal = value.__dlpack_device__()
    if (kind, ordinal) != (_DLPACK_DEVICE[device], 0):
        raise _core.DeviceError(
            f"{what}: expected an array on device {device!r}, GPU 0, got one on DLPack's device {kind}, GPU {ordinal}"
        )
    reader = int(stream)  # PyTorch refuses what is derived from int
    try:
        try:
            capsule = value.__dlpack__(stream=reader, max_version=(1, 0))
        except TypeError:  # written before versions were
            capsule = value.__dlpack__(stream=reader)
    except (BufferError, RuntimeError) as error:
        raise ValueError(f"{what}: its owner does not give it away: {error}") from None
    tensor = _core.import_dlpack(capsule)
    code, bits, lanes = tensor["dtype"]
    shape, strides = tuple(tensor["shape"]), tensor["strides"]
    kinds = {number: letter for letter, number in _DLPACK_CODES.items()}
    if code not in kinds or lanes != 1 or bits % 8:
        raise TypeError(f"{what}: expected a dtype of NumPy's, got {_DLPACK_KINDS.get(code, 'code')}{bits}")
    _expect_contiguous(what, shape, strides, 1)
    dtype = np.dtype(f"{kinds[code]}{bits // 8}")
    return DeviceArray(device, shape, dtype, tensor["pointer"], owner=tensor["owner"], read_only=tensor["read_only"])


def _expect_contiguous(what: str, shape: Sequence[int], strides: Sequence[int] | None, unit: int) -> None:
    """strides in multiples of `unit` for a row-major array."""
    expected = unit
    for size, step in zip(reversed(shape), reversed(strides or []), strict=False):
        if size != 1 and step != expected and 0 not in shape:
            raise ValueError(
                f"{what}: expected a C-contiguous array, got shape {tuple(shape)} with strides {tuple(strides)}"
            )
        expected *= size
