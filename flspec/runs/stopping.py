"""Ending a run before its last planned round, as its spec's `stop` says.

What a round measured and sent decides, and that is recorded, so a resumed run goes on counting where it was. Only where
a wall clock decides may two runs of one plan end after different rounds; the result says so.
"""

from __future__ import annotations

from time import perf_counter
from typing import Literal

from flspec.protocol.plan import Plan
from flspec.protocol.records import Stopped

__all__ = ["Stopping"]


class Stopping:
    """The rounds so far against the rule: it sees each round in turn, and `stopped` is set at the one that is the last.

    A run ends only after a round that is evaluated, whose state is stored.
    """

    def __init__(self, plan: Plan) -> None:
        self.stopped: Stopped | None = None
        self._plan, self._rule = plan, plan.settings.stop
        self._seconds: float | None = (plan.spec.get("stop") or {}).get("seconds")
        self._bytes, self._stale = 0, 0  # so far; evaluated rounds in a row that were no better
        self._earlier, self._began = 0.0, perf_counter()

    def see(self, number: int, num_bytes: int, is_better: bool) -> None:
        """Take a round into account."""
        self._count(number, num_bytes, is_better)
        self.decide(number)

    def see_again(self, number: int, num_bytes: int, is_better: bool, seconds: float) -> None:
        """Take a round of an earlier attempt into account, and the seconds that it took then."""
        self._count(number, num_bytes, is_better)
        self._earlier += seconds

    def _count(self, number: int, num_bytes: int, is_better: bool) -> None:
        self._bytes += num_bytes
        if self._plan.keeps(number):
            self._stale = 0 if is_better else self._stale + 1

    def decide(self, number: int) -> None:
        """Decide whether the run goes on after this round, the last so far."""
        if 0 < number < self._plan.num_rounds and self._plan.keeps(number):
            self.stopped = self._why(number)

    def _why(self, number: int) -> Stopped | None:
        if self._rule and 0 < self._rule.patience <= self._stale:
            best = self._plan.settings.evaluation.best
            assert best is not None, "a spec with patience names a metric"
            why = f"{self._stale} evaluated rounds in a row had no better {best.on} {best.metric}"
            return self._at(number, "patience", f"{why} than the best before")
        if self._rule and 0 < self._rule.bytes <= self._bytes:
            return self._at(number, "bytes", f"{self._bytes:,} bytes were sent, of at most {self._rule.bytes:,}")
        passed = self._earlier + perf_counter() - self._began
        if self._seconds is not None and passed >= self._seconds:
            why = f"{passed:,.0f} s had passed, of at most {self._seconds:,.0f}"
            return self._at(number, "seconds", f"{why}; another run of this plan may end elsewhere")
        return None

    def _at(self, number: int, by: Literal["patience", "bytes", "seconds"], why: str) -> Stopped:
        return Stopped(round=number, planned=self._plan.num_rounds, by=by, why=why, reproducible=by != "seconds")
