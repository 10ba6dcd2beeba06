"""The interface of a client algorithm: a correction of each gradient, named records, and what is sent.

An algorithm is defined once for every engine. The part of each step uses arithmetic operators alone, so it computes on
numpy arrays and on any framework's tensors. The part of each round is written in numpy. Engines ask an algorithm what
it needs, and never which one it is.
"""

from __future__ import annotations

import math
from abc import ABC
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from flspec.client_optimizers import ClientOptimizer
from flspec.core.components import Component
from flspec.protocol.named_records import RESERVED, Records, Weights
from flspec.protocol.updates import Delta

__all__ = ["ClientAlgorithm", "ClientOutcome", "CohortWork", "LocalWork", "Measurement", "Need", "Pass"]

Tensors = Mapping[str, NDArray[np.floating[Any]]]
Measurement = Literal["loss", "gradient"]  # of a client, before its first step
Need = Literal[
    "sgd",  # client.optimizer is SGD, with or without momentum, that starts afresh with one learning rate a round
    "plain_sgd",  # the same without momentum: a step is the learning rate times the gradient
    "no_clip",  # gradients are taken as they are corrected
    "mean",  # the aggregator is a weighted mean
    "uniform_mean",  # the aggregator is a mean in which clients count alike
    "fresh_optimizer",  # client.optimizer starts afresh each round, and its schedule is by rounds
    "public_steps",  # steps have no noise that privacy counts on
    "local_part",  # some learned tensors stay with each client, and others are sent
    "sent_model",  # all that training changes is learned and sent
]


@dataclass(frozen=True)
class Pass:
    """A client's steps over some of its planned batches, in order, with an optimizer of its own."""

    first: int = 0  # of the task's batches, from 0
    end: int | None = None  # the batch after its last; None: all that are left
    trains: Literal["all", "sent", "local"] = "all"  # other tensors stay as they are: no gradient, decay or momentum
    record: str = ""  # of `client_slots`, which is trained in place of the tensors that were sent; "": those
    is_corrected: bool = True  # by `correct`


@dataclass(frozen=True, eq=False)
class LocalWork:
    """The input and result of one client's training in a round; arrays are float32."""

    start: Weights  # all tensors that the server sent
    after: Weights  # the same, after the client's last step
    server: Records  # `server_slots`, as the server sent them
    own: Records  # `client_slots`, as the client stored them
    num_steps: int
    learning_rate: float  # of the round, schedules by rounds included
    optimizer: ClientOptimizer | None = None  # that took the steps
    statistics: frozenset[str] = frozenset()  # those of `start` that are updated without gradients
    passed: Records = field(default_factory=dict)  # what became of each record that a pass trains
    # Of `measured_at_start`, at `start`: means over all of the client's examples, as they are evaluated (no dropout, no
    # random transforms, batch norm by its running statistics).
    start_loss: float | None = None
    start_gradient: Weights | None = None  # of the tensors that have records


@dataclass(frozen=True, eq=False)
class ClientOutcome:
    """The records after a client's work; sent and stored as float32."""

    delta: Tensors  # of the same tensors as `LocalWork.start`
    own: Mapping[str, Tensors] = field(default_factory=dict)  # stored until the client's next round: `client_slots`
    sent: Mapping[str, Tensors] = field(default_factory=dict)  # sent beside the delta: `sends`
    numbers: Mapping[str, float] = field(default_factory=dict)  # likewise: `sends_numbers`


@dataclass(frozen=True, eq=False)
class CohortWork:
    """What a round's clients sent, for the server; only those that count, in client order, at least one."""

    mean: Delta  # the aggregator's, float64
    server: Records  # `server_slots`, as the clients had them
    sent: Sequence[Records]  # `sends` of each client
    numbers: Sequence[Mapping[str, float]]  # `sends_numbers` of each client
    shares: Sequence[float]  # of each client in the weighted mean; they sum to 1
    num_clients: int  # in all, whether or not in this round
    statistics: frozenset[str] = frozenset()  # those of `mean` that are updated without gradients


