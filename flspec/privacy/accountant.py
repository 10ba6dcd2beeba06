"""What a number of releases costs: epsilon at a delta, and the noise that a target asks for.

The arithmetic is dp-accounting's (Google). Which neighbours a bound is for follows from how cohorts come about:

- Everybody in every round: adding or removing a client changes each clipped sum by at most the clip, so all rounds
  together are one Gaussian mechanism, whose epsilon is known exactly (Balle and Wang, ICML 2018).
- Poisson cohorts: the same, with each client's coin. They have privacy loss distributions (Koskela et al., AISTATS
  2020), and Renyi differential privacy (Mironov, CSF 2017) beside them, for comparison with papers.
- Cyclic Poisson cohorts: Poisson cohorts, in every `groups`-th round, of the group that a client is in. This holds with
  noise that hangs together over as many rounds, told in units of the longest column of its matrix (Choquette-Choo et
  al., NeurIPS 2023, arXiv:2306.08153, theorem 4).
- Truncated Poisson cohorts: a client more may push another one out of the cohort, which the privacy loss distribution
  of arXiv:2508.15089 takes into account. There is no bound by Renyi differential privacy.
- Cohorts of a fixed size: a client more is always another one less. So a client is replaced, not added, and a clipped
  sum changes by twice the clip. Only Renyi differential privacy of sampling without replacement bounds what that costs
  over many rounds (Wang, Balle and Kasiviswanathan, AISTATS 2019). Composing loss distributions is no proof here.
- Cohorts drawn with replacement: a client more takes the place of another one in each draw that is its own, of which
  there may be several. `flspec.privacy.repeated_draws` has their privacy loss distribution. There is no bound by Renyi
  differential privacy.
- Unknown cohorts: with a client more, all cohorts could be others. With one replaced they are the same, as cohorts do
  not depend on data, and a sum changes by twice the clip, in each round: nothing is gained by sampling.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import numpy as np

from flspec.errors import InputError
from flspec.privacy.repeated_draws import most_draws, one_release
from flspec.protocol.settings import PrivacySettings

__all__ = [
    "Spent",
    "accountant_version",
    "curve",
    "finite",
    "in_turns",
    "points_of",
    "rough_epsilon",
    "rough_grids",
    "spent",
]

_HARDLY_ANY_NOISE = 1e-6  # with less, epsilon is beyond 1e11 and squares leave float64: nothing is promised
_GRID, _COARSE_GRID = 1e-4, 1e-3  # of the privacy loss; the coarse one where epsilon is beyond the next number
_ROUGH_GRIDS = 1e-2, 1e-3  # to look for a noise multiplier; epsilon is then off by 1e-3 and 1e-5 of itself
_FEW_ORDERS = (2, 3, 4, 6, 8, 12, 16, 24, 32, 64)  # of Renyi divergences: a bound in a hundredth of the time
_MODERATE = 20.0
_NEGLIGIBLE = 1e-9  # of delta, in a round: a million of them spend a thousandth of it
_LARGE = 200.0  # an epsilon that promises nothing; a loss distribution that reaches so far does not fit into memory


@dataclass(frozen=True)
class Spent:
    """What some rounds cost, at the delta of the settings."""

    epsilon: float  # the number to publish
    accountant: str  # by which it was found: PLD or RDP
    rdp: float | None  # by Renyi differential privacy, for comparison with papers; None if it has no bound


def spent(privacy: PrivacySettings, rounds: int) -> Spent:
    """Return what this many rounds cost; infinite without noise, or with hardly any."""
    return _spent(privacy, rounds)


@lru_cache(maxsize=4096)
def _spent(privacy: PrivacySettings, rounds: int) -> Spent:
    if rounds == 0:
        return Spent(0.0, "PLD", 0.0)
    if privacy.noise_multiplier < _HARDLY_ANY_NOISE * math.sqrt(rounds):
        return Spent(math.inf, "PLD", math.inf)
    turn, turns = in_turns(privacy, rounds)
    return _ACCOUNTED[turn.sampling](turn, turns)


def in_turns(privacy: PrivacySettings, rounds: int) -> tuple[PrivacySettings, int]:
    """Return what is accounted for a client of the group whose turn comes first, and how often it comes."""
    if privacy.sampling != "cyclic_poisson":
        return privacy, rounds
    turn = replace(privacy, sampling="poisson", cohort=privacy.cohort * privacy.groups, groups=1)
    return turn, math.ceil(rounds / privacy.groups)


def curve(privacy: PrivacySettings, rounds: int, points: int = 12) -> list[tuple[int, float]]:
    """Return epsilon after a few rounds, evenly spaced, the last one among them."""
    return [(number, spent(privacy, number).epsilon) for number in points_of(rounds, points)]


def points_of(rounds: int, points: int = 12) -> list[int]:
    """Return a few round numbers, evenly spaced, the last one among them."""
    count = min(points, rounds)
    return sorted({round(rounds * (point + 1) / count) for point in range(count)})


def finite(epsilon: float | None) -> float | None:
    """Return epsilon, or None where nothing is promised: JSON has no word for infinity."""
    return epsilon if epsilon is not None and math.isfinite(epsilon) else None


def accountant_version() -> str:
    """Return the version of the package that the numbers come from."""
    _dp_accounting()
    return f"dp-accounting {version('dp-accounting')}"


def rough_grids(privacy: PrivacySettings) -> tuple[float, ...]:
    """Return the grids for `rough_epsilon`, the roughest first; none where the exact cost takes no longer."""
    if privacy.sampling == "fixed_size":
        return _ROUGH_GRIDS[:1]
    is_composed = privacy.sampling in ("poisson", "truncated_poisson", "with_replacement")
    return _ROUGH_GRIDS if is_composed and privacy.probability != 1.0 else ()


def rough_epsilon(privacy: PrivacySettings, rounds: int, grid: float) -> float:
    """Return what `rounds` cost on a coarse grid of privacy losses; far off where that is very much."""
    if privacy.sampling == "fixed_size":
        return _fixed_size(privacy, rounds, _FEW_ORDERS).epsilon
    if privacy.sampling == "with_replacement":
        about = _about_repeated(privacy, rounds, _FEW_ORDERS)
    else:
        noise = privacy.noise_multiplier
        about = min(_poisson_rdp(privacy, rounds, _FEW_ORDERS), _gaussian(privacy, noise / 2.0, rounds))
    return about if about > _LARGE else _composed(privacy, rounds, grid)


def _everybody(privacy: PrivacySettings, rounds: int) -> Spent:
    noise = privacy.noise_multiplier
    return Spent(
        _gaussian(privacy, noise, rounds), "PLD", _renyi(privacy, _dp_accounting().GaussianDpEvent(noise), rounds)
    )


def _poisson(privacy: PrivacySettings, rounds: int) -> Spent:
    if privacy.probability == 1.0:
        return _everybody(privacy, rounds)
    rdp = _poisson_rdp(privacy, rounds)
    if rdp <= _LARGE:
        composed = _composed(privacy, rounds, _grid_for(rdp))
        # Loss distributions leave out tails of 1e-15, so none has an epsilon at a smaller delta.
        return Spent(composed, "PLD", rdp) if math.isfinite(composed) else Spent(rdp, "RDP", rdp)
    plain = _gaussian(privacy, privacy.noise_multiplier, rounds)
    return Spent(plain, "PLD", rdp) if plain < rdp else Spent(rdp, "RDP", rdp)


def _truncated_poisson(privacy: PrivacySettings, rounds: int) -> Spent:
    plain = _gaussian(privacy, privacy.noise_multiplier / 2.0, rounds)
    about = min(plain, _poisson_rdp(privacy, rounds))
    return Spent(min(plain, _composed(privacy, rounds, _grid_for(about))) if about <= _LARGE else plain, "PLD", None)


def _fixed_size(privacy: PrivacySettings, rounds: int, orders: tuple[float, ...] | None = None) -> Spent:
    dp = _dp_accounting()
    # dp-accounting does not double the sensitivity where a client is replaced, so the noise is halved here.
    noise = privacy.noise_multiplier / 2.0
    event = dp.SampledWithoutReplacementDpEvent(privacy.population, round(privacy.cohort), dp.GaussianDpEvent(noise))
    rdp, plain = _renyi(privacy, event, rounds, orders), _gaussian(privacy, noise, rounds)
    return Spent(plain, "PLD", rdp) if plain < rdp else Spent(rdp, "RDP", rdp)


def _with_replacement(privacy: PrivacySettings, rounds: int) -> Spent:
    about = _about_repeated(privacy, rounds)
    many = about > _LARGE
    return Spent(_drawn_most(privacy, rounds) if many else _composed(privacy, rounds, _grid_for(about)), "PLD", None)


def _about_repeated(privacy: PrivacySettings, rounds: int, orders: tuple[float, ...] | None = None) -> float:
    """Return about what it costs, by which a grid is chosen: that of being drawn once, or as often as expected."""
    noise, expected = privacy.noise_multiplier / 2.0, privacy.cohort / privacy.population
    once = _poisson_rdp(replace(privacy, noise_multiplier=noise), rounds, orders)
    return max(once, _gaussian(privacy, noise / expected, rounds)) if expected > 1 else once


def _drawn_most(privacy: PrivacySettings, rounds: int) -> float:
    """Return what it costs at most if a client comes in every round as often as it hardly ever does: half of delta."""
    half = privacy.delta / 2.0
    noise = privacy.noise_multiplier / (2.0 * most_draws(round(privacy.cohort), privacy.population, half / rounds))
    return _gaussian(replace(privacy, delta=half), noise, rounds) - math.log1p(-half)


def _unknown(privacy: PrivacySettings, rounds: int) -> Spent:
    noise = privacy.noise_multiplier / 2.0
    return Spent(
        _gaussian(privacy, noise, rounds), "PLD", _renyi(privacy, _dp_accounting().GaussianDpEvent(noise), rounds)
    )


_ACCOUNTED: dict[str, Callable[[PrivacySettings, int], Spent]] = {
    "everybody": _everybody,
    "poisson": _poisson,
    "truncated_poisson": _truncated_poisson,
    "fixed_size": _fixed_size,
    "with_replacement": _with_replacement,
    "unknown": _unknown,
}


def _gaussian(privacy: PrivacySettings, noise: float, rounds: int) -> float:
    """Return what releases without sampling cost, exactly: together they are one, with noise / sqrt(rounds)."""
    with np.errstate(divide="ignore"):  # it takes the logarithm of a difference that may round to zero, which is safe
        return float(_dp_accounting().get_epsilon_gaussian(noise / math.sqrt(rounds), privacy.delta))


def _grid_for(about: float) -> float:
    return _GRID if about <= _MODERATE else _COARSE_GRID


def _composed(privacy: PrivacySettings, rounds: int, grid: float) -> float:
    release = _one_release(privacy, grid)
    return float(release.self_compose(rounds).get_epsilon_for_delta(privacy.delta))


@lru_cache(maxsize=64)
def _one_release(privacy: PrivacySettings, grid: float) -> Any:
    """Return the privacy loss distribution of one round, rounded up to a grid, so that no epsilon is too small."""
    from dp_accounting.pld import privacy_loss_distribution

    if privacy.sampling == "with_replacement":
        negligible = privacy.delta * _NEGLIGIBLE
        return one_release(privacy.noise_multiplier, round(privacy.cohort), privacy.population, grid, negligible)
    common = {"sampling_prob": privacy.probability, "value_discretization_interval": grid, "use_connect_dots": True}
    if privacy.most is None:
        return privacy_loss_distribution.from_gaussian_mechanism(privacy.noise_multiplier, **common)
    return privacy_loss_distribution.from_truncated_subsampled_gaussian_mechanism(
        dataset_size=privacy.population,
        sampling_probability=privacy.probability,
        truncated_batch_size=privacy.most,
        noise_multiplier=privacy.noise_multiplier,
        value_discretization_interval=grid,
        use_connect_dots=True,
    )


def _poisson_rdp(privacy: PrivacySettings, rounds: int, orders: tuple[float, ...] | None = None) -> float:
    dp = _dp_accounting()
    inner = dp.GaussianDpEvent(privacy.noise_multiplier)
    return _renyi(privacy, dp.PoissonSampledDpEvent(privacy.probability, inner), rounds, orders)


def _renyi(privacy: PrivacySettings, event: Any, rounds: int, orders: tuple[float, ...] | None = None) -> float:
    used, of_one = _renyi_of_one(event, privacy.adjacency, orders)
    return float(_dp_accounting().rdp.compute_epsilon(used, rounds * of_one, privacy.delta)[0])


@lru_cache(maxsize=64)
def _renyi_of_one(event: Any, adjacency: str, orders: tuple[float, ...] | None) -> tuple[Any, Any]:
    """Return orders and the Renyi divergence of one release at each, by dp-accounting's choice or those given."""
    dp = _dp_accounting()
    relations = {"add_or_remove": "ADD_OR_REMOVE_ONE", "replace": "REPLACE_ONE"}
    accountant = dp.rdp.RdpAccountant(orders, neighboring_relation=dp.NeighboringRelation[relations[adjacency]])
    accountant.compose(event)
    return accountant.orders, accountant.rdp


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
