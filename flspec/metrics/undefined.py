"""Reasons why a metric is undefined that follow from the labels alone, before there is a model."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.losses import LossDocument, parse_loss
from flspec.metrics import measure
from flspec.metrics.scores import Scores

__all__ = ["every_label", "why_never_defined"]


def why_never_defined(metric: str, labels: NDArray[Any], num_classes: int, loss: LossDocument) -> str | None:
    """Return why a metric is undefined for these labels whatever a model predicts, or None if it may be defined.

    `labels` are as in `Scores`.
    """
    outputs = np.zeros((len(labels), parse_loss(loss).num_outputs(num_classes, labels.ndim == 2)), np.float32)
    outputs[:, -1] = 1.0  # predicting class 1 nowhere would leave a metric undefined
    return measure(Scores(outputs, labels, loss), [metric])[1].get(metric)


def every_label(num_classes: int, is_multi_label: bool) -> NDArray[Any]:
    """Return labels that lack nothing: an example of each class, or one with each label alone and one with none."""
    return np.eye(num_classes + 1, num_classes, dtype=np.uint8) if is_multi_label else np.arange(num_classes)
