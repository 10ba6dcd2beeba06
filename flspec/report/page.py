"""A page: a title, a verdict of one sentence, and sections of paragraphs, facts, tables, figures and listings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from flspec.core.files import write_atomically
from flspec.errors import InputError
from flspec.report.palette import PALETTE, Style
from flspec.report.svg import embed
from flspec.report.words import clean

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = [
    "Badge",
    "Chart",
    "Column",
    "Facts",
    "Figure",
    "Listing",
    "Page",
    "Paragraph",
    "Picture",
    "Pictures",
    "Section",
    "Table",
    "environment",
    "write_page",
]

_LETTER = 0.53  # rem, of a table's text in a wide font
_ROOM_STEP, _ALWAYS_ROOM = 2, 18  # rem; the latter is there on any telephone

Tone = Literal["good", "bad", "unsure", "plain"]


@dataclass(frozen=True)
class Badge:
    """A word for a judgement; its tone adds a colour and a sign, and never replaces the word."""

    text: str
    tone: Tone


@dataclass(frozen=True)
class Paragraph:
    """A few sentences; `unsure` and `bad` set it apart as a warning."""

    block: ClassVar = "paragraph"
    text: str
    tone: Tone = "plain"


@dataclass(frozen=True)
class Facts:
    """Names and their values."""

    block: ClassVar = "facts"
    entries: Sequence[tuple[str, str]]
    title: str = ""


@dataclass(frozen=True)
class Column:
    """A column's heading, units in it, and whether it holds numbers or prose; counts take little room."""

    heading: str
    kind: Literal["number", "word", "prose", "count"] = "number"


@dataclass(frozen=True)
class Table:
    """Rows of cells; a folded table shows only its caption until a reader opens it."""

    block: ClassVar = "table"
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str | Badge]]
    folded: bool = False

    @property
    def room(self) -> str:
        """The class that says in how much room the table fits, `fits-40` for 40 rem; empty for a small one."""
        columns = zip(self.columns, *self.rows, strict=True)
        needed = sum(_room(column, cells, index) for index, (column, *cells) in enumerate(columns))
        steps = -(-needed // _ROOM_STEP)
        return f"fits-{steps * _ROOM_STEP:.0f}" if needed > _ALWAYS_ROOM else ""


@dataclass(frozen=True)
class Chart:
    """One drawing, as matplotlib wrote it, and a note on what it cannot show."""

    title: str
    svg: str
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """Charts that share a caption and a legend."""

    block: ClassVar = "figure"
    caption: str
    charts: Sequence[Chart]
    legend: Sequence[tuple[str, Style]] = ()
    is_wide: bool = False  # a chart takes the width of the page


@dataclass(frozen=True)
class Picture:
    """One grid of pictures, as a data URI."""

    title: str
    uri: str
    alt: str  # what is seen, in words
    note: str = ""


@dataclass(frozen=True)
class Pictures:
    """Grids of pictures that share a caption."""

    block: ClassVar = "pictures"
    caption: str
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Listing:
    """Text that keeps its line breaks."""

    block: ClassVar = "listing"
    caption: str
    text: str


@dataclass(frozen=True)
class Section:
    """One heading of a page and what stands below it."""

    title: str
    blocks: Sequence[Paragraph | Facts | Table | Figure | Pictures | Listing]


@dataclass(frozen=True)
class Page:
    """The whole page."""

    kind: str  # e.g. "Certificate"
    title: str
    origin: str  # which plan or plans it is about
    status: Badge
    verdict: str  # one sentence that can be quoted
    sections: Sequence[Section]


def _room(column: Column, cells: Sequence[str | Badge], index: int) -> float:
    """Return how wide a column is drawn at most, in rem, by the style sheet and a wide font."""
    texts = [cell if isinstance(cell, str) else f"{cell.text}xxx" for cell in cells]
    longest = max(map(len, texts), default=0) * _LETTER
    if column.kind == "prose" or (index == 0 and column.kind == "word"):
        return 10.9
    if column.kind == "count":
        return max(longest, 1.2) + 0.8
    words = column.heading.split() if column.kind == "number" else [column.heading]
    return max(longest, *(len(word) * _LETTER for word in words), 3.0 if column.kind == "number" else 0.0) + 1.4


def write_page(page: Page, path: Path) -> Path:
    """Write a page as one HTML file that needs no other; raises InputError if it cannot be written."""
    try:
        write_atomically(path, _render(page).encode())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"report: {path} cannot be written ({reason}); choose another file") from None
    return path


def _render(page: Page) -> str:
    template = environment().get_template("page.html.j2")
    tables = [block for section in page.sections for block in section.blocks if isinstance(block, Table)]
    widths = sorted({table.room for table in tables} - {""}, key=lambda room: int(room.removeprefix("fits-")))
    return template.render(
        page=page,
        palette=PALETTE,
        version=version("flspec"),
        widths=[room.removeprefix("fits-") for room in reversed(widths)],
    )


def environment() -> Environment:
    """Return what renders templates of this package, in which every value is cleaned and escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("flspec", "report"),
        autoescape=True,
        finalize=clean,  # cleans every value, so that none can be forgotten
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["embed"] = embed
    return made
