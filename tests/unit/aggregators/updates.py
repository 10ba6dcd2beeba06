"""Updates to combine: honest ones around a point, and some that are not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.aggregators import Aggregator, ServerSide
from flspec.core.components import parse_component
from flspec.protocol.updates import ClientUpdate

Matrix = NDArray[np.float64]  # [num_updates, num_values]


@dataclass(frozen=True)
class Case:
    num: int
    f: int
    attack: float  # by which the last f updates are moved
    seed: int


CASES = {
    "alike": Case(9, 1, 0.0, seed=0),
    "far": Case(13, 2, 1e3, seed=1),
    "many": Case(25, 5, -40.0, seed=2),
    "near": Case(12, 2, 1.5, seed=3),
    "tight": Case(11, 2, 0.0, seed=4),
    "few": Case(7, 1, 0.0, seed=4),
}
NUM_VALUES = 11


def matrix_of(case: str) -> Matrix:
    """The updates of a case, one a row; the same on every machine, as words of PCG64 are."""
    made = CASES[case]
    words = np.random.PCG64(made.seed).random_raw(made.num * NUM_VALUES)
    x = (words >> np.uint64(11)).astype(np.float64).reshape(made.num, NUM_VALUES) * 2.0**-52 - 1 + 0.25
    x[made.num - made.f :] += made.attack
    return x


def updates_of(x: NDArray[Any], weights: Any = None) -> list[ClientUpdate]:
    """The rows as updates of three tensors, one of them a scalar."""
    shares = [1.0] * len(x) if weights is None else weights
    return [
        ClientUpdate(number, {"w": row[:6].reshape(2, 3), "s": row[6].reshape(()), "b": row[7:]}, float(share), 1, {})
        for number, (row, share) in enumerate(zip(x, shares, strict=True))
    ]


def combined(document: dict[str, Any], x: NDArray[Any], weights: Any = None, center: Any = None) -> Matrix:
    """What a rule combines rows into, as one row."""
    rule: Any = parse_component(Aggregator, document)
    record = {} if center is None else updates_of(np.asarray([center]))[0].delta
    delta, _ = rule.combine_with(updates_of(x, weights), ServerSide(record))
    return np.concatenate([np.asarray(delta[name]).ravel() for name in ("w", "s", "b")])
