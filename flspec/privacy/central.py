"""Central differential privacy of clients: the server is trusted, what it publishes after each round is not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PositiveInt

from flspec.core.components import OmitDefaults, OneOf
from flspec.noise_matrices import NoiseMatrix
from flspec.noise_matrices.independent import Independent
from flspec.postprocessors.private_mean import PrivateMean, update_noise
from flspec.privacy.accountant import spent
from flspec.privacy.base import ClientsWork, Noised, PlannedPrivacy, Refusal, refused
from flspec.privacy.calibration import noise_multiplier_for
from flspec.protocol.settings import PrivacySettings
from flspec.samplers import Sampling
from flspec.update_clips import UpdateClip
from flspec.update_clips.fixed import Fixed

_ADDED_OR_REMOVED = ("everybody", "poisson", "truncated_poisson", "cyclic_poisson", "with_replacement")


class Central(Noised, OmitDefaults):
    """Noise on the sum of clipped client updates (DP-FedAvg): what all rounds publish tells little about any client.

    Give the noise, or the epsilon that all rounds together may cost.
    """

    kind: Literal["central"] = "central"
    omitted: ClassVar[dict[str, Any]] = {"noise": {"kind": "independent"}}
    goes_with: ClassVar[dict[str, Any]] = Noised.goes_with | {"aggregator": {"weighting": "uniform"}}
    clip: Annotated[
        OneOf[UpdateClip], Field(description="bound on each client's update", examples=[{"kind": "fixed", "norm": 1.0}])
    ]
    noise: Annotated[
        OneOf[NoiseMatrix], Field(description="how the noise of a round follows from that of earlier ones")
    ] = Independent()
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

    def refusals(self, num_clients: int | None, sampling: Sampling | None) -> Iterator[Refusal]:
        yield from super().refusals(num_clients, sampling)
        if population := self.population or num_clients:
            yield from self.delta_refusals("clients", population)
            yield from self._cohort_refusals(population, sampling)
        yield from self._matrix_refusals(sampling)
        if num_clients and population and population < num_clients:
            yield "population", f"is {population:,}, fewer than the {num_clients:,} clients; raise it"
        expected = self.noise_cohort or (sampling and sampling.expected)
        if self.noise_multiplier is not None and expected:
            yield from self._count_refusals(self.noise_multiplier, float(expected))

    def planned(self, work: ClientsWork) -> PlannedPrivacy:
        sampling, num_clients, rounds = work.sampling, work.num_clients, work.rounds
        facts = self._facts(sampling, num_clients)
        if self.epsilon is not None:
            facts = replace(facts, noise_multiplier=noise_multiplier_for(facts, rounds, self.epsilon))
            expected = float(self.noise_cohort or sampling.expected)
            if too_noisy := list(self._count_refusals(facts.noise_multiplier, expected)):
                raise refused(too_noisy)
        allowed = self.affordable(lambda number: spent(facts, number).epsilon, rounds)
        mechanism = PrivateMean(
            clip=self.clip,
            noise_multiplier=facts.noise_multiplier,
            clients=float(sampling.expected),
            noise_cohort=float(self.noise_cohort) if self.noise_cohort else None,
            noise_matrix=self.noise,
        )
        return PlannedPrivacy(facts, allowed, mechanism)

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
            adjacency="add_or_remove" if sampling.kind in _ADDED_OR_REMOVED else "replace",
            most=_scaled_most(sampling, cohort),
            groups=sampling.groups,
            correlation=self.noise.in_words,
            claimed_population=self.population is not None and self.population != num_clients,
            simulated_cohort=self.noise_cohort is not None and self.noise_cohort != sampling.expected,
        )

    def _cohort_refusals(self, population: int, sampling: Sampling | None) -> Iterator[Refusal]:
        """Yield why a cohort that is accounted for is none that a larger run could have."""
        if (cohort := self.noise_cohort) is None:
            return
        if sampling and cohort < sampling.expected:
            few = f"is {cohort:,}, but a round has {sampling.expected:,.0f} clients"
            yield "noise_cohort", f"{few}; it is for larger cohorts than these: raise it or leave it out"
        elif sampling and cohort * sampling.groups > population > cohort:
            many = f"is {cohort:,} in {sampling.groups} groups, more than the {population:,} clients"
            yield "noise_cohort", f"{many}; lower it or raise population"
        elif cohort > population and not (sampling and sampling.kind == "with_replacement"):
            many = f"is {cohort:,}, more than the {population:,} clients"
            yield "noise_cohort", f"{many}; lower it or raise population"
        elif sampling and sampling.kind == "everybody" and cohort != population:
            part = f"is {cohort:,} of {population:,} clients, but cohort: all has every client in each round"
            yield "noise_cohort", f"{part}; take cohort: {{kind: poisson}}, or population: {cohort}"

    def _matrix_refusals(self, sampling: Sampling | None) -> Iterator[Refusal]:
        """Yield why the noise of rounds that hang together would not cover these."""
        if self.noise.in_words and not isinstance(self.clip, Fixed):
            moving = "is not fixed, but noise that later rounds take back needs the same scale in all"
            yield "clip", f"{moving}; take kind: fixed, or noise: {{kind: independent}}"
        for field, message in self.noise.refusals(sampling) if sampling else ():
            yield ".".join(filter(None, ("noise", field))), message

    def _count_refusals(self, noise_multiplier: float, cohort: float) -> Iterator[Refusal]:
        """Yield why the noise on the count of clients within an adaptive bound leaves none for the updates."""
        try:
            update_noise(noise_multiplier, self.clip.count_noise(cohort))
        except ValueError as error:
            yield "clip", f"{error}; take larger cohorts, more noise_on_count or less noise"


def _scaled_most(sampling: Sampling, cohort: float) -> int | None:
    """Return the largest cohort, in the same proportion where a larger run's is accounted for."""
    return None if sampling.most is None else round(sampling.most * cohort / sampling.expected)
