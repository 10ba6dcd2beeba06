"""`events.jsonl`: what happened in a run, one event a line, none of which can change, vanish or move unnoticed.

    {"event":"round_finished","round":3, … ,"check":"5f0c1e7a9b2d4860"}

`check` is the beginning of the SHA-256 over the check of the line before and this line without its own. A last line
without a line feed was cut short by a crash and does not count. Lines cut off at the end leave a log that is whole.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from flspec.core.files import name_file, partial_file
from flspec.core.reading import PYDANTIC_VALUE, check_json, open_regular
from flspec.errors import InputError
from flspec.protocol.events import Event, RunEnded, dump_event, parse_event

__all__ = ["EVENTS", "EventLog", "append_events", "ended", "read_events", "rewrite_events"]

EVENTS = "events.jsonl"
_MOST_FILE_BYTES = 2**40  # read line by line
_MOST_BYTES = 2**26  # of one line; the largest has a cohort and the distribution of every metric
_CHECK = re.compile(rb',"check":"([0-9a-f]{16})"\}\n$')
_TAIL_BYTES = 4096  # that hold the last line's check, and the whole of a RunEnded


class EventLog:
    """A writer of lines, after a line with `check`. Raises OSError, which names the file."""

    def __init__(self, file: BinaryIO, check: bytes = b"") -> None:
        self._file, self._check = file, check

    def write(self, event: Event) -> None:
        body = dump_event(event).encode()
        self._check = _check(self._check, body)
        rest = memoryview(body[:-1] + b',"check":"' + self._check + b'"}\n')
        try:
            while rest:  # a file without a buffer may take only a part
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            name_file(error, Path(self._file.name))
            raise


@contextmanager
def append_events(folder: Path) -> Iterator[EventLog]:
    """Yield a writer that adds to a run's events; each event is written at once."""
    path = folder / EVENTS
    with path.open("ab", buffering=0) as file:
        found = _CHECK.search(_tail(path))
        yield EventLog(file, found[1] if found else b"")


def rewrite_events(folder: Path, events: Iterable[Event]) -> None:
    """Replace a run's events, all at once. The new ones may be read from the old meanwhile."""
    with partial_file(folder / EVENTS) as file:
        log = EventLog(file)
        for event in events:
            log.write(event)


def read_events(folder: Path) -> Iterator[Event]:
    """Yield the events of a run, one by one, without a last line that a crash cut short.

    Raises InputError at the first line that is not as it was written.
    """
    path = folder / EVENTS
    check = b""
    for number, line in enumerate(_lines(path), start=1):
        found = _CHECK.search(line)
        body = line[: found.start()] + b"}" if found else b""
        check = _check(check, body)
        if not found or found[1] != check:
            raise _damaged(path, number, "is not as it was written, or lines before it are missing")
        check_json(body, path, PYDANTIC_VALUE)
        try:
            event = parse_event(body)
        except ValidationError:
            raise _damaged(path, number, "is of another version of flspec") from None
        yield event


def ended(folder: Path) -> RunEnded | None:
    """Return the last event of a run if it is that of its end; None also if there are no events to be read."""
    try:
        found = _CHECK.search(last := _tail(folder / EVENTS).splitlines(keepends=True)[-1])
        event = parse_event(last[: found.start()] + b"}") if found else None
    except (InputError, ValidationError, IndexError):
        return None
    return event if isinstance(event, RunEnded) else None


def _lines(path: Path) -> Iterator[bytes]:
    """Yield the whole lines of a file; a line may have so many bytes at most."""
    with open_regular(path, _MOST_FILE_BYTES) as file:
        while line := file.readline(_MOST_BYTES):
            if line.endswith(b"\n") or len(line) == _MOST_BYTES:
                yield line


def _tail(path: Path) -> bytes:
    with open_regular(path, _MOST_FILE_BYTES) as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
        return file.read(_TAIL_BYTES)


def _check(before: bytes, body: bytes) -> bytes:
    return hashlib.sha256(before + body).hexdigest()[:16].encode()


def _damaged(path: Path, number: int, what: str) -> InputError:
    rest = "remove it and those after it, and --resume goes on from what stands before"
    return InputError(f"{path}:{number}: the line {what}; {rest}")
