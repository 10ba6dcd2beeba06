"""Files and folders on their way to being there: whole or not at all, one writer at a time, nothing overwritten."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from flspec.errors import InputError, shorten

__all__ = ["check_new_folder", "is_empty", "locked", "locked_folder", "new_folder", "read_regular", "write_atomically"]

_LOCK = ".lock"
_POLL_SECONDS = 0.05


def read_regular(path: Path) -> bytes:
    """The content of a file; raises InputError for what is none, such as a pipe that could keep us waiting."""
    try:
        if not path.exists():
            raise InputError(f"{path} does not exist")
        if not path.is_file():
            raise InputError(f"{path} is not a file")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None


def write_atomically(path: Path, content: bytes) -> None:
    """Put a file in place whole: a crash at any moment leaves the old one or the new one."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    if hasattr(os, "O_DIRECTORY"):  # Windows opens no folders
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)  # the rename itself must survive a power cut
        finally:
            os.close(folder)


# Locks


@contextmanager
def locked(file: Path, waiting: Callable[[], None] | None = None) -> Iterator[int]:
    """Hold the lock that `file` stands for, as the descriptor that carries it; the file is gone afterwards.

    However this process ends, the system takes the lock back, once every process that inherited the descriptor has
    ended too. Where another holds it, `waiting` is called and the lock waited for; without `waiting`, BlockingIOError
    is raised.
    """
    descriptor = _take(file)
    if descriptor is None:
        if waiting is None:
            raise BlockingIOError(f"{file} is held by another process")
        waiting()
        while (descriptor := _take(file)) is None:
            time.sleep(_POLL_SECONDS)
    try:
        yield descriptor
    finally:
        with suppress(OSError):  # the folder has gone, or the system (Windows) keeps what is open
            file.unlink()
        os.close(descriptor)


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Keep other processes of flspec out of a folder.

    Raises InputError if one is in there, or if `folder` is none that can be written to.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder / _LOCK))
        except BlockingIOError:
            raise InputError(f"out: another flspec is running in {folder}; wait for it, or choose another") from None
        except (OSError, ValueError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or error
            raise InputError(f"out: {folder} is not a folder that can be written to: {reason}") from None
        yield


def _take(file: Path) -> int | None:
    """The descriptor of a lock that is now ours, or None if another has it."""
    from filelock import lock_descriptor  # here, since the environment of an engine need not have it

    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            is_ours = lock_descriptor(descriptor, blocking=False)
            if is_ours and _is_at(file, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if not is_ours:
            return None
        # Whoever held the lock removed the file after it was opened here: what is locked now is nobody's.


def _is_at(file: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(file))
    except FileNotFoundError:
        return False


# Folders


def is_empty(folder: Path) -> bool:
    """Whether a folder holds nothing but the lock of whoever is working there."""
    return all(path.name == _LOCK for path in folder.iterdir())


def new_folder(parent: Path, name: str) -> Path:
    """A folder below `parent` that does not exist yet; it is not made."""
    number = 1
    while (folder := parent / f"{name.replace(':', '-')}-{number}").exists():
        number += 1
    return folder.absolute()


def check_new_folder(folder: Path) -> None:
    """Raise InputError if `folder` could not be made, or holds something; before work that would be lost."""
    shown = shorten(str(folder), 200)
    try:
        if folder.is_dir():
            if not is_empty(folder):
                raise InputError(f"out: {shown} is not empty; choose another folder")
        elif folder.exists():
            raise InputError(f"out: {shown} is a file; choose a folder")
        parent = folder.absolute()
        while not parent.exists():
            parent = parent.parent
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"out: {shown} cannot be made: {reason}") from None
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"out: {shown} cannot be made, since {shorten(str(parent), 200)} cannot be written to")
