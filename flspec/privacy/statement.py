"""What a run promises, in words that its author may publish."""

from __future__ import annotations

import math

import numpy as np

from flspec.client_algorithms import ClientAlgorithm
from flspec.core.components import family_members
from flspec.privacy.accountant import accountant_version, finite, points_of, spent
from flspec.privacy.spending import Cost, cost_after, ending_budget, num_rounds_of
from flspec.protocol.part_scope import using_parts_of
from flspec.protocol.plan import Plan
from flspec.protocol.records import PrivacyRecord, SpreadOverClients
from flspec.protocol.settings import PrivacySettings

__all__ = ["privacy_record", "round_up"]

_NOT_COVERED = (
    "training metrics, and evaluation on clients' holdouts or validation examples, which are published exactly",
    "the choice of hyperparameters and of the best round",
    "who took part in which round, and whose update was left out because it was not finite",
)
_OWN_PARTS = (
    "the parts of the model that stay with each client, and whatever is measured with them, such as test/clients/worst"
)
_SIZES = "how many examples each client has, by which its batches are drawn and its update may be weighed"
_ROWS = "what each client measured in each round, which client_rows has the run write into clients.csv"
_CUT = "the steps of each task after its first {steps:,}, which this run left out: whole tasks cost more"
_PUBLIC_SEED = (
    "the noise of this run follows from the seed in its spec: the promise is the algorithm's, and whoever knows the "
    "seed can take the noise off"
)
_PUBLIC_COHORTS = (
    "the noise is secret, but who is drawn follows from the seed in the spec: against whoever knows the seed, drawing "
    "hides nobody, and epsilon is larger"
)
_SAMPLINGS = {
    "everybody": "all {population:,} clients in every round",
    "poisson": "Poisson cohorts of {cohort:,.0f} of {population:,} clients, expected",
    "truncated_poisson": "Poisson cohorts of {cohort:,.0f} of {population:,} clients, expected, cut at {most:,}",
    "cyclic_poisson": "Poisson cohorts of {cohort:,.0f} of {population:,} clients, expected, from {groups:,} groups "
    "that take turns, so that each client is in at most one of {groups:,} rounds",
    "fixed_size": "cohorts of exactly {cohort:,.0f} of {population:,} clients, drawn without replacement",
    "with_replacement": "{cohort:,.0f} draws among {population:,} clients, with replacement",
    "unknown": "cohorts drawn in a way that no proof covers, so that any client may be in every round",
}


def privacy_record(plan: Plan, rounds: int) -> PrivacyRecord:
    """Return what the first rounds of a private plan cost, in numbers and in words."""
    cost = cost_after(plan, rounds)
    privacy, epsilon = cost.facts, cost.spent.epsilon
    points = points_of(rounds) if finite(epsilon) is not None else []
    return PrivacyRecord(
        epsilon=finite(epsilon),
        delta=privacy.delta,
        accountant=cost.spent.accountant,
        epsilon_rdp=finite(cost.spent.rdp),
        rounds=rounds,
        unit=privacy.unit,
        adjacency=privacy.adjacency,
        sampling=privacy.sampling,
        noise_multiplier=privacy.noise_multiplier,
        population=privacy.population,
        cohort=privacy.cohort,
        claimed_population=privacy.claimed_population,
        simulated_cohort=privacy.simulated_cohort,
        curve=tuple((number, cost_after(plan, number).spent.epsilon) for number in points),
        not_covered=(*_NOT_COVERED, *_own_parts(plan), *_cut(plan), *_rows(plan), *_of_mechanism(privacy)),
        software=accountant_version(),
        statement=" ".join([_statement(cost, rounds), *_ending(plan, rounds)]),
        mechanism=privacy.mechanism,
        releases=None if privacy.mechanism == "central" else cost.releases,
        clients=_spread(plan, rounds) if privacy.mechanism == "local" else None,
        secret_noise=privacy.secret,
    )


def _own_parts(plan: Plan) -> list[str]:
    """Return what no promise covers of clients that have models, or parts of one, of their own."""
    with using_parts_of(plan.settings):
        algorithm = family_members(ClientAlgorithm).get((plan.settings.client_algorithm or {}).get("kind", ""))
    return [_OWN_PARTS] if plan.local or (algorithm and algorithm.personal) else []


def _rows(plan: Plan) -> list[str]:
    return [_ROWS] if plan.spec.get("client_rows") else []


def _cut(plan: Plan) -> list[str]:
    """Return what the promise of a run that took only the first steps of tasks, each of them noised, leaves out."""
    steps = plan.settings.first_steps
    return [_CUT.format(steps=steps)] if steps and plan.settings.private_steps else []


def _of_mechanism(privacy: PrivacySettings) -> list[str]:
    """Return what a mechanism does not cover beside what none does."""
    relies_on_draws = privacy.mechanism != "local" and privacy.sampling != "unknown" and privacy.probability < 1
    public = [_PUBLIC_COHORTS] if relies_on_draws else []
    sizes = [_SIZES] if privacy.mechanism == "example" else []
    return [*sizes, *(public if privacy.secret else [_PUBLIC_SEED])]


