"""Reading of files that may come from anyone: regular files alone, and no more of them than is expected.

A pipe or a device could block for ever, and a small file can ask for any amount of memory once it is unpacked. So a
file is opened here, and its size is known before it is read. Only numpy and the standard library are needed.
"""

from __future__ import annotations

import io
import math
import os
import stat
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.errors import InputError, shorten

__all__ = [
    "JSON_VALUE",
    "PYDANTIC_VALUE",
    "check_json",
    "check_json_parts",
    "check_ratio",
    "check_stored",
    "open_regular",
    "read_arrays",
    "read_json",
    "read_regular",
]

JSON_VALUE, PYDANTIC_VALUE = 64, 500  # bytes of memory

_MOST_BYTES = 2**30  # of a file of which nothing else is known
_MOST_JSON_MEMORY = 2**32
_ALWAYS_UNPACKED, _MOST_RATIO = 2**28, 100  # bytes that any archive may hold; as a multiple of its file's size
_AT_ONCE = 2**24  # bytes
_MOST_HEADER = 2**16  # bytes in which numpy describes an array
_IN_WORDS = {"S": "bytes", "M": "dates", "m": "spans of time", "c": "complex numbers", "V": "records of several fields"}
_UNREADABLE = (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError, NotImplementedError)


def open_regular(path: Path | str, most: int = _MOST_BYTES) -> io.BufferedReader:
    """Open a regular file of at most `most` bytes. Raises InputError for anything else."""
    try:
        _check(path, os.stat(path), most)  # before it is opened, because opening a device may already act on it
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        file = os.fdopen(os.open(path, flags), "rb")
        try:
            _check(path, os.fstat(file.fileno()), most)  # another file may have taken its place
        except BaseException:
            file.close()
            raise
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {_reason(error)}") from None
    return file


def read_regular(path: Path | str, most: int = _MOST_BYTES) -> bytes:
    """Return the content of a regular file of at most `most` bytes. Raises InputError for anything else."""
    with open_regular(path, most) as file:
        try:
            return file.read(os.fstat(file.fileno()).st_size)  # what is written meanwhile is not of this file
        except OSError as error:
            raise InputError(f"{path} cannot be read: {_reason(error)}") from None


def check_json(content: bytes | str, path: Path, a_value: int, most: int = _MOST_JSON_MEMORY) -> None:
    """Raise InputError if a JSON document could take more than `most` bytes of memory once it is parsed.

    `a_value` is what its parser takes for a value in a list: `JSON_VALUE` or `PYDANTIC_VALUE`, as measured. Each list
    or mapping takes four times that. Two bytes of the file can be a value.
    """
    num_values, needed = _memory_of_json(content, a_value)
    if needed > most:
        raise InputError(
            f"{path} holds up to {num_values:,} values, which may take {needed / 2**30:.1f} GiB of memory; files that "
            f"need up to {most / 2**30:.1f} GiB are read"
        )


def check_json_parts(parts: Iterable[bytes], path: Path, most: int = _MOST_JSON_MEMORY) -> Iterator[bytes]:
    """Yield the parts of a JSON document one by one, to be parsed by pydantic and kept.

    Raises InputError before a part that could take more than `most` bytes while it is parsed, or with which all that is
    kept could take more. What is kept of a value takes as much as in Python's own parser, an eighth of pydantic's.
    """
    kept = 0
    for part in parts:
        check_json(part, path, PYDANTIC_VALUE, most)
        kept += _memory_of_json(part, JSON_VALUE)[1]
        if kept > most:
            raise InputError(f"{path} may take more than {most / 2**30:.1f} GiB of memory, the most that is read")
        yield part


def _memory_of_json(content: bytes | str, a_value: int) -> tuple[int, int]:
    """Return how many values a document holds at most, and how many bytes they may take."""
    marks: Any = ("[", "{", ",") if isinstance(content, str) else (b"[", b"{", b",")
    num_lists, num_mappings, num_commas = map(content.count, marks)
    num_containers = num_lists + num_mappings
    num_values = num_containers + num_commas
    return num_values, len(content) + a_value * (4 * num_containers + num_values)


def read_json(path: Path, a_value: int, most: int = _MOST_JSON_MEMORY) -> bytes:
    """Return the content of a regular file that `check_json` accepts. Raises InputError for anything else."""
    content = read_regular(path)
    check_json(content, path, a_value, most)
    return content


