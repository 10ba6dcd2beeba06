"""Certificates as documents: the verdict on each backend, and what it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from flspec.comparison.agreement import Agreement, Divergence
from flspec.core.components import Document
from flspec.core.text import first_steps_in_words, join_all
from flspec.protocol.records import NativeRecord

__all__ = ["DEFINITION", "NOT_CERTIFIED", "BackendVerdict", "Certificate", "Verdict"]

Verdict = Literal["equivalent", "different", "inconclusive", "native", "refused", "failed"]

NOT_COMPARED = (
    "every backend is given the same plan, data, transforms and schedules and one definition of a client algorithm, "
    "and one evaluator measures all models, so no comparison of backends checks these"
)
DEFINITION = "flspec's definition"  # the reference of algorithms that are native to each backend
NOT_CERTIFIED = (
    "with aggregator.implementation: native each backend runs another algorithm by intent, so how far it is from the "
    "definition was measured and nothing is certified; certify without it"
)


class BackendVerdict(Document):
    """The verdict on one backend."""

    verdict: Verdict
    lockstep: Agreement | None = None
    free_running: Agreement | None = None
    first_divergence: Divergence | None = None  # in lockstep
    reason: str | None = None
    bitwise: bool = False  # in the free run, every round's state equals the reference's to the last bit
    independent: tuple[str, ...] = ()  # stages of a round that this backend does with other code than the reference
    shared: dict[str, str] = Field(default_factory=dict)  # stages that the same code does for both, and whose it is
    native: NativeRecord | None = None  # with the verdict "native": another algorithm by intent, and how far it is

    @property
    def caveat(self) -> str | None:
        """Which round shows least, if a deviation of a hundredth of its movement could hide there."""
        if self.lockstep is None or self.lockstep.bitwise or not (found := self.lockstep.resolution).has_coarse_round:
            return None
        return (
            f"round {found.worst_round} could hide a deviation of {found.worst:.0%} of what it learns, half of the "
            f"rounds less than {found.median:.1g}"
        )

    @property
    def resolves(self) -> str | None:
        """Say how small a deviation would have shown; None where nothing was compared or all bits are the same."""
        if self.lockstep is None or self.lockstep.bitwise:
            return None
        found = self.lockstep.resolution
        return (
            f"half of the rounds resolve {found.median:.1g} of what they learn, the worst, round {found.worst_round}, "
            f"{found.worst:.1g}"
        )

    def scope(self, reference: str) -> str:
        """Say what the comparison with the reference checks: the stages of a round that each does by its own code."""
        if not (self.independent or self.shared):
            return f"it does not declare whose code does its rounds, so what it shares with {reference} is not known"
        own = (
            f"agreement checks {join_all(self.independent)}"
            if self.independent
            else "agreement checks no stage of a round"
        )
        same = [f"{stage} ({whose})" for stage, whose in self.shared.items()]
        return (
            f"{own}; {join_all(same)} {_are(same)} the same code as {reference}'s"
            if same
            else f"{own}, all by own code"
        )


class Certificate(Document):
    """The verdicts on the backends that executed one plan."""

    schema_version: Literal[1] = 1
    name: str
    plan_digest: str
    reference: str
    tolerance: str
    not_compared: str = NOT_COMPARED
    rounds: int
    first_steps: int | None = None  # of each task, which is all that was executed; None: whole tasks
    device: str = "cpu"  # that every backend trained on, with its card
    backends: dict[str, BackendVerdict]

    @property
    def is_equivalent(self) -> bool:
        """Whether every requested backend carried out the plan."""
        return all(verdict.verdict == "equivalent" for verdict in self.backends.values())

    @property
    def remarks(self) -> dict[str, str]:
        """What the comparison with the reference checks and resolves, by backend; none if nothing was compared."""
        if self.reference == DEFINITION:
            return {}
        return {
            name: "; ".join(filter(None, (verdict.scope(self.reference), verdict.resolves)))
            for name, verdict in self.backends.items()
        }

    @property
    def extent(self) -> str:
        """Say of what part of each task the verdicts are, and on which device: empty if of all, on the CPU."""
        on = "" if self.device == "cpu" else f"on {self.device}"
        return ", ".join(filter(None, (first_steps_in_words(self.first_steps), on)))


def _are(words: Sequence[str]) -> str:
    return "is" if len(words) == 1 else "are"
