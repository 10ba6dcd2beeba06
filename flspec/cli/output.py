"""What is printed, and where: results on stdout, progress and errors on stderr."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from flspec.errors import FlspecError, Problem, SpecError, printable

__all__ = ["console", "print_error", "print_json", "progress_console", "use_json"]

console = Console(highlight=False)
progress_console = Console(stderr=True, highlight=False)
_wants_json = False


def use_json(wanted: bool) -> bool:
    """Remember that errors, too, are wanted as JSON; returns `wanted`."""
    global _wants_json  # noqa: PLW0603
    _wants_json = wanted
    return wanted


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def print_error(error: FlspecError) -> None:
    """One line a problem on stderr, and with --json the same as objects on stdout."""
    problems = error.problems if isinstance(error, SpecError) else [Problem(line) for line in _lines(error)]
    if _wants_json:
        print_json({"ok": False, "problems": [problem.as_dict() for problem in problems]})
    for problem in problems:
        print(problem if isinstance(error, SpecError) else f"flspec: {problem}", file=sys.stderr)
        if progress_console.is_terminal and problem.source and problem.column:
            _point_at(problem, problem.column)


def _point_at(problem: Problem, column: int) -> None:
    """The line that a problem stands in, as much of it as fits, and a caret below the place."""
    line, before = problem.source.replace("\t", " "), column - 1
    room = max(40, progress_console.width) - 8
    start = max(0, min(before - room // 2, len(line) - room))
    shown = printable(line[start : start + room])
    named = re.match(r"[\w.-]+", line[before:])
    width = max(1, min(named.end() if named else 1, start + room - before))
    progress_console.print(Text(f"    {shown}"), style="dim", soft_wrap=True)
    caret = " " * cell_len(printable(line[start:before])) + "^" * width
    progress_console.print(Text(f"    {caret}"), style="bold red", soft_wrap=True)


def _lines(error: FlspecError) -> list[str]:
    return [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
