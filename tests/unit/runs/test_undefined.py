"""What is known to have no value before there is a model, and how reasons are told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given

from flspec.losses import LossDocument
from flspec.metrics import METRICS, Scores, measure
from flspec.metrics.undefined import every_label, why_never_defined
from flspec.runs.missing_values import undefined_in_words
from tests.unit.metrics.score_cases import any_scores


def reason(metric: str, labels: list[Any], loss: LossDocument = "cross_entropy", num_classes: int = 2) -> str | None:
    kind = np.uint8 if np.ndim(labels) == 2 else np.int64
    return why_never_defined(metric, np.array(labels, kind), num_classes, loss)


@given(any_scores())
def test_what_never_has_a_value_has_none_whatever_the_outputs(scores: Scores) -> None:
    for metric in METRICS:
        if why_never_defined(metric, scores.labels, scores.num_classes, scores.loss):
            assert metric not in measure(scores, [metric])[0]


def test_what_one_model_has_no_value_of_another_may_have() -> None:
    nobody_is_positive = Scores(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([0, 1]))
    assert measure(nobody_is_positive, ["precision"])[1] == {"precision": "no example is predicted as class 1"}
    for loss in ("cross_entropy", "binary_cross_entropy", "mean_squared_error"):
        assert reason("precision", [0, 1], loss) is None
        assert reason("f1", [0, 0], loss) is None


def test_labels_alone_decide_of_ranks_and_rates() -> None:
    assert reason("roc_auc", [1, 1, 1]) == "all 3 examples are of class 1"
    assert reason("roc_auc", [0, 1]) is None
    assert reason("recall", [0, 0]) == "no example is of class 1"
    assert reason("specificity", [0, 0]) is None
    assert reason("macro_roc_auc", [[1, 0], [1, 0]], "binary_cross_entropy") is not None
    assert reason("accuracy", []) == "there are no examples"


OF_TWO = ("precision", "recall", "specificity", "false_positive_rate", "positive_rate", "f1", "average_precision")
OF_ONE = ("balanced_accuracy", "roc_auc", "perplexity")
OF_PICTURES = {"fid", "image_precision", "image_recall", "kid", "kid_deviation"}


@pytest.mark.parametrize("is_multi_label", [False, True])
@pytest.mark.parametrize("num_classes", [2, 3, 7])
def test_of_labels_of_every_kind_only_what_suits_none_never_has_a_value(num_classes: int, is_multi_label: bool) -> None:
    loss: LossDocument = "binary_cross_entropy" if is_multi_label else "cross_entropy"
    labels = every_label(num_classes, is_multi_label)
    never = {metric for metric in METRICS if why_never_defined(metric, labels, num_classes, loss)}
    of_two = {*OF_TWO} if is_multi_label or num_classes != 2 else set()
    of_one = {*OF_ONE} if is_multi_label else set()
    tops = {f"top_{k}_accuracy" for k in (3, 5) if is_multi_label or num_classes <= k}
    assert never == of_two | of_one | tops | OF_PICTURES


def test_reasons_are_told_a_set_and_a_reason_a_sentence() -> None:
    values = {"test": {"loss": 1.0, "recall": 0.5}, "test/sex=f": {"loss": 1.0}}
    undefined = {
        "test": {"recall": "1 of 2 clients have no value", "f1": "2 of 2 clients have no value"},
        "test/sex=f": {"recall": "no example is of class 1", "f1": "no example is of class 1"},
    }
    assert undefined_in_words(values, undefined) == [
        "test recall: 1 of 2 clients have no value",
        "test has no f1: 2 of 2 clients have no value",
        "test/sex=f has no recall, f1: no example is of class 1",
    ]
