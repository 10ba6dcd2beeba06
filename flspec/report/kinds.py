"""The kinds of pages, and which of them some paths ask for.

A kind is a function from paths to a Report, or to None if they are not of its kind. To add one, write it here or in a
module of its own, with its subject and sections, and name it in `KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from flspec.comparison.certification import CERTIFICATE, load_certificate
from flspec.comparison.results import Comparison, compare
from flspec.errors import InputError
from flspec.measurements import run_folders
from flspec.report.page import Page, Section
from flspec.report.sections import RUN_SECTIONS, SECTIONS, SWEEP_SECTIONS
from flspec.report.sections.summary import run_sentence, run_status
from flspec.report.sections.sweeps.best import sweep_sentence, sweep_status
from flspec.report.sections.verdict import status, verdict_sentence
from flspec.report.subject import Subject, subject_of_certificate, subject_of_comparison, subject_of_run
from flspec.report.sweep_subject import SweepSubject, subject_of_sweep
from flspec.report.words import brief
from flspec.runs.result import RESULT

__all__ = ["KINDS", "REPORT", "Report", "certificate_page", "comparison_page", "report_on"]

AnySubject = TypeVar("AnySubject", Subject, SweepSubject)

REPORT = "report.html"  # in the folder that it is on


@dataclass(frozen=True)
class Report:
    """A page, and the folder in which it stands unless another file is named; None if there is none."""

    page: Page
    folder: Path | None


def report_on(paths: Sequence[Path]) -> Report:
    """Return the page that fits some paths; raises InputError if there is nothing at one of them."""
    if not paths:
        raise InputError("report: name the folder of a run, a sweep or a certificate")
    return next(report for kind in KINDS if (report := kind(paths)))


def certificate_page(folder: Path) -> Page:
    """Return the page of a certificate; raises InputError if there is none in the folder."""
    return _page("Certificate", subject_of_certificate(folder, load_certificate(folder)))


def comparison_page(comparison: Comparison) -> Page:
    """Return the page of runs side by side."""
    return _page("Comparison", subject_of_comparison(comparison))


def _certificate(paths: Sequence[Path]) -> Report | None:
    if len(paths) != 1 or not (paths[0] / CERTIFICATE).is_file():
        return None
    return Report(certificate_page(paths[0]), paths[0])


def _run(paths: Sequence[Path]) -> Report | None:
    if len(paths) != 1 or not (paths[0] / RESULT).is_file():
        return None
    subject = subject_of_run(paths[0])
    page = Page(
        "Run",
        brief(subject.name, 120),
        _origin(subject),
        run_status(subject),
        run_sentence(subject),
        _sections(RUN_SECTIONS, subject),
    )
    return Report(page, paths[0])


def _sweep(paths: Sequence[Path]) -> Report | None:
    if (subject := subject_of_sweep(paths)) is None:
        return None
    page = Page(
        "Sweep",
        brief(subject.name, 120),
        f"{len(subject.results)} runs",
        sweep_status(subject),
        sweep_sentence(subject),
        _sections(SWEEP_SECTIONS, subject),
    )
    return Report(page, paths[0] if len(paths) == 1 else None)


def _comparison(paths: Sequence[Path]) -> Report | None:
    return Report(comparison_page(compare(run_folders(paths))), None)


KINDS: tuple[Callable[[Sequence[Path]], Report | None], ...] = (_certificate, _run, _sweep, _comparison)


def _page(kind: str, subject: Subject) -> Page:
    return Page(
        kind,
        brief(subject.name, 120),
        _origin(subject),
        status(subject),
        verdict_sentence(subject),
        _sections(SECTIONS, subject),
    )


def _origin(subject: Subject) -> str:
    return f"plan {brief(subject.plans[0].digest[:12])}" if subject.has_one_plan else f"{len(subject.plans)} plans"


def _sections(makers: Sequence[Callable[[AnySubject], Section | None]], subject: AnySubject) -> list[Section]:
    return [section for make in makers if (section := make(subject))]
