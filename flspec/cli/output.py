"""Output without rich, which takes longer to import than a spec to be validated: JSON, errors, warnings."""

from __future__ import annotations

import codecs
import io
import json
import sys
import traceback
import warnings
from typing import Any

from flspec.errors import FlspecError, Problem, RunWarning, SpecError, printable

__all__ = [
    "print_error",
    "print_in_any_encoding",
    "print_json",
    "print_warnings",
    "tell_interrupted",
    "use_debug",
    "use_json",
]


_wants_json = _wants_tracebacks = False
_told_interrupted = False


_SIGNS = {"±": "+-", "×": "x", "→": "->", "←": "<-", "…": "...", "–": "-", "—": "-", "−": "-", "’": "'"}
_SHAPES = {range(0x2500, 0x2580): "-", range(0x2580, 0x25FF): "#", range(0x2800, 0x2900): "*"}  # lines, bars, spinners


def print_in_any_encoding() -> None:
    """Print what a terminal or a log cannot encode in ASCII: signs by what they resemble, letters escaped."""
    codecs.register_error("flspec", _in_ascii)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="flspec")


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_sign_in_ascii, error.object[error.start : error.end])), error.end


def _sign_in_ascii(sign: str) -> str:
    shape = next((plain for code_points, plain in _SHAPES.items() if ord(sign) in code_points), sign)
    return _SIGNS.get(shape, shape).encode("ascii", "backslashreplace").decode()


def tell_interrupted(how_far: str = "") -> None:
    """Print, once, that the command was interrupted."""
    global _told_interrupted  # noqa: PLW0603
    if not _told_interrupted:
        print(printable(f"flspec: interrupted {how_far}".rstrip()), file=sys.stderr)
    _told_interrupted = True


def use_json(wanted: bool) -> bool:
    """Record that errors, too, are to be JSON; returns `wanted`."""
    global _wants_json  # noqa: PLW0603
    _wants_json = wanted
    return wanted


def use_debug(wanted: bool) -> bool:
    """Record that tracebacks are to be printed; returns `wanted`."""
    global _wants_tracebacks  # noqa: PLW0603
    _wants_tracebacks = wanted
    return wanted


def print_json(document: Any) -> None:
    """Print one JSON document on stdout."""
    text = json.dumps(document, indent=2)  # escapes all but ASCII, and its control characters but one
    sys.stdout.write(text.replace("\x7f", "\\u007f") + "\n")


def print_warnings() -> None:
    """Print warnings about runs as a line each on stderr, until `warnings.catch_warnings` ends."""
    usual, told = warnings.showwarning, set[str]()

    def show(message: Warning | str, category: type[Warning], *place: Any, **rest: Any) -> None:
        if issubclass(category, RunWarning):
            if str(message) in told:  # of each cell of a matrix
                return
            told.add(str(message))
            from flspec.cli.consoles import progress_console

            progress_console.print(f"flspec: {message}", soft_wrap=True)
        else:
            usual(printable(str(message)), category, *place, **rest)

    warnings.showwarning = show
    warnings.simplefilter("always", RunWarning)


def print_error(error: FlspecError) -> None:
    """Print one line a problem on stderr, and with --json the same as objects on stdout."""
    if _wants_tracebacks:
        print(*map(printable, "".join(traceback.format_exception(error)).splitlines()), sep="\n", file=sys.stderr)
    problems = error.problems if isinstance(error, SpecError) else [Problem(line) for line in _lines(error)]
    if _wants_json:
        print_json({"ok": False, "problems": [problem.as_dict() for problem in problems]})
    for problem in problems:
        print(problem if isinstance(error, SpecError) else f"flspec: {problem}", file=sys.stderr)
        if problem.source and problem.column:
            from flspec.cli.consoles import point_at

            point_at(problem, problem.column)


def _lines(error: FlspecError) -> list[str]:
    return [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
