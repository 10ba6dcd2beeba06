"""A metric of a model's scores. In a spec:

parts: [my_metric.py]
evaluation: {metrics: [accuracy, my_metric], best: {metric: my_metric}}
"""

from flspec.metrics import Scores, Undefined, metric


# `better` ("higher", "lower" or "neither") decides what the best round, the worst client and the winner of a sweep are.
# Of clients that are evaluated on their own, flspec takes mean, deviation and extremes.
@metric(better="lower", description="share of examples whose class is not predicted")
def my_metric(scores: Scores) -> float:
    """Return the value; raise Undefined with the reason where there is none."""
    if scores.is_multi_label:
        raise Undefined("an example has several labels")
    return float((scores.predicted != scores.labels).mean())
