"""The interface of a kind of privacy: from what a spec asks for to a mechanism and the facts of its accounting."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flspec.core.components import Component
from flspec.errors import Problem, SpecError
from flspec.postprocessors import Postprocessor
from flspec.protocol.settings import PrivacySettings, PrivateSteps
from flspec.samplers import Sampling

__all__ = ["ClientsWork", "Noised", "PlannedPrivacy", "Privacy", "problem"]


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
        """[clients]: the number of rounds that each is in."""
        times = np.zeros(self.num_clients, np.int64)
        for number in range(1, self.rounds + 1):
            times[self.cohort(number)] += 1
        return times


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

    @abstractmethod
    def planned(self, work: ClientsWork) -> PlannedPrivacy:
        """Return the mechanism for what a spec's clients are to do, without regard of `seed`.

        Raises SpecError, with the way out, if the promise cannot be kept.
        """


class Noised(Privacy, ABC):
    """Privacy by Gaussian noise, of which a spec gives the size or what it may cost."""

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

    def check_noise(self, units: str, population: int) -> None:
        """Raise SpecError unless one of noise and epsilon is given, and delta is small for so many `units`."""
        if (self.noise_multiplier is None) == (self.epsilon is None):
            given = "both are given" if self.epsilon is not None else "neither is given"
            raise problem("", f"needs noise_multiplier or epsilon, but {given}; keep one")
        if self.delta >= 1 / population:
            raise problem(
                "delta",
                f"is {self.delta:g}, not below 1 / {population:,} {units}, with which publishing the data of one of "
                f"them outright would be private; lower it below {_round_down(1 / population)}",
            )


def _round_down(limit: float) -> str:
    """Return a number with one digit, never more than it is."""
    unit = 10.0 ** math.floor(math.log10(limit))
    return f"{math.floor(limit / unit) * unit:.1g}"


def problem(field: str, message: str) -> SpecError:
    """Return the error about a field of the section `privacy`."""
    return SpecError([Problem(message, ".".join(filter(None, ("privacy", field))))])
