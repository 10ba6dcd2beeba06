"""Trials of a plan's private mean or of its clients' noise, each with a canary of its own, and no training.

The canary sends the worst update there is, far beyond the bound in one direction. Trials are coordinates: the noise of
a round is drawn for all of them in one call, as for the values of a weight.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from flspec.core.randomness import Stream
from flspec.execution.server_step import named_postprocessors, stream_of, stream_of_update
from flspec.postprocessors import Combined, Postprocessor
from flspec.postprocessors.private_mean import PrivateMean, update_noise
from flspec.postprocessors.private_update import PrivateUpdate
from flspec.privacy.spending import num_rounds_of
from flspec.protocol.named_records import Weights
from flspec.protocol.plan import Plan
from flspec.protocol.settings import PrivacySettings
from flspec.protocol.updates import ClientUpdate, Delta, weighted_sum
from flspec.samplers import Sampler

__all__ = ["BEYOND", "Canaries", "CanariesInCohorts", "CanariesThatReport", "Floats", "log_ratio"]

BEYOND = 1e3  # the norm of what a canary gives, in units of the bound

Floats = NDArray[np.float64]
P = TypeVar("P", bound=Postprocessor)


class Canaries(ABC):
    """Many canaries, one a trial, in all releases that a plan is accounted for."""

    @abstractmethod
    def statistics(self, direction: float, stream: Stream) -> Floats:
        """Return [trials] log likelihood ratios, summed over releases, of canaries that give `direction`; 0: none."""


def log_ratio(released: Floats, noise: float, probability: float, adjacency: str) -> Floats:
    """Return the log likelihood ratio of a release, in units of the bound, with Gaussian noise of this deviation.

    With the probability the canary is in it, with 1. Without the canary nothing is, or where it is replaced, -1.
    """
    with np.errstate(divide="ignore"):
        absent, drawn = np.log1p(-min(probability, 1.0)), np.log(min(probability, 1.0))
    ratio: Floats = np.logaddexp(absent, drawn + (released - 0.5) / noise**2)
    if adjacency == "replace":
        ratio -= np.logaddexp(absent, drawn - (released + 0.5) / noise**2)
    return ratio


class CanariesInCohorts(Canaries):
    """Clients that are in cohorts or not, seen through the mean that a server releases after each round.

    One other client replies, with zeros and the least weight. The sampler draws each trial's cohorts.
    """

    def __init__(self, plan: Plan, sampler: Sampler, facts: PrivacySettings, trials: int) -> None:
        self._plan, self._sampler, self._facts, self._trials = plan, sampler, facts, trials
        self._name, self._part = _mechanism(plan, PrivateMean)
        self._heaviest, self._lightest = (float(pick(plan.arrays["task_weights"])) for pick in (np.max, np.min))

    def statistics(self, direction: float, stream: Stream) -> Floats:
        # Two groups of trials, with other noise each: the rounds without the canary, and those with it.
        plans = [with_noise_of(self._plan, stream.child("noise", group)) for group in range(2)]
        record, ratios, noise_in_units = self._part.initial_record(), np.zeros(self._trials), self._noise_in_units
        for number in range(1, self._plan.num_rounds + 1):
            present, released = self._present(direction, stream.child("cohort", number)), np.empty(self._trials)
            unit, before = float(record["clip"]) / self._part.clients, record
            for group, trials in enumerate((~present, present)):
                if trials.any():
                    noise, sent = stream_of(plans[group], number, self._name), direction if group else 0.0
                    released[trials], record = self._release(sent, before, int(trials.sum()), noise)
            ratios += log_ratio(released / unit, noise_in_units, self._facts.probability, self._facts.adjacency)
        return ratios

    @property
    def _noise_in_units(self) -> float:
        """The deviation of the noise on the mean, in units of what one client can change it by."""
        cohort = self._part.noise_cohort or self._part.clients
        on_updates = update_noise(self._part.noise_multiplier, self._part.clip.count_noise(cohort))
        return on_updates * self._part.clients / cohort

    def _present(self, direction: float, stream: Stream) -> NDArray[np.bool_]:
        """Return in which trials the canary is in a round's cohort."""
        present, num_clients = np.zeros(self._trials, bool), self._plan.num_clients
        if not direction:
            return present
        # Where each client has a coin of its own, every client of a draw is the canary of another trial.
        at_once = num_clients if self._facts.sampling in ("everybody", "poisson") else 1
        for start in range(0, self._trials, at_once):
            cohort = self._sampler.cohort(num_clients, stream.child(start))
            present[start + cohort[cohort < min(at_once, self._trials - start)]] = True
        return present

    def _release(self, direction: float, record: Weights, count: int, noise: Stream) -> tuple[Floats, Weights]:
        """Return the mean update that a round releases, [count], and the next round's record."""
        sent: list[tuple[Delta, float]] = [({"canary": np.zeros(1)}, self._lightest)]
        if direction:
            norm = direction * BEYOND * float(record["clip"])
            sent.insert(0, ({"canary": np.full(1, norm)}, self._heaviest))
        total, sums = sum(weight for _, weight in sent), Counter[str]()
        for delta, _ in sent:
            sums.update(self._part.measure(delta, record))
        bounded = [
            ClientUpdate(client, self._part.on_each(delta, record, noise), weight, 1, {})
            for client, (delta, weight) in enumerate(sent)
        ]
        mean: Delta = {name: np.repeat(value, count) for name, value in weighted_sum(bounded, total).items()}
        after, record = self._part.on_combined(Combined(mean, len(sent), total, record, sums), noise)
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
        for number in _rounds_of(plan, self._client):
            received = part.on_each(sent, {}, stream_of_update(plan, number, self._client, self._name))
            ratios += log_ratio(received["canary"] / self._part.norm, noise, 1.0, "replace")
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


def _rounds_of(plan: Plan, client: int) -> list[int]:
    """Return the numbers of the rounds that a client is in."""
    tasks = np.flatnonzero(plan.arrays["task_clients"] == client)
    return [int(number) + 1 for number in np.searchsorted(plan.arrays["round_task_ends"], tasks, side="right")]
