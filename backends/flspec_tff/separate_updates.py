"""Rounds in which TFF trains the clients and hands over each one's result; all else of a round is flspec's.

TFF's learning processes sum updates before anybody sees one, and their clients carry nothing from round to round. So
where clients have a state, or the server looks at single updates, a round is a federated computation of this module's
own: the server's tensors are broadcast, and each client's records come in beside its data and go out beside its
weights. A client algorithm corrects gradients in TFF's worker, step by step. What it does once a round is numpy, in the
process that drives TFF, as are compression and the server's step.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_federated as tff

from flspec.data.store import open_data
from flspec.execution.client_state import state_of_client
from flspec.execution.client_step import Given, Trained, finish_task
from flspec.execution.parts import client_algorithm_of, keeps_optimizer, optimizers_of
from flspec.execution.rounds import RoundResult, initial_state, round_result, timed
from flspec.execution.server_step import finish_round, initial_client_records, sent_with_weights
from flspec.protocol.named_records import Records, Weights, flatten, unflatten
from flspec.protocol.plan import ClientTask, Plan
from flspec.protocol.state import ServerState
from flspec.protocol.updates import ClientUpdate
from flspec_tff.client_optimizers import record_of
from flspec_tff.clients import client_dataset, element_spec, nothing_drawn
from flspec_tff.layout import from_tensorflow, to_tensorflow
from flspec_tff.own_training import train_passes
from flspec_tff.phases import Phases
from flspec_tff.program import OneLoss, Program

__all__ = ["SeparateUpdates"]

_MEASURED_AT_ONCE = 100  # examples of a client, before its steps


class SeparateUpdates:
    """Rounds of a plan. A run can continue from any state."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self._algorithm, self._data = plan, client_algorithm_of(plan), open_data(plan.settings.data)
        kind, passes = Phases if plan.settings.phases else OneLoss, self._algorithm.passes(1, plan.settings.epochs)
        programs: list[tuple[Any, Program]] = [(one, kind(plan, 1, one)) for one in passes]
        self._planned, self._blank = programs[0][1].planned, _records_of_client(plan, programs[-1][1])
        elements = [element_spec(self._data.train, self._planned)]
        if self._algorithm.measured_at_start:
            elements.append(element_spec(self._data.train_as_tested, nothing_drawn))
        self._train = _on_clients(
            train_passes(plan, self._algorithm, programs),
            OrderedDict(rate=tff.TensorType(np.float64), tensors=_types(_sent(plan, initial_state(plan)))),
            OrderedDict(bounds=tff.TensorType(np.int64, [len(passes), 2]), tensors=_types(self._blank)),
            elements,
        )

    def run_round(self, number: int, state: ServerState) -> RoundResult:
        """Execute round `number` from `state`, for `flspec.execution.rounds.drive_rounds`."""
        lap, tasks = timed(), self.plan.cohort(number)
        updates = self._updates(tasks, state) if tasks else []
        seconds = lap()
        outcome = finish_round(self.plan, state, updates)
        return round_result(outcome, updates, {"train": seconds, "aggregate": lap()})

    def _updates(self, tasks: Sequence[ClientTask], state: ServerState) -> list[ClientUpdate]:
        server = OrderedDict(
            rate=np.float64(self.plan.client_rate(state.round + 1)), tensors=_written(_sent(self.plan, state))
        )
        sent = sent_with_weights(self.plan, state)
        given = [Given(task, state.weights, sent, state_of_client(self.plan, state, task.client)) for task in tasks]
        results = self._train(server, [self._brought(one) for one in given], [self._seen(task) for task in tasks])
        return [
            finish_task(self.plan, one, self._read(one, result)) for one, result in zip(given, results, strict=True)
        ]

    def _brought(self, given: Given) -> OrderedDict[str, Any]:
        """Return what a client has for its task beside its data."""
        num, epochs = len(given.task.batches), self.plan.settings.epochs
        bounds = [slice(one.first, one.end).indices(num)[:2] for one in self._algorithm.passes(num, epochs)]
        records = {name: given.client_state.get(name, blank) for name, blank in self._blank.items()}
        return OrderedDict(bounds=np.array(bounds, np.int64), tensors=_written(records))

    def _seen(self, task: ClientTask) -> tuple[Any, ...]:
        """Return a client's data: its batches, and its examples as they are evaluated if these are measured."""
        batches = client_dataset(task, 0, self._data.train, self._planned)
        if not self._algorithm.measured_at_start:
            return (batches,)
        examples = self.plan.client_examples(task.client)
        parts = np.split(examples, range(_MEASURED_AT_ONCE, len(examples), _MEASURED_AT_ONCE))
        every = ClientTask(task.client, 0, tuple(parts))
        return batches, client_dataset(every, 0, self._data.train_as_tested, nothing_drawn)

    def _read(self, given: Given, result: Mapping[str, Any]) -> Trained:
        records = unflatten({name: from_tensorflow(np.asarray(value)) for name, value in result["tensors"].items()})
        num, start = given.task.num_trained, result["start"]
        sums = {name: float(total) for name, total in result["sums"].items()}
        rows = {name: int(count) for name, count in result["rows"].items()}
        loss = float(start["loss"] / start["number"]) if start else None
        gradients = start["gradient"].items() if start else ()
        return Trained(
            after=records.pop("weights"),
            # A phase need not take place in every step; its sum is as if it were over all examples.
            sums={name: total if rows[name] == num else total / rows[name] * num for name, total in sums.items()},
            passed={name: record for name, record in records.items() if name in self._algorithm.client_slots},
            carried={name: record for name, record in records.items() if name not in self._algorithm.client_slots},
            start_loss=loss if loss is None or math.isfinite(loss) else math.inf,
            start_gradient={
                name: from_tensorflow(total / start["number"]).astype(np.float32) for name, total in gradients
            },
        )


