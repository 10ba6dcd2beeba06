"""The distances of the backends' weights from the reference, round by round."""

from __future__ import annotations

from collections.abc import Sequence

from flspec.comparison.agreement import Agreement, RoundAgreement
from flspec.comparison.certification import BackendVerdict
from flspec.core.text import join_all
from flspec.report.charts import Line, draw_magnitudes
from flspec.report.page import Chart, Column, Figure, Paragraph, Section, Table
from flspec.report.subject import ReportedRun, Subject
from flspec.report.words import DASH, number, power, share

__all__ = ["agreement_section"]

_CAPTION = (
    "The largest difference of any weight from {reference}’s, in lockstep and running freely, and the largest share of "
    "its tolerance that any tensor uses up in lockstep: above the heavy line at 100 % a backend counts as different. "
    "What stands in the grey row is exactly zero, identical to the last bit, which a logarithmic axis cannot show."
)

Judged = list[tuple[ReportedRun, BackendVerdict]]


def agreement_section(subject: Subject) -> Section | None:
    if not subject.certificate:
        return None
    verdicts = subject.certificate.backends
    judged = [(run, verdicts[run.name]) for run in subject.runs if run.name in verdicts]
    compared = [(run, verdict) for run, verdict in judged if verdict.lockstep and verdict.free_running]
    if not compared:
        return Section("Agreement by round", [Paragraph("No backend got as far as being compared.")])
    return Section("Agreement by round", [_figure(subject.runs[0].label, compared), _table(compared)])


def _figure(reference: str, judged: Judged) -> Figure:
    lockstep = [_line(run, verdict.lockstep, "max_abs_diff") for run, verdict in judged]
    free = [_line(run, verdict.free_running, "max_abs_diff") for run, verdict in judged]
    shares = [_line(run, verdict.lockstep, "of_tolerance") for run, verdict in judged]
    charts = [
        Chart("Difference in lockstep", draw_magnitudes(lockstep, alike=free), _identical(judged, "lockstep")),
        Chart("Difference running freely", draw_magnitudes(free, alike=lockstep), _identical(judged, "free_running")),
        Chart("Share of tolerance in lockstep", draw_magnitudes(shares, limit=1.0, tick=_percent)),
    ]
    return Figure(_CAPTION.format(reference=reference), charts, [(run.label, run.style) for run, _ in judged])


def _table(judged: Judged) -> Table:
    """Return all values of the figure as numbers."""
    columns = [Column("round")]
    measures: list[dict[int, str]] = []
    for run, verdict in judged:
        columns += [Column(f"{run.label}, lockstep"), Column("share of tolerance"), Column(f"{run.label}, freely")]
        locked, free = _entries(verdict.lockstep), _entries(verdict.free_running)
        measures.append({entry.round: number(entry.max_abs_diff, 2) for entry in locked})
        measures.append({entry.round: share(entry.of_tolerance) for entry in locked})
        measures.append({entry.round: number(entry.max_abs_diff, 2) for entry in free})
    rounds = sorted({entry for measure in measures for entry in measure})
    rows = [[str(entry), *(measure.get(entry, DASH) for measure in measures)] for entry in rounds]
    return Table("The same in numbers, round by round", columns, rows, folded=True)


def _line(run: ReportedRun, agreement: Agreement | None, what: str) -> Line:
    return Line(run.style, [(entry.round, getattr(entry, what)) for entry in _entries(agreement)])


def _entries(agreement: Agreement | None) -> Sequence[RoundAgreement]:
    return agreement.by_round if agreement else ()


def _identical(judged: Judged, phase: str) -> str:
    """Return in words which runs are at zero throughout, since a logarithmic axis has no zero."""
    same = [run.label for run, verdict in judged if getattr(verdict, phase).max_abs_diff == 0.0]
    return f"{join_all(same)}: 0 in every round, identical." if same else ""


def _percent(exponent: int) -> str:
    """Return a power of ten, as a percentage."""
    percent = exponent + 2
    return f"{number(10.0**percent, 1) if abs(percent) <= 4 else power(percent)} %"
