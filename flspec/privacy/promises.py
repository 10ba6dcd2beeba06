"""Promises of several runs side by side, in words short enough for a table."""

from __future__ import annotations

from collections.abc import Sequence

from flspec.core.text import letters
from flspec.privacy.statement import round_up
from flspec.protocol.records import Promise

__all__ = ["NEIGHBOURS", "NOTHING_PROMISED", "epsilons_in_words", "most_costly"]

NOTHING_PROMISED = "none"
NEIGHBOURS = {"add_or_remove": "added or removed", "replace": "replaced"}


def epsilons_in_words(promises: Sequence[Promise | None]) -> tuple[list[str], list[str]]:
    """Return the epsilon of each run, and notes on what they are of; no text at all if no run is private.

    Numbers that are not of the same delta, unit and neighbours must not be ranked, so a letter tells them apart.
    """
    terms = list(dict.fromkeys(_terms(promise) for promise in promises if promise))
    if not terms:
        return ["" for _ in promises], []
    if len(terms) == 1:
        return [_epsilon(promise) for promise in promises], [f"epsilon is {terms[0]}"]
    marks = {what: f"[{letters(index)}]" for index, what in enumerate(terms)}
    cells = [f"{_epsilon(one)} {marks[_terms(one)]}" if one else _epsilon(one) for one in promises]
    return cells, [f"epsilon {mark} is {what}" for what, mark in marks.items()]


def most_costly(promises: Sequence[Promise]) -> Promise | None:
    """Return the promise that protects least; None if there is none."""
    return max(promises, key=lambda one: float("inf") if one.epsilon is None else one.epsilon, default=None)


def _epsilon(promise: Promise | None) -> str:
    return NOTHING_PROMISED if promise is None or promise.epsilon is None else round_up(promise.epsilon)


def _terms(promise: Promise) -> str:
    neighbours = NEIGHBOURS.get(promise.adjacency, promise.adjacency)
    return f"by {promise.accountant} at delta {promise.delta:g}, of one {promise.unit} {neighbours}"
