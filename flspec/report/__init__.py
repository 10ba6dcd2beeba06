"""Reports: one HTML page that opens anywhere, offline, and can be attached to a paper.

    certificate or comparison ──▶ Subject ──sections/*──▶ Page ──page.html.j2──▶ one file

A section is a function from a Subject to a Section of paragraphs, facts, tables and figures, or to None if it has no
content. To add one, write it in a module of `sections/` and name it in `sections.SECTIONS`.
"""

from __future__ import annotations

from pathlib import Path

from flspec.comparison.certification import load_certificate
from flspec.comparison.results import Comparison
from flspec.report.page import Page, write_page
from flspec.report.sections import SECTIONS
from flspec.report.sections.verdict import status, verdict_sentence
from flspec.report.subject import Subject, subject_of_certificate, subject_of_comparison
from flspec.report.words import brief

__all__ = ["REPORT", "write_certificate_report", "write_comparison_report"]

REPORT = "report.html"  # in a certificate's folder


def write_certificate_report(folder: Path) -> Path:
    """Write `report.html` into a certificate's folder and return its path.

    Raises InputError if there is no certificate or the page cannot be written.
    """
    subject = subject_of_certificate(folder, load_certificate(folder))
    return write_page(_page("Certificate", subject), folder / REPORT)


def write_comparison_report(comparison: Comparison, path: Path) -> Path:
    """Write a comparison's page to `path` and return it; raises InputError if it cannot be written."""
    return write_page(_page("Comparison", subject_of_comparison(comparison)), path)


def _page(kind: str, subject: Subject) -> Page:
    sections = [section for make in SECTIONS if (section := make(subject))]
    origin = f"plan {brief(subject.plans[0].digest[:12])}" if subject.has_one_plan else f"{len(subject.plans)} plans"
    return Page(kind, brief(subject.name, 120), origin, status(subject), verdict_sentence(subject), sections)
