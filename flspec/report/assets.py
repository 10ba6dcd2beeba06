"""The figures and tables of a page as files: SVG and PNG, and CSV, numbered as on the page."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

from flspec.core.files import write_atomically
from flspec.errors import InputError
from flspec.report.drawing import Drawing
from flspec.report.page import Figure, Page, Pictures, Table
from flspec.report.words import clean, in_ascii

__all__ = ["write_assets"]

_LONGEST = 50  # characters of a title in a file's name


def write_assets(page: Page, folder: Path) -> list[Path]:
    """Write every figure and table of a page into a folder, which is made; returns their paths, in the page's order.

    Files of the same names are replaced. Raises InputError if they cannot be written.
    """
    written: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in _files(page):
            write_atomically(folder / name, content)
            written.append(folder / name)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"--assets: {folder} cannot be written ({reason}); choose another folder") from None
    return written


def _files(page: Page) -> Iterator[tuple[str, bytes]]:
    tables = figures = 0
    for section in page.sections:
        for block in section.blocks:
            if isinstance(block, Table):
                tables += 1
                yield f"table-{tables:02}-{_slug(section.title)}.csv", _csv(block)
            elif isinstance(block, Pictures):
                figures += 1  # grids of pictures are files of the run already
            elif isinstance(block, Figure):
                figures += 1
                yield from _of_figure(f"figure-{figures:02}", block)


def _of_figure(name: str, figure: Figure) -> Iterator[tuple[str, bytes]]:
    for number, chart in enumerate(figure.charts, 1):
        if isinstance(chart.svg, Drawing):
            of_several = f"-{number}" if len(figure.charts) > 1 else ""
            for ending, content in chart.svg.saved(chart.title, figure.legend).items():
                yield f"{name}{of_several}-{_slug(chart.title)}.{ending}", content


def _csv(table: Table) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([clean(column.heading) for column in table.columns])
    for row in table.rows:
        cells = zip(row, table.columns, strict=True)
        writer.writerow([_cell(one if isinstance(one, str) else one.text, column.kind) for one, column in cells])
    return text.getvalue().encode()


def _cell(text: str, kind: str) -> str:
    """Return a number as programs read it, and a text that no spreadsheet takes for a formula."""
    if kind in ("number", "count"):
        return in_ascii(text)
    shown = str(clean(text))
    return f"'{shown}" if shown[:1] in ("=", "+", "-", "@", "\t") else shown


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:_LONGEST].strip("-") or "chart"
