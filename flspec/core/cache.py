"""The cache: what flspec can make again, each part of it in a folder that is there whole or not at all."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from flspec.errors import InputError

__all__ = ["cache_folder", "partial_folder", "workplace"]

_PARTIAL = ".partial-"
_SECONDS_TO_LOCK = 60.0  # a folder as young as that may be another process's that has yet to lock it


def cache_folder() -> Path:
    """Where flspec keeps what it can make again: `$FLSPEC_CACHE`, else `flspec` in the user's cache folder."""
    if chosen := os.environ.get("FLSPEC_CACHE"):
        return Path(chosen).absolute()
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # no home folder
        home = Path(tempfile.gettempdir())
    return home.absolute() / "flspec"


@contextmanager
def partial_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `folder` if all goes well and is removed if not.

    Raises InputError if the cache cannot be written to.
    """
    with workplace(folder.parent) as partial:
        yield partial
        try:
            partial.rename(folder)
        except OSError:
            if not folder.is_dir():  # someone else put the same there first
                raise


@contextmanager
def workplace(parent: Path) -> Iterator[Path]:
    """A folder in `parent` that is gone afterwards; if its process is killed, the next to work there removes it.

    Raises InputError if the cache cannot be written to.
    """
    folder = None
    try:
        parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(parent)
        folder = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=parent))
        with _locked(folder):
            yield folder
    except OSError as error:
        raise InputError(
            f"nothing can be stored in {parent}: {error.strerror or error}; set FLSPEC_CACHE to a folder that can be "
            "written to"
        ) from None
    finally:
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a lock on the folder itself, which the system takes back however this process ends."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _remove_abandoned(parent: Path) -> None:
    """Remove what killed processes left half made: folders that nobody holds locked."""
    for folder in parent.glob(f"{_PARTIAL}*"):
        with suppress(OSError):  # held, or gone meanwhile
            if time.time() - folder.stat().st_mtime > _SECONDS_TO_LOCK:
                with _locked(folder):
                    shutil.rmtree(folder, ignore_errors=True)
