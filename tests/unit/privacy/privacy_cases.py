"""Facts of private runs, and what the tests hold them to without dp-accounting."""

from __future__ import annotations

import math

from scipy.optimize import brentq
from scipy.stats import norm

from flspec.protocol.settings import PrivacySettings

ADDED_OR_REMOVED = ("everybody", "poisson", "truncated_poisson", "with_replacement")


def facts(sampling="poisson", population=1000, cohort=50.0, noise=1.0, delta=1e-5, most=None) -> PrivacySettings:
    """The facts of a run, with the neighbours that its sampling has a bound for."""
    adjacency = "add_or_remove" if sampling in ADDED_OR_REMOVED else "replace"
    return PrivacySettings("client", noise, delta, sampling, population, cohort, adjacency, most)


def gaussian_delta(noise: float, sensitivity: float, epsilon: float, probability: float = 1.0) -> float:
    """Delta of one Gaussian release at epsilon, by its definition (Balle and Wang, ICML 2018, theorem 5).

    With a probability below 1 a client is in the sum by a coin, and is removed: max over sets of P(S) - e^epsilon Q(S)
    with P = (1 - q) N(0, z^2) + q N(s, z^2) and Q = N(0, z^2). P exceeds e^epsilon Q right of one point.
    """
    q, s, z = probability, sensitivity, noise
    if math.exp(epsilon) <= 1 - q:
        return 1.0 - math.exp(epsilon)
    at = z * z / s * math.log((math.exp(epsilon) - (1 - q)) / q) + s / 2
    return (1 - q) * norm.sf(at / z) + q * norm.sf((at - s) / z) - math.exp(epsilon) * norm.sf(at / z)


def gaussian_epsilon(noise: float, sensitivity: float, delta: float, probability: float = 1.0) -> float:
    """The epsilon at which that delta is reached."""
    return brentq(lambda epsilon: gaussian_delta(noise, sensitivity, epsilon, probability) - delta, 0, 500, xtol=1e-12)


def poisson_renyi(noise: float, probability: float, rounds: int, delta: float) -> float:
    """Epsilon by Renyi differential privacy at whole orders (Mironov, Talwar and Zhang 2019, section 3.3)."""
    epsilons = []
    for order in range(2, 256):
        terms = [
            math.lgamma(order + 1) - math.lgamma(k + 1) - math.lgamma(order - k + 1)
            + (order - k) * math.log1p(-probability) + k * math.log(probability) + (k * k - k) / (2 * noise**2)
            for k in range(order + 1)
        ]  # fmt: skip
        most = max(terms)
        log_moment = most + math.log(sum(math.exp(term - most) for term in terms))
        # Canonne, Kamath and Steinke 2020, proposition 12.
        slack = math.log1p(-1 / order) - (math.log(delta) + math.log(order)) / (order - 1)
        epsilons.append(rounds * log_moment / (order - 1) + slack)
    return min(epsilons)
