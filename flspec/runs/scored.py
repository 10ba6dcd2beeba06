"""Models that give scores of examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from flspec.data.examples import Data, Split
from flspec.metrics import Confusion, Scores, confusion_of
from flspec.protocol.devices import CPU, Device
from flspec.protocol.plan import Plan
from flspec.protocol.scoring import Scorer
from flspec.protocol.state import Weights
from flspec.runs.judging import has_own_models, scorer_of
from flspec.runs.measured import Grid

__all__ = ["ScoreJudge"]


class ScoreJudge:
    """A judge of models by their scores."""

    def __init__(self, plan: Plan, data: Data, device: Device = CPU) -> None:
        self.has_own_models = has_own_models(plan)
        self._loss, self._names, self._scorer = plan.settings.loss, data.label_names, scorer_of(plan, device)

    def model(self, weights: Weights) -> _ScoredModel:
        return _ScoredModel(weights, self._scorer, self._loss, self._names)

    def together(self, each: Sequence[Scores]) -> Scores:
        some = [scores for scores in each if len(scores)]
        outputs, labels = (np.concatenate([getattr(one, name) for one in some]) for name in ("outputs", "labels"))
        return Scores(outputs, labels, self._loss, self._names)

    def beside(self, name: str, split: Split) -> Mapping[str, Scores]:
        return {}

    def confusion(self, found: Scores) -> Confusion | None:
        # Clients' own models would need a table each.
        return None if self.has_own_models else confusion_of(found, self._names)

    def images(self, models: Mapping[int, _ScoredModel]) -> dict[str, Grid]:
        return {}


class _ScoredModel:
    def __init__(self, weights: Weights, scorer: Scorer, loss: str, names: tuple[str, ...]) -> None:
        self._weights, self._scorer, self._loss, self._names = weights, scorer, loss, names

    def on(self, name: str, split: Split) -> Scores:
        return Scores(self._outputs(split), split.labels, self._loss, self._names)

    def _outputs(self, split: Split) -> NDArray[np.float32]:
        return self._scorer.logits(self._weights, split) if len(split) else np.zeros((0, 1), np.float32)
