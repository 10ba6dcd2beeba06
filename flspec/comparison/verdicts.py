"""Certificates as documents: the verdict on each backend, and what it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from flspec.comparison.agreement import Agreement, Divergence
from flspec.core.components import Document
from flspec.core.text import first_steps_in_words, join_all
from flspec.protocol.records import NativeRecord

__all__ = ["DEFINITION", "NOT_CERTIFIED", "BackendVerdict", "Certificate", "Diagnosis", "Explanation", "Verdict"]

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


class Explanation(Document):
    """A known cause that gives a backend's weights."""

    cause: str
    words: str  # what is done otherwise
    left: float  # share of the difference that it leaves, rounding included


class Diagnosis(Document):
    """Where a backend differs first, and what would explain it."""

    round: int
    client: int | None = None  # whose training differs by itself; None: no client's does, or it was not found
    others_too: bool = False  # other clients' training does, too
    step: int | None = None  # of that client's task, the first after which it differs
    tensor: str | None = None
    causes: tuple[Explanation, ...] = ()  # the nearest first; empty: none that is known
    tried: int = 0  # causes
    note: str | None = None  # why no more is known

    @property
    def in_words(self) -> str:
        """Say where and why."""
        client = (
            None if self.client is None else f"client {self.client}{' and others' if self.others_too else ' alone'}"
        )
        step = None if self.step is None else f"from step {self.step} on"
        where = ", ".join(filter(None, (f"round {self.round}", client, step, self.tensor)))
        why = " or ".join(f"{one.cause} ({one.words}; leaves {one.left:.2g} of the difference)" for one in self.causes)
        unknown = f"cause unknown: none of {self.tried} known ones gives its weights" if self.tried else None
        return "; ".join(filter(None, (f"differs first in {where}", why or unknown, self.note)))


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
    diagnosis: Diagnosis | None = None  # with the verdict "different", if it was looked for
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
