"""Curves of many rounds, drawn by fewer points: the least and the greatest value of every few rounds.

A screen has a few hundred columns of pixels, so no point that is left out could be seen, and no peak is lost, as it
would be if every tenth round were drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

__all__ = ["thinned", "thinned_band", "thinning_in_words"]

_MOST = 600  # points that are drawn as they are

Point = TypeVar("Point")
Points = Sequence[tuple[int, float]]  # round and value, ascending
Band = Sequence[tuple[int, float, float]]  # round, lowest and highest value


def thinned(points: Points) -> Points:
    """Return the points, or if there are many the first, the last, and the extremes of every few between."""
    if len(points) <= _MOST:
        return points
    found = [points[0]]
    for part in _parts(points):
        found += sorted({min(part, key=lambda one: one[1]), max(part, key=lambda one: one[1])})
    return list(dict.fromkeys([*found, points[-1]]))


def thinned_band(band: Band) -> Band:
    """Return the band, or if it is of many rounds the lowest and highest values of every few."""
    if len(band) <= _MOST:
        return band
    found = [(part[0][0], min(low for _, low, _ in part), max(high for *_, high in part)) for part in _parts(band)]
    return [*found, band[-1]] if band[-1][0] > found[-1][0] else found


def thinning_in_words(num_points: int) -> str:
    """Say what is drawn of a line of so many points; empty if all are."""
    if num_points <= _MOST:
        return ""
    return f"Of every {_step(num_points):,} of {num_points:,} rounds, the least and the greatest value are drawn."


def _parts(points: Sequence[Point]) -> Iterator[Sequence[Point]]:
    step = _step(len(points))
    return (points[start : start + step] for start in range(0, len(points), step))


def _step(num_points: int) -> int:
    return -(-2 * num_points // _MOST)
