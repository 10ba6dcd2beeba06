"""What can go wrong, by who can mend it.

The command line prints each as one line and exits with its `exit_code`; a program catches the class.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

__all__ = [
    "BackendError",
    "FlspecError",
    "InputError",
    "PlanViolation",
    "Problem",
    "RunError",
    "SpecError",
    "TrackerWarning",
    "choose",
    "printable",
    "shorten",
]


class FlspecError(Exception):
    """Base of every error flspec raises on purpose; its text says what to do."""

    exit_code = 1


class InputError(FlspecError):
    """What was asked for is wrong: nothing has been run and nothing written."""

    exit_code = 2


def printable(text: str) -> str:
    """`text` in one line and without what could command a terminal: control characters, changes of direction."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shorten(text: str, most: int = 100) -> str:
    """`text`, or its beginning if it is long enough to hide the message it stands in."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def choose(given: Any, choices: Iterable[str]) -> str:
    """Why `given` is none of `choices`, and which of them may have been meant."""
    known = list(choices)
    close = difflib.get_close_matches(str(given)[:100], known, n=1)
    meant = f"did you mean {close[0]!r}? " if close and close[0] != str(given) else ""
    shown = repr(shorten(given)) if isinstance(given, str) else json.dumps(given, default=str)
    return f"unknown {shorten(shown)}; {meant}choose one of {', '.join(known) or 'none'}"


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a spec: where it stands and the way out."""

    message: str  # what is wrong and what was expected
    path: str = ""  # dotted, as `client.optimizer.learning_rate`; empty for the whole document
    file: str = ""
    line: int | None = None  # from 1
    column: int | None = None  # from 1
    source: str = ""  # that line, as it stands in the file

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part not in ("", None))
        return printable(": ".join(part for part in (place, shorten(self.path), self.message) if part))

    def as_dict(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if v not in ("", None)}


class SpecError(InputError):
    """A spec cannot be used; carries every problem found, in the order they stand in the file."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(map(str, problems)))


class RunError(FlspecError):
    """The experiment started and could not be finished."""


class BackendError(RunError):
    """An engine failed, hung or died; the text names its log."""


class TrackerWarning(RuntimeWarning):
    """A tracker failed, and its run goes on without it."""


class PlanViolation(BackendError):
    """A backend says itself that it did something else than was planned."""

    def __init__(self, round_number: int, message: str) -> None:
        self.round = round_number
        super().__init__(f"round {round_number}: {message}")