def _spread(plan: Plan, rounds: int) -> SpreadOverClients | None:
    """Return the spread of what local noise costs each client; None where there is none."""
    facts, times = plan.settings.privacy, num_rounds_of(plan, rounds)
    times = times[times > 0]
    if facts is None or not len(times) or not math.isfinite(spent(facts, int(times.max())).epsilon):
        return None
    least, median, most = (spent(facts, int(n)).epsilon for n in np.quantile(times, [0, 0.5, 1], method="higher"))
    return SpreadOverClients(least=least, median=median, most=most)


def _statement(cost: Cost, rounds: int) -> str:
    privacy = cost.facts
    if not math.isfinite(cost.spent.epsilon):
        noise = "Hardly any" if privacy.noise_multiplier else "No"
        return f"{noise} noise is added, so nothing is promised about any {privacy.unit}."
    match privacy.mechanism:
        case "local":
            words = _local(cost, rounds)
        case "example":
            words = _example(cost, rounds)
        case _:
            words = _central(cost, rounds)
    if privacy.claimed_population:
        words.append(f"The population of {privacy.population:,} is claimed: this run had fewer clients.")
    if privacy.simulated_cohort:
        words.append(
            f"The cohort of {privacy.cohort:,.0f} is simulated: this run had smaller cohorts, with the noise on the "
            "mean that the larger ones would have had."
        )
    return " ".join(words)


def _ending(plan: Plan, rounds: int) -> list[str]:
    """Return how a budget ends the run, if these are all the rounds that it allows."""
    if rounds < plan.num_rounds or (budget := ending_budget(plan)) is None:
        return []
    return [f"Its budget, epsilon {budget:g}, ends it after {rounds:,} of {plan.spec['rounds']:,} rounds."]


def _central(cost: Cost, rounds: int) -> list[str]:
    privacy = cost.facts
    neighbours = "adding or removing" if privacy.adjacency == "add_or_remove" else "replacing"
    sampling = _SAMPLINGS[privacy.sampling].format(
        cohort=privacy.cohort, population=privacy.population, most=privacy.most or 0, groups=privacy.groups
    )
    words = [
        f"The models of all {rounds:,} rounds together are {_promise(cost)} under {neighbours} one client with all its "
        f"data, {_accounted(cost)}.",
        f"Each round adds Gaussian noise of multiplier {privacy.noise_multiplier:.4g} to the sum of clipped client "
        f"updates, by a server that is trusted; {sampling}.",
    ]
    if privacy.correlation:
        words.append(
            f"The noise of a round takes back a part of that of earlier ones ({privacy.correlation}); the multiplier "
            "is in units of what one client can change of all of them."
        )
    if privacy.adjacency == "replace":
        words.append(
            "No proof gives such cohorts what Poisson cohorts get: with cohort: {kind: poisson} epsilon is smaller."
        )
    if privacy.sampling == "with_replacement":
        words.append(
            "A client may be drawn several times in a round, each time in place of another one, so that each draw "
            "changes the sum by up to twice the clip: with cohort: {kind: poisson} epsilon is smaller."
        )
    return words


def _local(cost: Cost, rounds: int) -> list[str]:
    return [
        f"All that one client sends in {rounds:,} rounds is {_promise(cost)} under replacing all its data, "
        f"{_accounted(cost)}, for the client that sends most updates, {cost.releases:,}.",
        f"Each client adds Gaussian noise of multiplier {cost.facts.noise_multiplier:.4g} to its clipped update before "
        "it is sent, so no server need be trusted; that a cohort is drawn is not counted on.",
    ]


def _example(cost: Cost, rounds: int) -> list[str]:
    privacy = cost.facts
    return [
        f"All that one client sends in {rounds:,} rounds is {_promise(cost)} under adding or removing one of its "
        f"examples, {_accounted(cost)}, for the client that pays most: {privacy.population:,} examples, each in a "
        f"batch with probability {privacy.probability:.3g}, in {cost.releases:,} steps.",
        f"Each step adds Gaussian noise of multiplier {privacy.noise_multiplier:.4g} to the sum of clipped gradients "
        "of examples (DP-SGD), within the client. It promises nothing about a client as a whole.",
    ]


def _promise(cost: Cost) -> str:
    return f"({round_up(cost.spent.epsilon)}, {cost.facts.delta:g})-differentially private"


def _accounted(cost: Cost) -> str:
    rdp = cost.spent.rdp if cost.spent.accountant != "RDP" else None
    beside = f" (RDP: {round_up(rdp)})" if rdp is not None else ""
    return f"by {cost.spent.accountant} accounting{beside}"


def round_up(epsilon: float) -> str:
    """Return epsilon with three digits, never less than it is."""
    if epsilon == 0.0:
        return "0"
    epsilon = max(epsilon, 1e-300)  # below, units would be zero
    unit = 10.0 ** (math.floor(math.log10(epsilon)) - 2)
    return f"{math.ceil(epsilon / unit - 1e-9) * unit:.3g}"
