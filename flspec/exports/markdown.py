"""A table for a paper in Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable

from flspec.exports.base import PaperTable
from flspec.measurements.summary import Summary

__all__ = ["Markdown"]

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


class Markdown(PaperTable):
    """A table as GitHub and Pandoc read it, below it its caption by Pandoc's rule."""

    def render(self, summary: Summary) -> str:
        rules = [":--"] * summary.num_axes + ["--:"] * (len(summary.columns) - summary.num_axes)
        lines = [_line(map(_escaped, summary.columns)), _line(rules)]
        lines += [_line(map(_escaped, row)) for row in summary.rows]
        notes = "; ".join(map(_escaped, (summary.title, *summary.notes)))
        return "\n".join([*lines, "", f"Table: {notes}."]) + "\n"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    """Return a text that shows as it is: the punctuation that could mean anything is escaped."""
    return re.sub(r"[&<>]|[\\`*_{}\[\]#|~$@:]", lambda found: _ENTITIES.get(found[0], f"\\{found[0]}"), text)
