"""Privacy as it is measured: can the presence of one client, the canary, be told from what a plan's rounds release?

The plan's own parts are tried, with noise that no run has: the sampler draws the canary's cohorts, the private mean
bounds its update, the aggregator's weights combine it with another client's, and the noise comes from the stream of
the round. Training and engines are left out: the canary sends the worst update there is, far beyond the bound in one
direction, and one client with the least weight sends zeros. Trials are coordinates: the noise of a round is drawn for
all of them in one call, as for the values of a weight, and each trial has its canary's cohorts.
"""

from __future__ import annotations

import secrets
from collections import Counter
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from flspec.analysis.epsilon_bound import epsilon_bound, largest_bound
from flspec.core.components import Document
from flspec.core.randomness import Stream
from flspec.errors import InputError, Problem, SpecError
from flspec.execution.server_step import named_postprocessors, stream_of
from flspec.postprocessors import Combined
from flspec.postprocessors.private_mean import PrivateMean, update_noise
from flspec.privacy.spending import cost_after
from flspec.protocol.named_records import Weights
from flspec.protocol.plan import Plan
from flspec.protocol.settings import PrivacySettings
from flspec.protocol.updates import ClientUpdate, Delta, weighted_sum
from flspec.samplers import Sampler

__all__ = ["Audit", "audit", "check_numbers"]

_BEYOND = 1e3  # the norm of the canary's update, in units of the bound
_FEWEST = 100  # trials; fewer than that tell nothing
_MOST = 1_000_000

Floats = NDArray[np.float64]


class Audit(Document):
    """The epsilon that a plan claims, and the least that is true by what was measured."""

    claimed: float
    accountant: str
    delta: float
    measured: float  # a lower bound; 0 if the trials say nothing
    largest: float  # the bound of so many trials without an error
    confidence: float  # of the bound
    trials: int  # with the canary, and as many without it
    false_alarms: int
    misses: int
    num_tested: int  # of these trials, those that did not choose the threshold
    rounds: int
    adjacency: str  # "add_or_remove": without the canary it is absent; "replace": it sends the opposite

    @property
    def is_refuted(self) -> bool:
        """Whether the claim is less than what was measured."""
        return self.measured > self.claimed


def audit(
    plan: Plan, sampler: Sampler, trials: int = 20_000, confidence: float = 0.95, seed: int | None = None
) -> Audit:
    """Return what `trials` with a canary, and as many without it, say of a plan's epsilon.

    `sampler` is the one that drew the plan's cohorts. Noise follows from `seed`; without one the system draws it.
    Raises InputError if the plan makes no promise that can be tried so.
    """
    check_numbers(trials, confidence)
    facts = _audited(plan)
    stream = Stream(secrets.randbits(128) if seed is None else seed, "audit")
    canaries = _Canaries(plan, sampler, facts, trials)
    without = canaries.statistics(0.0 if facts.adjacency == "add_or_remove" else -1.0, stream.child("without"))
    bound = epsilon_bound(without, canaries.statistics(1.0, stream.child("with")), facts.delta, confidence)
    spent = cost_after(plan, plan.num_rounds).spent
    return Audit(
        claimed=spent.epsilon,
        accountant=spent.accountant,
        delta=facts.delta,
        measured=bound.epsilon,
        largest=largest_bound(trials, facts.delta, confidence),
        confidence=confidence,
        trials=trials,
        false_alarms=bound.false_alarms,
        misses=bound.misses,
        num_tested=bound.num_tested,
        rounds=plan.num_rounds,
        adjacency=facts.adjacency,
    )


def check_numbers(trials: int, confidence: float) -> None:
    """Raise InputError unless both are numbers that an audit can be made with."""
    if not _FEWEST <= trials <= _MOST:
        raise InputError(f"--trials: {trials:,} is not between {_FEWEST} and {_MOST:,}; choose a number that is")
    if not 0.5 <= confidence <= 0.9999:
        raise InputError(f"--confidence: {confidence:g} is not between 0.5 and 0.9999; choose a number that is")


def _audited(plan: Plan) -> PrivacySettings:
    """Return what the plan's releases are accounted for. Raises SpecError if no canary can try it."""
    facts = plan.settings.privacy
    if facts is None:
        raise _refused("", "is absent, so nothing is promised; add privacy: {kind: central, ...} to have it audited")
    if facts.mechanism != "central":
        raise _refused("kind", f"is {facts.mechanism}, whose noise no canary tries yet; an audit is of kind central")
    if not facts.noise_multiplier:
        raise _refused("noise_multiplier", "is 0, so nothing is promised; raise it to have a promise audited")
    for field, larger in (("population", facts.claimed_population), ("noise_cohort", facts.simulated_cohort)):
        if larger:
            raise _refused(field, "accounts for a larger run than this one, which alone can be tried; leave it out")
    return facts


def _refused(field: str, message: str) -> SpecError:
    return SpecError([Problem(message, ".".join(filter(None, ("privacy", field))))])


class _Canaries:
    """Trials of a private mean, each with a canary of its own."""

    def __init__(self, plan: Plan, sampler: Sampler, facts: PrivacySettings, trials: int) -> None:
        self._plan, self._sampler, self._facts, self._trials = plan, sampler, facts, trials
        parts = named_postprocessors(plan).items()
        self._name, self._part = next((name, part) for name, part in parts if isinstance(part, PrivateMean))
        self._heaviest, self._lightest = (float(pick(plan.arrays["task_weights"])) for pick in (np.max, np.min))

    def statistics(self, direction: float, stream: Stream) -> Floats:
        """Return [trials] log likelihood ratios, summed over rounds, of canaries that send `direction`; 0: absent."""
        # Two groups of trials, with other noise each: the rounds without the canary, and those with it.
        plans = [_with_noise_of(self._plan, stream.child("noise", group)) for group in range(2)]
        record, ratios = self._part.initial_record(), np.zeros(self._trials)
        for number in range(1, self._plan.num_rounds + 1):
            present, released = self._present(direction, stream.child("cohort", number)), np.empty(self._trials)
            unit, before = float(record["clip"]) / self._part.clients, record
            for group, trials in enumerate((~present, present)):
                if trials.any():
                    noise, sent = stream_of(plans[group], number, self._name), direction if group else 0.0
                    released[trials], record = self._release(sent, before, int(trials.sum()), noise)
            ratios += self._log_ratio(released / unit)
        return ratios

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
            norm = direction * _BEYOND * float(record["clip"])
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

    def _log_ratio(self, released: Floats) -> Floats:
        """Return the log likelihood ratio of a round's release, in units of one client's bounded update."""
        on_count = self._part.clip.count_noise(self._part.clients)
        variance = update_noise(self._part.noise_multiplier, on_count) ** 2
        q = min(self._facts.probability, 1.0)
        with np.errstate(divide="ignore"):
            absent, drawn = np.log1p(-q), np.log(q)
        ratio: Floats = np.logaddexp(absent, drawn + (released - 0.5) / variance)
        if self._facts.adjacency == "replace":
            ratio -= np.logaddexp(absent, drawn - (released + 0.5) / variance)
        return ratio


def _with_noise_of(plan: Plan, stream: Stream) -> Plan:
    """Return the plan with other seeds of noise, and if they are secret with another key."""
    words = stream.words(plan.num_rounds + 4)
    seeds = (words[4:] >> np.uint64(2)).astype(np.int64)
    return replace(plan, arrays={**plan.arrays, "round_seeds": seeds}, noise_key=words[:4].tobytes())
