"""Consoles: results on stdout, progress on stderr.

Names and values come from anyone's files. Every text is therefore escaped here, where it leaves for the terminal, and
not by those who print it: nothing that a terminal would act on, no line break and no markup of rich's gets through.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from flspec.cli.folding import folded
from flspec.errors import Problem, printable, shorten

__all__ = ["EscapingConsole", "console", "lines", "point_at", "progress_console"]

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


def lines(*texts: str, style: str = "") -> Text:
    """Return a text of several lines, each of them escaped."""
    return Text("\n".join(map(printable, texts)), style=style)


def point_at(problem: Problem, column: int) -> None:
    """Print on a terminal the line of a problem, as much of it as fits, with a caret below the place."""
    if not progress_console.is_terminal:
        return
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
