"""The files of a Python environment, held to the hashes that pip noted when it installed them.

https://packaging.python.org/en/latest/specifications/recording-installed-packages/
"""

from __future__ import annotations

import base64
import csv
import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

__all__ = ["why_damaged"]

_RUN = {".py", ".so", ".pth"}  # suffixes of what Python runs; bytecode, which nobody has noted, is believed


def why_damaged(library: Path) -> str | None:
    """Return which file below `site-packages` is missing, changed or in no package, in a sentence; None if none is.

    Reads everything: some seconds for a gigabyte.
    """
    noted = dict(_noted(library))
    with ThreadPoolExecutor() as pool:  # hashing lets other threads run
        for why in pool.map(_why_other, noted, noted.values()):
            if why:
                return why
    for path in sorted(library.rglob("*")):
        if path.suffix in _RUN and path not in noted:
            return f"{path} belongs to no package"
    return None


def _noted(library: Path) -> Iterator[tuple[Path, str]]:
    """Yield each file of each package and its hash, which is empty where there is none."""
    for record in library.glob("*.dist-info/RECORD"):
        with record.open(newline="", encoding="utf-8") as file:
            for name, noted, _ in csv.reader(file):
                yield library / name, noted


def _why_other(path: Path, noted: str) -> str | None:
    if not noted:
        return None
    name, _, expected = noted.partition("=")
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, name).digest()
    except OSError:
        return f"{path} is missing"
    if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == expected:
        return None
    return f"{path} was changed since it was installed"
