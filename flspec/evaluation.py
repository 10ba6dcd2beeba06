"""How good an aggregated model is: one evaluator for every backend, so that engines differ only by their training."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from flspec.data import Split
from flspec.errors import InputError
from flspec.plan import Plan
from flspec.state import Weights
from flspec.store import open_data

__all__ = ["Evaluator", "Scorer", "classification_metrics"]


class Scorer(Protocol):
    """Runs a model forward; the same weights always give the same scores. Found in group `flspec.scorers`."""

    def __init__(self, plan: Plan) -> None: ...

    def logits(self, weights: Weights, split: Split) -> NDArray[np.float32]:
        """float32 [num_examples, num_classes]."""
        ...


class Evaluator:
    """Measures a plan's metrics of any weights on its test examples, which it first makes sure are the plan's."""

    def __init__(self, plan: Plan) -> None:
        self._metrics: list[str] = plan.settings["evaluation"]["metrics"]
        self._data = open_data(plan.settings["data"], verify=True)
        self._scorer = _scorer(plan)

    def __call__(self, weights: Weights) -> dict[str, dict[str, float]]:
        """Metrics by set of examples, then by name."""
        test = self._data.test
        measured = classification_metrics(self._scorer.logits(weights, test), test.labels.astype(np.int64))
        return {"test": {name: measured[name] for name in self._metrics if name in measured}}


def classification_metrics(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> dict[str, float]:
    """loss: mean of -log softmax(logits)[label]; accuracy: share whose largest logit, the first if tied, is right.

    Neither is known of logits that are not finite.
    """
    if not np.isfinite(logits).all():
        return {}
    scores = logits.astype(np.float64)
    shifted = scores - scores.max(axis=1, keepdims=True)
    log_sums = np.log(np.exp(shifted).sum(axis=1))
    losses = log_sums - shifted[np.arange(len(labels)), labels]
    return {"loss": float(losses.mean()), "accuracy": float((scores.argmax(axis=1) == labels).mean())}


def _scorer(plan: Plan) -> Scorer:
    for entry_point in entry_points(group="flspec.scorers"):
        scorer: type[Scorer] = entry_point.load()
        return scorer(plan)
    raise InputError("evaluation: no installed package scores models; reinstall flspec")
