"""The best round: by the metric's own direction, the first of equal ones, and of evaluated rounds alone."""

from __future__ import annotations

import pytest

from flspec.protocol.settings import BestSettings
from flspec.runs.best_round import BestSoFar, is_lower_better


def best_of(values: list[float | None], metric: str = "loss", on: str = "test") -> list[int]:
    best = BestSoFar(BestSettings(metric=metric, on=on))
    for number, value in enumerate(values, start=1):
        best.see(number, None if value is None else {on: {metric: value}})
    return best.rounds


def test_a_loss_should_be_low_and_an_accuracy_high():
    assert best_of([3.0, 1.0, 2.0]) == [1, 2]
    assert best_of([0.3, 0.1, 0.5, 0.4], "accuracy") == [1, 3]


def test_of_equal_rounds_the_first_is_the_best():
    assert best_of([2.0, 1.0, 1.0]) == [1, 2]
    assert best_of([0.5, 0.5], "accuracy") == [1]


def test_rounds_without_a_value_do_not_count():
    assert best_of([None, 2.0, None, 1.0]) == [2, 4]
    best = BestSoFar(BestSettings("roc_auc", "validation"))
    best.see(1, {"validation": {}})
    best.see(2, {"test": {"roc_auc": 1.0}})
    assert (best.rounds, best.value) == ([], None)


def test_no_round_is_the_best_where_none_is_asked_for():
    best = BestSoFar(None)
    best.see(1, {"test": {"loss": 1.0}})
    assert best.rounds == []


@pytest.mark.parametrize(
    ("metric", "on", "lower"),
    [
        ("loss", "test", True),
        ("brier", "holdout", True),
        ("false_positive_rate", "test", True),
        ("roc_auc", "validation", False),
        ("accuracy", "clients/worst", False),
        ("recall", "test/Male gap", True),  # how far groups are apart
        ("accuracy", "clients/gini", True),
    ],
)
def test_the_direction_follows_from_metric_and_set(metric, on, lower):
    assert is_lower_better(metric, on) == lower


def test_seeing_a_round_and_asking_of_it_agree():
    best = BestSoFar(BestSettings("accuracy", "test"))
    for number, value in enumerate([0.2, 0.1, 0.4, 0.4], start=1):
        improves = best.improves({"test": {"accuracy": value}})
        best.see(number, {"test": {"accuracy": value}})
        assert improves == (best.rounds[-1] == number)
