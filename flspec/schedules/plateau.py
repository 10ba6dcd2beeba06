"""A learning rate that falls where a client no longer improves."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flspec.metrics import find_metric
from flspec.schedules.base import Schedule

__all__ = ["Plateau", "PlateauTracker"]


class Plateau(Schedule):
    """A client's learning rate is multiplied by `decay` when more than `patience` passes did not improve a metric.

    The metric is measured after each pass of a client over its examples, on the examples that it holds out. A value is
    an improvement if it is below best (1 - threshold), or above best (1 + threshold) where higher is better; it is then
    the best, and the count of passes without improvement starts again, as it does after each fall. This is torch's
    `ReduceLROnPlateau` in relative mode, without cooldown and with no least rate or change. What is remembered starts
    afresh each round, or goes on, as the optimizer's state does.
    """

    is_planned: ClassVar[bool] = False

    kind: Literal["plateau"] = "plateau"
    metric: Annotated[
        Literal["loss", "accuracy", "balanced_accuracy", "f1", "roc_auc", "average_precision"],
        Field(description="what should improve, of the client's held-out examples"),
    ] = "loss"
    decay: Annotated[float, Field(gt=0, lt=1, description="what each fall multiplies the learning rate by")] = 0.1
    patience: Annotated[int, Field(ge=0, le=1_000_000, description="passes without improvement that are let go by")] = (
        10
    )
    threshold: Annotated[
        float, Field(ge=0, lt=1, description="least improvement that counts, as a share of the best value")
    ] = 1e-4

    def factor(self, number: int, total: int) -> float:
        """One: what is known before training."""
        return 1.0


class PlateauTracker:
    """One client's plateau: told of each value, it says what the learning rate is multiplied by from then on.

    What it remembers is three numbers that float32 holds exactly, so that a client which keeps them goes on as one that
    was never interrupted: the best value, the passes since (-1 before there is a value), and the falls so far.
    """

    def __init__(self, plateau: Plateau, carried: NDArray[Any] | None = None) -> None:
        self._plateau = plateau
        best, passes, falls = (0.0, -1, 0) if carried is None else carried
        self._best, self._passes, self._falls = float(best), int(passes), int(falls)

    @property
    def metric(self) -> str:
        """What it is told the values of."""
        return self._plateau.metric

    @property
    def factor(self) -> float:
        """What the learning rate is multiplied by."""
        return self._plateau.decay**self._falls

    def after_pass(self, value: float | None) -> float:
        """The factor after a pass whose metric is `value`.

        A value that is not defined (None), or no finite float32, changes nothing.
        """
        with np.errstate(over="ignore"):
            kept = np.float32(math.nan if value is None else value)
        if np.isfinite(kept):
            self._count(float(kept))
        return self.factor

    def carry(self) -> NDArray[np.float32]:
        """What is remembered, float32 [3]: what `carried` takes."""
        return np.array([self._best, self._passes, self._falls], np.float32)

    def _count(self, value: float) -> None:
        if self._passes < 0 or self._is_better(value):
            self._best, self._passes = value, 0
            return
        self._passes += 1
        if self._passes > self._plateau.patience:
            self._passes, self._falls = 0, self._falls + 1

    def _is_better(self, value: float) -> bool:
        if find_metric(self._plateau.metric).better == "lower":
            return value < self._best * (1.0 - self._plateau.threshold)
        return value > self._best * (1.0 + self._plateau.threshold)
