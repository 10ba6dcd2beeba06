"""Output: results on stdout, progress and errors on stderr.

Names and values come from anyone's files. Every text is therefore escaped here, where it leaves for the terminal, and
not by those who print it: nothing that a terminal would act on, no line break and no markup of rich's gets through.
"""

from __future__ import annotations

import codecs
import io
import json
import re
import sys
import traceback
import warnings
from collections.abc import Iterator
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from flspec.cli.folding import folded
from flspec.errors import FlspecError, Problem, RunWarning, SpecError, printable, shorten

__all__ = [
    "EscapingConsole",
    "console",
    "lines",
    "print_error",
    "print_in_any_encoding",
    "print_json",
    "print_warnings",
    "progress_console",
    "tell_interrupted",
    "use_debug",
    "use_json",
]


_MOST_CHARACTERS = 10_000  # of one text; nothing that is worth reading is longer


class EscapingConsole(Console):
    """A console whose texts can only be read. A text of several lines comes from `lines`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as usual; a table that is too wide in parts."""
        if len(objects) == 1 and isinstance(objects[0], Table):
            for part in folded(objects[0], self):
                super().print(part, **options)
        else:
            super().print(*objects, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Escape a text before its width is measured."""
        return super().render_str(printable(shorten(text, _MOST_CHARACTERS)), **options)

    def render(self, renderable: Any, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Escape what did not come as a plain text. Line breaks are the layout's here."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                parts = segment.text.split("\n")
                yield Segment("\n".join(map(printable, parts)), segment.style)


console = EscapingConsole()
progress_console = EscapingConsole(stderr=True)
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


def lines(*texts: str, style: str = "") -> Text:
    """Return a text of several lines, each of them escaped."""
    return Text("\n".join(map(printable, texts)), style=style)


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
        if progress_console.is_terminal and problem.source and problem.column:
            _point_at(problem, problem.column)


def _point_at(problem: Problem, column: int) -> None:
    """Print the line of a problem, as much of it as fits, with a caret below the place."""
    line, before = problem.source.replace("\t", " "), column - 1
    room = max(40, progress_console.width) - 8  # columns; some characters take two, others six
    named = re.match(r"[\w.-]+", line[before:])
    left, name, right = line[:before], line[before : before + (named.end() if named else 1)], ""
    right = line[before + len(name) :]
    left, name = _last(printable(left), room // 2), set_cell_size(printable(name), min(room // 2, _cells(name)))
    right = set_cell_size(printable(right), min(_cells(right), room - cell_len(left) - cell_len(name)))
    progress_console.print(Text(f"    {left}{name}{right}"), style="dim", soft_wrap=True)
    caret = " " * cell_len(left) + "^" * max(1, cell_len(name))
    progress_console.print(Text(f"    {caret}"), style="bold red", soft_wrap=True)


def _cells(text: str) -> int:
    return cell_len(printable(text))


def _last(text: str, room: int) -> str:
    """Return the end of a text that fits into so many columns."""
    while cell_len(text) > room:
        text = text[1:]
    return text


def _lines(error: FlspecError) -> list[str]:
    return [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
