"""Reports: one HTML page that opens anywhere, offline, and can be attached to a paper.

    paths ──kinds──▶ Subject ──sections/*──▶ Page ──page.html.j2──▶ one file
                                               └────assets──────▶ figures and tables as files

A page is of a run, a sweep, a certificate or a comparison, each a kind in `kinds`, with a subject of its own. A section
is a function from a subject to a Section of paragraphs, facts, tables and figures, or to None if it has no content. To
add one, write it in a module of `sections/` and name it in the list of its kind there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flspec.comparison.results import Comparison
from flspec.errors import InputError
from flspec.report.assets import write_assets
from flspec.report.kinds import REPORT, certificate_page, comparison_page, report_on
from flspec.report.page import write_page

__all__ = ["REPORT", "Written", "write_certificate_report", "write_comparison_report", "write_report"]


@dataclass(frozen=True)
class Written:
    """A report that was written: of what it is, how it ended in a word and a sentence, and its files."""

    kind: str  # run, sweep, certificate or comparison
    status: str
    sentence: str
    path: Path
    assets: tuple[Path, ...] = ()


def write_report(paths: Sequence[Path], out: Path | None = None, assets: Path | None = None) -> Written:
    """Write the page that fits some paths, by default as `report.html` in the folder that they name.

    `assets` is a folder for its figures, as SVG and PNG, and its tables, as CSV. Raises InputError, before anything is
    written, if there is nothing to report on or no place to write to.
    """
    report = report_on(paths)
    path = out or (report.folder and report.folder / REPORT)
    if path is None:
        raise InputError("--out: a report on several paths stands in none of them; name its file")
    if path.suffix not in (".html", ".htm"):
        raise InputError(f"--out: {path} does not end in .html; a report replaces the file it is given")
    page = report.page
    files = write_assets(page, assets) if assets else ()
    return Written(page.kind.lower(), page.status.text, page.verdict, write_page(page, path), tuple(files))


def write_certificate_report(folder: Path) -> Path:
    """Write `report.html` into a certificate's folder and return its path.

    Raises InputError if there is no certificate or the page cannot be written.
    """
    return write_page(certificate_page(folder), folder / REPORT)


def write_comparison_report(comparison: Comparison, path: Path) -> Path:
    """Write a comparison's page to `path` and return it; raises InputError if it cannot be written."""
    return write_page(comparison_page(comparison), path)
