"""Tables on a narrow terminal: columns that do not fit side by side stand below each other, and no number is cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

__all__ = ["folded"]

_ANY_WIDTH = 100_000  # columns of a terminal that is never too narrow


def folded(table: Table, console: Console) -> Iterator[Table]:
    """Yield a table, or as many parts of it as a console needs, each with the first column and some others.

    A table is too wide if its longest words and numbers are: texts of several words are broken between them.
    """
    if len(table.columns) < 3 or _least_width(table, console) <= console.width:
        yield table
        return
    blocks: list[list[int]] = [[0]]
    for index in range(1, len(table.columns)):
        if len(blocks[-1]) > 1 and _least_width(_part(table, [*blocks[-1], index]), console) > console.width:
            blocks.append([0])
        blocks[-1].append(index)
    parts = [_part(table, block) for block in blocks]
    parts[0].title, parts[-1].caption = table.title, table.caption
    yield from parts


def _least_width(table: Table, console: Console) -> int:
    return Measurement.get(console, console.options.update(max_width=_ANY_WIDTH), table).minimum


def _part(table: Table, indices: Sequence[int]) -> Table:
    """Return some columns of a table, without its title and caption."""
    part = Table(
        box=table.box,
        pad_edge=table.pad_edge,
        padding=table.padding,
        title_style=table.title_style,
        title_justify=table.title_justify,
        caption_justify=table.caption_justify,
        show_header=table.show_header,
    )
    chosen = [table.columns[index] for index in indices]
    for column in chosen:
        part.add_column(column.header, justify=column.justify, overflow=column.overflow, no_wrap=column.no_wrap)
    for cells in zip(*(column.cells for column in chosen), strict=True):
        part.add_row(*cells)
    return part
