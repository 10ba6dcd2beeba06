"""What a number of releases costs: epsilon at a delta, and the noise that a target asks for.

The arithmetic is dp-accounting's (Google). Poisson cohorts and full participation are accounted for by privacy loss
distributions (Koskela et al., AISTATS 2020), under adding or removing one client, with Renyi differential privacy
(Mironov, CSF 2017) beside them. For cohorts of a fixed size there is no such bound: they are accounted for by Renyi
differential privacy of sampling without replacement (Wang, Balle and Kasiviswanathan, AISTATS 2019), under replacing
one client, which changes a clipped sum by twice the clip.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.metadata import version
from typing import Any

from flspec.errors import InputError
from flspec.protocol.settings import PrivacySettings

__all__ = [
    "Spent",
    "accountant_version",
    "curve",
    "finite",
    "noise_multiplier_for",
    "points_of",
    "rounds_within",
    "spent",
]

_MOST_NOISE = 1e6
_GRID = 1e-4  # of the privacy loss
_PRECISION = 1e-4  # of a noise multiplier, relative: the larger end is taken


@dataclass(frozen=True)
class Spent:
    """What some rounds cost, at the delta of the settings."""

    epsilon: float  # the number to publish
    accountant: str  # by which it was found: PLD or RDP
    rdp: float  # by Renyi differential privacy, for comparison with papers


def spent(privacy: PrivacySettings, rounds: int) -> Spent:
    """Return what this many rounds cost; infinite without noise."""
    return _spent(privacy, rounds)


@lru_cache(maxsize=4096)
def _spent(privacy: PrivacySettings, rounds: int) -> Spent:
    if rounds == 0:
        return Spent(0.0, "PLD", 0.0)
    if privacy.noise_multiplier == 0.0:
        return Spent(math.inf, "PLD", math.inf)
    rdp = _by_rdp(privacy, rounds)
    if privacy.adjacency == "replace":
        return Spent(rdp, "RDP", rdp)
    return Spent(_by_pld(privacy, rounds), "PLD", rdp)


def curve(privacy: PrivacySettings, rounds: int, points: int = 12) -> list[tuple[int, float]]:
    """Return epsilon after a few rounds, evenly spaced, the last one among them."""
    return [(number, spent(privacy, number).epsilon) for number in points_of(rounds, points)]


def points_of(rounds: int, points: int = 12) -> list[int]:
    """Return a few round numbers, evenly spaced, the last one among them."""
    count = min(points, rounds)
    return sorted({round(rounds * (point + 1) / count) for point in range(count)})


def finite(epsilon: float) -> float | None:
    """Return epsilon, or None where nothing is promised: JSON has no word for infinity."""
    return epsilon if math.isfinite(epsilon) else None


def accountant_version() -> str:
    """Return the version of the package that the numbers come from."""
    _dp_accounting()
    return f"dp-accounting {version('dp-accounting')}"


def noise_multiplier_for(privacy: PrivacySettings, rounds: int, epsilon: float) -> float:
    """Return the least noise multiplier, to a ten-thousandth, with which `rounds` cost no more than `epsilon`.

    Raises InputError if none does.
    """
    return _least(
        lambda noise: _spent(replace(privacy, noise_multiplier=noise), rounds).epsilon <= epsilon,
        f"privacy.epsilon: {epsilon:g} is not reached with a noise multiplier of {_MOST_NOISE:g}; raise it or delta",
    )


def rounds_within(privacy: PrivacySettings, rounds: int, epsilon: float) -> int:
    """Return how many of `rounds` cost no more than `epsilon` together."""
    low, high = 0, rounds + 1  # low is within, high is not or is one too many
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _spent(privacy, middle).epsilon <= epsilon else (low, middle)
    return low


def _least(suffices: Callable[[float], bool], why_not: str) -> float:
    """Return the least number that suffices, to a ten-thousandth and never less."""
    high = 1.0
    while not suffices(high):
        high *= 2.0
        if high > _MOST_NOISE:
            raise InputError(why_not)
    low = high / 2.0
    while suffices(low):
        low, high = low / 2.0, low
        if low < 1e-3:
            break
    while high - low > _PRECISION * low:
        middle = (low + high) / 2.0
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high


def _by_pld(privacy: PrivacySettings, rounds: int) -> float:
    dp = _dp_accounting()
    noise = privacy.noise_multiplier
    if privacy.probability == 1.0:  # rounds Gaussians together are one with noise / sqrt(rounds), exactly
        return float(dp.get_epsilon_gaussian(noise / math.sqrt(rounds), privacy.delta))
    return float(_one_release(privacy).self_compose(rounds).get_epsilon_for_delta(privacy.delta))


@lru_cache(maxsize=64)
def _one_release(privacy: PrivacySettings) -> Any:
    """Return the privacy loss distribution of one round, rounded up to a grid, so that no epsilon is too small."""
    from dp_accounting.pld import privacy_loss_distribution

    common = {"sampling_prob": privacy.probability, "value_discretization_interval": _GRID, "use_connect_dots": True}
    if privacy.most is None:
        return privacy_loss_distribution.from_gaussian_mechanism(privacy.noise_multiplier, **common)
    return privacy_loss_distribution.from_truncated_subsampled_gaussian_mechanism(
        dataset_size=privacy.population,
        sampling_probability=privacy.probability,
        truncated_batch_size=privacy.most,
        noise_multiplier=privacy.noise_multiplier,
        value_discretization_interval=_GRID,
        use_connect_dots=True,
    )


def _by_rdp(privacy: PrivacySettings, rounds: int) -> float:
    """Return the bound by Renyi differential privacy. It knows no truncation: a truncated cohort counts as Poisson."""
    dp = _dp_accounting()
    if privacy.adjacency == "replace":
        # dp-accounting does not double the sensitivity under this relation, so the noise is halved here.
        inner = dp.GaussianDpEvent(privacy.noise_multiplier / 2.0)
        event = dp.SampledWithoutReplacementDpEvent(privacy.population, round(privacy.cohort), inner)
        relation = dp.NeighboringRelation.REPLACE_ONE
    else:
        event = dp.PoissonSampledDpEvent(privacy.probability, dp.GaussianDpEvent(privacy.noise_multiplier))
        relation = dp.NeighboringRelation.ADD_OR_REMOVE_ONE
    accountant = dp.rdp.RdpAccountant(neighboring_relation=relation)
    return float(accountant.compose(event, rounds).get_epsilon(privacy.delta))


def _dp_accounting() -> Any:
    try:
        import dp_accounting
        import dp_accounting.pld
        import dp_accounting.rdp
    except ImportError:
        raise InputError(
            "privacy: accounting needs dp-accounting; install it with pip install 'flspec[privacy]'"
        ) from None
    # It warns of each order that a bound leaves out, which makes the bound larger and never wrong.
    logging.getLogger("absl").setLevel(logging.ERROR)
    return dp_accounting
