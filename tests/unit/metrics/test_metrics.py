"""Metrics: equal to scikit-learn's or to a loop, and unknown with a reason where they are not defined."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn import metrics as reference

from flspec.metrics import METRICS, Scores, measure
from flspec.runs.evaluation import Measured
from flspec.spec.spec import Evaluation

RNG = np.random.default_rng(0)
TWO = Scores(RNG.normal(size=(200, 2)).astype(np.float32), RNG.integers(0, 2, 200))
MANY = Scores(RNG.normal(size=(300, 7)).astype(np.float32), RNG.integers(0, 7, 300))
TAKEN = TWO.outputs.argmax(axis=1)


def value(name: str, scores: Scores) -> float:
    values, reasons = measure(scores, [name])
    assert not reasons
    return values[name]


def reason(name: str, logits: list[Any], labels: list[Any]) -> str:
    values, reasons = measure(Scores(np.array(logits, np.float32), np.array(labels, np.int64)), [name])
    assert not values
    return reasons[name]


def test_a_spec_can_name_every_metric_and_no_other():
    assert Evaluation(metrics=tuple(METRICS)).metrics == tuple(METRICS)
    with pytest.raises(ValidationError, match="'loss'"):
        Evaluation(metrics=("los",))


def test_loss_is_the_mean_negative_log_probability():
    expected = 0.0
    for row, label in zip(MANY.outputs.astype(np.float64), MANY.labels, strict=True):
        expected -= row[label] - math.log(sum(math.exp(x) for x in row))
    assert value("loss", MANY) == pytest.approx(expected / 300, rel=1e-12)


def test_loss_of_large_logits_does_not_overflow():
    assert value("loss", Scores(np.array([[1e4, 0.0], [0.0, 1e4]]), np.array([0, 0]))) == pytest.approx(5e3)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("accuracy", reference.accuracy_score(TWO.labels, TAKEN)),
        ("balanced_accuracy", reference.balanced_accuracy_score(TWO.labels, TAKEN)),
        ("precision", reference.precision_score(TWO.labels, TAKEN)),
        ("recall", reference.recall_score(TWO.labels, TAKEN)),
        ("specificity", reference.recall_score(TWO.labels, TAKEN, pos_label=0)),
        ("f1", reference.f1_score(TWO.labels, TAKEN)),
        ("false_positive_rate", 1 - reference.recall_score(TWO.labels, TAKEN, pos_label=0)),
        ("positive_rate", TAKEN.mean()),
        ("brier", reference.brier_score_loss(TWO.labels, 1 / (1 + np.exp(TWO.outputs[:, 0] - TWO.outputs[:, 1])))),
        ("roc_auc", reference.roc_auc_score(TWO.labels, TWO.outputs[:, 1] - TWO.outputs[:, 0])),
        ("average_precision", reference.average_precision_score(TWO.labels, TWO.outputs[:, 1] - TWO.outputs[:, 0])),
    ],
)
def test_metrics_of_two_classes_are_scikit_learn_s(name, expected):
    assert value(name, TWO) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", ["precision", "recall", "f1"])
def test_macro_metrics_are_scikit_learn_s(name):
    expected = getattr(reference, f"{name}_score")(MANY.labels, MANY.outputs.argmax(axis=1), average="macro")
    assert value(f"macro_{name}", MANY) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("name", ["precision", "recall", "f1"])
def test_macro_metrics_are_scikit_learn_s_where_classes_are_absent(name, seed):
    """Of seven classes a few occur, some of them only as predictions."""
    rng = np.random.default_rng(seed)
    labels, taken = rng.choice(rng.choice(7, 3), 12), rng.choice(rng.choice(7, 3), 12)
    scores = Scores(np.eye(7)[taken], labels)
    score = getattr(reference, f"{name}_score")
    assert value(f"macro_{name}", scores) == pytest.approx(score(labels, taken, average="macro", zero_division=0))
    assert value(f"micro_{name}", scores) == pytest.approx(score(labels, taken, average="micro"))


def test_a_model_without_a_mistake_is_without_one_where_a_class_is_absent():
    labels = np.array([0, 0, 2, 2])
    flawless = Scores(np.eye(3)[labels], labels)
    for name in ("precision", "recall", "f1"):
        assert value(f"macro_{name}", flawless) == 1.0
    assert value("flair_macro_recall", flawless) == pytest.approx(2 / 3)  # FLAIR's rule, by which it counts 0


def test_metrics_of_many_classes_are_scikit_learn_s():
    taken = MANY.outputs.argmax(axis=1)
    assert value("balanced_accuracy", MANY) == pytest.approx(reference.balanced_accuracy_score(MANY.labels, taken))
    expected = reference.top_k_accuracy_score(MANY.labels, MANY.outputs, k=5, labels=range(7))
    assert value("top_5_accuracy", MANY) == pytest.approx(expected)
    expected = reference.top_k_accuracy_score(MANY.labels, MANY.outputs, k=3, labels=range(7))
    assert value("top_3_accuracy", MANY) == pytest.approx(expected)
    shares = np.exp(MANY.outputs) / np.exp(MANY.outputs).sum(axis=1, keepdims=True)
    aucs = [reference.roc_auc_score(MANY.labels == label, shares[:, label]) for label in range(7)]
    assert value("roc_auc", MANY) == pytest.approx(np.mean(aucs))


def test_calibration_error_is_the_mean_gap_over_bins():
    scores = Scores(np.log(np.array([[0.9, 0.1], [0.9, 0.1], [0.65, 0.35], [0.35, 0.65]])), np.array([0, 1, 0, 1]))
    assert value("calibration_error", scores) == pytest.approx((2 * abs(0.9 - 0.5) + 2 * abs(0.65 - 1.0)) / 4)


def test_a_tie_goes_to_the_first_class_and_counts_against_the_top_five():
    tied = Scores(np.zeros((6, 6)), np.arange(6))
    assert value("accuracy", tied) == pytest.approx(1 / 6)
    assert value("top_5_accuracy", tied) == 0.0


def test_what_is_not_defined_says_why():
    one_class = [[0.0, 1.0], [1.0, 0.0]], [1, 1]
    assert reason("roc_auc", *one_class) == "all 2 examples are of class 1"
    assert reason("average_precision", *one_class) == "all 2 examples are of class 1"
    assert reason("specificity", *one_class) == "no example is of class 0"
    assert reason("recall", [[1.0, 0.0]], [0]) == "no example is of class 1"
    assert reason("precision", [[1.0, 0.0]], [1]) == "no example is predicted as class 1"
    assert reason("f1", [[1.0, 0.0]], [0]) == "no example is of class 1 or predicted as it"
    assert reason("roc_auc", [[0.0, 0.0, 0.0]], [2]) == "no example is of class 0"
    assert reason("recall", [[0.0, 0.0, 0.0]], [2]) == "it needs two classes, but there are 3"
    assert reason("top_5_accuracy", [[0.0, 0.0]], [1]) == "there are only 2 classes"
    assert reason("loss", [[np.nan, 0.0]], [1]) == "the model's scores are not finite"


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_of_nothing_is_unknown(name):
    values, reasons = measure(Scores(np.zeros((0, 6)), np.zeros(0, np.int64)), [name])
    assert (values, reasons) == ({}, {name: "there are no examples"})


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("scores", [TWO, MANY], ids=["two", "many"])
def test_a_better_model_is_better_by_every_metric(name, scores):
    """A metric that is turned round, or ignores the labels, is found."""
    better = Scores(
        scores.outputs + 3 * np.eye(scores.outputs.shape[1], dtype=np.float32)[scores.labels], scores.labels
    )
    values, reasons = measure(scores, [name])
    if reasons or name == "calibration_error" or METRICS[name].better == "neither":
        return
    change = measure(better, [name])[0][name] - values[name]
    assert change < 0 if METRICS[name].better == "lower" else change > 0


def test_groups_without_a_mistake_have_no_gap_where_one_lacks_a_class():
    measured, names = Measured(), ["macro_recall", "macro_precision", "macro_f1", "flair_macro_recall"]
    for group, labels in {"a": [0, 1, 2], "b": [0, 1, 1]}.items():
        measured.add(group, Scores(np.eye(3)[labels], np.array(labels)), [METRICS[name] for name in names])
    measured.add_gap("gap", ["a", "b"], [METRICS[name] for name in names])
    assert measured.values["gap"] == {**dict.fromkeys(names[:3], 0.0), "flair_macro_recall": pytest.approx(1 / 3)}
