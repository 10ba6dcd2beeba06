"""The privacy loss distribution of a round whose cohort is drawn with replacement.

With a client more, each of the m draws of a round is that client with probability 1 / N; otherwise it is one of the
others, as before. Given the draws of the others, the client comes in K ~ Binomial(m, 1 / N) times, each time in place
of another one, which moves the sum of clipped updates by up to twice the clip. So one round is at worst

    N(0, z^2)    against    sum_k P(K = k) N(2 k, z^2),

a mixture of Gaussians in units of the clip: by joint convexity over the draws of the others, and because a scalar
mixture dominates those of vectors that are no longer (Choquette-Choo, Ganesh, Steinke and Thakurta, ICLR 2024,
arXiv:2310.15526, corollary 4.7). It is attained where all others send the opposite of the client's update.

The distribution is discretised by connecting dots (Doroshenko et al., PETS 2022, arXiv:2207.04380), which is
dp-accounting's; its own mixture takes a minute for the points that it is connected through.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["most_draws", "one_release"]

Floats = NDArray[np.float64]

_TABLE = 2**17  # outcomes between which a threshold is interpolated; at the best threshold, delta has a maximum


def one_release(noise: float, draws: int, population: int, grid: float, negligible: float) -> Any:
    """Return the loss distribution of one round, rounded up to a grid.

    What happens with a probability below `negligible` is taken to tell everything.
    """
    from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution
    from scipy.special import ndtri
    from scipy.stats import binom

    most = most_draws(draws, population, negligible)
    times = np.arange(most + 1, dtype=np.float64)
    mixture = _Mixture(2.0 * times / noise, binom.logpmf(times, draws, 1.0 / population))
    omitted = negligible + float(binom.sf(most, draws, 1.0 / population))
    reach = -float(ndtri(negligible / 2.0))
    with_it = np.linspace(-reach, mixture.end(reach, negligible), _TABLE)
    without = np.linspace(reach, -reach, _TABLE)
    removed = _rounded_up(mixture.log_ratio(with_it), with_it, mixture.removed, grid, omitted)
    added = _rounded_up(-mixture.log_ratio(without), without, mixture.added, grid, omitted)
    return PrivacyLossDistribution(removed, added)


def most_draws(draws: int, population: int, negligible: float) -> int:
    """Return how often a client is drawn in a round at most, but for a probability below `negligible`."""
    from scipy.stats import binom

    return min(draws, int(binom.isf(negligible, draws, 1.0 / population)))


@dataclass(frozen=True)
class _Mixture:
    """Outcomes of a round with a client, sum_k share_k N(shift_k, 1), beside those without it, N(0, 1)."""

    shifts: Floats  # ascending
    log_shares: Floats

    def end(self, reach: float, negligible: float) -> float:
        """Return the outcome beyond which hardly any is, where none of N(0, 1) is beyond `reach`."""
        outcomes = np.linspace(0.0, self.shifts[-1] + reach, 1000)
        return float(outcomes[np.argmax(self._above(outcomes) < negligible)])

    def log_ratio(self, outcomes: Floats) -> Floats:
        """Return the log of the density with the client over that without it, which increases."""
        return self._log_sum(outcomes, lambda shift: shift * (outcomes - shift / 2.0))

    def removed(self, epsilons: Floats, above: Floats) -> Floats:
        """Return the probability above a threshold with the client, less e^epsilon times that without it."""
        from scipy.special import log_ndtr

        return np.asarray(self._above(above) - np.exp(epsilons + log_ndtr(-above)))

    def added(self, epsilons: Floats, below: Floats) -> Floats:
        """Return the probability below a threshold without the client, less e^epsilon times that with it."""
        from scipy.special import log_ndtr

        with_it = self._log_sum(below, lambda shift: log_ndtr(below - shift))
        return np.asarray(np.exp(log_ndtr(below)) - np.exp(epsilons + with_it))

    def _above(self, outcomes: Floats) -> Floats:
        from scipy.special import log_ndtr

        return np.exp(self._log_sum(outcomes, lambda shift: log_ndtr(shift - outcomes)))

    def _log_sum(self, outcomes: Floats, log_of: Callable[[float], Floats]) -> Floats:
        total = np.full(outcomes.shape, -np.inf)
        for shift, log_share in zip(self.shifts.tolist(), self.log_shares.tolist(), strict=True):
            total = np.logaddexp(total, log_share + log_of(shift))
        return total


def _rounded_up(
    losses: Floats, outcomes: Floats, deltas_at: Callable[[Floats, Floats], Floats], grid: float, omitted: float
) -> Any:
    """Return the distribution of `losses`, ascending, that has at each multiple of `grid` the delta that is true."""
    from dp_accounting.pld import pld_pmf

    low, high = int(np.floor(losses[0] / grid)), int(np.ceil(losses[-1] / grid))
    epsilons = np.arange(low, high + 1, dtype=np.float64) * grid
    by_threshold = deltas_at(epsilons, np.interp(epsilons, losses, outcomes))
    deltas = np.maximum(by_threshold, -np.expm1(epsilons)) + omitted  # or all outcomes together: 1 - e^epsilon
    deltas = np.minimum(np.maximum.accumulate(deltas[::-1])[::-1], 1.0)
    return pld_pmf.create_pmf_pessimistic_connect_dots_fixed_gap(grid, low, high, deltas)
