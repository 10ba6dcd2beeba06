"""The interface of a sampler: which clients take part in a round."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from flspec.core.components import Component
from flspec.core.randomness import Stream

__all__ = ["Sampler", "Sampling", "why_too_large"]


@dataclass(frozen=True)
class Sampling:
    """How clients come into a cohort: what a privacy accountant may rely on."""

    kind: Literal[
        "everybody", "poisson", "truncated_poisson", "cyclic_poisson", "fixed_size", "with_replacement", "unknown"
    ]
    expected: float  # number of clients a round, each as often as it is drawn; a private mean divides by it
    most: int | None = None  # the largest cohort, if it is bounded
    groups: int = 1  # that take turns: a client comes at most once in so many rounds


class Sampler(Component, ABC):
    """A rule that chooses each round's cohort."""

    may_be_empty: ClassVar[bool] = False  # whether a round without clients is one of its rounds
    may_repeat: ClassVar[bool] = False  # whether a client may be drawn several times in a round

    @abstractmethod
    def cohort(self, num_clients: int, stream: Stream) -> NDArray[np.int64]:
        """Return the clients of one round, ascending, each as often as it is drawn.

        `stream` belongs to that round alone.
        """

    def cohort_of(self, number: int, num_clients: int, stream: Stream) -> NDArray[np.int64]:
        """Return the clients of round `number`, from 1; `stream` belongs to all cohorts of a run.

        For a sampler whose rounds depend on each other; the others have `cohort` alone.
        """
        return self.cohort(num_clients, stream.child(number))

    def for_clients(self, sizes: NDArray[np.int64], root: Path) -> Sampler:
        """Return this sampler with what it has to know of the clients of a run: how many examples each has.

        `root` is the folder of files that it names. Raises InputError.
        """
        return self

    def sampling(self, num_clients: int) -> Sampling:
        """Return how clients come into a cohort. Say "unknown" unless one of the other words is exactly true.

        An accountant then counts on nothing but that cohorts do not depend on data.
        """
        return Sampling("unknown", num_clients)

    def why_invalid(self, num_clients: int) -> str | None:
        """Return why no cohort can be drawn from `num_clients` clients, or None."""
        return None


def why_too_large(size: int, num_clients: int) -> str | None:
    """Return why no `size` different clients can be drawn, or None."""
    if size <= num_clients:
        return None
    return f"cohort.size is {size}, but partition.clients is {num_clients}; lower it or add clients"
