"""What the rounds of a plan cost, by who pays most: a client in most rounds, or the examples of one in most steps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from flspec.privacy.accountant import Spent, spent
from flspec.protocol.plan import Plan
from flspec.protocol.settings import PrivacySettings
from flspec.samplers import Sampling

__all__ = ["Cost", "as_it_ran", "cost_after", "dearest", "ending_budget", "example_charges", "num_rounds_of"]

Charge = tuple[PrivacySettings, int]  # what a release is accounted for, and the number of releases
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Cost:
    """What some rounds cost the one that they cost most."""

    spent: Spent
    facts: PrivacySettings  # of that one's releases
    releases: int


def cost_after(plan: Plan, rounds: int) -> Cost:
    """Return what the first rounds of a private plan cost."""
    facts = plan.settings.privacy
    assert facts is not None
    match facts.mechanism:
        case "local":
            return dearest([(facts, int(num_rounds_of(plan, rounds).max(initial=0)))])
        case "example":
            num_examples = np.diff(plan.arrays["client_ends"], prepend=0)
            return dearest(example_charges(facts, num_examples, _num_steps_of(plan, rounds)))
    return dearest([(facts, rounds)])


def ending_budget(plan: Plan) -> float | None:
    """Return the epsilon before which a plan ends, if that leaves out rounds of its spec; None if it does not."""
    stop = (plan.spec.get("privacy") or {}).get("stop")
    return stop["epsilon"] if stop and plan.num_rounds < plan.spec["rounds"] else None


def as_it_ran(facts: PrivacySettings, sampling: Sampling, num_clients: int) -> PrivacySettings:
    """Return what the releases of a run with so many clients cost without the assumptions that its spec makes.

    On the mean there is the noise of the cohort that is simulated, z C / simulated; so on the sum of the cohorts that
    there are, it is by expected / simulated smaller.
    """
    share = sampling.expected / facts.cohort if facts.simulated_cohort else 1.0
    return replace(
        facts,
        noise_multiplier=facts.noise_multiplier * share,
        population=num_clients,
        cohort=float(sampling.expected),
        most=sampling.most,
        claimed_population=False,
        simulated_cohort=False,
    )


def dearest(charges: Iterable[Charge]) -> Cost:
    """Return the cost of those releases that cost most."""
    costs = [Cost(spent(facts, releases), facts, releases) for facts, releases in charges]
    return max(costs, key=lambda cost: cost.spent.epsilon)


def example_charges(facts: PrivacySettings, num_examples: Integers, num_steps: Integers) -> list[Charge]:
    """Return what the steps of each client are accounted for, without clients whom another one exceeds.

    An example is in a batch with the probability batch size / examples of its client. So of two clients, one with no
    more examples and no fewer steps pays at least as much.
    """
    charges, most = [], -1
    for size, steps in sorted(zip(num_examples.tolist(), num_steps.tolist(), strict=True), key=lambda c: (c[0], -c[1])):
        if steps > most:
            charges.append((replace(facts, population=size, cohort=min(facts.cohort, float(size))), steps))
            most = steps
    return charges


def num_rounds_of(plan: Plan, rounds: int) -> Integers:
    """[clients]: in how many of the first rounds each is, one that draws it several times counted as often."""
    return np.bincount(plan.arrays["task_clients"][: _num_tasks(plan, rounds)], minlength=plan.num_clients)


def _num_steps_of(plan: Plan, rounds: int) -> Integers:
    """[clients]: how many steps each takes in the first rounds."""
    until, steps = _num_tasks(plan, rounds), np.zeros(plan.num_clients, np.int64)
    np.add.at(steps, plan.arrays["task_clients"][:until], np.diff(plan.arrays["task_batch_ends"][:until], prepend=0))
    return steps


def _num_tasks(plan: Plan, rounds: int) -> int:
    return int(plan.arrays["round_task_ends"][rounds - 1]) if rounds else 0
