"""Central differential privacy of clients: the server is trusted, what it publishes after each round is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PositiveInt

from flspec.core.components import Document, OneOf
from flspec.postprocessors.private_mean import PrivateMean, update_noise
from flspec.privacy.accountant import noise_multiplier_for, rounds_within, spent
from flspec.privacy.base import ClientsWork, Noised, PlannedPrivacy, problem
from flspec.protocol.settings import PrivacySettings
from flspec.samplers import Sampling
from flspec.update_clips import UpdateClip


class Budget(Document):
    """When to stop."""

    epsilon: Annotated[float, Field(gt=0, description="the run ends before it costs more", examples=[2.0])]


class Central(Noised):
    """Noise on the sum of clipped client updates (DP-FedAvg): what all rounds publish tells little about any client.

    Give the noise, or the epsilon that all rounds together may cost.
    """

    kind: Literal["central"] = "central"
    goes_with: ClassVar[dict[str, Any]] = {"aggregator": {"weighting": "uniform"}}
    clip: Annotated[
        OneOf[UpdateClip], Field(description="bound on each client's update", examples=[{"kind": "fixed", "norm": 1.0}])
    ]
    population: Annotated[
        PositiveInt | None,
        Field(description="clients to account for, if there were more than these; the result says that it is claimed"),
    ] = None
    noise_cohort: Annotated[
        PositiveInt | None,
        Field(
            description="expected cohort to account for and to scale the noise by, if that run's were larger; the "
            "result says that it is simulated"
        ),
    ] = None
    stop: Annotated[Budget | None, Field(description="budget at which to end; absent: all rounds are run")] = None

    def planned(self, work: ClientsWork) -> PlannedPrivacy:
        sampling, num_clients, rounds = work.sampling, work.num_clients, work.rounds
        facts = self._facts(sampling, num_clients)
        self._check(facts, num_clients)
        self._check_cohort(sampling, facts)
        if self.epsilon is not None:
            facts = replace(facts, noise_multiplier=noise_multiplier_for(facts, rounds, self.epsilon))
        self._check_count(facts, float(self.noise_cohort or sampling.expected))
        allowed = self._affordable(facts, rounds)
        mechanism = PrivateMean(
            clip=self.clip,
            noise_multiplier=facts.noise_multiplier,
            clients=float(sampling.expected),
            noise_cohort=float(self.noise_cohort) if self.noise_cohort else None,
        )
        return PlannedPrivacy(facts, allowed, mechanism)

    def _affordable(self, facts: PrivacySettings, rounds: int) -> int:
        """Return how many of the rounds the budget allows."""
        if self.stop is None:
            return rounds
        if allowed := rounds_within(facts, rounds, self.stop.epsilon):
            return allowed
        one = spent(facts, 1).epsilon
        raise problem("stop", f"epsilon is {self.stop.epsilon:g}, but one round costs {one:.3g}; raise it or the noise")

    def _facts(self, sampling: Sampling, num_clients: int) -> PrivacySettings:
        population, cohort = self.population or num_clients, float(self.noise_cohort or sampling.expected)
        everybody = sampling.kind == "everybody"
        return PrivacySettings(
            unit="client",
            noise_multiplier=self.noise_multiplier or 0.0,
            delta=self.delta,
            sampling=sampling.kind,
            population=population,
            cohort=float(population) if everybody else cohort,
            adjacency="add_or_remove" if sampling.kind in ("everybody", "poisson", "truncated_poisson") else "replace",
            most=_scaled_most(sampling, cohort),
            claimed_population=self.population is not None and self.population != num_clients,
            simulated_cohort=self.noise_cohort is not None and self.noise_cohort != sampling.expected,
        )

    def _check(self, facts: PrivacySettings, num_clients: int) -> None:
        self.check_noise("clients", facts.population)
        if facts.population < num_clients:
            raise problem("population", f"is {facts.population:,}, fewer than the {num_clients:,} clients; raise it")

    def _check_cohort(self, sampling: Sampling, facts: PrivacySettings) -> None:
        """Raise SpecError unless a cohort that is accounted for is one that a larger run could have."""
        if (cohort := self.noise_cohort) is None:
            return
        if cohort < sampling.expected:
            few = f"is {cohort:,}, but a round has {sampling.expected:,.0f} clients"
            raise problem("noise_cohort", f"{few}; it is for larger cohorts than these: raise it or leave it out")
        if cohort > facts.population:
            many = f"is {cohort:,}, more than the {facts.population:,} clients"
            raise problem("noise_cohort", f"{many}; lower it or raise population")
        if sampling.kind == "everybody" and cohort != facts.population:
            part = f"is {cohort:,} of {facts.population:,} clients, but cohort: all has every client in each round"
            raise problem("noise_cohort", f"{part}; take cohort: {{kind: poisson}}, or population: {cohort}")

    def _check_count(self, facts: PrivacySettings, cohort: float) -> None:
        try:
            update_noise(facts.noise_multiplier, self.clip.count_noise(cohort))
        except ValueError as error:
            raise problem("clip", f"{error}; take larger cohorts, more noise_on_count or less noise") from None


def _scaled_most(sampling: Sampling, cohort: float) -> int | None:
    """Return the largest cohort, in the same proportion where a larger run's is accounted for."""
    return None if sampling.most is None else round(sampling.most * cohort / sampling.expected)
