"""Published constants of metrics, each against a computation that has the number from its source."""

from __future__ import annotations

import math

import numpy as np
import pytest

from flspec.metrics import Scores, measure

RNG = np.random.default_rng(5)


def value(name, scores):
    return measure(scores, [name])[0][name]


def calibration_error(confidences, are_right, num_bins):
    """Guo et al., ICML 2017, Eq. (3), bin by bin."""
    error = 0.0
    for number in range(num_bins):
        low, high = number / num_bins, (number + 1) / num_bins
        own = [i for i, c in enumerate(confidences) if low <= c < high or c == high == 1.0]
        if own:
            gap = np.mean([are_right[i] for i in own]) - np.mean([confidences[i] for i in own])
            error += len(own) / len(confidences) * abs(gap)
    return error


@pytest.mark.parametrize("num_classes", [2, 7])
def test_confidence_is_put_into_fifteen_bins(num_classes):
    """Guo et al., Section 4.2: "M = 15 bins"."""
    scores = Scores(2 * RNG.normal(size=(400, num_classes)), RNG.integers(0, num_classes, 400))
    shares = np.exp(scores.outputs) / np.exp(scores.outputs).sum(axis=1, keepdims=True)
    told = shares.max(axis=1), shares.argmax(axis=1) == scores.labels
    assert value("calibration_error", scores) == pytest.approx(calibration_error(*told, 15), abs=1e-12)


def test_labels_are_decisions_of_their_own_in_the_same_fifteen_bins():
    outputs, labels = 2 * RNG.normal(size=(300, 3)), RNG.integers(0, 2, (300, 3)).astype(np.uint8)
    chances = 1 / (1 + np.exp(-outputs.ravel()))
    told = np.maximum(chances, 1 - chances), (chances > 0.5) == labels.ravel()
    got = value("calibration_error", Scores(outputs, labels, "binary_cross_entropy"))
    assert got == pytest.approx(calibration_error(*told, 15), abs=1e-12)


@pytest.mark.parametrize(
    ("right", "wrong", "error"),
    [
        (0.61, 0.66, 0.635 - 0.5),  # both in 9/15 to 10/15; apart with 14 or 16 bins
        (0.61, 0.69, (0.39 + 0.69) / 2),  # apart; both in 0.6 to 0.7 with 10 bins
    ],
)
def test_two_decisions_share_a_bin_of_a_fifteenth_or_do_not(right, wrong, error):
    scores = Scores(np.log([[right, 1 - right], [wrong, 1 - wrong]]), np.array([0, 1]))
    assert value("calibration_error", scores) == pytest.approx(error)


def keras_average_precision(chances, labels, num_thresholds):
    """tf.keras.metrics.AUC(curve="PR") counts above each threshold; FLAIR's benchmark sums -(R_i+1 - R_i) P_i."""
    thresholds = [-1e-7, *(i / (num_thresholds - 1) for i in range(1, num_thresholds - 1)), 1 + 1e-7]
    precision, recall = [], []
    for threshold in thresholds:
        positive = chances > threshold
        true, false, missed = (positive & labels).sum(), (positive & ~labels).sum(), (~positive & labels).sum()
        precision.append(true / (true + false) if true + false else 0.0)
        recall.append(true / (true + missed) if true + missed else 0.0)
    return -sum((recall[i + 1] - recall[i]) * precision[i] for i in range(num_thresholds - 1))


@pytest.mark.parametrize("how", ["macro", "micro"])
def test_flairs_average_precision_has_two_hundred_thresholds(how):
    """pfl's FLAIR benchmark: `num_thresholds=200`, Keras's default."""
    outputs, labels = RNG.normal(size=(150, 4)), RNG.integers(0, 2, (150, 4)).astype(np.uint8)
    chances, marks = 1 / (1 + np.exp(-outputs)), labels.astype(bool)
    got = value(f"binned_{how}_average_precision", Scores(outputs, labels, "binary_cross_entropy"))

    def expected(num_thresholds):
        if how == "micro":
            return keras_average_precision(chances.ravel(), marks.ravel(), num_thresholds)
        return np.mean([keras_average_precision(chances[:, j], marks[:, j], num_thresholds) for j in range(4)])

    assert got == pytest.approx(expected(200), abs=1e-12)
    assert abs(got - expected(199)) > 1e-6
    assert abs(got - expected(100)) > 1e-5


@pytest.mark.parametrize(
    ("loss", "outputs", "right"),
    [  # a probability of one half is not enough; of estimates of 0 and 1 the half way is 0.5 itself
        ("binary_cross_entropy", [-1e-3, 0.0, 1e-3], [0, 0, 1]),
        ("mean_squared_error", [0.499, 0.5, 0.501], [0, 0, 1]),
    ],
)
def test_a_label_is_taken_above_one_half(loss, outputs, right):
    scores = Scores(np.array(outputs)[:, None].repeat(2, axis=1), np.ones((3, 2), np.uint8), loss)
    assert scores.taken[:, 0].astype(int).tolist() == right


@pytest.mark.parametrize("k", [3, 5])
def test_the_top_few_are_as_many_as_their_name_says(k):
    outputs = -np.arange(8.0)[None].repeat(8, axis=0)  # class 0 first, class 7 last
    assert value(f"top_{k}_accuracy", Scores(outputs, np.arange(8))) == k / 8


def test_a_brier_score_of_two_classes_is_a_single_square_and_of_more_the_sum():
    """Brier 1950 sums over classes; scikit-learn's `brier_score_loss` of two is (p_1 - y)^2."""
    two, three = Scores(np.log([[0.7, 0.3]]), np.array([0])), Scores(np.log([[0.5, 0.3, 0.2]]), np.array([1]))
    assert value("brier", two) == pytest.approx(0.3**2)
    assert value("brier", three) == pytest.approx(0.5**2 + 0.7**2 + 0.2**2)


def test_a_loss_is_in_nats():
    assert value("loss", Scores(np.zeros((1, 8)), np.array([3]))) == pytest.approx(3 * math.log(2))
