"""Tables on narrow terminals keep every number whole."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console
from rich.table import Table

from flspec.cli.consoles import EscapingConsole
from flspec.cli.folding import folded
from flspec.cli.tables import plain_table

NUMBERS = [[str(row * 1000 + column) + ".123456" for column in range(9)] for row in (1, 2)]


def a_table() -> Table:
    table = plain_table("numbers")
    table.add_column("row", overflow="fold")
    for number in range(9):
        table.add_column(f"column {number}", justify="right", no_wrap=number % 2 == 0)
    for name, row in zip(("first", "second"), NUMBERS, strict=True):
        table.add_row(name, *row)
    table.caption = "that is all"
    return table


def printed(width: int) -> str:
    console = EscapingConsole(file=io.StringIO(), width=width)
    console.print(a_table())
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [140, 100, 80, 60, 44, 30, 24])
def test_every_number_is_printed_whole_at_every_width(width: int) -> None:
    text = printed(width)
    assert [re.findall(rf"\b{row}\d{{3}}\.\d{{6}}\b", text) for row in (1, 2)] == NUMBERS
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    assert (text.count("numbers"), text.count("that is all")) == (1, 1)


def test_what_fits_is_one_table_and_parts_repeat_the_first_column() -> None:
    assert printed(140).count("second") == 1
    assert printed(60).count("second") == printed(60).count("first") > 1


def test_rich_alone_would_cut_them() -> None:
    console = Console(file=io.StringIO(), width=44)
    console.print(a_table())
    assert isinstance(console.file, io.StringIO)
    assert "…" in console.file.getvalue()


def test_texts_are_broken_between_words_as_before() -> None:
    table = plain_table()
    for _ in range(3):
        table.add_column("words", overflow="fold")
    table.add_row(*["several words that are not long"] * 3)
    assert list(folded(table, Console(width=40))) == [table]
