"""Errors, in classes by who can correct them.

The command line prints each error as one line and exits with its `exit_code`. A program catches the class.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

__all__ = [
    "BackendError",
    "DataRemark",
    "FlspecError",
    "InputError",
    "PlanViolation",
    "Problem",
    "RunError",
    "RunWarning",
    "SpecError",
    "TrackerWarning",
    "choose",
    "printable",
    "shorten",
    "suggestion",
]


class FlspecError(Exception):
    """Base of every error that flspec raises on purpose. Its text says what to do."""

    exit_code = 1


class InputError(FlspecError):
    """An error in what the user asked for. Nothing has been run and nothing written."""

    exit_code = 2


def printable(text: str) -> str:
    """Escape the characters that could control a terminal: line breaks, control characters, changes of direction."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shorten(text: str, most: int = 100) -> str:
    """Cut `text` to `most` characters, so that a long value does not hide the message around it."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def suggestion(given: Any, choices: Iterable[str]) -> str:
    """Return `did you mean 'label'? ` for the choice that was probably meant, or an empty text."""
    close = difflib.get_close_matches(str(given)[:100], list(choices), n=1)
    return f"did you mean {close[0]!r}? " if close and close[0] != str(given) else ""


def choose(given: Any, choices: Iterable[str]) -> str:
    """Return a message that `given` is none of `choices`, with the one that was probably meant."""
    known = list(choices)
    meant = suggestion(given, known)
    shown = repr(shorten(given)) if isinstance(given, str) else json.dumps(given, default=str)
    return f"unknown {shorten(shown)}; {meant}choose one of {', '.join(known) or 'none'}"


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a spec: what, where, and the way out."""

    message: str  # what is wrong and what was expected
    path: str = ""  # dotted, such as `client.optimizer.learning_rate`; empty for the whole document
    file: str = ""
    line: int | None = None  # from 1
    column: int | None = None  # from 1
    source: str = ""  # the text of that line

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part not in ("", None))
        return printable(": ".join(part for part in (place, shorten(self.path), self.message) if part))

    def as_dict(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if v not in ("", None)}


class SpecError(InputError):
    """An error in a spec. It has every problem found, in their order in the file."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(map(str, problems)))


class RunError(FlspecError):
    """Failure of an experiment that had started."""


class BackendError(RunError):
    """Failure, hang or crash of an engine. The text names its log."""


class RunWarning(RuntimeWarning):
    """Something to know of a run that goes on."""


class DataRemark(RunWarning):
    """What is worth knowing of the examples of an experiment."""


class TrackerWarning(RunWarning):
    """Warning that a tracker failed. The run goes on without it."""


class PlanViolation(BackendError):
    """A backend's own report that it did something other than what was planned."""

    def __init__(self, round_number: int, message: str) -> None:
        self.round = round_number
        super().__init__(f"round {round_number}: {message}")
