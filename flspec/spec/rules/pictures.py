"""What is measured suits what the model gives: scores of examples, or pictures."""

from __future__ import annotations

from collections.abc import Iterator

from flspec.metrics import find_metric
from flspec.spec.evaluation import Evaluation
from flspec.spec.rules.base import Contradiction, rule
from flspec.spec.spec import ClientWork

_GIVES = {True: "pictures", False: "scores"}


@rule
def _metrics_of_what_is_given(evaluation: Evaluation, client: ClientWork) -> Iterator[Contradiction]:
    given = _GIVES[client.objective.is_generative]
    for name in evaluation.metrics or ():
        if (measures := find_metric(name).measures) != given:
            message = f"{name} is of {measures}, but this objective gives {given}; {_instead(given)}"
            yield Contradiction(("evaluation", "metrics"), ("client", "objective"), message)


@rule
def _keys_of_pictures(evaluation: Evaluation, client: ClientWork) -> Iterator[Contradiction]:
    if client.objective.is_generative:
        return
    asked = {name: getattr(evaluation, name) for name in ("generated", "features", "images", "subsets", "by_label")}
    for name, value in asked.items():
        if value:
            message = "is of generated pictures, and this objective makes none; remove it"
            yield Contradiction(("evaluation", name), ("client", "objective"), message)


@rule
def _deviation_of_subsets(evaluation: Evaluation) -> Iterator[Contradiction]:
    if "kid_deviation" in (evaluation.metrics or ()) and evaluation.subsets is None:
        message = "kid_deviation is over subsets; add evaluation.subsets, e.g. {count: 100, size: 1000}"
        yield Contradiction(("evaluation", "metrics"), ("evaluation", "subsets"), message)


def _instead(given: str) -> str:
    return "name kid, fid, image_precision or image_recall" if given == "pictures" else "name loss or accuracy"
