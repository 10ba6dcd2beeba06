"""The sections of a page, in their order."""

from __future__ import annotations

from collections.abc import Callable

from flspec.report.page import Section
from flspec.report.sections.agreement import agreement_section
from flspec.report.sections.cost import cost_section
from flspec.report.sections.curves import curves_section
from flspec.report.sections.environment import environment_section
from flspec.report.sections.evaluation import evaluation_section
from flspec.report.sections.failures import failures_section
from flspec.report.sections.pictures import pictures_section
from flspec.report.sections.plan import plan_section
from flspec.report.sections.privacy import privacy_section
from flspec.report.sections.verdict import verdict_section
from flspec.report.subject import Subject

__all__ = ["SECTIONS"]

SECTIONS: tuple[Callable[[Subject], Section | None], ...] = (
    verdict_section,
    curves_section,
    pictures_section,
    evaluation_section,
    privacy_section,
    agreement_section,
    cost_section,
    plan_section,
    environment_section,
    failures_section,
)
