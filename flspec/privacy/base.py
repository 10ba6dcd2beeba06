"""The interface of a kind of privacy: from what a spec asks for to a mechanism and the facts of its accounting."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flspec.core.components import Component, Document
from flspec.errors import Problem, SpecError
from flspec.postprocessors import Postprocessor
from flspec.samplers import Sampling

if TYPE_CHECKING:
    from flspec.protocol.settings import PrivacySettings, PrivateSteps

__all__ = ["ClientsWork", "Noised", "PlannedPrivacy", "Privacy", "Refusal", "problem", "refused"]

Refusal = tuple[str, str]  # a field of the section `privacy`, or "" for all of it, and what is wrong, with a way out


@dataclass(frozen=True, eq=False)
class ClientsWork:
    """What the clients of a spec are to do: the cost of a promise rests on it."""

    sampling: Sampling
    rounds: int
    cohort: Callable[[int], NDArray[np.int64]]  # the clients of a round, from 1
    num_examples: NDArray[np.int64]  # [clients]
    num_steps: NDArray[np.int64]  # [clients]: in a round that a client is in
    batch_size: int  # examples a step

    @property
    def num_clients(self) -> int:
        return len(self.num_examples)

    @cached_property
    def num_rounds(self) -> NDArray[np.int64]:
        """[clients]: how many rounds each is in, one that draws it several times counted as often."""
        return self.num_rounds_of(self.rounds)

    def num_rounds_of(self, rounds: int) -> NDArray[np.int64]:
        """[clients]: the same of the first rounds. Draws no more cohorts than it was ever asked for."""
        self._drawn.extend(self.cohort(number) for number in range(len(self._drawn) + 1, rounds + 1))
        drawn = np.concatenate([np.zeros(0, np.int64), *self._drawn[:rounds]])
        return np.bincount(drawn, minlength=self.num_clients)

    @cached_property
    def _drawn(self) -> list[NDArray[np.int64]]:
        return []


@dataclass(frozen=True)
class PlannedPrivacy:
    """What a plan holds of it."""

    facts: PrivacySettings  # what its releases are accounted for
    rounds: int  # as many of the spec's as the budget allows
    mechanism: Postprocessor | None = None  # works on updates in every round
    steps: PrivateSteps | None = None  # how clients' steps are bounded and noised


class Privacy(Component, ABC):
    """A promise about how much a run tells about one client or one example."""

    in_training: ClassVar[bool] = False  # whether clients keep it while they train, whatever becomes of their updates

    seed: Annotated[
        Literal["planned", "secret"],
        Field(
            description="where the noise comes from: the spec's seed, which whoever has the spec knows, or a key that "
            "the system draws for each run, which none can repeat or certify"
        ),
    ] = "planned"

    def refusals(self, num_clients: int | None, sampling: Sampling | None) -> Iterator[Refusal]:
        """Yield what cannot be promised to so many clients, drawn so; None where that is not known yet.

        A spec is held to it when it is read, as far as its text tells, and again once its clients are known.
        """
        return iter(())

    @abstractmethod
    def planned(self, work: ClientsWork) -> PlannedPrivacy:
        """Return the mechanism for what a spec's clients are to do, without regard of `seed`.

        Raises SpecError, with the way out, if the promise cannot be kept.
        """


class Budget(Document):
    """When to stop."""

    epsilon: Annotated[
        float, Field(gt=0, description="the run ends before a round that would cost more", examples=[2.0])
    ]


class Noised(Privacy, ABC):
    """Privacy by Gaussian noise, of which a spec gives the size or what it may cost."""

    goes_with: ClassVar[dict[str, Any]] = {"privacy": {"epsilon": 2.0}}
    noise_multiplier: Annotated[
        float | None,
        Field(ge=0, le=1e6, description="deviation of the noise, in units of the clip; or give epsilon"),
    ] = None
    epsilon: Annotated[
        float | None, Field(gt=0, le=1e3, description="what all rounds may cost; or give noise_multiplier")
    ] = None
    delta: Annotated[
        float,
        Field(
            gt=0,
            lt=1,
            description="probability that epsilon does not bound; below 1 / the number of those it is to protect",
            examples=[1e-5],
        ),
    ]

    stop: Annotated[
        Budget | None, Field(description="budget of whoever pays most, at which to end; absent: all rounds are run")
    ] = None

    def refusals(self, num_clients: int | None, sampling: Sampling | None) -> Iterator[Refusal]:
        if (self.noise_multiplier is None) == (self.epsilon is None):
            given = "both are given" if self.epsilon is not None else "neither is given"
            yield "", f"needs noise_multiplier or epsilon, but {given}; keep one"
        if self.stop and self.noise_multiplier == 0.0:
            yield "stop", _too_dear(self.stop.epsilon, math.inf)

    def delta_refusals(self, units: str, population: int) -> Iterator[Refusal]:
        """Yield why delta is too large where there are so many `units` to protect."""
        if self.delta >= 1 / population:
            yield (
                "delta",
                f"is {self.delta:g}, not below 1 / {population:,} {units}, with which publishing the data of one of "
                f"them outright would be private; lower it below {_round_down(1 / population)}",
            )

    def affordable(self, cost: Callable[[int], float], rounds: int) -> int:
        """Return how many of the rounds the budget allows; `cost` is epsilon after so many, of whoever pays most.

        Raises SpecError if it allows none in which anything is released.
        """
        if self.stop is None:
            return rounds
        from flspec.privacy.calibration import rounds_within

        allowed = rounds_within(cost, rounds, self.stop.epsilon)
        if allowed < rounds and cost(allowed) == 0.0:
            raise problem("stop", _too_dear(self.stop.epsilon, cost(allowed + 1)))
        return allowed


def _too_dear(budget: float, cost: float) -> str:
    return f"epsilon is {budget:g}, but one round costs {cost:.3g}; raise it or the noise"


def _round_down(limit: float) -> str:
    """Return a number with one digit, never more than it is."""
    unit = 10.0 ** math.floor(math.log10(limit))
    return f"{math.floor(limit / unit) * unit:.1g}"


def problem(field: str, message: str) -> SpecError:
    """Return the error about a field of the section `privacy`."""
    return refused([(field, message)])


def refused(refusals: Iterable[Refusal]) -> SpecError:
    """Return the error that names all of these."""
    return SpecError([Problem(message, ".".join(filter(None, ("privacy", field)))) for field, message in refusals])
