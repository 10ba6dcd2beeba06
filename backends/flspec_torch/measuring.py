"""The metrics of one client's training, added up over its steps."""

from __future__ import annotations

from collections.abc import Iterable, KeysView, Sequence

__all__ = ["Measured"]


class Measured:
    """Sums by a metric's name, and the number of examples that each is over."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._rows: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self._sums)

    @property
    def names(self) -> KeysView[str]:
        return self._sums.keys()

    def add(self, name: str, total: float, rows: int) -> None:
        """Add a sum over the `rows` examples of a step."""
        self._sums[name] = self._sums.get(name, 0.0) + total
        self._rows[name] = self._rows.get(name, 0) + rows

    def extend(self, name: str, totals: Iterable[float], rows: Sequence[int]) -> None:
        """Add the sums of several steps, one after the other: not by `sum`, which rounds otherwise."""
        added = self._sums.get(name, 0.0)
        for total in totals:
            added += total
        self._sums[name] = added
        self._rows[name] = self._rows.get(name, 0) + sum(rows)

    def sums(self, num_trained: int) -> dict[str, float]:
        """Return each sum as if it were over all `num_trained` examples: a phase need not take place in every step."""
        return {
            name: total if self._rows[name] == num_trained else total / self._rows[name] * num_trained
            for name, total in self._sums.items()
        }
