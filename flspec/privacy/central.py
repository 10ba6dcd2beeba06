"""Central differential privacy of clients: the server is trusted, what it publishes after each round is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from flspec.core.components import Document, OneOf
from flspec.errors import Problem, SpecError
from flspec.postprocessors.private_mean import PrivateMean, update_noise
from flspec.privacy.accountant import noise_multiplier_for, rounds_within, spent
from flspec.privacy.base import PlannedPrivacy, Privacy
from flspec.protocol.settings import PrivacySettings
from flspec.samplers import Sampling
from flspec.update_clips import UpdateClip


class Budget(Document):
    """When to stop."""

    epsilon: Annotated[float, Field(gt=0, description="the run ends before it costs more", examples=[2.0])]


class Central(Privacy):
    """Noise on the sum of clipped client updates (DP-FedAvg): what all rounds publish tells little about any client.

    Give the noise, or the epsilon that all rounds together may cost.
    """

    kind: Literal["central"] = "central"
    clip: Annotated[
        OneOf[UpdateClip], Field(description="bound on each client's update", examples=[{"kind": "fixed", "norm": 1.0}])
    ]
    noise_multiplier: Annotated[
        float | None,
        Field(ge=0, le=1e6, description="deviation of the noise on the sum, in units of the clip; or give epsilon"),
    ] = None
    epsilon: Annotated[
        float | None, Field(gt=0, le=1e3, description="what all rounds may cost; or give noise_multiplier")
    ] = None
    delta: Annotated[
        float,
        Field(gt=0, lt=1, description="probability that epsilon does not bound; below 1 / clients", examples=[1e-5]),
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

    def planned(self, sampling: Sampling, num_clients: int, rounds: int) -> PlannedPrivacy:
        facts = self._facts(sampling, num_clients)
        self._check(facts, num_clients)
        if self.epsilon is not None:
            facts = replace(facts, noise_multiplier=noise_multiplier_for(facts, rounds, self.epsilon))
        self._check_count(facts)
        allowed = self._affordable(facts, rounds)
        mechanism = PrivateMean(
            clip=self.clip,
            noise_multiplier=facts.noise_multiplier,
            clients=float(sampling.expected),
            noise_cohort=float(self.noise_cohort) if self.noise_cohort else None,
        )
        return PlannedPrivacy(mechanism, facts, allowed)

    def _affordable(self, facts: PrivacySettings, rounds: int) -> int:
        """Return how many of the rounds the budget allows."""
        if self.stop is None:
            return rounds
        if allowed := rounds_within(facts, rounds, self.stop.epsilon):
            return allowed
        one = spent(facts, 1).epsilon
        raise _problem(
            "stop", f"epsilon is {self.stop.epsilon:g}, but one round costs {one:.3g}; raise it or the noise"
        )

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
        if (self.noise_multiplier is None) == (self.epsilon is None):
            given = "both are given" if self.epsilon is not None else "neither is given"
            raise _problem("", f"needs noise_multiplier or epsilon, but {given}; keep one")
        if self.delta >= 1 / facts.population:
            raise _problem(
                "delta",
                f"is {self.delta:g}, not below 1 / {facts.population:,} clients, with which publishing one client's "
                f"data outright would be private; lower it below {1 / facts.population:.1g}",
            )
        if facts.population < num_clients:
            raise _problem("population", f"is {facts.population:,}, fewer than the {num_clients:,} clients; raise it")
        if facts.cohort > facts.population:
            raise _problem(
                "noise_cohort",
                f"is {facts.cohort:,.0f}, more than the {facts.population:,} clients; lower it or raise population",
            )

    def _check_count(self, facts: PrivacySettings) -> None:
        try:
            update_noise(facts.noise_multiplier, self.clip.count_noise(facts.cohort))
        except ValueError as error:
            raise _problem("clip", f"{error}; take larger cohorts, more noise_on_count or less noise") from None


def _scaled_most(sampling: Sampling, cohort: float) -> int | None:
    """Return the largest cohort, in the same proportion where a larger run's is accounted for."""
    return None if sampling.most is None else round(sampling.most * cohort / sampling.expected)


def _problem(field: str, message: str) -> SpecError:
    return SpecError([Problem(message, ".".join(filter(None, ("privacy", field))))])
