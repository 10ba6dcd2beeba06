"""Weights off by what rounding adds, by which a certificate measures how far rounding alone moves a round.

Training has values that are sums of many products, which two engines add up in another order. So ties (of a ReLU, of
max pooling) fall to the other side that weights off by one float32 step leave alone, and weights off by four do not: so
it was with sums of 800 on torch and TensorFlow. But between steps a weight is rounded once. Therefore a round is run
from weights off by four steps, and three of them are taken off its outcome.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from flspec.core.randomness import Stream
from flspec.protocol.named_records import Weights
from flspec.protocol.state import ServerState

__all__ = ["IN_TRAINING", "nudge", "nudged_outcome"]

IN_TRAINING = 4.0  # float32 steps by which the values of a training step may be off

Tensor = NDArray[np.float32]
_Change = Callable[[int | None, str, Tensor], Tensor]  # of the tensor of a client, or None: of the server, by its name


def nudge(state: ServerState, steps: int, number: int, by: float = IN_TRAINING) -> ServerState:
    """Return the state with every weight moved by `by` sqrt(`steps`) float32 steps, up or down by chance.

    That is what rounding adds up to, as a random walk, in as many steps of training. `number` seeds the draw.
    """
    stream = Stream(number, "nudge", state.round)

    def moved(client: int | None, name: str, weight: Tensor) -> Tensor:
        own = stream.child(name) if client is None else stream.child("client", client, f"weights/{name}")
        signs = 1.0 - 2.0 * (own.words(weight.size).reshape(weight.shape) & np.uint64(1))
        # Exact zeros stay: rounding does not move them, and one may decide a tie that no engine breaks.
        step = np.where(weight == 0.0, 0.0, np.spacing(np.abs(weight)).astype(np.float64))
        nudged: Tensor = (weight + signs * by * math.sqrt(steps) * step).astype(np.float32)
        return nudged

    return _with_weights(state, moved)


def nudged_outcome(after: ServerState, before: ServerState, steps: int, number: int) -> ServerState:
    """Return the state after a round that began from `nudge(before, steps, number)`, off by as much as each weight is
    itself, one step where it began with four, and by all that training made of the four.
    """
    start, once = nudge(before, steps, number), nudge(before, steps, number, by=1.0)

    def settled(client: int | None, name: str, weight: Tensor) -> Tensor:
        nudged, own = (_weights_of(state, client)[name].astype(np.float64) for state in (start, once))
        outcome: Tensor = (weight + (own - nudged)).astype(np.float32)
        return outcome

    return _with_weights(after, settled)


def _with_weights(state: ServerState, change: _Change) -> ServerState:
    def changed(client: int | None) -> Weights:
        return {name: change(client, name, weight) for name, weight in _weights_of(state, client).items()}

    return replace(
        state,
        weights=changed(None),
        clients={client: {**records, "weights": changed(client)} for client, records in state.clients.items()},
    )


def _weights_of(state: ServerState, client: int | None) -> Weights:
    return state.weights if client is None else state.clients[client].get("weights", {})
