"""How far an engine's own algorithm is from flspec's definition."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from flspec.core.distances import largest_magnitude, share_of
from flspec.protocol.events import Deviation
from flspec.protocol.plan import Plan
from flspec.protocol.state import OptimizerState, ServerState, Weights
from flspec.protocol.updates import ClientUpdate

__all__ = ["NativeStep", "deviation_between"]

# An engine's own step of the server, from the state before the round and the updates that count, in client order: to
# the optimizer's state and all weights. It has the slots of the definition's server optimizer, so that a round can
# begin from any state.
NativeStep = Callable[[ServerState, Sequence[ClientUpdate]], tuple[OptimizerState, dict[str, NDArray[np.float32]]]]


def deviation_between(plan: Plan, before: Weights, defined: Weights, native: Weights) -> Deviation:
    """Return how far `native` is from `defined`, which the definition has moved to from `before`.

    Running statistics move a thousand times as far as weights, so each is held to the movement of its own kind.
    """
    largest = relative = 0.0
    for names in (set(before) - plan.statistics, set(before) & plan.statistics):
        apart, moved = _furthest(names, defined, native), _furthest(names, defined, before)
        largest, relative = max(largest, apart), max(relative, share_of(apart, moved))
    return Deviation(largest=largest, relative=relative)


def _furthest(names: set[str], ones: Weights, others: Weights) -> float:
    apart = (largest_magnitude(ones[name].astype(np.float64) - others[name].astype(np.float64)) for name in names)
    return max(apart, default=0.0)
