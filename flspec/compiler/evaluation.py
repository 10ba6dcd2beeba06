"""Evaluation settings: checked against the examples, and as the plan stores them."""

from __future__ import annotations

from collections.abc import Sequence

from flspec.data.examples import Data
from flspec.data.groups import check_groups, label_masks
from flspec.errors import InputError, Problem, SpecError, choose
from flspec.metrics import find_metric
from flspec.metrics.undefined import every_label, why_never_defined
from flspec.protocol.settings import BestSettings, EvaluationSettings, PictureSettings, StopSettings
from flspec.spec.evaluation import Evaluation
from flspec.spec.spec import Spec
from flspec.spec.stopping import Stop

__all__ = ["OVER_CLIENTS", "check_evaluation", "planned_evaluation", "planned_stop", "why_undefined"]

OVER_CLIENTS = ("mean", "weighted_mean", "worst", "p10", "median", "p90", "gini")  # statistics over the clients' values


def check_evaluation(spec: Spec, data: Data) -> None:
    """Raise InputError if the examples cannot be evaluated as the spec asks."""
    groups = check_groups(spec.evaluation.groups, data)
    if spec.evaluation.by_label:
        groups = {name: [*parts, *_of_labels(name, data, parts)] for name, parts in groups.items()}
    if (best := spec.evaluation.best) is None:
        return
    if why := why_undefined(best.metric, spec, data):
        message = f"{best.metric} is always undefined here ({why}), so no round would be the best; use another: loss"
        raise SpecError([Problem(message, "evaluation.best.metric")])
    sets = [*groups, *(f"{whole}/{name}" for whole, names in groups.items() for name in names)]
    if spec.partition.holdout:
        sets += ["holdout", *(f"clients/{name}" for name in OVER_CLIENTS)]
    if best.on is not None and best.on not in sets:
        raise InputError(f"evaluation.best.on: {choose(best.on, sets)}; these are the sets of examples measured")


def _of_labels(name: str, data: Data, groups: Sequence[str]) -> list[str]:
    """Return the names of a split's labels as sets. Raises SpecError if a group has the name of one."""
    found = list(label_masks(data.splits[name].labels, data.label_names))
    if twice := [label for label in found if label in groups]:
        message = f"a group of evaluation.groups is named {twice[0]!r}, too; remove one of the two"
        raise SpecError([Problem(message, "evaluation.by_label")])
    return found


def why_undefined(metric: str, spec: Spec, data: Data) -> str | None:
    """Return why a metric is undefined for such labels whatever a model predicts; None if it may be defined."""
    if find_metric(metric).measures == "pictures" and spec.client.objective.is_generative:
        return None
    labels = every_label(data.num_classes, data.is_multi_label)
    return why_never_defined(metric, labels, data.num_classes, spec.client.loss.model_dump(mode="json"))


def planned_evaluation(
    evaluation: Evaluation, metrics: Sequence[str], data: Data, pictures: PictureSettings | None = None
) -> EvaluationSettings:
    """Return the plan's evaluation settings, sorted: the order of metrics and groups changes no experiment.

    `metrics` are those that are measured; `pictures` is of a model that makes pictures.
    """
    groups = sorted(evaluation.groups, key=lambda group: (group.column, group.edges or ()))
    best = evaluation.best
    return EvaluationSettings(
        every=evaluation.every,
        metrics=tuple(sorted(metrics)),
        groups=tuple(group.model_dump(mode="json") for group in groups),
        best=BestSettings(best.metric, best.on or ("validation" if data.validation else "test")) if best else None,
        pictures=pictures,
    )


def planned_stop(stop: Stop | None) -> StopSettings | None:
    """Return what of a spec's `stop` is part of the experiment: a wall clock is not."""
    if stop is None or (stop.patience is None and stop.bytes is None):
        return None
    return StopSettings(patience=stop.patience or 0, bytes=stop.bytes or 0)
