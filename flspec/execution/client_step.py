"""The end of a client's half of a round, in numpy, for every engine: what it makes of its steps, keeps and sends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from flspec.client_algorithms import ClientAlgorithm, ClientOutcome, LocalWork
from flspec.execution.compression import compressed
from flspec.execution.part_checks import PartCall, read_only, read_only_records
from flspec.execution.parts import client_algorithm_of, learned_weights, optimizers_of
from flspec.protocol.named_records import Records, Weights
from flspec.protocol.plan import ClientTask, Plan
from flspec.protocol.updates import ClientUpdate

__all__ = ["Given", "Trained", "finish_task"]


@dataclass(frozen=True, eq=False)
class Given:
    """A task, and what a client has when it begins."""

    task: ClientTask
    weights: Weights
    server: Records  # that the server sends beside the weights
    client_state: Records


@dataclass(frozen=True, eq=False)
class Trained:
    """What an engine's training made of it."""

    after: Weights  # every tensor of the client after its last step: those that it was sent, and its own
    sums: Mapping[str, float]  # as in `ClientUpdate`
    passed: Records = field(default_factory=dict)  # as in `LocalWork`, like the last two
    carried: Records = field(default_factory=dict)  # state of optimizers and schedules that the client keeps
    start_loss: float | None = None
    start_gradient: Weights | None = None


def finish_task(plan: Plan, given: Given, trained: Trained) -> ClientUpdate:
    """Return the update that a client sends: by its algorithm, and compressed if the plan says so."""
    task, outcome = given.task, _finish(plan, _work(plan, given, trained))
    own = {name: trained.after[name] for name in given.client_state.get("weights", {})}
    update = ClientUpdate(
        client=task.client,
        repeat=task.repeat,
        delta=dict(outcome.delta),
        weight=task.weight,
        num_trained=task.num_trained,
        sums=trained.sums,
        client_state={**({"weights": own} if own else {}), **trained.carried, **outcome.own},
        sent=dict(outcome.sent),
        numbers=dict(outcome.numbers),
    )
    return compressed(plan, task, update, given.client_state)


def _work(plan: Plan, given: Given, trained: Trained) -> LocalWork:
    """Return the client algorithm's input after the steps."""
    optimizer = next(iter(optimizers_of(plan).values()))
    return LocalWork(
        start=read_only(given.weights),
        after={name: trained.after[name] for name in given.weights},
        server=read_only_records(given.server),
        own=read_only_records({slot: given.client_state[slot] for slot in client_algorithm_of(plan).client_slots}),
        num_steps=len(given.task.batches),
        learning_rate=optimizer.learning_rate * given.task.rate,
        optimizer=optimizer,
        statistics=plan.statistics,
        passed=trained.passed,
        start_loss=trained.start_loss,
        start_gradient=trained.start_gradient,
    )


def _finish(plan: Plan, work: LocalWork) -> ClientOutcome:
    """Return what the client algorithm sends and stores, checked to be exactly what its class declares."""
    algorithm = client_algorithm_of(plan)
    if type(algorithm) is ClientAlgorithm:  # plain steps, of which nothing need be checked
        return algorithm.finish(work)
    learned = learned_weights(plan)
    call = PartCall("client.algorithm", algorithm, "finish")
    with call.guarded():
        outcome = algorithm.finish(work)
    if not isinstance(outcome, ClientOutcome):
        raise call.error(f"gave a {type(outcome).__name__}, not a ClientOutcome")
    return ClientOutcome(
        delta=call.tensors(outcome.delta, work.start, "delta"),
        own=call.records(outcome.own, algorithm.client_slots, learned),
        sent=call.records(outcome.sent, algorithm.sends, learned),
        numbers=call.numbers(outcome.numbers, algorithm.sends_numbers),
    )
