"""The cache of what flspec can make again. Each of its folders is complete or does not exist."""

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
    """Return the cache's folder: `$FLSPEC_CACHE`, else `flspec` in the user's cache folder."""
    if chosen := os.environ.get("FLSPEC_CACHE"):
        return Path(chosen).absolute()
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # no home folder
        home = Path(tempfile.gettempdir())
    return home.absolute() / "flspec"


@contextmanager
def partial_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder to fill. It is renamed to `folder` if all goes well, and removed if not.

    Raises InputError if the cache cannot be written to.
    """
    with workplace(folder.parent) as partial:
        yield partial
        try:
            partial.rename(folder)
        except OSError:
            if not folder.is_dir():  # another process has made the same folder first
                raise


@contextmanager
def workplace(parent: Path) -> Iterator[Path]:
    """Yield a temporary folder in `parent`, which is removed at the end.

    If this process is killed, the next process to work in `parent` removes it.

    Raises InputError if the cache cannot be written to.
    """
    try:
        parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(parent)
        folder = parent / f"{_PARTIAL}{secrets.token_hex(8)}"
        # The lock is taken before the folder exists, so no process can take the folder for abandoned. Another process
        # that checks for abandoned folders may hold the lock for a moment, so this one waits for it.
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
    """Remove the unfinished folders of killed processes: those whose lock no process holds."""
    names = {path.name.removesuffix(_LOCK) for path in parent.glob(f"{_PARTIAL}*")}
    for name in names:
        with suppress(OSError), locked(parent / (name + _LOCK)):  # OSError: it is locked, or has just been removed
            shutil.rmtree(parent / name, ignore_errors=True)
