"""The run folders in a folder: of a run, of a sweep or certificate, or of any number of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from flspec.core.text import natural
from flspec.errors import InputError
from flspec.runs.result import RESULT

__all__ = ["distinct_names", "run_folders"]

_MOST_LEVELS = 6  # below the folder named


def run_folders(paths: Iterable[str | Path]) -> list[Path]:
    """Return every run's folder at or below the paths, each once, in their names' order, 2 before 10.

    Raises InputError for a path at which there is no run with a result.
    """
    found: dict[Path, Path] = {}
    for path in map(Path, paths):
        folders = list(_in(path, _MOST_LEVELS))
        if not folders:
            raise InputError(f"{path}: no run with a result here; name the folder of a run, a sweep or a certificate")
        for folder in folders:
            found.setdefault(folder.resolve(), folder)
    return list(found.values())


def distinct_names(folders: Sequence[Path]) -> list[str]:
    """Return the last parts of each path, as many as tell it from the others."""
    parts = [folder.absolute().parts for folder in folders]
    for length in range(1, max(map(len, parts), default=0) + 1):
        names = ["/".join(every[-length:]) for every in parts]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]


def _in(folder: Path, levels: int) -> Iterator[Path]:
    if (folder / RESULT).is_file():
        yield folder
    elif levels and folder.is_dir():
        with os.scandir(folder) as entries:
            inner = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        for name in sorted(inner, key=natural):
            yield from _in(folder / name, levels - 1)
