"""The IDX format of MNIST and similar data sets: a magic number, the shape as big-endian 32-bit integers, the bytes.

LeCun, Cortes, Burges. The MNIST Database of Handwritten Digits. http://yann.lecun.com/exdb/mnist
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flspec.core.reading import open_regular
from flspec.errors import InputError

__all__ = ["read_idx", "write_idx"]

_UNSIGNED_BYTES = 0x0800  # plus the number of dimensions: the magic number
_MOST_BYTES = 2**28  # larger than any published file of this format


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read the array in a file, with gzip if its name ends in `.gz`. Raises InputError if the file is not valid."""
    try:
        with open_regular(path, _MOST_BYTES) as plain, gzip.open(plain) if path.suffix == ".gz" else plain as file:
            content = file.read(_MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read ({error}); download it again") from None
    header_size = 4 * (dimensions + 1)
    if len(content) < header_size or int.from_bytes(content[:4], "big") != _UNSIGNED_BYTES + dimensions:
        raise InputError(f"{path}: not an IDX file of bytes in {dimensions} dimensions; download it again")
    shape = tuple(int(size) for size in np.frombuffer(content[4:header_size], ">u4"))
    body = np.frombuffer(content, np.uint8, offset=header_size)
    if body.size != math.prod(shape):
        raise InputError(f"{path}: its header promises shape {list(shape)}, but {body.size} bytes follow")
    return body.reshape(shape)


def write_idx(path: Path, array: NDArray[np.uint8]) -> None:
    """Write an array, with gzip if the name ends in `.gz`. Equal arrays give equal files."""
    content = struct.pack(f">{array.ndim + 1}I", _UNSIGNED_BYTES + array.ndim, *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
