"""Privacy as it is measured: can one client or example, the canary, be told from what a plan's mechanism releases?

The plan's own parts are tried, with noise that no run has. What a canary is, and who looks, is what the promise says:

- `central`: a client that is in the rounds or not, by the mean that a trusted server releases after each.
- `local`: a client that sends an update or its opposite, by each report that it sends, since no server is trusted.
- `example`: an example that is in batches or not, by each noised step of its client.

Each gives the worst there is: far beyond the bound, in one direction. `flspec.analysis.canaries` says how.
"""

from __future__ import annotations

import secrets

from flspec.analysis.canaries import Canaries, CanariesInCohorts, CanariesThatReport
from flspec.analysis.epsilon_bound import epsilon_bound, largest_bound
from flspec.analysis.example_canaries import CanariesInBatches
from flspec.core.components import Document
from flspec.core.randomness import Stream
from flspec.errors import InputError, Problem, SpecError
from flspec.privacy.accountant import spent
from flspec.privacy.spending import Cost, as_it_ran, cost_after
from flspec.protocol.plan import Plan
from flspec.protocol.settings import PrivacySettings
from flspec.samplers import Sampler

__all__ = ["Audit", "WhatRan", "audit", "check_numbers"]

_FEWEST = 100  # trials; fewer than that tell nothing
_MOST = 1_000_000


class WhatRan(Document):
    """The cost of a run as it is, where its spec accounts for a larger one."""

    epsilon: float
    accountant: str
    population: int  # clients that there are
    cohort: float  # expected clients a round
    claimed_population: int | None  # in place of these, if that is claimed
    simulated_cohort: float | None


class Audit(Document):
    """The epsilon that a plan claims, and the least that is true by what was measured."""

    mechanism: str  # "central", "local" or "example": what a canary is, and who looks
    claimed: float
    accountant: str
    delta: float
    what_ran: WhatRan | None  # if the claim is of a larger run than this one
    measured: float  # a lower bound; 0 if the trials say nothing
    largest: float  # the bound of so many trials without an error
    confidence: float  # of the bound
    trials: int  # with the canary, and as many without it
    false_alarms: int
    misses: int
    num_tested: int  # of these trials, those that did not choose the threshold
    rounds: int
    releases: int  # that the canary may be in: rounds, or of an example steps
    adjacency: str  # "add_or_remove": without the canary it is absent; "replace": it gives the opposite

    @property
    def is_refuted(self) -> bool:
        """Whether the claim is less than what was measured."""
        return self.measured > self.claimed

    @property
    def is_broken(self) -> bool:
        """Whether what was measured is more than what ran may cost by accounting, whatever is claimed."""
        return self.measured > (self.what_ran.epsilon if self.what_ran else self.claimed)


def audit(
    plan: Plan, sampler: Sampler, trials: int = 20_000, confidence: float = 0.95, seed: int | None = None
) -> Audit:
    """Return what `trials` with a canary, and as many without it, say of a plan's epsilon.

    `sampler` is the one that drew the plan's cohorts. Noise follows from `seed`; without one the system draws it.
    Raises InputError if the plan makes no promise that can be tried so.
    """
    check_numbers(trials, confidence)
    facts = _promised(plan)
    cost, ran = cost_after(plan, plan.num_rounds), facts
    if facts.claimed_population or facts.simulated_cohort:
        ran = as_it_ran(facts, sampler.sampling(plan.num_clients), plan.num_clients)
    canaries = _canaries(plan, sampler, ran, cost, trials)
    stream = Stream(secrets.randbits(128) if seed is None else seed, "audit")
    without = canaries.statistics(0.0 if facts.adjacency == "add_or_remove" else -1.0, stream.child("without"))
    bound = epsilon_bound(without, canaries.statistics(1.0, stream.child("with")), facts.delta, confidence)
    return Audit(
        mechanism=facts.mechanism,
        claimed=cost.spent.epsilon,
        accountant=cost.spent.accountant,
        delta=facts.delta,
        what_ran=None if ran is facts else _what_ran(facts, ran, plan.num_rounds),
        measured=bound.epsilon,
        largest=largest_bound(trials, facts.delta, confidence),
        confidence=confidence,
        trials=trials,
        false_alarms=bound.false_alarms,
        misses=bound.misses,
        num_tested=bound.num_tested,
        rounds=plan.num_rounds,
        releases=cost.releases,
        adjacency=facts.adjacency,
    )


def check_numbers(trials: int, confidence: float) -> None:
    """Raise InputError unless both are numbers that an audit can be made with."""
    if not _FEWEST <= trials <= _MOST:
        raise InputError(f"--trials: {trials:,} is not between {_FEWEST} and {_MOST:,}; choose a number that is")
    if not 0.5 <= confidence <= 0.9999:
        raise InputError(f"--confidence: {confidence:g} is not between 0.5 and 0.9999; choose a number that is")


def _canaries(plan: Plan, sampler: Sampler, ran: PrivacySettings, cost: Cost, trials: int) -> Canaries:
    match ran.mechanism:
        case "central":
            return CanariesInCohorts(plan, sampler, ran, trials)
        case "local":
            return CanariesThatReport(plan, trials)
        case "example":
            return CanariesInBatches(plan, cost, trials)
    raise _refused("kind", f"is {ran.mechanism}, whose noise no canary tries yet; central, local and example are tried")


def _promised(plan: Plan) -> PrivacySettings:
    """Return what the plan's releases are accounted for. Raises SpecError if nothing is promised."""
    facts = plan.settings.privacy
    if facts is None:
        raise _refused("", "is absent, so nothing is promised; add privacy: {kind: central, ...} to have it audited")
    if facts.correlation:
        raise _refused("noise", f"is {facts.correlation}; canaries look at rounds one by one, so nothing audits it yet")
    if facts.groups > 1:
        message = "has groups that take turns, which canaries do not try yet; audit kind: poisson"
        raise SpecError([Problem(message, "cohort")])
    if not facts.noise_multiplier:
        raise _refused("noise_multiplier", "is 0, so nothing is promised; raise it to have a promise audited")
    return facts


def _what_ran(facts: PrivacySettings, ran: PrivacySettings, rounds: int) -> WhatRan:
    cost = spent(ran, rounds)
    return WhatRan(
        epsilon=cost.epsilon,
        accountant=cost.accountant,
        population=ran.population,
        cohort=ran.cohort,
        claimed_population=facts.population if facts.claimed_population else None,
        simulated_cohort=facts.cohort if facts.simulated_cohort else None,
    )


def _refused(field: str, message: str) -> SpecError:
    return SpecError([Problem(message, ".".join(filter(None, ("privacy", field))))])
