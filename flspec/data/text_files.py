"""Text files of data sets, in UTF-8. Every error names the line, and says what the file is where it is something else.

Only `\\n`, `\\r\\n` and `\\r` end a line: `str.splitlines` ends one at ten more characters, which names can contain.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

from flspec.core.reading import open_regular
from flspec.errors import InputError

__all__ = ["opened_text", "read_lines", "read_text"]

_MOST_BYTES, _MOST_STREAMED_BYTES = 2**30, 2**40  # of a file that is read at once, or line by line
_AT_ONCE = 2**20
_OTHERS = {  # the first bytes of files that are taken for text, and the way out
    b"\x1f\x8b": "is compressed with gzip; decompress it (gunzip), and name the file that comes out",
    b"PK\x03\x04": "is an Excel workbook or a zip archive; save the sheet as CSV, or extract the archive",
    b"\xd0\xcf\x11\xe0": "is a workbook of an old Excel; save the sheet as CSV",
    b"PAR1": "is a Parquet file; read it with kind: parquet",
    b"ARROW1": "is an Arrow file; save it as CSV or Parquet",
    b"BZh": "is compressed with bzip2; decompress it, and name the file that comes out",
    b"\xfd7zXZ": "is compressed with xz; decompress it, and name the file that comes out",
    b"\x28\xb5\x2f\xfd": "is compressed with zstd; decompress it, and name the file that comes out",
    b"%PDF": "is a PDF; save the table as CSV",
    codecs.BOM_UTF32_LE: "is not UTF-8, but UTF-32; save it as UTF-8",
    codecs.BOM_UTF16_LE: "is not UTF-8, but UTF-16; save it as UTF-8",
    codecs.BOM_UTF16_BE: "is not UTF-8, but UTF-16; save it as UTF-8",
}


@contextmanager
def opened_text(path: Path, most: int = _MOST_STREAMED_BYTES) -> Iterator[TextIO]:
    """Open a file in UTF-8, with or without a byte order mark. Its lines keep their ends.

    Raises InputError for a file that is not text, and for whatever is wrong with it while it is open.
    """
    try:
        with open_regular(path, most) as file:
            _refuse_others(path, file.read(8))
            file.seek(0)
            with TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
                yield text
    except UnicodeDecodeError:
        raise _undecodable(path) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None


def read_text(path: Path) -> str:
    """Read a whole file. Raises InputError as `opened_text` does."""
    with opened_text(path, _MOST_BYTES) as text:
        return text.read()


def read_lines(path: Path) -> list[str]:
    """Read the lines of a whole file, without their ends."""
    lines = read_text(path).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines if lines[-1] else lines[:-1]


def _refuse_others(path: Path, beginning: bytes) -> None:
    for magic, advice in _OTHERS.items():
        if beginning.startswith(magic):
            raise InputError(f"{path}: {advice}")


def _undecodable(path: Path) -> InputError:
    """Return the error that names the first line that is not UTF-8."""
    decoder, line = codecs.getincrementaldecoder("utf-8")(), 1
    with open_regular(path, _MOST_STREAMED_BYTES) as file:
        some = b"\n"
        while some:
            some = file.read(_AT_ONCE)  # not a line, because a line may be as long as the file
            try:
                decoder.decode(some, final=not some)
            except UnicodeDecodeError as error:
                line += error.object.count(b"\n", 0, error.start)
                byte = error.object[error.start]
                return InputError(f"{path}:{line}: not UTF-8 (byte {byte:#04x}); save it as UTF-8")
            line += some.count(b"\n")
    return InputError(f"{path}: not UTF-8; save it as UTF-8")
