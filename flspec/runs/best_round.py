"""Which evaluated round is the best so far, by one metric on one set of examples."""

from __future__ import annotations

from collections.abc import Mapping

from flspec.metrics import find_metric
from flspec.protocol.settings import BestSettings

__all__ = ["BestSoFar", "is_lower_better"]


def is_lower_better(metric: str, on: str) -> bool:
    """Whether a metric's value on a set of examples should be low, as how far groups or clients are apart always is."""
    return on.endswith((" gap", "/gini")) or find_metric(metric).better == "lower"


class BestSoFar:
    """Told of each evaluated round in turn, it knows which were better than all before; of equal ones, the first is.

    `rule` is None where no best is asked for.
    """

    def __init__(self, rule: BestSettings | None) -> None:
        self.rule = rule
        self.rounds: list[int] = []  # each better than the ones before it
        self.value: float | None = None  # of the last of them

    def improves(self, evaluation: Mapping[str, Mapping[str, float]] | None) -> bool:
        """Whether a round so evaluated is better than all before; one without a value is not."""
        value = self._value(evaluation)
        if value is None or self.rule is None:
            return False
        if self.value is None:
            return True
        return value < self.value if is_lower_better(self.rule.metric, self.rule.on) else value > self.value

    def see(self, number: int, evaluation: Mapping[str, Mapping[str, float]] | None) -> None:
        """Count a round."""
        if self.improves(evaluation):
            self.rounds.append(number)
            self.value = self._value(evaluation)

    def _value(self, evaluation: Mapping[str, Mapping[str, float]] | None) -> float | None:
        return (evaluation or {}).get(self.rule.on, {}).get(self.rule.metric) if self.rule else None