class ClientAlgorithm(Component, ABC):
    """A way of local training; by default, plain steps of the client's optimizer.

    `server_slots` and `client_slots` are named records: one float32 tensor for each learned weight of the server.
    Engines create them, send the server's with the weights, store the clients', and compare both in certificates.
    """

    server_slots: ClassVar[Mapping[str, float]] = {}  # the server's records, and the value that each starts with
    client_slots: ClassVar[Mapping[str, float]] = {}  # each client's records, likewise
    sends: ClassVar[tuple[str, ...]] = ()  # the records of `ClientOutcome.sent`, each as large as the weights
    personal: ClassVar[str] = ""  # of `client_slots`: the weights that a client's own model has; "": it has none
    counts_epochs: ClassVar[bool] = False  # whether `passes` is given the epochs of a round
    sends_numbers: ClassVar[tuple[str, ...]] = ()  # the names of `ClientOutcome.numbers`, each eight bytes

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse a class whose records could not be stored or sent."""
        super().__pydantic_init_subclass__(**kwargs)
        for attribute in ("server_slots", "client_slots", "sends", "sends_numbers"):
            if wrong := _why_invalid(getattr(cls, attribute), holds_starts=not attribute.startswith("sends")):
                raise ValueError(f"{cls.__name__}.{attribute} {wrong}")

    @property
    def needs(self) -> tuple[Need, ...]:
        """What other parts of a spec must be; a spec with others is refused."""
        return ()

    @property
    def measured_at_start(self) -> tuple[Measurement, ...]:
        """What a client measures at the weights that it is sent, before its steps: see `LocalWork`."""
        return ()

    def why_invalid(self, epochs: int | None, steps: int | None) -> str | None:
        """Return why it cannot share out a client's work, one of the two, with a way out; None if it can."""
        return None

    def passes(self, num_steps: int, epochs: int) -> Sequence[Pass]:
        """Return what a client trains with its planned batches; `epochs` is 0 without `counts_epochs`."""
        return (Pass(),)

    def correct(self, gradient: Any, weight: Any, start: Any, server: Mapping[str, Any], own: Mapping[str, Any]) -> Any:
        """Return the gradient of one tensor as the optimizer is to take it, before `client.clip`.

        `start` is the weight as the server sent it. `server` and `own` are the slots' entries for this tensor.
        """
        return gradient

    def finish(self, work: LocalWork) -> ClientOutcome:
        """Return what a client sends and stores after its last step."""
        return ClientOutcome({name: work.after[name] - start for name, start in work.start.items()})

    def combine(self, work: CohortWork) -> tuple[Delta, Mapping[str, Tensors]]:
        """Return the update for the server optimizer, and the server's records from now on."""
        return work.mean, work.server

    def initial_server(self, weights: Weights) -> Records:
        """Return the server's records before the first round."""
        return _slots(self.server_slots, weights)

    def initial_client(self, weights: Weights) -> Records:
        """Return a client's records before its first round."""
        return _slots(self.client_slots, weights)


def _why_invalid(declared: Any, holds_starts: bool) -> str | None:
    """Return why this is no declaration of records; None if it is one."""
    if not isinstance(declared, Mapping if holds_starts else tuple | list):
        wanted = "a mapping from a record's name to the value it starts with" if holds_starts else "a tuple of names"
        return f"is {declared!r}; it should be {wanted}"
    for name in declared:
        if not isinstance(name, str) or not name or "/" in name:
            return f"names a record {name!r}; a name is text without a slash"
        if name in RESERVED:
            return f"names a record {name!r}, which flspec uses itself; choose another name"
        start = declared[name] if isinstance(declared, Mapping) else 0.0
        if not isinstance(start, int | float) or not math.isfinite(start):
            return f"starts {name!r} with {start!r}; it should be a finite number"
    return None


def _slots(starts: Mapping[str, float], weights: Weights) -> Records:
    return {
        slot: {name: np.full_like(weight, start) for name, weight in weights.items()} for slot, start in starts.items()
    }
