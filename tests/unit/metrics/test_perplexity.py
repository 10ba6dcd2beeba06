"""Perplexity against scikit-learn's log loss, and where it has no value."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as reference

from flspec.metrics import Scores, measure

RNG = np.random.default_rng(0)
OUTPUTS, LABELS = RNG.standard_normal((50, 7)) * 3, RNG.integers(0, 7, 50)


def value(scores):
    return measure(scores, ["perplexity"])[0]["perplexity"]


def reason(scores):
    return measure(scores, ["perplexity"])[1]["perplexity"]


def test_perplexity_is_e_to_the_log_loss():
    probabilities = np.exp(OUTPUTS) / np.exp(OUTPUTS).sum(axis=1, keepdims=True)
    log_loss = reference.log_loss(LABELS, probabilities, labels=range(7))
    assert value(Scores(OUTPUTS, LABELS)) == pytest.approx(math.exp(log_loss), rel=1e-9)
    assert value(Scores(OUTPUTS, LABELS)) != pytest.approx(2**log_loss, rel=1e-2)


def test_guessing_has_as_much_as_there_are_classes_and_certainty_has_one():
    assert value(Scores(np.zeros((3, 80)), np.array([0, 5, 79]))) == pytest.approx(80)
    assert value(Scores(np.eye(3) * 1e3, np.arange(3))) == pytest.approx(1)


def test_one_output_is_of_two_classes():
    assert value(Scores(np.zeros((2, 1)), np.array([0, 1]), "binary_cross_entropy")) == pytest.approx(2)


def test_it_has_no_value_of_several_labels_of_no_probabilities_and_beyond_numbers():
    assert "several labels" in reason(Scores(np.zeros((2, 3)), np.ones((2, 3), np.uint8), "binary_cross_entropy"))
    assert "no probabilities" in reason(Scores(np.zeros((2, 3)), np.array([0, 1]), "mean_squared_error"))
    assert "too large" in reason(Scores(np.array([[1e4, 0.0]]), np.array([1])))