def check_ratio(path: Path, size: int, unpacked: int, way_out: str) -> None:
    """Raise InputError if a file of `size` bytes holds far more once it is unpacked."""
    if unpacked > max(_ALWAYS_UNPACKED, _MOST_RATIO * size):
        raise InputError(
            f"{path}: {unpacked:,} bytes are more than {_MOST_RATIO} times as many as the file has; {way_out}"
        )


def check_stored(archive: zipfile.ZipFile, path: Path) -> None:
    """Raise InputError if an archive holds more than its own file does, because parts are compressed or overlap."""
    members = archive.infolist()
    if packed := next((one for one in members if one.compress_type != zipfile.ZIP_STORED), None):
        raise InputError(f"{path}: {shorten(ascii(packed.filename), 80)} is compressed, which such a file never is")
    if sum(member.file_size for member in members) > _size(archive):
        raise InputError(f"{path}: its parts are larger than the file")


def read_arrays(path: Path, most: int, most_arrays: int, stored: bool = False) -> dict[str, NDArray[Any]]:
    """Read the arrays in a file of numpy's `savez` by name, once the sizes of all have been checked.

    With `stored`, compressed arrays are refused. Raises InputError for what is not an array of numbers or text, for
    more than `most_arrays` arrays, and for more than `most` bytes of them.
    """
    with open_regular(path, most) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                if stored:
                    check_stored(archive, path)
                _check_members(archive, path, most, most_arrays)
                return dict(_arrays(archive, path))
        except _UNREADABLE as error:
            raise InputError(f"{path}: cannot be read as .npz: {shorten(_reason(error), 200)}") from None


def _check(path: Path | str, status: os.stat_result, most: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{path} is not a file")
    if status.st_size > most:
        raise InputError(f"{path} is larger than {most >> 20:,} MiB, the most that is read of such a file")


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def _check_members(archive: zipfile.ZipFile, path: Path, most: int, most_arrays: int) -> None:
    members = archive.infolist()
    total = sum(member.file_size for member in members)
    if len(members) > most_arrays or total > most:
        raise InputError(
            f"{path}: {len(members):,} arrays of {total:,} bytes are more than the {most_arrays:,} arrays and {most:,} "
            "bytes that are read"
        )
    check_ratio(path, _size(archive), total, "save it with np.savez, which does not compress")


def _size(archive: zipfile.ZipFile) -> int:
    """Return the size of an archive's own file."""
    return os.fstat(archive.fp.fileno()).st_size  # type: ignore[union-attr]  # open archives have a file


def _arrays(archive: zipfile.ZipFile, path: Path) -> Iterator[tuple[str, NDArray[Any]]]:
    names = set()
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        if name == member.filename or name in names:
            what = "is in it twice" if name in names else "is not an array"
            raise InputError(f"{path}: {shorten(ascii(member.filename), 80)} {what}; save it with np.savez")
        names.add(name)
        with archive.open(member) as file:
            yield name, _array(file, member.file_size, f"{path}: {name}")


def _array(file: Any, size: int, source: str) -> NDArray[Any]:
    """Read one array of `size` bytes, header included."""
    start = io.BytesIO(file.read(min(size, _MOST_HEADER)))  # the header may claim any length, and numpy believes it
    version = np.lib.format.read_magic(start)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(start)
    if dtype.hasobject or dtype.kind not in "uifbU" or not dtype.itemsize:
        what = _IN_WORDS.get(dtype.kind, f"values of {dtype}")
        objects = "pickled objects, which are not loaded" if dtype.hasobject else what
        raise InputError(f"{source}: holds {objects}; save it as numbers or text (astype(str))")
    promised, follow = math.prod(shape) * dtype.itemsize, size - start.tell()
    if follow != promised:
        raise InputError(
            f"{source}: its header promises shape {list(shape)} of {dtype}, but {follow:,} bytes follow, not "
            f"{promised:,}"
        )
    array = _rest(start, file, promised).view(dtype).reshape(shape, order="F" if fortran else "C")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _rest(start: io.BytesIO, file: Any, size: int) -> NDArray[np.uint8]:
    """Return the `size` bytes that follow. They may be written to, as numpy's own arrays may."""
    content = np.empty(size, np.uint8)
    filled = start.readinto(content.data)
    while filled < size and (num := file.readinto(content.data[filled : filled + _AT_ONCE])):
        filled += num
    if filled < size:
        raise EOFError("it is cut short")
    return content
