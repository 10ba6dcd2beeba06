"""Metrics by name as terminals and pages show them: their order, their digits, by which features they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from flspec.protocol.records import FeatureSpaceRecord

__all__ = ["digits_of", "features_in_words", "metrics_in_order"]

_FIRST = ("loss", "accuracy", "kid", "fid", "image_precision", "image_recall")
_SMALL = ("kid", "kid_deviation")  # whose values are often below a thousandth


def metrics_in_order(names: Iterable[str], asked: Iterable[str] = ()) -> list[str]:
    """Return the names, each once: the usual ones first, then those in `asked`, then the others by name."""
    found = set(names)
    return [name for name in dict.fromkeys((*_FIRST, *asked, *sorted(found))) if name in found]


def digits_of(metric: str) -> int:
    """Return how many digits after the point tell values of a metric apart."""
    return 6 if metric in _SMALL else 4


def features_in_words(
    spaces: Sequence[FeatureSpaceRecord | None], evaluations: Sequence[Mapping[str, Mapping[str, float]]]
) -> list[str]:
    """Return by which features pictures were compared: `kid by random_conv`; and that no others compare with these.

    `spaces` has the feature space of each run, and `evaluations` what was measured in those that have one.
    """
    names = metrics_in_order(name for evaluation in evaluations for values in evaluation.values() for name in values)
    titles = list(dict.fromkeys(space.title for space in spaces if space))
    if not names or not titles:
        return []
    told = [f"{', '.join(names)} by {'; '.join(titles)}"]
    if len({space.sha256 for space in spaces if space}) > 1:
        told.append("values by different features do not compare")
    return told
