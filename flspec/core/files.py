"""Safe reading and writing of files and folders: complete or absent, one writer at a time, nothing overwritten."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from flspec.errors import InputError, shorten

__all__ = [
    "append_durably",
    "check_new_file",
    "check_new_folder",
    "is_empty",
    "is_locked",
    "keep_number",
    "locked",
    "locked_folder",
    "made_folder",
    "name_file",
    "num_bytes",
    "numbered_folder",
    "partial_file",
    "remove_partials",
    "write_atomically",
]

_LOCK, _NUMBERS = ".lock", ".numbers"
_NUMBERED = re.compile(r"(.+)-([0-9]{1,15})")
_PARTIAL = re.compile(r"\..+\.\d+\.partial")  # the names that `partial_file` gives
_POLL_SECONDS = 0.05


def write_atomically(path: Path, content: bytes, *, is_secret: bool = False) -> None:
    """Write a file so that a crash at any moment leaves either the whole old file or the whole new one.

    A secret one can be read by its owner alone, at every moment. Raises OSError, which names the file.
    """
    with partial_file(path, is_secret=is_secret) as file:
        file.write(content)


@contextmanager
def partial_file(path: Path, *, is_secret: bool = False) -> Iterator[BinaryIO]:
    """Yield a file to be written, which takes the place of `path` once it is whole; see `write_atomically`."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        if is_secret:
            partial.unlink(missing_ok=True)  # whose mode may be another
            partial.touch(mode=0o600)
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        name_file(error, path)
        raise
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    sync_folder(path.parent)  # the rename itself must survive a power cut


def append_durably(path: Path, content: bytes) -> None:
    """Add to the end of a file, which is made if it is not there. On return a power cut takes nothing of it.

    Raises OSError, which names the file; a part of the content may then be there.
    """
    try:
        with path.open("ab") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(path.parent)
    except OSError as error:
        name_file(error, path)
        raise


def sync_folder(folder: Path) -> None:
    """Have a folder's list of files survive a power cut."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows cannot open folders
        return
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def name_file(error: OSError, path: Path) -> None:
    """Add a file to an error without one: a write fails without saying where, as when a disk is full."""
    if error.filename is None and error.errno is not None:
        error.filename = str(path)


def remove_partials(folder: Path) -> None:
    """Remove the partial files that killed processes left in a folder. Nobody else may be writing there."""
    with suppress(OSError):
        for path in list(folder.glob(".*.partial")):
            if _PARTIAL.fullmatch(path.name) and path.is_file():
                path.unlink(missing_ok=True)


# Locks


@contextmanager
def locked(file: Path, waiting: Callable[[], None] | None = None) -> Iterator[int]:
    """Hold the lock on `file` and yield the locked file descriptor. The file is removed at the end.

    The operating system releases the lock when this process, and every process that inherited the descriptor, has
    ended, however they end. If another process holds the lock, `waiting` is called once and the lock is waited for;
    without `waiting`, BlockingIOError is raised.
    """
    descriptor = _take(file)
    if descriptor is None:
        if waiting is None:
            raise BlockingIOError(f"{file} is locked by another process")
        waiting()
        while (descriptor := _take(file)) is None:
            time.sleep(_POLL_SECONDS)
    try:
        yield descriptor
    finally:
        with suppress(OSError):  # the folder has been removed, or the system (Windows) cannot remove an open file
            file.unlink()
        os.close(descriptor)


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Keep other flspec processes out of a folder.

    Raises InputError if another one is using it, or if `folder` is not a writable folder.
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


def is_locked(folder: Path) -> bool:
    """Return whether another flspec, or another thread of this one, holds a folder. Changes nothing there."""
    from filelock import lock_descriptor

    try:
        descriptor = os.open(folder / _LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        return not lock_descriptor(descriptor, blocking=False)
    finally:
        os.close(descriptor)


def _take(file: Path) -> int | None:
    """Take the lock and return its file descriptor, or None if another process holds it."""
    from filelock import lock_descriptor  # imported here, because an engine's environment may lack filelock

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
        # The previous holder removed the file after it was opened here, so this lock is on a removed file: try again.


def _is_at(file: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(file))
    except FileNotFoundError:
        return False


# Folders


def num_bytes(path: Path) -> int:
    """Return how many bytes a file, or all files in a folder, have on disk."""
    files = [path] if path.is_file() else (Path(place, name) for place, _, names in os.walk(path) for name in names)
    found = 0
    for file in files:
        with suppress(OSError):  # it has just gone
            found += file.lstat().st_blocks * 512
    return found


def is_empty(folder: Path) -> bool:
    """Return whether a folder is empty, except for the lock of `locked_folder` and killed processes' partial files."""
    return all(path.name == _LOCK or _PARTIAL.fullmatch(path.name) for path in folder.iterdir())


@contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """Make a folder if there is none.

    What was made is removed again if InputError is raised inside, or anything else while the folder is empty.
    """
    with _removing_again(_missing(folder)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:
            raise InputError(f"out: {folder} cannot be made: {error}") from None
        yield


@contextmanager
def numbered_folder(parent: Path, name: str) -> Iterator[Path]:
    """Make a new folder below `parent`, `NAME-1`, `NAME-2` and so on, as `made_folder`, and yield it.

    Processes that do this at the same time get different folders. A number is not given again when its folder has
    gone, because the last one of each name is in `.numbers`; only one of which nothing came is free again.
    """
    stem, made = name.replace(":", "-"), _missing(parent)
    try:
        parent.mkdir(parents=True, exist_ok=True)
        folder, number = _next_folder(parent, stem)
    except (OSError, ValueError) as error:
        _remove_empty(made)
        raise InputError(f"out: a folder {parent / stem}-1 cannot be made: {error}") from None
    with _removing_again([folder, *made], lambda: _free(parent, stem, number)):
        yield folder


def keep_number(folder: Path) -> None:
    """Note the number of a folder that is about to go, so that no other folder is given it."""
    if one := _NUMBERED.fullmatch(folder.name):
        with _numbers(folder.parent) as numbers:
            numbers[one[1]] = max(numbers.get(one[1], 0), int(one[2]))


def _next_folder(parent: Path, stem: str) -> tuple[Path, int]:
    """Make the folder with a name's next number."""
    with _numbers(parent) as numbers:
        taken = (_NUMBERED.fullmatch(found) for found in os.listdir(parent))
        number = max([numbers.get(stem, 0), *(int(one[2]) for one in taken if one and one[1] == stem)]) + 1
        folder = (parent / f"{stem}-{number}").absolute()
        folder.mkdir()
        numbers[stem] = number
    return folder, number


def _free(parent: Path, stem: str, number: int) -> None:
    """Have a number given again, unless a later one has been given meanwhile."""
    with suppress(OSError), _numbers(parent) as numbers:
        if numbers.get(stem) == number:
            numbers[stem] = number - 1


@contextmanager
def _numbers(parent: Path) -> Iterator[dict[str, int]]:
    """Yield the last number of each name, to be changed; there is no file where there are none."""
    path = parent / _NUMBERS
    with locked(path.with_name(path.name + _LOCK), waiting=lambda: None):
        before = _read_numbers(path)
        yield (numbers := dict(before))
        numbers = {name: number for name, number in numbers.items() if number}
        if not numbers:
            path.unlink(missing_ok=True)
        elif numbers != before:
            write_atomically(path, (json.dumps(numbers, indent=1) + "\n").encode())


def _read_numbers(path: Path) -> dict[str, int]:
    """Return what a file of numbers says; one that was spoilt says nothing, and the folders that are there count."""
    from flspec.core.reading import read_regular  # which needs numpy

    try:
        found = json.loads(read_regular(path))
    except (InputError, OSError, ValueError, RecursionError):
        return {}
    items = found.items() if isinstance(found, dict) else ()
    return {name: number for name, number in items if isinstance(number, int)}


def _missing(folder: Path) -> list[Path]:
    """Return those of a folder and its parents that do not exist, the folder first."""
    with suppress(OSError, ValueError):
        return [path for path in (folder.absolute(), *folder.absolute().parents) if not path.exists()]
    return []


@contextmanager
def _removing_again(made: list[Path], undo: Callable[[], None] = lambda: None) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        if made and (isinstance(error, InputError) or (made[0].is_dir() and is_empty(made[0]))):
            shutil.rmtree(made[0], ignore_errors=True)
            undo()
            _remove_empty(made[1:])
        raise


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        with suppress(OSError):  # others may have put something there
            folder.rmdir()


def check_new_folder(folder: Path) -> None:
    """Raise InputError if `folder` cannot be created or is not empty. Call it before work that would be lost."""
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


def check_new_file(path: Path) -> None:
    """Raise InputError unless a file or folder can be made there; nothing that is there is overwritten."""
    if os.path.lexists(path):
        raise InputError(f"--out: {path} is there already; choose another name, or remove it")
    parent = path.absolute().parent
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"--out: {path} cannot be made, since {parent} is no folder to write to")
