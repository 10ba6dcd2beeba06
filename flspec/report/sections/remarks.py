"""What to know of an aggregator before its results are believed, with clients that differ as these do."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import ValidationError

from flspec.aggregators import Aggregator
from flspec.core.components import parse_component
from flspec.core.text import and_more, join_all
from flspec.errors import InputError
from flspec.report.page import Paragraph
from flspec.report.subject import Subject
from flspec.report.words import brief
from flspec.runs.result import Result

__all__ = ["aggregator_remarks"]

_MOST = 5  # remarks on one page
_MOST_PLANS = 200  # characters of their letters


def aggregator_remarks(subject: Subject) -> list[Paragraph]:
    """Return each remark once, with the plans that it is of, if there are several on the page."""
    found: dict[str, list[str]] = {}
    for plan in subject.plans:
        for text in _remarks(plan.result):
            found.setdefault(text, []).append(plan.letter)
    shown = [Paragraph(text + _whose(subject, letters), "unsure") for text, letters in found.items()][:_MOST]
    more = and_more(len(found) - _MOST, "such remarks on other plans; flspec plan says them")
    return [*shown, Paragraph(more, "unsure")] if more else shown


def _remarks(result: Result | None) -> Iterator[str]:
    if result is None or result.skew is None or result.spec.get("mode") != "federated":
        return
    try:
        aggregator = parse_component(Aggregator, dict(result.spec["aggregator"]))
    except (InputError, ValidationError):  # of a kind that is not installed here
        return
    name = brief(str(result.spec["aggregator"]["kind"]), 40)
    for text in aggregator.remarks(result.skew):
        yield f"aggregator: {name}: {text}."


def _whose(subject: Subject, letters: list[str]) -> str:
    plans = "plan" if len(letters) == 1 else "plans"
    return "" if subject.has_one_plan else " " + brief(f"Of {plans} {join_all(letters)}.", _MOST_PLANS)