def _on_clients(
    train: Callable[..., Any], server: Any, client: Any, elements: Sequence[Any]
) -> Callable[..., Sequence[Mapping[str, Any]]]:
    """Return (the server's tensors, each client's, each client's data) -> each client's result, on TFF."""
    data = [tff.SequenceType(tff.types.tensorflow_to_type(element)) for element in elements]
    work = tff.tensorflow.computation(train, (server, client, data))

    @tff.federated_computation(
        tff.FederatedType(server, tff.SERVER),
        tff.FederatedType(client, tff.CLIENTS),
        tff.FederatedType(data, tff.CLIENTS),
    )
    def of_cohort(sent: Any, brought: Any, seen: Any) -> Any:
        return tff.federated_map(work, (tff.federated_broadcast(sent), brought, seen))

    computation: Callable[..., Sequence[Mapping[str, Any]]] = of_cohort
    return computation


def _sent(plan: Plan, state: ServerState) -> Records:
    """Return the records that the server sends: the weights, and those of the client algorithm."""
    return {"weights": state.weights, **sent_with_weights(plan, state)}


def _records_of_client(plan: Plan, program: Program) -> Records:
    """Return the records that a client trains with, as they are before its first round."""
    tensors = {**plan.weights, **plan.local}
    records: dict[str, Weights] = {"weights": plan.local} if plan.local else {}
    algorithm = initial_client_records(plan)
    records |= {slot: algorithm[slot] for slot in client_algorithm_of(plan).client_slots}
    for player, rule in optimizers_of(plan).items():
        if keeps_optimizer(plan, player):
            for slot, start in rule.initial_slots().items():
                own = {name: np.full_like(tensors[name], start) for name in program.learned[player]}
                records[f"{record_of(player)}/{slot}"] = own
            if rule.counts_steps:
                records[record_of(player)] = {"step": np.array(0, np.float32)}
    return records


def _written(records: Records) -> OrderedDict[str, Any]:
    return OrderedDict((name, to_tensorflow(value)) for name, value in flatten(records).items())


def _types(records: Records) -> OrderedDict[str, tff.TensorType]:
    return OrderedDict((name, tff.TensorType(np.float32, value.shape)) for name, value in _written(records).items())
