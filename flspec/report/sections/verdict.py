"""The verdict: a word, a sentence that can be quoted, and a table."""

from __future__ import annotations

from flspec.report.page import Badge, Paragraph, Section
from flspec.report.sections import certified, compared
from flspec.report.sections.remarks import aggregator_remarks
from flspec.report.subject import Subject

__all__ = ["status", "verdict_section", "verdict_sentence"]

_OTHER_PLANS = (
    "These runs carry out different plans. What may be said of their settings stands under Settings. All else stands "
    "one plan at a time and in no order of merit; do not rank one plan’s numbers against another’s."
)


def status(subject: Subject) -> Badge:
    """Return the verdict as a word."""
    if subject.certificate:
        return certified.status(subject.certificate)
    return compared.status(subject)


def verdict_sentence(subject: Subject) -> str:
    """Return the verdict as one sentence."""
    if subject.certificate:
        return certified.sentence(subject, subject.certificate)
    return compared.sentence(subject)


def verdict_section(subject: Subject) -> Section:
    warning = [] if subject.has_one_plan else [Paragraph(_OTHER_PLANS, "unsure")]
    warning += aggregator_remarks(subject)
    if subject.certificate:
        return Section("Verdict", [*warning, *certified.blocks(subject, subject.certificate)])
    return Section("Verdict", [*warning, *compared.warnings(subject), compared.table(subject)])
