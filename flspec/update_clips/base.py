"""The interface of an update clip: the norm that a round bounds updates by, and the next round's."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

from flspec.core.components import Component, broken_promise
from flspec.errors import RunError, shorten

__all__ = ["LARGEST_NORM", "SMALLEST_NORM", "UpdateClip", "first_norm", "next_norm"]

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


def first_norm(clip: UpdateClip) -> float:
    """Return the bound of the first round. Raises RunError if it is none."""
    return _norm(clip, "first_norm", clip.first_norm)


def next_norm(clip: UpdateClip, norm: float, share_within: float) -> float:
    """Return the next round's bound. Raises RunError if it is none."""
    return _norm(clip, "next_norm", clip.next_norm(norm, share_within))


def _norm(clip: UpdateClip, method: str, given: object) -> float:
    try:
        norm = float(given)  # type: ignore[arg-type]  # a part may give anything
    except (TypeError, ValueError):
        norm = math.nan
    if not SMALLEST_NORM <= norm <= LARGEST_NORM:
        what = f"gave {shorten(str(given), 60)}, not a norm from {SMALLEST_NORM:g} to {LARGEST_NORM:g}"
        raise RunError(broken_promise(clip, method, what))
    return norm
