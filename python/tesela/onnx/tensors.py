"""Tensors of ONNX files as arrays. Nothing that a file says about sizes is believed before it has been checked.

float16 and bfloat16 become float32, which holds each of their values; other types stay. A tensor's elements are read
only when their number is exactly what its dimensions promise. Those outside the file are read only from regular files
inside the folder of the model.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto

from .. import reference

# Element types by their numbers in ONNX: (name, the dtype of the stored elements, the field for elements one by one).
_KINDS: dict[int, tuple[str, str, str]] = {
    TensorProto.FLOAT: ("float", "<f4", "float_data"),
    TensorProto.DOUBLE: ("double", "<f8", "double_data"),
    TensorProto.FLOAT16: ("float16", "<f2", "int32_data"),
    TensorProto.BFLOAT16: ("bfloat16", "<u2", "int32_data"),
    TensorProto.INT64: ("int64", "<i8", "int64_data"),
    TensorProto.INT32: ("int32", "<i4", "int32_data"),
    TensorProto.INT16: ("int16", "<i2", "int32_data"),
    TensorProto.INT8: ("int8", "|i1", "int32_data"),
    TensorProto.UINT64: ("uint64", "<u8", "uint64_data"),
    TensorProto.UINT32: ("uint32", "<u4", "uint64_data"),
    TensorProto.UINT16: ("uint16", "<u2", "int32_data"),
    TensorProto.UINT8: ("uint8", "|u1", "int32_data"),
    TensorProto.BOOL: ("bool", "|b1", "int32_data"),
}
MOST_ELEMENTS = 2**56
MOST_DIMS = 32  # NumPy's limit was 32 for long; networks have 6


def carried(element_type: int, what: str) -> np.dtype:
    """The dtype in which values of an ONNX element type are computed with."""
    if element_type not in _KINDS:
        known = ", ".join(name for name, _, _ in _KINDS.values())
        name = (
            TensorProto.DataType.Name(element_type) if element_type in TensorProto.DataType.values() else element_type
        )
        raise ValueError(f"{what}: expected elements of type {known}, got {name}")
    if element_type in (TensorProto.FLOAT16, TensorProto.BFLOAT16):
        return np.dtype(np.float32)
    return np.dtype(_KINDS[element_type][1]).newbyteorder("=")


def element_count(dims: Sequence[int], what: str) -> int:
    if len(dims) > MOST_DIMS:
        raise ValueError(f"{what}: expected at most {MOST_DIMS} dimensions, got {len(dims)}")
    if any(d < 0 for d in dims):
        raise ValueError(f"{what}: expected sizes of at least 0, got {tuple(dims)}")
    if math.prod(d for d in dims if d) > MOST_ELEMENTS:  # NumPy counts without the zeros too
        raise ValueError(f"{what}: expected sizes whose product is at most 2^56, got {tuple(dims)}")
    return math.prod(dims)


def as_float32(array: np.ndarray) -> np.ndarray:
    """What float32 does not hold becomes infinite: masks are written as the least double."""
    with np.errstate(over="ignore", invalid="ignore"):
        return array.astype(np.float32, order="C", copy=False)


def converted(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The same numbers in another dtype; an integer that cannot hold one is the nearest, as wherever tesela casts."""
    with np.errstate(over="ignore", invalid="ignore"):
        return reference.cast(array, dtype.name)


def read(tensor: TensorProto, folder: Path | None, max_bytes: int, what: str) -> np.ndarray:
    """The elements of `tensor`; those that lie in another file are looked for in `folder`."""
    dims = tuple(tensor.dims)
    dtype = carried(tensor.data_type, what)
    _, stored, field = _KINDS[tensor.data_type]
    count = element_count(dims, what)
    if count * dtype.itemsize > max_bytes:
        raise ValueError(f"{what}: expected at most {max_bytes:,} bytes, got shape {dims} of {dtype}")
    if tensor.HasField("segment"):
        raise ValueError(f"{what}: tensors in segments are not supported")
    if tensor.data_location == TensorProto.EXTERNAL:
        values = np.frombuffer(_external(tensor, folder, count * np.dtype(stored).itemsize, what), stored)
    elif tensor.HasField("raw_data"):
        if len(tensor.raw_data) != count * np.dtype(stored).itemsize:
            raise ValueError(f"{what}: expected {count} elements of {dtype} in raw_data for shape {dims}, "
                             f"got {len(tensor.raw_data)} bytes")  # fmt: skip
        values = np.frombuffer(tensor.raw_data, stored)
    else:
        values = _one_by_one(getattr(tensor, field), stored, count, dims, what)
    if tensor.data_type == TensorProto.BFLOAT16:  # the upper half of a float32
        values = (values.astype(np.uint32) << 16).view(np.float32)
    if tensor.data_type == TensorProto.BOOL:
        values = values.view(np.uint8) != 0
    return np.ascontiguousarray(values.astype(dtype, copy=False)).reshape(dims)


def _one_by_one(data: Sequence[Any], stored: str, count: int, dims: tuple[int, ...], what: str) -> np.ndarray:
    if len(data) != count:
        raise ValueError(f"{what}: expected {count} elements for shape {dims}, got {len(data)}")
    values = np.array(data)
    if values.size == 0:
        return np.empty(0, stored)
    if stored in ("<f2",):  # held as the bits of each
        return values.astype(np.uint16).view(np.float16)
    return values.astype(stored)


def _external(tensor: TensorProto, folder: Path | None, size: int, what: str) -> bytes:
    """`size` bytes of a file in the model's folder, whatever the path, links and numbers in the tensor say."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    if folder is None:
        raise ValueError(
            f"{what}: its elements are in the file {location!r}, which only a model loaded by path may have"
        )
    if not location or "\0" in location or os.path.isabs(location) or ".." in Path(location).parts:
        raise ValueError(f"{what}: expected external data inside the folder of the model, got {location!r}")
    root = os.path.realpath(folder)
    path = os.path.realpath(os.path.join(root, location))
    if os.path.commonpath([root, path]) != root:
        raise ValueError(f"{what}: expected external data inside the folder of the model, got {location!r}, a link out")
    try:
        offset, length = int(entries.get("offset") or 0), int(entries.get("length") or size)
    except ValueError:
        raise ValueError(f"{what}: expected offset and length of external data as integers, got {entries}") from None
    if offset < 0 or length != size:
        raise ValueError(f"{what}: expected {size} bytes of external data at an offset, got {length} at {offset}")
    try:
        # Not followed again: the name may have become a link since it was resolved. Not waited for: it may be a pipe.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        raise ValueError(f"{what}: cannot read external data {location!r}: {error.strerror}") from None
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        raise ValueError(f"{what}: expected external data in a regular file, got {location!r}")
    with open(handle, "rb") as file:
        if offset + length > status.st_size:
            raise ValueError(f"{what}: expected {length} bytes at {offset} in {location!r}, which has {status.st_size}")
        file.seek(offset)
        data = file.read(length)
    if len(data) != size:
        raise ValueError(f"{what}: expected {size} bytes in {location!r}, got {len(data)}")
    return data
