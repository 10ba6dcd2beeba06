"""The plan, and the spec that it was compiled from."""

from __future__ import annotations

import yaml

from flspec.core.text import first_steps_in_words
from flspec.data.synthetic.twin_cache import twin_in_words
from flspec.report.page import Facts, Listing, Section
from flspec.report.subject import PlanGroup, Subject
from flspec.report.words import DASH, brief
from flspec.runs.result import Result

__all__ = ["plan_section"]


def plan_section(subject: Subject) -> Section:
    blocks: list[Facts | Listing] = []
    for plan in subject.plans:
        blocks.append(_facts(subject, plan))
        if plan.result:
            blocks.append(Listing("The spec with every default filled in", _yaml(plan.result.spec)))
    return Section("Plan", blocks)


def _facts(subject: Subject, plan: PlanGroup) -> Facts:
    result = plan.result
    twin = twin_in_words(result.spec) if result else None
    num_rounds = subject.certificate.rounds if subject.certificate else result and result.spec.get("rounds")
    return Facts(
        [
            ("name", brief(result.name if result else subject.name, 200)),
            ("digest", brief(plan.digest, 200)),
            *([("data", twin)] if twin else []),
            ("seed", str(result.seed) if result else DASH),
            ("rounds", str(num_rounds) if num_rounds else DASH),
            *([("results", extent)] if (extent := first_steps_in_words(_first_steps(subject, result))) else []),
        ],
        title="" if subject.has_one_plan else f"Plan {subject.short_name(plan)}",
    )


def _first_steps(subject: Subject, result: Result | None) -> int | None:
    return subject.certificate.first_steps if subject.certificate else (result.first_steps if result else None)


def _yaml(spec: dict[str, object]) -> str:
    return yaml.safe_dump(spec, sort_keys=False, allow_unicode=True, width=100, default_flow_style=None)
