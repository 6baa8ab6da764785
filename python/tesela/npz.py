"""Arrays of an .npz file, read by several threads into one block of memory.

Members that are stored as they are, as np.savez does, arrive in one pass: each piece is read to where it stays, and
goes into the CRC-32 while it is in the caches. NumPy reads all else. The archive's structure is zipfile's to check;
no member may lie outside of the file, and together they may not be more than it. Nothing is unpickled.
"""

from __future__ import annotations

import contextlib
import io
import struct
import threading
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

_PIECE = 1 << 20  # bytes, within an L2 cache
_MOST_THREADS = 4  # enough for the bandwidth of memory
_ALIGNMENT = 64  # of members in memory; NumPy pads the header of an array to a multiple of it
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, then the lengths of name and extra field, which the data follow


class _Member(NamedTuple):
    name: str
    begin: int  # in the file
    place: int  # in memory
    size: int
    crc: int


def read(path: Path, threads: int) -> dict[str, np.ndarray]:
    with open(path, "rb") as stream, zipfile.ZipFile(stream) as archive:
        members = _stored(archive, stream)
        if members is None:
            stream.seek(0)
            with np.load(stream, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            for name, value in arrays.items():
                if not isinstance(value, np.ndarray):
                    raise ValueError(f"{name!r} is no array")
            return arrays
    size = sum(_padded(member.size) for member in members)
    block = np.empty(size + _ALIGNMENT, np.uint8)
    block = block[-block.ctypes.data % _ALIGNMENT :][:size]
    _fill(block, path, members, min(threads, _MOST_THREADS))
    return {member.name: _array(block[member.place : member.place + member.size]) for member in members}


def _padded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _stored(archive: zipfile.ZipFile, stream: io.BufferedReader) -> list[_Member] | None:
    """Where the members lie; None where one is compressed or no array."""
    infos = archive.infolist()
    for info in infos:
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise zipfile.BadZipFile(f"{info.filename!r} is neither stored nor deflated")
    if not all(info.compress_type == zipfile.ZIP_STORED and info.filename.endswith(".npy") for info in infos):
        return None
    if sum(info.file_size for info in infos) > archive.start_dir:
        raise zipfile.BadZipFile("its members are larger than the file")
    members, place = [], 0
    for info in infos:
        archive.open(info).close()  # the local header fits the directory, nothing is encrypted
        stream.seek(info.header_offset)
        _, name, extra = _LOCAL_HEADER.unpack(stream.read(_LOCAL_HEADER.size))
        begin = info.header_offset + _LOCAL_HEADER.size + name + extra
        if info.file_size != info.compress_size or begin + info.file_size > archive.start_dir:
            raise zipfile.BadZipFile(f"{info.filename!r} does not lie in the file")
        members.append(_Member(info.filename.removesuffix(".npy"), begin, place, info.file_size, info.CRC))
        place += _padded(info.file_size)
    return members


def _fill(block: np.ndarray, path: Path, members: Sequence[_Member], threads: int) -> None:
    left = sorted(members, key=lambda member: member.size)  # threads take the largest first
    errors: list[Exception] = []

    def work() -> None:
        try:
            with open(path, "rb", buffering=0) as stream:
                while not errors:
                    try:
                        member = left.pop()
                    except IndexError:
                        return
                    _read_member(stream, member, memoryview(block)[member.place : member.place + member.size])
        except Exception as error:  # raised below, on the caller's thread
            errors.append(error)

    others: list[threading.Thread] = []
    with contextlib.suppress(RuntimeError):  # the system grants no more: those there are do all
        while len(others) < threads - 1:
            thread = threading.Thread(target=work)
            thread.start()
            others.append(thread)
    work()
    for thread in others:
        thread.join()
    if errors:
        raise errors[0]


def _read_member(stream: io.RawIOBase, member: _Member, to: memoryview) -> None:
    stream.seek(member.begin)
    crc = done = 0
    while done < member.size:
        count = stream.readinto(to[done : done + _PIECE])
        if not count:
            raise EOFError(f"{member.name!r} ends too early")
        crc = zlib.crc32(to[done : done + count], crc)
        done += count
    if crc != member.crc:
        raise zipfile.BadZipFile(f"bad CRC-32 of {member.name!r}")


def _array(member: np.ndarray) -> np.ndarray:
    """The array of an .npy file in memory, whose data stay where they are."""
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    stream = io.BytesIO(member[: 1 << 16].tobytes())
    version = np.lib.format.read_magic(stream)
    if version in read_header:
        shape, fortran_order, dtype = read_header[version](stream)
        array_bytes = member[stream.tell() :]
        if not (fortran_order or dtype.hasobject or array_bytes.ctypes.data % dtype.alignment):
            return np.ndarray(shape, dtype, array_bytes)
    return np.lib.format.read_array(io.BytesIO(member.tobytes()), allow_pickle=False)
