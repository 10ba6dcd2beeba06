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
from flspec.core.ownership import make_own, require_own
from flspec.errors import InputError

__all__ = ["cache_folder", "discard", "partial_folder", "workplace"]

_PARTIAL, _LOCK = ".partial-", ".lock"
_HINT = "set FLSPEC_CACHE to a folder of your own"


def cache_folder() -> Path:
    """Return the cache's folder: `$FLSPEC_CACHE`, else `flspec` in the user's cache folder.

    Without a home it is below the temporary folder. Raises InputError if it is not this user's own, because programs in
    the cache are run and data in it are believed.
    """
    folder = _chosen_folder()
    for part in (folder, *_parts(folder)):
        require_own(part, _HINT)
    return folder


def _chosen_folder() -> Path:
    if chosen := os.environ.get("FLSPEC_CACHE"):
        return Path(chosen).absolute()
    if os.path.isabs(caches := os.environ.get("XDG_CACHE_HOME", "")):  # others are invalid by the standard
        return Path(caches) / "flspec"
    try:
        return Path.home().absolute() / ".cache" / "flspec"
    except RuntimeError:  # no home folder
        return Path(tempfile.gettempdir()).absolute() / f"flspec-{os.getuid()}"


def _parts(folder: Path) -> list[Path]:
    """Return the folders of the cache, unless nobody else gets that far."""
    try:
        return [] if not folder.lstat().st_mode & 0o077 else [path for path in folder.iterdir() if path.is_dir()]
    except OSError:  # there is none yet, or not of this user's
        return []


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


def discard(path: Path) -> None:
    """Remove a file or folder of the cache; a kill meanwhile leaves nothing that could pass for it.

    Raises OSError, which names the file.
    """
    if path.is_dir():
        going = path.rename(path.with_name(f"{_PARTIAL}{secrets.token_hex(8)}"))  # which others take for abandoned
        shutil.rmtree(going)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def workplace(parent: Path) -> Iterator[Path]:
    """Yield a temporary folder in `parent`, which is removed at the end.

    If this process is killed, the next process to work in `parent` removes it.

    Raises InputError if the cache cannot be written to.
    """
    try:
        make_own(parent)
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
