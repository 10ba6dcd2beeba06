"""Processes that die at one of their file operations, and what goes on from the folder that they leave.

A process is forked, so that imports are paid once, and ends by `os._exit` before or after its n-th operation: making,
renaming, removing and syncing of files and folders, opening a file to write, and each write, of which half is written.
"""

from __future__ import annotations

import builtins
import io
import os
import shutil
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["DIED", "Crashes", "arm", "died_at", "forked", "try_points"]

DIED = 77
_CALLS = ("replace", "rename", "mkdir", "fsync", "unlink", "rmdir")


def forked(what: Callable[[], object]) -> int:
    """Call a function in a process of its own; returns its exit code: 0, or 1 after an exception, which is printed."""
    sys.stdout.flush()
    sys.stderr.flush()
    if (child := os.fork()) == 0:
        code = 1
        try:
            what()
            code = 0
        except BaseException:
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def died_at(point: int, what: Callable[[], object]) -> bool:
    """Call a function in a process that dies at an operation; returns whether there were so many."""

    def armed() -> None:
        arm(point)
        what()

    code = forked(armed)
    assert code in (0, DIED), f"it failed at point {point}"
    return code == DIED


@dataclass
class Crashes:
    """What came of a loop over points."""

    points: int = 0
    ways: Counter[str] = field(default_factory=Counter)  # how each went on


def try_points(
    points: Iterator[int],
    folder: Path,
    do: Callable[[Path], object],
    go_on: Callable[[Path], str],
    check: Callable[[Path], None],
    dies: Callable[[int, Callable[[], object]], bool] = died_at,
) -> Crashes:
    """Let a process die at each of these points, in a new folder each time, until it ends by itself.

    `dies` has it happen, and returns whether there were so many points. `go_on` does what a user would do then, in a
    process of its own, and returns its name; `check` holds the end.
    """
    crashes, way = Crashes(), folder.with_name(f"{folder.name}.way")

    def recover() -> None:
        way.write_text(go_on(folder))

    for point in points:
        shutil.rmtree(folder, ignore_errors=True)
        if not dies(point, lambda: do(folder)):
            break
        assert forked(recover) == 0, f"nothing goes on after point {point}: {_listed(folder)}"
        check(folder)
        crashes.points += 1
        crashes.ways[way.read_text()] += 1
    return crashes


def _listed(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def arm(point: int) -> None:
    """Have this process, but none that it forks, die at its n-th file operation."""
    here, lock, seen = os.getpid(), threading.Lock(), 0

    def tick() -> None:
        nonlocal seen
        if os.getpid() == here:
            with lock:
                seen += 1
                if seen == point:
                    os._exit(DIED)

    def around(call: Callable[..., Any]) -> Callable[..., Any]:
        def around_it(*arguments: Any, **named: Any) -> Any:
            tick()
            try:
                return call(*arguments, **named)
            finally:
                tick()

        return around_it

    for name in _CALLS:
        setattr(os, name, around(getattr(os, name)))
    usual = io.open

    def opened(file: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        if not set(mode) & set("wax+"):
            return usual(file, mode, *arguments, **named)
        tick()
        found = _Torn(usual(file, mode, *arguments, **named), tick)
        tick()
        return found

    io.open = builtins.open = opened


class _Torn:
    """A file whose every write has a moment at which half of it is written."""

    def __init__(self, file: Any, tick: Callable[[], None]) -> None:
        self._file, self._tick = file, tick

    def write(self, content: Any) -> int:
        half = len(content) // 2
        self._tick()
        self._file.write(content[:half])
        self._file.flush()
        self._tick()
        self._file.write(content[half:])
        self._file.flush()
        self._tick()
        return len(content)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _Torn:
        self._file.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._file.__exit__(*error)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._file)
