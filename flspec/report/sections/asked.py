"""What was asked: every setting of the spec, those that its author wrote apart from defaults."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flspec.core.text import in_flow
from flspec.report.page import Column, Paragraph, Section, Table
from flspec.report.run_facts import leaves
from flspec.report.subject import Subject
from flspec.report.words import brief

__all__ = ["asked_section"]

_COLUMNS = (Column("setting", "word"), Column("value", "prose"))
_LONGEST = 400  # characters of a value


def asked_section(subject: Subject) -> Section | None:
    """Return the section; None if the result has no spec."""
    result = subject.runs[0].result
    if result is None or not result.spec:
        return None
    said = subject.facts.said if subject.facts else None
    if said is None:
        note = Paragraph("The spec's own text is not in the run's folder, so defaults cannot be told apart.", "unsure")
        return Section("What was asked", [note, _table("Every setting", list(_rows(result.spec)))])
    written = [row for path, row in _by_path(result.spec) if path in said]
    defaults = [row for path, row in _by_path(result.spec) if path not in said]
    blocks = [_table("What the spec says", written)] if written else []
    if defaults:
        blocks.append(_table("Defaults: what the spec does not say", defaults, folded=True))
    return Section("What was asked", blocks)


def _table(caption: str, rows: list[list[str]], *, folded: bool = False) -> Table:
    return Table(caption, _COLUMNS, rows, folded=folded)


def _rows(spec: dict[str, Any]) -> Iterator[list[str]]:
    return (row for _, row in _by_path(spec))


def _by_path(spec: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    for path, value in leaves(spec):
        if value is not None:
            yield path, [brief(".".join(path), 120), brief(in_flow(value), _LONGEST)]
