"""Progress where there is no terminal: a line whenever something is done, with the time that is left; or as JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from flspec.core.text import seconds_in_words

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Log"]


class Log:
    """A writer of lines on stderr. There are none on a terminal, which has bars, unless they are JSON."""

    def __init__(self, console: Console, as_json: bool = False) -> None:
        self._console, self._as_json = console, as_json
        self._began: dict[str, tuple[float, float]] = {}  # by what is done: when, and how much, at its first line

    @property
    def is_on(self) -> bool:
        return self._as_json or not self._console.is_terminal

    def line(self, what: str, text: str, done: float, due: float, values: Mapping[str, Any]) -> None:
        """Write that so much of `what` is done of all that is due, by the text or the values."""
        left = self._seconds_left(what, done, due)
        if not self.is_on:
            return
        if self._as_json:
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            sys.stderr.write(json.dumps({"time": now, **values, "seconds_left": left}) + "\n")
            sys.stderr.flush()
        else:
            told = f", about {seconds_in_words(left)} left" if left and left >= 1 else ""
            self._console.print(text + told, soft_wrap=True)

    def begin(self, what: str, done: float = 0) -> tuple[float, float]:
        """Begin to measure the pace of `what`, unless that has begun; returns when it has, and how much was done."""
        return self._began.setdefault(what, (time.monotonic(), done))

    def _seconds_left(self, what: str, done: float, due: float) -> float | None:
        """Return the time that the rest takes at the pace since the first line; None at that line.

        So neither the start of an engine counts, nor what was done before an interruption.
        """
        began, first = self.begin(what, done)
        return (time.monotonic() - began) / (done - first) * max(due - done, 0) if done > first else None
