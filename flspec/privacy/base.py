"""The interface of a kind of privacy: from what a spec asks for to a mechanism and the facts of its accounting."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from flspec.core.components import Component
from flspec.postprocessors import Postprocessor
from flspec.protocol.settings import PrivacySettings
from flspec.samplers import Sampling

__all__ = ["PlannedPrivacy", "Privacy"]


@dataclass(frozen=True)
class PlannedPrivacy:
    """What a plan holds of it."""

    mechanism: Postprocessor  # works on updates in every round
    facts: PrivacySettings  # what its releases are accounted for
    rounds: int  # as many of the spec's as the budget allows


class Privacy(Component, ABC):
    """A promise about how much a run tells about one client or one example."""

    @abstractmethod
    def planned(self, sampling: Sampling, num_clients: int, rounds: int) -> PlannedPrivacy:
        """Return the mechanism for a spec's cohorts, clients and rounds.

        Raises SpecError, with the way out, if the promise cannot be kept.
        """
