"""Metrics of probabilities: the loss, and how well the probabilities are calibrated."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.metrics.base import metric
from flspec.metrics.scores import Scores, Undefined

_MOST_SURPRISE = 700.0  # e to the power of 710 is no float
_BINS = 15  # of confidence, for the calibration error: Guo et al., ICML 2017


@metric(better="lower", description="the loss that training minimises, without label weights")
def loss(scores: Scores) -> float:
    """Return the loss that training minimises (`flspec.losses`), without label weights, in float64."""
    return scores.mean(_loss_of_each)


@metric(better="lower", description="e to the mean -log probability of the class: of texts, how many tokens may follow")
def perplexity(scores: Scores) -> float:
    """Return e to the power of the mean of -log p(y), from 1. Guessing has as much as there are classes."""
    scores.of_one_class()
    if not scores.are_logits:
        raise Undefined(f"outputs that learned by {scores.rule.kind} are no probabilities")  # type: ignore[attr-defined]
    surprise = scores.mean(_surprise_of_each)
    if surprise > _MOST_SURPRISE:
        raise Undefined("it is too large for a number")
    return math.exp(surprise)


def _surprise_of_each(scores: Scores) -> NDArray[np.float64]:
    return np.asarray(-scores.log_probabilities[np.arange(len(scores)), scores.labels])


def _loss_of_each(scores: Scores) -> NDArray[np.float64]:
    """Return the loss of each example. Raises ValueError if a package's loss gives anything else."""
    values, cls = scores.rule.value(scores), type(scores.rule)
    if np.shape(values) != (len(scores),):
        where = f"{cls.__module__}.{cls.__qualname__}.value"
        raise ValueError(
            f"{where} gives shape {list(np.shape(values))}, not a value for each of {len(scores)} examples"
        )
    return values


@metric(better="lower", description="mean squared distance between probabilities and outcomes")
def brier(scores: Scores) -> float:
    """Return the mean squared distance between probabilities p and outcomes (Brier 1950), from 0 to 1.

    With two classes it is (p_1 - y)^2. With more classes it is sum_k (p_k - [y = k])^2, which is at most 2. With labels
    it is the mean of (p_j - y_j)^2.
    """
    return scores.mean(_squares)


@metric(better="lower", description="mean distance between confidence and accuracy, over 15 bins of confidence")
def calibration_error(scores: Scores) -> float:
    """Return the mean distance between confidence and accuracy over 15 bins, weighted by their sizes (Guo et al., ICML
    2017, Eq. 3).

    If an example may have several labels, each label is a decision of its own between two outcomes.
    """
    gaps, num = np.zeros(_BINS), 0
    for part in scores.parts():
        confidence, right = _decisions(part)
        bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
        gaps += np.bincount(bins, weights=confidence - right, minlength=_BINS)
        num += len(right)
    return float(np.abs(gaps).sum() / num)


def _squares(scores: Scores) -> NDArray[Any]:
    """[num_examples]"""
    squares = np.square(scores.probabilities - scores.targets)
    if scores.is_multi_label:
        return np.asarray(squares.mean(axis=1))
    return squares[:, 1] if scores.num_classes == 2 else squares.sum(axis=1)


def _decisions(scores: Scores) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the confidence of each decision, and 1 where it is right, else 0."""
    if not scores.is_multi_label:
        return scores.probabilities.max(axis=1), (scores.predicted == scores.labels).astype(np.float64)
    confidence = np.maximum(scores.probabilities, 1.0 - scores.probabilities)
    return confidence.ravel(), (scores.taken == scores.targets).ravel().astype(np.float64)
