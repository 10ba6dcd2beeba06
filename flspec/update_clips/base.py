"""The interface of an update clip: the norm that a round bounds updates by, and the next round's."""

from __future__ import annotations

from abc import ABC, abstractmethod

from flspec.core.components import Component

__all__ = ["LARGEST_NORM", "SMALLEST_NORM", "UpdateClip"]

SMALLEST_NORM, LARGEST_NORM = 1e-30, 1e12  # a record holds a norm in float32, and noise is a multiple of it


class UpdateClip(Component, ABC):
    """A bound on the Euclidean norm of each client's whole update: all tensors together, in float64."""

    @property
    @abstractmethod
    def first_norm(self) -> float:
        """The bound in the first round."""

    def count_noise(self, cohort: float) -> float | None:
        """Return the standard deviation of the noise on the number of clients within the bound; None if it is not
        counted. `cohort` is the expected number of clients a round.
        """
        return None

    def next_norm(self, norm: float, share_within: float) -> float:
        """Return the next round's bound, from this round's and the noised share of the cohort within it."""
        return norm
