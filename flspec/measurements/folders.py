"""The run folders in a folder: of a run, of a sweep or certificate, or of any number of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from flspec.core.text import join_some, natural
from flspec.errors import InputError
from flspec.runs.event_log import EVENTS
from flspec.runs.result import RESULT
from flspec.runs.sweep_summary import MATRIX, load_sweep

__all__ = ["Found", "distinct_names", "find_runs", "run_folders"]

_MOST_LEVELS = 6  # below the folder named
_NAME_A_FOLDER = "name the folder of a run, a sweep or a certificate"

_Kind = Literal["run", "unfinished", "sweep"]


@dataclass(frozen=True)
class Found:
    """What is at or below some paths, each folder once: in the order of a matrix, else of their names, 2 before 10."""

    folders: tuple[Path, ...]  # of runs with a result
    unfinished: tuple[Path, ...]  # of runs that have begun and have none
    sweeps: tuple[Path, ...]  # of matrices, around their runs


def find_runs(paths: Iterable[str | Path]) -> Found:
    """Return what runs and sweeps are at or below the paths.

    Raises InputError for a path at which there is no run with a result.
    """
    found: dict[Path, tuple[_Kind, Path]] = {}
    for path in map(Path, paths):
        inner = list(_in(path, _MOST_LEVELS))
        if all(kind != "run" for kind, _ in inner):
            raise InputError(_why_none(path, [folder for kind, folder in inner if kind == "unfinished"]))
        for kind, folder in inner:
            found.setdefault(folder.resolve(), (kind, folder))
    runs, unfinished, sweeps = (
        tuple(folder for kind, folder in found.values() if kind == one) for one in ("run", "unfinished", "sweep")
    )
    return Found(runs, unfinished, sweeps)


def run_folders(paths: Iterable[str | Path]) -> list[Path]:
    """Return every run's folder at or below the paths: see `find_runs`."""
    return list(find_runs(paths).folders)


def distinct_names(folders: Sequence[Path]) -> list[str]:
    """Return the last parts of each path, as many as tell it from the others."""
    parts = [folder.absolute().parts for folder in folders]
    for length in range(1, max(map(len, parts), default=0) + 1):
        names = ["/".join(every[-length:]) for every in parts]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]


def _in(folder: Path, levels: int) -> Iterator[tuple[_Kind, Path]]:
    if (folder / RESULT).is_file():
        yield "run", folder
        return
    if not levels or not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    is_sweep = (folder / MATRIX).is_file()
    places = _places(folder) if is_sweep else {}
    names.sort(key=lambda name: (places.get(name, len(places)), natural(name)))
    inner = [one for name in names for one in _in(folder / name, levels - 1)]
    if is_sweep:
        yield "sweep", folder
    elif not inner and (folder / EVENTS).is_file():  # a certificate has events, too, and runs below it
        yield "unfinished", folder
    yield from inner


def _places(sweep: Path) -> dict[str | None, int]:
    """Return the places of a sweep's folders in its matrix; of none if its record cannot be read."""
    try:
        return {cell.folder: place for place, cell in enumerate(load_sweep(sweep).cells)}
    except InputError:
        return {}


def _why_none(path: Path, unfinished: Sequence[Path]) -> str:
    if not path.exists():
        return f"{path} does not exist; {_NAME_A_FOLDER}"
    if not path.is_dir():
        return f"{path} is not a folder; {_NAME_A_FOLDER}"
    if unfinished:
        begun = join_some(list(map(str, unfinished)))
        return f"{path}: no run with a result here, and {begun} has not ended; go on with --resume"
    return f"{path}: no run with a result here; {_NAME_A_FOLDER}"
