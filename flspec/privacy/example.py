"""Differential privacy of examples, by DP-SGD within each client: Abadi et al., CCS 2016, arXiv:1607.00133."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from flspec.privacy.accountant import spent
from flspec.privacy.base import ClientsWork, Noised, PlannedPrivacy, refused
from flspec.privacy.calibration import noise_multiplier_for
from flspec.privacy.local import Bound
from flspec.privacy.spending import dearest, example_charges
from flspec.protocol.settings import PrivacySettings, PrivateSteps


class Example(Noised):
    """Noise in each step of a client (DP-SGD): what a client sends tells little about any one of its examples.

    In every step each example takes part with probability batch_size / examples of the client. Its gradient is clipped
    by itself, and the sum gets noise. Epsilon is of one client's examples against all that it ever sends, the dearest
    client's; it says nothing about the client as a whole.
    """

    kind: Literal["example"] = "example"
    in_training = True
    clip: Annotated[Bound, Field(description="bound on each example's gradient", examples=[{"norm": 1.0}])]

    def planned(self, work: ClientsWork) -> PlannedPrivacy:
        acts = work.num_rounds > 0
        sizes, steps = work.num_examples[acts], (work.num_steps * work.num_rounds)[acts]
        if not len(sizes):  # Poisson cohorts can all be empty
            sizes, steps = work.num_examples, work.num_steps
        if too_large := list(self.delta_refusals("examples of a client", int(sizes.max()))):
            raise refused(too_large)
        facts = PrivacySettings(
            unit="example",
            noise_multiplier=self.noise_multiplier or 0.0,
            delta=self.delta,
            sampling="poisson",
            population=int(sizes.min()),
            cohort=float(work.batch_size),
            adjacency="add_or_remove",
            mechanism="example",
        )
        if self.epsilon is not None:
            facts = replace(facts, noise_multiplier=self._least_noise(example_charges(facts, sizes, steps)))

        def cost(rounds: int) -> float:
            num_steps = work.num_steps * work.num_rounds_of(rounds)
            return dearest(example_charges(facts, work.num_examples, num_steps)).spent.epsilon

        noised = PrivateSteps(self.clip.norm, facts.noise_multiplier, work.batch_size)
        return PlannedPrivacy(facts, self.affordable(cost, work.rounds), steps=noised)

    def _least_noise(self, charges: list[tuple[PrivacySettings, int]]) -> float:
        """Return the least noise with which no client's releases cost more than epsilon."""
        assert self.epsilon is not None
        noise = 0.0
        for of_client, releases in sorted(charges, key=lambda charge: -(charge[0].probability ** 2) * charge[1]):
            # Mostly the first needs most, and the others cost one evaluation each.
            enough = noise and spent(replace(of_client, noise_multiplier=noise), releases).epsilon <= self.epsilon
            noise = noise if enough else max(noise, noise_multiplier_for(of_client, releases, self.epsilon))
        return noise
