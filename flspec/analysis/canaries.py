"""Trials of a plan's private mean or of its clients' noise, each with a canary of its own, and no training.

The canary sends the worst update there is, far beyond the bound in one direction. Trials are coordinates: the noise of
a round is drawn for all of them in one call, as for the values of a weight.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from flspec.core.randomness import Stream
from flspec.core.round_streams import RoundStreams
from flspec.execution.postprocessing import named_postprocessors, stream_of, stream_of_update
from flspec.postprocessors import Combined, Postprocessor
from flspec.postprocessors.private_mean import PrivateMean, update_noise
from flspec.postprocessors.private_update import PrivateUpdate
from flspec.privacy.spending import num_rounds_of
from flspec.protocol.named_records import Weights
from flspec.protocol.plan import Plan
from flspec.protocol.settings import PrivacySettings
from flspec.protocol.updates import ClientUpdate, Delta, weighted_sum
from flspec.samplers import Sampler

__all__ = ["BEYOND", "Canaries", "CanariesInCohorts", "CanariesThatReport", "Floats", "coin", "log_ratio"]

BEYOND = 1e3  # the norm of what a canary gives, in units of the bound

Floats = NDArray[np.float64]
P = TypeVar("P", bound=Postprocessor)
_MOST_TIMES = 60  # that a client is drawn in a round; more happen in no trial


class Canaries(ABC):
    """Many canaries, one a trial, in all releases that a plan is accounted for."""

    @abstractmethod
    def statistics(self, direction: float, stream: Stream) -> Floats:
        """Return [trials] log likelihood ratios, summed over releases, of canaries that give `direction`; 0: none."""


def log_ratio(released: Floats, noise: float, chances: Floats, adjacency: str) -> Floats:
    """Return the log likelihood ratio of a release, in units of the bound, with Gaussian noise of this deviation.

    `chances` has the probability with which the canary is in it k times, at k, and adds k. Without the canary nothing
    is added, or where it is replaced, -k.
    """
    ratio = _log_of_mixture(released, noise, chances)
    return ratio - _log_of_mixture(-released, noise, chances) if adjacency == "replace" else ratio


def coin(probability: float) -> Floats:
    """Return the chances of a canary that is in a release or not."""
    probability = min(probability, 1.0)
    return np.array([1.0 - probability, probability])


def _log_of_mixture(released: Floats, noise: float, chances: Floats) -> Floats:
    """Return log sum_k P(k) exp((k released - k^2 / 2) / noise^2), of each of [trials]."""
    times = np.arange(len(chances))[:, None]
    with np.errstate(divide="ignore"):
        terms = np.log(chances)[:, None] + (times * released - times**2 / 2) / noise**2
    return np.asarray(np.logaddexp.reduce(terms, axis=0))


class CanariesInCohorts(Canaries):
    """Clients that are in cohorts or not, seen through the mean that a server releases after each round.

    One other client replies, with zeros and the least weight. The sampler draws each trial's cohorts.
    """

    def __init__(self, plan: Plan, sampler: Sampler, facts: PrivacySettings, trials: int) -> None:
        self._plan, self._sampler, self._facts, self._trials = plan, sampler, facts, trials
        self._name, self._part = _mechanism(plan, PrivateMean)
        self._heaviest, self._lightest = (float(pick(plan.arrays["task_weights"])) for pick in (np.max, np.min))

    def statistics(self, direction: float, stream: Stream) -> Floats:
        # Trials in groups, with other noise each, by how often the canary is in a round.
        plans, record, ratios, chances = (
            dict[int, Plan](),
            self._part.initial_record(),
            np.zeros(self._trials),
            self._chances,
        )
        for number in range(1, self._plan.num_rounds + 1):
            times, released = self._times(direction, stream.child("cohort", number)), np.empty(self._trials)
            unit, before = float(record["clip"]) / self._part.clients, record
            for group in map(int, np.unique(times)):
                if group not in plans:
                    plans[group] = with_noise_of(self._plan, stream.child("noise", group))
                sent, trials = [direction] * group, times == group
                noise = stream_of(plans[group], number, self._name)
                released[trials], record = self._release(sent, before, int(trials.sum()), noise)
            ratios += log_ratio(released / unit, self._noise_in_units, chances, self._facts.adjacency)
        return ratios

    @property
    def _chances(self) -> Floats:
        if self._facts.sampling != "with_replacement":
            return coin(self._facts.probability)
        from scipy.stats import binom

        draws = round(self._facts.cohort)
        return np.asarray(binom.pmf(np.arange(min(draws, _MOST_TIMES) + 1), draws, 1 / self._facts.population))

    @property
    def _noise_in_units(self) -> float:
        """The deviation of the noise on the mean, in units of what one client can change it by."""
        cohort = self._part.noise_cohort or self._part.clients
        on_updates = update_noise(self._part.noise_multiplier, self._part.clip.count_noise(cohort))
        return on_updates * self._part.clients / cohort

    def _times(self, direction: float, stream: Stream) -> NDArray[np.int64]:
        """Return how often the canary is in a round's cohort, of each of [trials]."""
        times, num_clients = np.zeros(self._trials, np.int64), self._plan.num_clients
        if not direction:
            return times
        # Where each client has a coin of its own, every client of a draw is the canary of another trial.
        at_once = num_clients if self._facts.sampling in ("everybody", "poisson") else 1
        for start in range(0, self._trials, at_once):
            cohort = self._sampler.cohort(num_clients, stream.child(start))
            np.add.at(times, start + cohort[cohort < min(at_once, self._trials - start)], 1)
        return times

    def _release(
        self, directions: Sequence[float], record: Weights, count: int, noise: Stream
    ) -> tuple[Floats, Weights]:
        """Return the mean update that a round releases, [count], and the next round's record."""
        norm = BEYOND * float(record["clip"])
        sent: list[tuple[Delta, float]] = [
            *(({"canary": np.full(1, direction * norm)}, self._heaviest) for direction in directions),
            ({"canary": np.zeros(1)}, self._lightest),
        ]
        total, sums = sum(weight for _, weight in sent), Counter[str]()
        for delta, _ in sent:
            sums.update(self._part.measure(delta, record))
        bounded = [
            ClientUpdate(client, self._part.on_each(delta, record, noise), weight, 1, {})
            for client, (delta, weight) in enumerate(sent)
        ]
        mean: Delta = {name: np.repeat(value, count) for name, value in weighted_sum(bounded, total).items()}
        combined = Combined(mean, len(sent), total, record, sums, streams=RoundStreams(1, lambda _: noise))
        after, record = self._part.on_combined(combined, noise)
        return after["canary"], record


