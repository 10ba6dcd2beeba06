"""How good a model's scores are: metrics by name, of examples that have one class each or any number of labels.

A metric is a function of `Scores`; its name is what a spec writes. To add one, write it in the module of its kind and
name it in `METRICS`, and in `LOWER_IS_BETTER` if it is. Where one is not defined, as the area under a curve of examples
that are all of one class, it raises `Undefined` with the reason, and is told as unknown for that reason, never as zero
or NaN.
"""

from __future__ import annotations

from collections.abc import Iterable

from flspec.metrics import decisions, probabilities, ranking
from flspec.metrics.confusion import Confusion, confusion_of
from flspec.metrics.scores import Metric, Scores, Undefined

__all__ = [
    "LOWER_IS_BETTER",
    "METRICS",
    "NEITHER_IS_BETTER",
    "Confusion",
    "Scores",
    "Undefined",
    "confusion_of",
    "measure",
]

METRICS: dict[str, Metric] = {
    "loss": probabilities.loss,
    "accuracy": decisions.accuracy,
    "balanced_accuracy": decisions.balanced_accuracy,
    "exact_match": decisions.exact_match,
    "top_3_accuracy": decisions.top(3),
    "top_5_accuracy": decisions.top(5),
    "precision": decisions.precision,
    "recall": decisions.recall,
    "specificity": decisions.specificity,
    "false_positive_rate": decisions.false_positive_rate,
    "positive_rate": decisions.positive_rate,
    "f1": decisions.f1,
    "macro_precision": decisions.macro("precision"),
    "macro_recall": decisions.macro("recall"),
    "macro_f1": decisions.macro("f1"),
    "harmonic_f1": decisions.harmonic_f1,
    "micro_precision": decisions.micro("precision"),
    "micro_recall": decisions.micro("recall"),
    "micro_f1": decisions.micro("f1"),
    "roc_auc": ranking.roc_auc,
    "macro_roc_auc": ranking.macro_ranking("roc_auc"),
    "micro_roc_auc": ranking.micro_ranking("roc_auc"),
    "average_precision": ranking.average_precision,
    "macro_average_precision": ranking.macro_ranking("average_precision"),
    "micro_average_precision": ranking.micro_ranking("average_precision"),
    "binned_macro_average_precision": ranking.binned_average_precision(is_macro=True),
    "binned_micro_average_precision": ranking.binned_average_precision(is_macro=False),
    "brier": probabilities.brier,
    "calibration_error": probabilities.calibration_error,
}
LOWER_IS_BETTER = ("loss", "false_positive_rate", "brier", "calibration_error")
NEITHER_IS_BETTER = ("positive_rate",)  # only how much it differs between groups says anything


def measure(scores: Scores, names: Iterable[str]) -> tuple[dict[str, float], dict[str, str]]:
    """The value of each metric that has one, and why the others have none."""
    values: dict[str, float] = {}
    reasons: dict[str, str] = {}
    for name in names:
        try:
            if not scores.are_finite:
                raise Undefined("the model's scores are not finite")
            if not len(scores):
                raise Undefined("there are no examples")
            values[name] = float(METRICS[name](scores))
        except Undefined as undefined:
            reasons[name] = str(undefined)
    return values, reasons
