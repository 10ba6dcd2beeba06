"""How much noise a target epsilon asks for, and how many rounds a budget allows: what the accountant says, inverted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from flspec.errors import Problem, SpecError
from flspec.privacy.accountant import in_turns, rough_epsilon, rough_grids, spent
from flspec.protocol.settings import PrivacySettings

__all__ = ["noise_multiplier_for", "rounds_within"]

_MOST_NOISE = 1e6
_PRECISION = 1e-4  # of a noise multiplier, relative: the larger end is taken


def noise_multiplier_for(privacy: PrivacySettings, rounds: int, epsilon: float) -> float:
    """Return the least noise multiplier, to a ten-thousandth, with which `rounds` cost no more than `epsilon`.

    Raises SpecError if none does.
    """
    turn, turns = in_turns(privacy, rounds)
    near: tuple[float, float] | None = None
    for cost in _estimates(turn, turns):  # each is nearer to the truth and takes longer than the one before
        near = _between(_enough(cost, epsilon, near)) or near
    exact = partial(_epsilon_with, turn, turns)
    found = _between(_enough(exact, epsilon, near))
    if found and exact(found[1]) > epsilon:  # an epsilon that does not fall: nothing is left out
        found = _between(_enough(exact, epsilon, None, all_asked=True))
    if found is None:
        message = f"{epsilon:g} is not reached with a noise multiplier of {_MOST_NOISE:g}; raise it or delta"
        raise SpecError([Problem(message, "privacy.epsilon")])
    return found[1]


def _epsilon_with(privacy: PrivacySettings, rounds: int, noise: float) -> float:
    return spent(replace(privacy, noise_multiplier=noise), rounds).epsilon


def _estimates(privacy: PrivacySettings, rounds: int) -> list[Callable[[float], float]]:
    """Return what `rounds` cost by the noise multiplier, roughly: the least noise is first looked for with these."""
    return [partial(_roughly, privacy, rounds, grid) for grid in rough_grids(privacy)]


def _roughly(privacy: PrivacySettings, rounds: int, grid: float, noise: float) -> float:
    return rough_epsilon(replace(privacy, noise_multiplier=noise), rounds, grid)


def rounds_within(cost: Callable[[int], float], rounds: int, epsilon: float) -> int:
    """Return how many of `rounds` cost no more than `epsilon` together. `cost` never falls with their number."""
    low, high = 0, 1
    while high <= rounds and cost(high) <= epsilon:
        low, high = high, 2 * high
    high = min(high, rounds + 1)  # low is within, high is not or is one too many
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cost(middle) <= epsilon else (low, middle)
    return low


def _enough(
    cost: Callable[[float], float], epsilon: float, near: tuple[float, float] | None, all_asked: bool = False
) -> Callable[[float], bool]:
    """Return whether a noise multiplier costs no more than `epsilon`, where more noise never costs more.

    So `cost` need not be asked above a multiplier that is enough, nor below one that is not. Those `near` are asked
    first, and further away until there is one of each.
    """
    too_little, enough = 0.0, math.inf

    def is_enough(noise: float) -> bool:
        nonlocal too_little, enough
        if not all_asked and not too_little < noise < enough:
            return noise >= enough
        if found := cost(noise) <= epsilon:
            enough = noise
        else:
            too_little = noise
        return found

    if near is not None:
        low, high = near
        width = high - low
        while not is_enough(high) and high < _MOST_NOISE:
            low, high, width = high, high + width, 2.0 * width
        while is_enough(low) and low > width:
            low, width = low - width, 2.0 * width
    return is_enough


def _between(is_enough: Callable[[float], bool]) -> tuple[float, float] | None:
    """Return a number that is not enough, and one that is, a ten-thousandth larger; None if none is.

    Which numbers these are depends on the answers alone, not on who gives them.
    """
    high = 1.0
    while not is_enough(high):
        high *= 2.0
        if high > _MOST_NOISE:
            return None
    low = high / 2.0
    while is_enough(low):
        low, high = low / 2.0, low
        if low < 1e-3:
            break
    while high - low > _PRECISION * low:
        middle = (low + high) / 2.0
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return low, high
