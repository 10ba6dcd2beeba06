"""Shared parts of partitioners: whole numbers from shares, classes cut by counts, and clients' examples from owners."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from flspec.core.ragged import Ragged
from flspec.core.randomness import Stream
from flspec.errors import InputError
from flspec.partitioners.base import ClientIndices

__all__ = [
    "apportion",
    "check_classes",
    "counts_that_suffice",
    "cut",
    "deal_classes",
    "held_by",
    "members_of",
    "random_rows",
]

Integers = NDArray[np.int64]

_ATTEMPTS = 100
_HOPELESS = 20  # mean of clients too small in a draw: a draw without any then has a chance of about e^-20


def check_classes(per_client: int, num_classes: int) -> None:
    """Raise InputError if a client is to have more classes than exist."""
    if per_client > num_classes:
        raise InputError(
            f"partition.classes_per_client is {per_client}, but there are {num_classes} classes; "
            f"lower it to {num_classes} or less"
        )


def held_by(owners: Integers, num_clients: int) -> ClientIndices:
    """Return each client's examples, ascending, given the owner of each example; -1 means no client."""
    places = owners + 1
    # Sorting takes a fifth of the time where the numbers have 16 bits.
    order = np.argsort(places.astype(np.uint16) if num_clients < 2**16 - 1 else places, kind="stable")
    sizes = np.bincount(places, minlength=num_clients + 1)
    return Ragged.cut(order[sizes[0] :], sizes[1:])  # without the examples of no client


def cut(order: Integers, sizes: Integers, num_examples: int) -> ClientIndices:
    """Give client 0 the first `sizes[0]` of `order`, client 1 the next `sizes[1]`, and so on."""
    owners = np.full(num_examples, -1, np.int64)
    owners[order[: int(sizes.sum())]] = np.repeat(np.arange(len(sizes)), sizes)
    return held_by(owners, len(sizes))


def apportion(shares: NDArray[np.float64], total: int) -> Integers:
    """Return whole numbers in proportion to `shares` that sum to `total`, by largest remainder (Hamilton's method).

    `shares` are not negative, and not all 0.
    """
    # Rounded, because the last bits of drawn shares may differ between versions of SciPy.
    exact = np.round(shares / shares.sum() * total, 6)
    sizes: Integers = np.floor(exact).astype(np.int64)
    left = total - int(sizes.sum())
    sizes[np.argsort(sizes - exact, kind="stable")[:left]] += 1
    return sizes


def members_of(classes: Integers, num_classes: int) -> Sequence[Integers]:
    """Return the examples of each class, ascending."""
    return held_by(classes, num_classes)


def deal_classes(members: Sequence[Integers], counts: Integers, stream: Stream) -> ClientIndices:
    """Put each class in random order, and cut it so that client k has `counts[k, c]` examples of class c."""
    owners = np.full(sum(map(len, members)), -1, np.int64)
    clients = np.arange(len(counts))
    for label, examples in enumerate(members):
        of_label = np.repeat(clients, counts[:, label])
        order = stream.child("order", label).permutation(len(examples))
        owners[examples[order[: len(of_label)]]] = of_label
    return held_by(owners, len(counts))


def random_rows(num_rows: int, population: int, size: int, stream: Stream) -> Integers:
    """Return [num_rows, size]: each row has `size` different numbers from 0..population-1 in random order."""
    words = stream.words(num_rows * population).reshape(num_rows, population)
    return np.argsort(words, axis=1, kind="stable")[:, :size]


def counts_that_suffice(draw: Callable[[int], Integers], least: int, asked: str) -> tuple[int, Integers]:
    """Return the first attempt that gives every client `least` examples, and its counts [num_clients, num_classes].

    Raises InputError, which opens with `asked`, when no attempt does or when it is soon clear that none will.
    """
    smallest: list[int] = []
    num_short: list[int] = []
    for attempt in range(_ATTEMPTS):
        counts = draw(attempt)
        sizes = counts.sum(axis=1)
        smallest.append(int(sizes.min()))
        num_short.append(int((sizes < least).sum()))
        if smallest[-1] >= least:
            return attempt, counts
        if sum(num_short) >= max(5, len(num_short)) * _HOPELESS:
            break
    draws = f"{len(smallest)} draws" if len(smallest) > 1 else "a draw"
    raise InputError(
        f"partition: {asked} × min_examples {least} is infeasible: in {draws} the smallest client held "
        f"{np.mean(smallest):.1f} examples on average, and {np.mean(num_short):.1f} of {len(sizes)} clients held fewer "
        f"than {least}; raise alpha, or lower clients or min_examples"
    )
