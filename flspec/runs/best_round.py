"""The best evaluated round so far, by one metric on one set of examples."""

from __future__ import annotations

from collections.abc import Mapping

from flspec.metrics import find_metric
from flspec.protocol.settings import BestSettings

__all__ = ["BestSoFar", "is_lower_better"]


def is_lower_better(metric: str, on: str) -> bool:
    """Return whether low values of a metric are good on a set of examples; gaps of groups or clients are always good
    low.
    """
    return on.endswith((" gap", "/gini")) or find_metric(metric).better == "lower"


class BestSoFar:
    """The best rounds so far: it sees each evaluated round in turn; among equal rounds the first is the best.

    `rule` is None if the spec asks for no best round.
    """

    def __init__(self, rule: BestSettings | None) -> None:
        self.rule = rule
        self.rounds: list[int] = []  # each better than all before it
        self.value: float | None = None  # the value of the last of them

    def improves(self, evaluation: Mapping[str, Mapping[str, float]] | None) -> bool:
        """Return whether a round with this evaluation is better than all before; without a value it is not."""
        value = self._value(evaluation)
        if value is None or self.rule is None:
            return False
        if self.value is None:
            return True
        return value < self.value if is_lower_better(self.rule.metric, self.rule.on) else value > self.value

    def see(self, number: int, evaluation: Mapping[str, Mapping[str, float]] | None) -> None:
        """Take a round into account."""
        if self.improves(evaluation):
            self.rounds.append(number)
            self.value = self._value(evaluation)

    def _value(self, evaluation: Mapping[str, Mapping[str, float]] | None) -> float | None:
        return (evaluation or {}).get(self.rule.on, {}).get(self.rule.metric) if self.rule else None
