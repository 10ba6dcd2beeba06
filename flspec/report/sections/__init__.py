"""The sections of each kind of page, in their order."""

from __future__ import annotations

from collections.abc import Callable

from flspec.report.page import Section
from flspec.report.sections.agreement import agreement_section
from flspec.report.sections.asked import asked_section
from flspec.report.sections.clients import clients_section
from flspec.report.sections.cost import cost_section
from flspec.report.sections.curves import curves_section
from flspec.report.sections.data import data_section
from flspec.report.sections.environment import environment_section
from flspec.report.sections.evaluation import evaluation_section
from flspec.report.sections.failures import failures_section
from flspec.report.sections.groups import groups_section
from flspec.report.sections.pictures import pictures_section
from flspec.report.sections.plan import plan_section
from flspec.report.sections.privacy import privacy_section
from flspec.report.sections.ranked import compared_settings_section, ranked_section
from flspec.report.sections.repeating import repeating_section
from flspec.report.sections.run_cost import run_cost_section
from flspec.report.sections.summary import summary_section
from flspec.report.sections.sweeps.axes import axes_section
from flspec.report.sections.sweeps.best import best_section
from flspec.report.sections.sweeps.curves import sweep_curves_section
from flspec.report.sections.sweeps.tables import (
    cells_section,
    final_section,
    shared_section,
    sweep_cost_section,
    sweep_failures_section,
)
from flspec.report.sections.verdict import verdict_section
from flspec.report.subject import Subject
from flspec.report.sweep_subject import SweepSubject

__all__ = ["RUN_SECTIONS", "SECTIONS", "SWEEP_SECTIONS"]

# Of a certificate or a comparison.
SECTIONS: tuple[Callable[[Subject], Section | None], ...] = (
    verdict_section,
    compared_settings_section,
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

RUN_SECTIONS: tuple[Callable[[Subject], Section | None], ...] = (
    summary_section,
    asked_section,
    data_section,
    curves_section,
    groups_section,
    evaluation_section,
    clients_section,
    pictures_section,
    privacy_section,
    run_cost_section,
    repeating_section,
    plan_section,
    failures_section,
)

SWEEP_SECTIONS: tuple[Callable[[SweepSubject], Section | None], ...] = (
    best_section,
    ranked_section,
    sweep_curves_section,
    axes_section,
    final_section,
    sweep_cost_section,
    shared_section,
    cells_section,
    sweep_failures_section,
)
