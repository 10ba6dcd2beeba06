"""What is in the files of a data set, as tables for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from flspec.cli.tables import plain_table
from flspec.core.text import and_more, join_some
from flspec.errors import shorten
from flspec.spec.yaml_writer import write_value

if TYPE_CHECKING:
    from flspec.data.readings import ColumnFacts, FileFacts, Reading

__all__ = ["columns_table", "file_lines", "reading_lines"]

_ROLES = ["feature", "feature and column", "feature and client", "label", "client", "column"]
_MOST_COLUMNS, _MOST_CLASSES = 60, 20  # shown


def columns_table(columns: Sequence[ColumnFacts]) -> Table:
    """Return columns as a table, one a row: as what each is taken, how much of it is missing, why."""
    table = plain_table()
    table.add_column("column", overflow="fold", max_width=24)
    table.add_column("taken as", overflow="fold", max_width=26)
    table.add_column("missing", justify="right", no_wrap=True)
    table.add_column("values", justify="right", no_wrap=True)
    table.add_column("why", overflow="fold")
    for column in columns[:_MOST_COLUMNS]:
        taken = ": ".join(filter(None, (column.role, column.holds)))
        num = "" if column.num_values is None else f"{column.num_values:,}"
        table.add_row(shorten(column.name, 120), taken, f"{column.missing:,}", num, shorten(column.why, 120))
    table.caption = and_more(len(columns) - _MOST_COLUMNS, "columns; --json has all") or None
    return table


def file_lines(found: FileFacts, section: Mapping[str, Any], width: int) -> Iterator[str]:
    """Yield what stands below the columns of a file: its classes, what has to be mended, or how a spec names it."""
    if found.classes:
        yield from _wrapped(f"{len(found.classes):,} classes: {join_some(found.classes, _MOST_CLASSES)}", width)
    for remark in found.remarks:
        yield from _wrapped(f"remark: {remark}", width)
    if found.problems:
        yield "before an experiment can use it:"
        for problem in found.problems:
            yield from _wrapped(f"- {problem}", width)
    elif section:
        yield "in a spec:"
        yield f"  dataset: {write_value(dict(section))}"


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent="  ", break_on_hyphens=False)


def reading_lines(reading: Reading) -> Iterator[str]:
    """Yield the columns of a data set by their roles, and the columns and files that are left out."""
    taken = [column for column in reading.columns if column.role != "left out"]
    for role in sorted({column.role for column in taken}, key=_ROLES.index):
        names = [_named(column) for column in taken if column.role == role]
        many = f"{len(names):,} {role}s" if len(names) > 1 else role
        yield f"{many}: {join_some(names, 6)}"
    left_out = [column for column in reading.columns if column.role == "left out"]
    for why in dict.fromkeys(column.why for column in left_out):
        names = [column.name for column in left_out if column.why == why]
        yield f"left out: {join_some(names, 6)} ({why})"
    if reading.files_left_out:
        counts = [f"{num:,} {ending}" for ending, num in reading.files_left_out.items()]
        yield f"files left out: {join_some(counts, 6)}"


def _named(column: ColumnFacts) -> str:
    told = column.holds and not column.role.startswith("feature")
    return f"{column.name} ({column.holds})" if told else column.name
