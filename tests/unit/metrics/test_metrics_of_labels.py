"""Metrics of several labels, of one logit and of other losses: equal to scikit-learn's or to a loop, never NaN."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from flspec.metrics import METRICS, Scores, confusion_of, measure
from tests.unit.metrics.score_cases import any_scores

RNG = np.random.default_rng(1)
LABELS = (RNG.random((400, 6)) < [0.5, 0.3, 0.2, 0.1, 0.05, 0.4]).astype(np.uint8)
LOGITS = (RNG.normal(size=(400, 6)) + 1.5 * LABELS - 1).astype(np.float32)
SEVERAL = Scores(LOGITS, LABELS, "binary_cross_entropy")
SURE = 1.0 / (1.0 + np.exp(-LOGITS.astype(np.float64)))
TAKEN = SURE > 0.5


def value(name: str, scores: Scores) -> float:
    values, reasons = measure(scores, [name])
    assert not reasons
    return values[name]


def join_some(logits: Any, labels: Any) -> Scores:
    return Scores(np.array(logits, np.float32), np.array(labels, np.uint8), "binary_cross_entropy")


@pytest.mark.parametrize("average", ["macro", "micro"])
@pytest.mark.parametrize("name", ["precision", "recall", "f1"])
def test_averages_of_decisions_are_scikit_learn_s(average: str, name: str) -> None:
    expected = getattr(reference, f"{name}_score")(LABELS, TAKEN, average=average, zero_division=0)
    assert value(f"{average}_{name}", SEVERAL) == pytest.approx(expected, rel=1e-12)
    other = {"macro": "micro", "micro": "macro"}[average]
    assert value(f"{other}_{name}", SEVERAL) != pytest.approx(expected, rel=1e-3)  # so that one is not the other


@pytest.mark.parametrize("average", ["macro", "micro"])
@pytest.mark.parametrize("name", ["roc_auc", "average_precision"])
def test_averages_of_ranks_are_scikit_learn_s(average: str, name: str) -> None:
    function = getattr(reference, f"{name}_score")
    assert value(f"{average}_{name}", SEVERAL) == pytest.approx(function(LABELS, LOGITS, average=average), rel=1e-12)


def test_ties_count_as_scikit_learn_counts_them() -> None:
    coarse = np.round(LOGITS)
    for name in ("roc_auc", "average_precision"):
        expected = getattr(reference, f"{name}_score")(LABELS, coarse, average="micro")
        assert value(f"micro_{name}", join_some(coarse, LABELS)) == pytest.approx(expected, rel=1e-12)


def test_a_class_each_is_ranked_as_scikit_learn_ranks_one_against_the_rest() -> None:
    labels = RNG.integers(0, 4, 300)
    logits = RNG.normal(size=(300, 4)) + np.eye(4)[labels]
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    scores, hot = Scores(logits, labels), np.eye(4)[labels]
    for average in ("macro", "micro"):
        expected = reference.average_precision_score(hot, shares, average=average)
        assert value(f"{average}_average_precision", scores) == pytest.approx(expected)
        expected = reference.roc_auc_score(labels, shares, multi_class="ovr", average=average)
        assert value(f"{average}_roc_auc", scores) == pytest.approx(expected)


def test_right_labels_and_right_examples_are_counted_apart() -> None:
    assert value("accuracy", SEVERAL) == pytest.approx(1 - reference.hamming_loss(LABELS, TAKEN))
    assert value("exact_match", SEVERAL) == pytest.approx(reference.accuracy_score(LABELS, TAKEN))
    assert value("accuracy", SEVERAL) > value("exact_match", SEVERAL) + 0.2


def test_loss_is_the_mean_over_labels_and_then_examples() -> None:
    costs = [
        [-math.log(p if label else 1 - p) for p, label in zip(row, labels, strict=True)]
        for row, labels in zip(SURE, LABELS, strict=True)
    ]
    assert value("loss", SEVERAL) == pytest.approx(float(np.mean([np.mean(row) for row in costs])), rel=1e-12)


def test_loss_of_large_logits_is_what_they_are_off_by() -> None:
    assert value("loss", join_some([[-1e4, 1e4], [1e4, -1e4]], [[1, 1], [1, 0]])) == pytest.approx(1e4 / 4)
    assert value("loss", join_some([[-100.0]], [[0]])) == pytest.approx(math.exp(-100), rel=1e-9)  # not rounded to 0


def test_the_brier_score_is_scikit_learn_s() -> None:
    each = [reference.brier_score_loss(LABELS[:, label], SURE[:, label]) for label in range(6)]
    assert value("brier", SEVERAL) == pytest.approx(np.mean(each))
    labels, logits = LABELS[:, 0].astype(np.int64), LOGITS[:, :1]
    assert value("brier", Scores(logits, labels, "binary_cross_entropy")) == pytest.approx(each[0])
    shares = np.array([[0.2, 0.5, 0.3], [0.1, 0.8, 0.1]])
    expected = ((0.2**2 + 0.5**2 + 0.7**2) + (0.1**2 + 0.2**2 + 0.1**2)) / 2
    assert value("brier", Scores(np.log(shares), np.array([2, 1]))) == pytest.approx(expected)


def test_the_calibration_of_labels_is_that_of_as_many_decisions_between_two() -> None:
    logits = LOGITS.reshape(-1, 1)
    decisions = Scores(np.hstack([np.zeros_like(logits), logits]), LABELS.ravel().astype(np.int64))
    assert value("calibration_error", SEVERAL) == pytest.approx(value("calibration_error", decisions))


# ------------------------------------------------------------------------------------------------------ FLAIR's metrics


def keras_average_precision(labels: np.ndarray, sure: np.ndarray) -> float:
    """As Keras's AUC counts at 200 thresholds and FLAIR's benchmark sums them up, an example at a time."""
    thresholds = [-1e-7, *(i / 199 for i in range(1, 199)), 1 + 1e-7]
    precision, recall = [], []
    for threshold in thresholds:
        taken = [p > threshold for p in sure]
        true = sum(1 for t, label in zip(taken, labels, strict=True) if t and label)
        precision.append(true / sum(taken) if any(taken) else 0.0)
        recall.append(true / labels.sum() if labels.sum() else 0.0)
    return -sum((recall[i + 1] - recall[i]) * precision[i] for i in range(199))


def test_binned_average_precision_is_flair_s_rule() -> None:
    each = [keras_average_precision(LABELS[:, label], SURE[:, label]) for label in range(6)]
    assert value("binned_macro_average_precision", SEVERAL) == pytest.approx(np.mean(each), rel=1e-12)
    pooled = keras_average_precision(LABELS.ravel(), SURE.ravel())
    assert value("binned_micro_average_precision", SEVERAL) == pytest.approx(pooled, rel=1e-12)
    assert value("binned_macro_average_precision", SEVERAL) != value("macro_average_precision", SEVERAL)


def test_a_label_that_nobody_has_counts_nothing_in_flair_s_mean_and_is_left_out_of_the_exact_one() -> None:
    none = np.concatenate([LABELS, np.zeros((400, 1), np.uint8)], axis=1)
    scores = join_some(np.concatenate([LOGITS, LOGITS[:, :1]], axis=1), none)
    assert value("macro_average_precision", scores) == pytest.approx(value("macro_average_precision", SEVERAL))
    expected = value("binned_macro_average_precision", SEVERAL) * 6 / 7
    assert value("binned_macro_average_precision", scores) == pytest.approx(expected)
    # Nobody has the new label, but it is predicted: it occurs, and its recall of 0/0 counts 0 in both.
    assert value("flair_macro_recall", scores) == pytest.approx(value("macro_recall", SEVERAL) * 6 / 7)
    assert value("macro_recall", scores) == value("flair_macro_recall", scores)
    never = join_some(np.concatenate([LOGITS, np.full((400, 1), -9.0)], axis=1), none)
    for name in ("precision", "recall"):
        assert value(f"macro_{name}", never) == pytest.approx(value(f"macro_{name}", SEVERAL))
        assert value(f"flair_macro_{name}", never) == pytest.approx(value(f"macro_{name}", SEVERAL) * 6 / 7)
    assert value("macro_f1", never) == pytest.approx(value("macro_f1", SEVERAL))


@pytest.mark.parametrize("name", ["macro_precision", "macro_recall", "macro_f1", "micro_precision", "micro_f1"])
def test_where_no_label_occurs_an_average_has_a_reason_in_place_of_a_value(name: str) -> None:
    values, reasons = measure(join_some([[-1.0, -2.0]], [[0, 0]]), [name])
    assert (values, reasons[name]) == ({}, "no example has one of the 2 labels, and none is predicted")
    assert measure(join_some([[-1.0, -2.0]], [[0, 1]]), [name])[0] == {name: 0.0}


@pytest.mark.parametrize("sure", [0.0, 1.0, 1 / 199, 100 / 199])
def test_a_probability_on_a_threshold_is_not_above_it(sure: float) -> None:
    logit = [[math.log(sure / (1 - sure)) if 0 < sure < 1 else (1e3 if sure else -1e3)], [0.3]]
    scores = join_some(logit, [[1], [0]])
    expected = keras_average_precision(np.array([1, 0]), scores.probabilities[:, 0])
    assert value("binned_micro_average_precision", scores) == pytest.approx(expected)


def test_flair_s_f1_is_the_harmonic_mean_of_the_macro_averages() -> None:
    precision, recall = (value(f"flair_macro_{name}", SEVERAL) for name in ("precision", "recall"))
    assert value("harmonic_f1", SEVERAL) == pytest.approx(2 / (1 / precision + 1 / recall))
    assert value("harmonic_f1", SEVERAL) != pytest.approx(value("macro_f1", SEVERAL), abs=1e-3)
    assert value("harmonic_f1", join_some([[-1.0]], [[1]])) == 0.0


# ----------------------------------------------------------------------------------------- one logit, and other losses


@pytest.mark.parametrize("name", METRICS)
def test_one_logit_is_as_good_as_two(name: str) -> None:
    labels, logits = LABELS[:, 0].astype(np.int64), LOGITS[:, :1]
    one = Scores(logits, labels, "binary_cross_entropy")
    two = Scores(np.hstack([np.full_like(logits, 3.0), logits + 3.0]), labels)
    (values, reasons), expected = measure(one, [name]), measure(two, [name])
    assert values == pytest.approx(expected[0], rel=1e-5)
    assert reasons == expected[1]
    if name == "loss":
        assert values[name] == pytest.approx(value("loss", join_some(logits, LABELS[:, :1])))


def test_ranks_do_not_saturate() -> None:
    """Probabilities of both are 1.0 in float64, and yet one is above the other."""
    scores = Scores(np.array([[50.0], [60.0]]), np.array([0, 1]), "binary_cross_entropy")
    assert value("roc_auc", scores) == value("average_precision", scores) == 1.0


@pytest.mark.parametrize("name", ["roc_auc", "average_precision", "macro_roc_auc", "micro_roc_auc"])
def test_two_outputs_rank_examples_by_what_they_are_predicted_by(name: str) -> None:
    """Either output alone puts the example of class 1 below the other."""
    scores = Scores(np.array([[0.9, 0.6], [0.1, 0.5]]), np.array([0, 1]), "mean_squared_error")
    assert scores.predicted.tolist() == [0, 1]
    assert value(name, scores) == 1.0
    assert reference.roc_auc_score(scores.labels, scores.outputs[:, 1]) == 0.0  # by output 1 alone


def test_more_outputs_than_two_rank_by_themselves() -> None:
    outputs = np.array([[0.5, 0.1, 0.9], [0.4, 0.3, 0.2], [0.1, 0.2, 0.3]])
    assert Scores(outputs, np.arange(3), "mean_squared_error").ranks is outputs


def test_squared_errors_are_of_the_outputs_as_they_are() -> None:
    outputs, labels = np.array([[0.2, 0.9], [1.5, -0.5]]), np.array([1, 1])
    scores = Scores(outputs, labels, "mean_squared_error")
    assert value("loss", scores) == pytest.approx(((0.04 + 0.01) / 2 + (2.25 + 2.25) / 2) / 2)
    assert value("accuracy", scores) == 0.5
    assert measure(scores, ["brier"])[1]["brier"] == "outputs that learned by mean_squared_error are no probabilities"
    hot = Scores(outputs, np.array([[0, 1], [1, 1]], np.uint8), "mean_squared_error")
    assert value("accuracy", hot) == 0.75  # above one half is taken
    assert value("loss", hot) == pytest.approx((0.04 + 0.01 + 0.25 + 2.25) / 4)


# ---------------------------------------------------------------------------------------------------- what has no value


def test_metrics_of_one_class_an_example_say_that_there_may_be_several_labels() -> None:
    _, reasons = measure(SEVERAL, METRICS)
    of_scores = {name: why for name, why in reasons.items() if METRICS[name].measures == "scores"}
    assert set(of_scores) == {
        *("balanced_accuracy", "top_3_accuracy", "top_5_accuracy", "precision", "recall", "specificity", "f1"),
        *("false_positive_rate", "positive_rate", "roc_auc", "average_precision", "perplexity"),
    }
    assert reasons["recall"] == "it needs two classes, but an example may have several labels; name macro_ or micro_"
    assert reasons["top_3_accuracy"] == "it needs one class an example, but an example may have several labels"


def test_an_average_over_nothing_says_so() -> None:
    _, reasons = measure(
        join_some([[1.0, -1.0]], [[0, 0]]), ["macro_average_precision", "macro_roc_auc", "micro_roc_auc"]
    )
    assert reasons["macro_average_precision"] == "none of 2 labels has an example"
    assert reasons["macro_roc_auc"] == "none of 2 labels has both an example that has it and one that has not"
    assert reasons["micro_roc_auc"] == reasons["macro_roc_auc"]


@given(any_scores())
def test_every_metric_has_a_finite_value_or_a_reason_and_warns_of_nothing(scores: Scores) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values, reasons = measure(scores, METRICS)
    assert set(values) | set(reasons) == set(METRICS)
    assert not set(values) & set(reasons)
    assert all(map(math.isfinite, values.values()))
    assert all(reasons.values())


def averages_of(labels: np.ndarray, outputs: np.ndarray, average: str) -> tuple[float, float, float]:
    f1 = reference.f1_score(labels, outputs > 0, average=average, zero_division=0)
    curves = (reference.average_precision_score, reference.roc_auc_score)
    return (f1, *(float(curve(labels, outputs, average=average)) for curve in curves))


@given(st.integers(0, 2**32 - 1), st.integers(4, 30), st.integers(2, 5))
def test_of_any_labels_averages_are_scikit_learn_s(seed: int, num: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, (num, width), dtype=np.uint8)
    labels[0], labels[1] = 0, 1  # of each label there are both
    outputs = rng.integers(-3, 4, (num, width)).astype(np.float32)
    for average in ("macro", "micro"):
        names = [f"{average}_{name}" for name in ("f1", "average_precision", "roc_auc")]
        found, _ = measure(join_some(outputs, labels), names)
        assert list(found.values()) == pytest.approx(averages_of(labels, outputs, average), rel=1e-9)


# ------------------------------------------------------------------------------------------------- confusion, and parts


def test_confusion_is_scikit_learn_s() -> None:
    labels = RNG.integers(0, 3, 100)
    scores = Scores(RNG.normal(size=(100, 3)), labels)
    table = confusion_of(scores)
    assert table is not None
    assert table.matrix is not None
    assert np.array_equal(table.matrix, reference.confusion_matrix(labels, scores.predicted))
    table = confusion_of(SEVERAL)
    assert table is not None
    expected = reference.multilabel_confusion_matrix(LABELS, TAKEN).reshape(6, 4)  # tn, fp, fn, tp
    assert table.labels
    assert np.array_equal(table.labels, expected)


@pytest.mark.parametrize(
    "scores",
    [
        Scores(np.zeros((0, 3)), np.zeros(0, np.int64)),
        Scores(np.full((1, 3), np.nan), np.zeros(1, np.int64)),
        Scores(np.zeros((2, 101)), np.zeros(2, np.int64)),
        join_some(np.zeros((1, 2001)), np.zeros((1, 2001))),
    ],
    ids=["no examples", "not finite", "many classes", "many labels"],
)
def test_some_examples_have_no_confusion(scores: Scores) -> None:
    assert confusion_of(scores) is None


@pytest.mark.parametrize("name", METRICS)
def test_what_is_worked_on_in_parts_comes_to_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = measure(Scores(LOGITS, LABELS, "binary_cross_entropy"), [name])
    monkeypatch.setattr("flspec.metrics.scores._MOST_VALUES", 100)
    scores = Scores(LOGITS, LABELS, "binary_cross_entropy")
    assert len(list(scores.parts())) == 25
    parts = measure(scores, [name])
    assert parts[0] == pytest.approx(whole[0], rel=1e-12)
    assert parts[1] == whole[1]
