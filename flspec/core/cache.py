"""The cache: what flspec can make again, each part of it in a folder that is there whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from flspec.core.files import locked
from flspec.errors import InputError

__all__ = ["cache_folder", "partial_folder", "workplace"]

_PARTIAL, _LOCK = ".partial-", ".lock"


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
    try:
        parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(parent)
        folder = parent / f"{_PARTIAL}{secrets.token_hex(8)}"
        # Locked before it is there, so that nobody takes it for abandoned; who looks at it may have the lock a moment.
        with locked(folder.with_name(folder.name + _LOCK), waiting=lambda: None):
            try:
                folder.mkdir(0o700)
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise InputError(
            f"nothing can be stored in {parent}: {error.strerror or error}; set FLSPEC_CACHE to a folder that can be "
            "written to"
        ) from None


def _remove_abandoned(parent: Path) -> None:
    """Remove what killed processes left half made: folders whose lock nobody holds."""
    names = {path.name.removesuffix(_LOCK) for path in parent.glob(f"{_PARTIAL}*")}
    for name in names:
        with suppress(OSError), locked(parent / (name + _LOCK)):  # held, or gone meanwhile
            shutil.rmtree(parent / name, ignore_errors=True)
