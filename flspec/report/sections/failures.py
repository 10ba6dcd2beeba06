"""Failures: clients that dropped out, and runs that ended early."""

from __future__ import annotations

from flspec.core.text import join_all
from flspec.report.page import Column, Listing, Paragraph, Section, Table
from flspec.report.subject import PlanGroup, ReportedRun, Subject
from flspec.report.words import brief, plural

__all__ = ["failures_section"]

_MOST_ROWS = 200
_MOST_CHARACTERS = 20_000
_COLUMNS = (
    Column("round"),
    Column("clients dropped", "prose"),
    Column("why", "prose"),
    Column("on", "prose"),
)


def failures_section(subject: Subject) -> Section:
    blocks: list[Listing | Table | Paragraph] = [
        Listing(f"{run.label}: {what}", text[:_MOST_CHARACTERS])
        for run in subject.runs
        for what, text in _errors(subject, run)
    ]
    for plan in subject.plans:
        blocks += _dropped(subject.heading(plan), plan)
    return Section("Failures", blocks or [Paragraph("No client dropped out and no run failed.")])


def _errors(subject: Subject, run: ReportedRun) -> list[tuple[str, str]]:
    """Return the errors that ended a run, each text once."""
    found: dict[str, str] = {}
    if run.result and run.result.error:
        found[run.result.error] = f"{run.result.status} after {plural(len(run.result.rounds), 'round')}"
    if run.problem:
        found.setdefault(run.problem, "its result cannot be read")
    verdict = subject.certificate.backends.get(run.name) if subject.certificate else None
    if verdict and verdict.reason and verdict.verdict in ("refused", "failed"):
        found.setdefault(verdict.reason, verdict.verdict)
    return [(what, text) for text, what in found.items()]


def _dropped(heading: str, plan: PlanGroup) -> list[Table | Paragraph]:
    """Return the clients that dropped out, by round and reason, with the backends on which they did."""
    found: dict[tuple[int, str], dict[int, list[str]]] = {}
    for run in plan.runs:
        for record in run.result.rounds if run.result else ():
            for failure in record.failures:
                clients = found.setdefault((record.round, failure.reason), {})
                clients.setdefault(failure.client, []).append(run.label)
    rows = [
        [str(number), brief(", ".join(map(str, clients)), 200), brief(reason, 240), join_all(list(labels))]
        for (number, reason), by_client in sorted(found.items())
        for labels, clients in _by_backends(by_client).items()
    ]
    if not rows:
        return []
    table = Table(f"{heading}Clients whose update did not count", _COLUMNS, rows[:_MOST_ROWS])
    if len(rows) <= _MOST_ROWS:
        return [table]
    return [table, Paragraph(f"{plural(len(rows) - _MOST_ROWS, 'more row')} stand in each run’s result.json.")]


def _by_backends(by_client: dict[int, list[str]]) -> dict[tuple[str, ...], list[int]]:
    """Return the clients that dropped out on the same backends, together."""
    grouped: dict[tuple[str, ...], list[int]] = {}
    for client, labels in sorted(by_client.items()):
        grouped.setdefault(tuple(labels), []).append(client)
    return grouped
