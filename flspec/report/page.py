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
    """A column's heading, units in it, and whether it holds numbers or prose."""

    heading: str
    kind: Literal["number", "word", "prose"] = "number"


@dataclass(frozen=True)
class Table:
    """Rows of cells; a folded table shows only its caption until a reader opens it."""

    block: ClassVar = "table"
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str | Badge]]
    folded: bool = False


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
    return template.render(page=page, palette=PALETTE, version=version("flspec"))


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
