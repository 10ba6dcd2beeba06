"""Local differential privacy of clients: nobody is trusted, for each client noises what it sends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from flspec.core.components import Document
from flspec.postprocessors.private_update import PrivateUpdate
from flspec.privacy.accountant import spent
from flspec.privacy.base import ClientsWork, Noised, PlannedPrivacy, Refusal
from flspec.privacy.calibration import noise_multiplier_for
from flspec.protocol.settings import PrivacySettings
from flspec.samplers import Sampling
from flspec.update_clips.base import LARGEST_NORM, SMALLEST_NORM

__all__ = ["Bound", "Local"]


class Bound(Document):
    """A bound that stays the same: one that follows the data would have to be private itself."""

    norm: Annotated[
        float,
        Field(ge=SMALLEST_NORM, le=LARGEST_NORM, description="largest norm that stays unchanged", examples=[1.0]),
    ]


class Local(Noised):
    """Noise on each client's clipped update: even who sees every message learns little about any client.

    Any two updates are to look alike, so the sensitivity is twice the clip, and no client hides among others: a client
    pays for every round that it is in. Epsilon is the dearest client's. By the analytic Gaussian mechanism (Balle and
    Wang, ICML 2018, arXiv:1805.06530), which is exact, of all its rounds together.
    """

    kind: Literal["local"] = "local"
    goes_with: ClassVar[dict[str, Any]] = Noised.goes_with | {"aggregator": {"weighting": "uniform"}}
    clip: Annotated[Bound, Field(description="bound on each client's update", examples=[{"norm": 1.0}])]

    def refusals(self, num_clients: int | None, sampling: Sampling | None) -> Iterator[Refusal]:
        yield from super().refusals(num_clients, sampling)
        if num_clients:
            yield from self.delta_refusals("clients", num_clients)

    def planned(self, work: ClientsWork) -> PlannedPrivacy:
        facts = PrivacySettings(
            unit="client",
            noise_multiplier=self.noise_multiplier or 0.0,
            delta=self.delta,
            sampling="unknown",  # nothing is gained by it
            population=work.num_clients,
            cohort=float(work.num_clients),
            adjacency="replace",
            mechanism="local",
        )
        if self.epsilon is not None:
            busiest = int(work.num_rounds.max())
            facts = replace(facts, noise_multiplier=noise_multiplier_for(facts, max(busiest, 1), self.epsilon))

        def cost(rounds: int) -> float:
            return spent(facts, int(work.num_rounds_of(rounds).max())).epsilon

        mechanism = PrivateUpdate(norm=self.clip.norm, noise_multiplier=facts.noise_multiplier)
        return PlannedPrivacy(facts, self.affordable(cost, work.rounds), mechanism)
