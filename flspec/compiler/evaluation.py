"""What a spec's evaluation comes to: held against the examples, and as a plan says it."""

from __future__ import annotations

from typing import Any

from flspec.data.examples import Data
from flspec.data.groups import check_groups
from flspec.errors import InputError, Problem, SpecError, choose
from flspec.metrics.undefined import every_label, why_never_defined
from flspec.protocol.plan import word_in_plan
from flspec.spec.spec import Evaluation, Spec

__all__ = ["OVER_CLIENTS", "check_evaluation", "planned_evaluation", "why_undefined"]

OVER_CLIENTS = ("mean", "weighted_mean", "worst", "p10", "median", "p90", "gini")  # statistics of clients' own values


def check_evaluation(spec: Spec, data: Data) -> None:
    """Raise InputError where the examples cannot be evaluated as the spec says."""
    told = check_groups(spec.evaluation.groups, data)
    if (best := spec.evaluation.best) is None:
        return
    if why := why_undefined(best.metric, spec, data):
        message = f"{best.metric} never has a value here ({why}), so no round would be the best; use another, as loss"
        raise SpecError([Problem(message, "evaluation.best.metric")])
    sets = [*told, *(f"{whole}/{name}" for whole, names in told.items() for name in names)]
    if spec.partition.holdout:
        sets += ["holdout", *(f"clients/{name}" for name in OVER_CLIENTS)]
    if best.on is not None and best.on not in sets:
        raise InputError(f"evaluation.best.on: {choose(best.on, sets)}; these are what is measured on")


def why_undefined(metric: str, spec: Spec, data: Data) -> str | None:
    """Why a metric has no value of any examples with such labels, whatever a model says; None if it may have one."""
    labels = every_label(data.num_classes, data.is_multi_label)
    return why_never_defined(metric, labels, data.num_classes, spec.client.loss)


def planned_evaluation(evaluation: Evaluation, data: Data) -> dict[str, Any]:
    """The evaluation as a plan says it: in one order, since the order in which things are named changes nothing."""
    groups = sorted(evaluation.groups, key=lambda group: (group.column, group.edges or ()))
    planned: dict[str, Any] = {"every": evaluation.every, "metrics": sorted(evaluation.metrics)}
    if groups:
        planned["groups"] = [group.model_dump(mode="json") for group in groups]
    if best := evaluation.best:
        on = best.on or ("validation" if data.validation else "test")
        planned["best"] = {"metric": best.metric, "on": word_in_plan(on)}
    return planned
