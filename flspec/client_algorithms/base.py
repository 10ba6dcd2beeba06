"""What a client algorithm is: a correction of each gradient, what it remembers, and what it sends.

An algorithm is defined once, for every engine. What happens at each step is written with arithmetic operators alone, so
it computes on numpy arrays and on any framework's tensors; what happens once a round is written in numpy.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from flspec.core.components import Component
from flspec.protocol.named_records import Records, Weights
from flspec.protocol.updates import Delta

__all__ = ["ClientAlgorithm", "ClientOutcome", "LocalWork"]

Tensors = Mapping[str, NDArray[np.floating[Any]]]


@dataclass(frozen=True, eq=False)
class LocalWork:
    """What one client has done in a round; arrays are float32."""

    start: Weights  # all tensors that the server sent
    after: Weights  # the same, after the client's last step
    server: Records  # `server_slots`, as the server sent them
    own: Records  # `client_slots`, as the client remembered them
    num_steps: int
    learning_rate: float  # of the round, schedules by rounds included


@dataclass(frozen=True, eq=False)
class ClientOutcome:
    """What comes of a client's work; sent and stored as float32."""

    delta: Tensors  # of the same tensors as `LocalWork.start`
    own: Mapping[str, Tensors] = field(default_factory=dict)  # what it remembers until its next round: `client_slots`
    sent: Mapping[str, Tensors] = field(default_factory=dict)  # what it sends beside the delta: `sends`


class ClientAlgorithm(Component, ABC):
    """A way of local training; by default, plain steps of the client's optimizer.

    `server_slots` and `client_slots` are records of one float32 tensor for each learned weight of the server. Engines
    create them, send the server's with the weights, keep the clients', and compare both in certificates.
    """

    server_slots: ClassVar[Mapping[str, float]] = {}  # what the server carries, and the value that it starts with
    client_slots: ClassVar[Mapping[str, float]] = {}  # what each client carries, likewise
    sends: ClassVar[tuple[str, ...]] = ()  # the records of `ClientOutcome.sent`, each as large as the weights

    def correct(self, gradient: Any, weight: Any, start: Any, server: Mapping[str, Any], own: Mapping[str, Any]) -> Any:
        """The gradient of one tensor that the optimizer is given, before `client.clip`.

        `start` is the weight as the server sent it, `server` and `own` the entries of the slots for this tensor.
        """
        return gradient

    def finish(self, work: LocalWork) -> ClientOutcome:
        """What a client sends and remembers after its last step."""
        return ClientOutcome({name: work.after[name] - start for name, start in work.start.items()})

    def combine(
        self, mean: Delta, server: Records, sent: Sequence[Records], num_clients: int
    ) -> tuple[Delta, Mapping[str, Tensors]]:
        """The update that the server optimizer is given, and what the server carries from now on.

        `mean` is the aggregator's, float64; `sent` is of the clients that count, in client order, of `num_clients` that
        there are in all.
        """
        return mean, server

    def initial_server(self, weights: Weights) -> Records:
        """What the server carries before the first round."""
        return _slots(self.server_slots, weights)

    def initial_client(self, weights: Weights) -> Records:
        """What a client carries before its first round."""
        return _slots(self.client_slots, weights)


def _slots(starts: Mapping[str, float], weights: Weights) -> Records:
    return {
        slot: {name: np.full_like(weight, start) for name, weight in weights.items()} for slot, start in starts.items()
    }