class CanariesThatReport(Canaries):
    """Clients that noise what they send, seen by a server that reads each report of the one that is in most rounds."""

    def __init__(self, plan: Plan, trials: int) -> None:
        self._plan, self._trials = plan, trials
        self._name, self._part = _mechanism(plan, PrivateUpdate)
        self._client = int(num_rounds_of(plan, plan.num_rounds).argmax())

    def statistics(self, direction: float, stream: Stream) -> Floats:
        # An update of n values, each of them C, has the norm sqrt(n) C. So with that bound, and as much noise on each
        # value as before, an update of many trials is bounded and noised as each of them would be alone.
        root, plan = self._trials**0.5, with_noise_of(self._plan, stream.child("noise"))
        noise = self._part.noise_multiplier
        part = self._part.model_copy(update={"norm": self._part.norm * root, "noise_multiplier": noise / root})
        sent: Delta = {"canary": np.full(self._trials, direction * BEYOND * self._part.norm)}
        ratios = np.zeros(self._trials)
        for number, repeat in _reports_of(plan, self._client):
            received = part.on_each(sent, {}, stream_of_update(plan, number, self._client, self._name, repeat))
            ratios += log_ratio(received["canary"] / self._part.norm, noise, coin(1.0), "replace")
        return ratios


def with_noise_of(plan: Plan, stream: Stream) -> Plan:
    """Return the plan with other seeds of noise, and if they are secret with another key."""
    words = stream.words(plan.num_rounds + 4)
    seeds = (words[4:] >> np.uint64(2)).astype(np.int64)
    return replace(plan, arrays={**plan.arrays, "round_seeds": seeds}, noise_key=words[:4].tobytes())


def _mechanism(plan: Plan, cls: type[P]) -> tuple[str, P]:
    """Return a plan's private postprocessor, with the name of its record."""
    parts = named_postprocessors(plan).items()
    return next((name, part) for name, part in parts if isinstance(part, cls))


def _reports_of(plan: Plan, client: int) -> list[tuple[int, int]]:
    """Return the round of each update that a client sends, and how many it has sent in that round before."""
    return [
        (number, task.repeat)
        for number in range(1, plan.num_rounds + 1)
        for task in plan.cohort(number)
        if task.client == client
    ]
