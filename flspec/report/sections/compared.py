"""The verdict of a comparison."""

from __future__ import annotations

from flspec.comparison.results import ComparedRun
from flspec.report.page import Badge, Column, Paragraph, Table
from flspec.report.subject import ReportedRun, Subject
from flspec.report.words import DASH, brief, number, plural

__all__ = ["sentence", "status", "table", "warnings"]

_BADGES = {
    "completed": Badge("completed", "good"),
    "failed": Badge("failed", "bad"),
    "interrupted": Badge("interrupted", "unsure"),
}
_COLUMNS = (
    Column("run", "word"),
    Column("plan", "word"),
    Column("status", "word"),
    Column("rounds finished"),
    Column("final weights", "word"),
)


def status(subject: Subject) -> Badge:
    """Return whether the runs can be compared."""
    if not subject.has_one_plan:
        return Badge("several plans", "plain")
    if subject.comparison and subject.comparison.warnings:
        return Badge("same plan, with a warning", "unsure")
    completed = all(run.result and run.result.status == "completed" for run in subject.runs)
    return Badge("same plan", "good") if completed else Badge("same plan, incomplete", "unsure")


def sentence(subject: Subject) -> str:
    """Return one clause for each run, as a sentence."""
    num_runs = len(subject.runs)
    if not subject.has_one_plan:
        return f"These {num_runs} runs carry out {len(subject.plans)} plans: they differ in their settings or seeds."
    first, *others = _pairs(subject)
    if not others:
        return f"One run, of {first[0].label}: there is nothing to compare it with."
    clauses = [_clause(run, compared, first[0]) for run, compared in others]
    return f"These {num_runs} runs carry out the same plan: {'; '.join(clauses)}."


def warnings(subject: Subject) -> list[Paragraph]:
    """Return what is to be known before the runs are believed."""
    every = subject.comparison.warnings if subject.comparison else []
    return [Paragraph(f"{brief(text, 600)}.", "bad") for text in every]


def table(subject: Subject) -> Table:
    """Return one row for each run, with its final weights compared with the first run's."""
    labels = {plan.digest: subject.short_name(plan) for plan in subject.plans}
    rows: list[list[str | Badge]] = [
        [
            run.label,
            labels[run.plan_digest],
            _BADGES[compared.result.status],
            str(len(compared.result.rounds)),
            "the measure" if index == 0 else _weights(compared),
        ]
        for index, (run, compared) in enumerate(_pairs(subject))
    ]
    return Table(
        f"Each run’s final weights against those of {subject.runs[0].label}: the largest absolute difference of any "
        "weight",
        _COLUMNS,
        rows,
    )


def _pairs(subject: Subject) -> list[tuple[ReportedRun, ComparedRun]]:
    assert subject.comparison
    return list(zip(subject.runs, subject.comparison.runs, strict=True))


def _clause(run: ReportedRun, compared: ComparedRun, first: ReportedRun) -> str:
    if compared.result.status != "completed":
        return f"{run.label} {compared.result.status} after {plural(len(compared.result.rounds), 'round')}"
    if compared.same_weights:
        return f"{run.label} ended with {first.label}’s weights, bit for bit"
    if compared.weights_diff is None:
        return f"{run.label}’s final weights cannot be compared with {first.label}’s"
    return f"{run.label} ended within {number(compared.weights_diff, 2)} of {first.label}’s weights"


def _weights(compared: ComparedRun) -> str:
    if not compared.same_plan:
        return "another plan"
    if compared.same_weights:
        return "identical"
    return DASH if compared.weights_diff is None else number(compared.weights_diff, 2)
