"""The runs in a folder as they are found there: finished, running, interrupted or failed. Little of each is read.

Of `result.json` that is all but the rounds, which stand between its beginning and its end; of the events, the first
one and the number of the last round. Whether a result is as the run wrote it is not asked here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from flspec.core.files import is_locked
from flspec.core.reading import PYDANTIC_VALUE, check_json, open_regular
from flspec.core.text import natural
from flspec.errors import InputError
from flspec.protocol.events import RunAttempted
from flspec.runs.event_log import EVENTS, read_events
from flspec.runs.planned import planned_spec
from flspec.runs.result import RESULT, Result, load_result

__all__ = ["FoundRun", "Status", "check_run", "find_runs", "found_run", "is_run"]

Status = Literal["finished", "running", "interrupted", "failed", "damaged"]

_MOST_LEVELS = 6  # below the folder named
_HEAD, _TAIL = 2**16, 2**18  # bytes of a result up to its rounds, and after them; else it is read whole
_ROUNDS, _END = b'\n  "rounds": [', b"\n  ],\n"  # at this depth stand the document's own keys alone
_LAST_EVENTS = 2**16  # bytes
_ROUND = re.compile(rb'^\{"event":"round_[a-z]+","round":(\d{1,12}),', re.MULTILINE)
_STATUS: Mapping[str, Status] = {"completed": "finished", "interrupted": "interrupted", "failed": "failed"}
_KILLED = "its process ended before it could say why"


@dataclass(frozen=True)
class FoundRun:
    """A run without its rounds. What could not be read is empty."""

    folder: Path
    status: Status
    why: str = ""  # it is neither finished nor running
    started: str = ""  # ISO 8601, UTC
    backend: str = ""
    plan_digest: str = ""
    spec: Mapping[str, Any] = field(default_factory=dict)
    last_round: int | None = None  # that is done; None if that could not be read
    result: Result | None = None  # without its rounds; of a running one, of its last attempt

    @property
    def num_rounds(self) -> int | None:
        """The rounds that were asked for; None if that could not be read."""
        rounds = self.spec.get("rounds")
        return rounds if isinstance(rounds, int) else None


def find_runs(paths: Iterable[str | Path]) -> list[FoundRun]:
    """Return every run at or below the paths, each once, in their names' order, 2 before 10.

    Raises InputError for a path that is not a folder.
    """
    found: dict[Path, FoundRun] = {}
    for path in map(Path, paths):
        if not path.is_dir():
            raise InputError(f"{path}: there is no such folder; name one with runs in it")
        for folder, is_held in _folders(path, _MOST_LEVELS):
            if (place := folder.resolve()) not in found:
                found[place] = found_run(folder, is_held)
    return list(found.values())


def is_run(folder: Path) -> bool:
    """Return whether a run has begun in a folder."""
    return (folder / RESULT).is_file() or ((folder / EVENTS).is_file() and not _is_certificate(folder))


def check_run(folder: Path) -> None:
    """Raise InputError unless a run has begun in a folder."""
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder; flspec runs lists those there are")
    if not is_run(folder):
        inner = sum(1 for _ in _folders(folder, _MOST_LEVELS))
        raise InputError(
            f"{folder}: is no run{f', but has {inner} inside; name those, e.g. {folder}/*' if inner else ''}"
        )


def found_run(folder: Path, is_held: bool = False) -> FoundRun:
    """Return the run in a folder; with `is_held`, one without a result is carried out from elsewhere."""
    first, problem = _first_event(folder), ""
    try:
        result = _without_rounds(folder / RESULT) or load_result(folder)
    except InputError as error:
        result, problem = None, str(error)
    is_running = is_locked(folder) or (is_held and not result)
    status: Status = "damaged" if (folder / RESULT).exists() else "interrupted"
    status = "running" if is_running else _STATUS[result.status] if result else status
    why = (result.error if result else problem if status == "damaged" else _KILLED) or ""
    return FoundRun(
        folder=folder,
        status=status,
        why=why if status not in ("finished", "running") else "",
        started=result.started if result else first.started if first else "",
        backend=result.backend.name if result else first.backend if first else "",
        plan_digest=result.plan_digest if result else first.plan if first else "",
        spec=result.spec if result else planned_spec(folder),
        last_round=_last_round(folder),
        result=result,
    )


def _folders(folder: Path, levels: int, is_held: bool = False) -> Iterator[tuple[Path, bool]]:
    """Yield each run's folder, and whether a certificate is at work around it."""
    if is_run(folder):
        yield folder, is_held
    elif levels:
        is_held = is_held or ((folder / EVENTS).exists() and is_locked(folder))
        with suppress(PermissionError), os.scandir(folder) as entries:
            inner = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
            for name in sorted(inner, key=natural):
                yield from _folders(folder / name, levels - 1, is_held)


def _is_certificate(folder: Path) -> bool:
    first = _first_event(folder)
    return first is not None and "," in first.backend


def _first_event(folder: Path) -> RunAttempted | None:
    try:
        first = next(read_events(folder), None)
    except InputError:
        return None
    return first if isinstance(first, RunAttempted) else None


def _without_rounds(path: Path) -> Result | None:
    """Return a result without its rounds; None unless it is written as flspec writes it."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(_HEAD + _TAIL if size <= _HEAD + _TAIL else _HEAD)
        file.seek(max(0, size - _TAIL))
        tail = file.read(_TAIL)
    begin = head.find(_ROUNDS)
    end = tail.find(_END, max(0, begin - max(0, size - _TAIL)))
    if min(begin, end) < 0 or head.startswith(_ROUNDS + b"]", begin):
        return None
    content = head[:begin] + _ROUNDS + tail[end:]
    check_json(content, path, PYDANTIC_VALUE)
    try:
        return Result.model_validate_json(content)
    except ValidationError:
        return None


def _last_round(folder: Path) -> int | None:
    try:
        with open_regular(folder / EVENTS, 2**40) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LAST_EVENTS))
            rounds = _ROUND.findall(file.read(_LAST_EVENTS))
    except InputError:
        return None
    return int(rounds[-1]) if rounds else None
