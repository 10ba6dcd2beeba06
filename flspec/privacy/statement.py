"""What a run promises, in words that its author may publish."""

from __future__ import annotations

import math

from flspec.privacy.accountant import accountant_version, curve, finite, spent
from flspec.protocol.records import PrivacyRecord
from flspec.protocol.settings import PrivacySettings

__all__ = ["privacy_record", "round_up"]

_NOT_COVERED = (
    "training metrics, and evaluation on clients' holdouts or validation examples, which are published exactly",
    "the choice of hyperparameters and of the best round",
    "who took part in which round",
)
_PUBLIC_SEED = (
    "the noise of this run follows from the seed in its spec: the promise is the algorithm's, and whoever knows the "
    "seed can take the noise off"
)
_SAMPLINGS = {
    "everybody": "all {population:,} clients in every round",
    "poisson": "Poisson cohorts of {cohort:,.0f} of {population:,} clients, expected",
    "truncated_poisson": "Poisson cohorts of {cohort:,.0f} of {population:,} clients, expected, cut at {most:,}",
    "fixed_size": "cohorts of exactly {cohort:,.0f} of {population:,} clients, drawn without replacement",
    "unknown": "cohorts drawn in a way that no proof covers, so that any client may be in every round",
}


def privacy_record(privacy: PrivacySettings, rounds: int) -> PrivacyRecord:
    """Return what this many rounds cost, in numbers and in words."""
    cost = spent(privacy, rounds)
    return PrivacyRecord(
        epsilon=finite(cost.epsilon),
        delta=privacy.delta,
        accountant=cost.accountant,
        epsilon_rdp=finite(cost.rdp),
        rounds=rounds,
        unit=privacy.unit,
        adjacency=privacy.adjacency,
        sampling=privacy.sampling,
        noise_multiplier=privacy.noise_multiplier,
        population=privacy.population,
        cohort=privacy.cohort,
        claimed_population=privacy.claimed_population,
        simulated_cohort=privacy.simulated_cohort,
        curve=tuple(curve(privacy, rounds)) if finite(cost.epsilon) is not None else (),
        not_covered=(*_NOT_COVERED, _PUBLIC_SEED),
        software=accountant_version(),
        statement=_statement(privacy, rounds),
    )


def _statement(privacy: PrivacySettings, rounds: int) -> str:
    cost = spent(privacy, rounds)
    if not math.isfinite(cost.epsilon):
        return "No noise is added, so nothing is promised about any client."
    neighbours = "adding or removing" if privacy.adjacency == "add_or_remove" else "replacing"
    sampling = _SAMPLINGS[privacy.sampling].format(
        cohort=privacy.cohort, population=privacy.population, most=privacy.most or 0
    )
    words = [
        f"The models of all {rounds:,} rounds together are ({round_up(cost.epsilon)}, {privacy.delta:g})-"
        f"differentially private under {neighbours} one client with all its data, by {cost.accountant} accounting"
        f"{f' (RDP: {round_up(cost.rdp)})' if cost.accountant != 'RDP' else ''}.",
        f"Each round adds Gaussian noise of multiplier {privacy.noise_multiplier:.4g} to the sum of clipped client "
        f"updates, by a server that is trusted; {sampling}.",
    ]
    if privacy.adjacency == "replace":
        words.append(
            "No proof gives such cohorts what Poisson cohorts get: with cohort: {kind: poisson} epsilon is smaller."
        )
    if privacy.claimed_population:
        words.append(f"The population of {privacy.population:,} is claimed: this run had fewer clients.")
    if privacy.simulated_cohort:
        words.append(
            f"The cohort of {privacy.cohort:,.0f} is simulated: this run had smaller cohorts, with the noise on the "
            "mean that the larger ones would have had."
        )
    return " ".join(words)


def round_up(epsilon: float) -> str:
    """Return epsilon with three digits, never less than it is."""
    if epsilon == 0.0:
        return "0"
    unit = 10.0 ** (math.floor(math.log10(epsilon)) - 2)
    return f"{math.ceil(epsilon / unit - 1e-9) * unit:.3g}"
