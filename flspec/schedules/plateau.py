"""A learning rate that falls when a client no longer improves."""

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

    The metric is measured after each pass of a client over its examples, on its holdout. A value is an improvement if
    it is below best (1 - threshold), or above best (1 + threshold) where higher is better. It is then the best value,
    and the count of passes without improvement starts again. The count also starts again after each fall. This is
    torch's `ReduceLROnPlateau` in relative mode, without cooldown, minimum rate or minimum change. The best value and
    the counts start afresh each round or are carried on, as the optimizer's state is.
    """

    is_planned: ClassVar[bool] = False

    kind: Literal["plateau"] = "plateau"
    metric: Annotated[
        Literal["loss", "accuracy", "balanced_accuracy", "f1", "roc_auc", "average_precision"],
        Field(description="what should improve, on the client's holdout"),
    ] = "loss"
    decay: Annotated[float, Field(gt=0, lt=1, description="what each fall multiplies the learning rate by")] = 0.1
    patience: Annotated[int, Field(ge=0, le=1_000_000, description="passes without improvement that are allowed")] = 10
    threshold: Annotated[
        float, Field(ge=0, lt=1, description="least improvement that counts, as a share of the best value")
    ] = 1e-4

    def factor(self, number: int, total: int) -> float:
        """Return 1, the only factor that is known before training."""
        return 1.0


class PlateauTracker:
    """One client's plateau: it takes each value of the metric, and gives the factor of the learning rate from then on.

    Its state is three numbers that float32 holds exactly, so a client that carries them on behaves as if it had never
    been interrupted: the best value, the passes since then (-1 before there is a value), and the number of falls.
    """

    def __init__(self, plateau: Plateau, carried: NDArray[Any] | None = None) -> None:
        self._plateau = plateau
        best, passes, falls = (0.0, -1, 0) if carried is None else carried
        self._best, self._passes, self._falls = float(best), int(passes), int(falls)

    @property
    def metric(self) -> str:
        """The metric whose values it takes."""
        return self._plateau.metric

    @property
    def factor(self) -> float:
        """The factor of the learning rate."""
        return self._plateau.decay**self._falls

    def after_pass(self, value: float | None) -> float:
        """Return the factor after a pass whose metric is `value`.

        A value that is undefined (None) or no finite float32 changes nothing.
        """
        with np.errstate(over="ignore"):
            rounded = np.float32(math.nan if value is None else value)
        if np.isfinite(rounded):
            self._count(float(rounded))
        return self.factor

    def carry(self) -> NDArray[np.float32]:
        """Return the state, float32 [3], as `carried` takes it."""
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
