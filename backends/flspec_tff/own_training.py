"""A client's training in TFF by a loop of flspec's own, for steps that TFF's own loop, of one loss, cannot take.

TFF still sends the weights, places the work, and combines or hands over what the clients send.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from flspec.client_algorithms import ClientAlgorithm, Pass
from flspec.execution.parts import keeps_optimizer, optimizers_of
from flspec.protocol.named_records import flatten, unflatten
from flspec.protocol.plan import Plan
from flspec_tff.client_optimizers import slots_of
from flspec_tff.process import ClientTraining
from flspec_tff.program import Carried, OneLoss, Program, Sent

__all__ = ["train_passes", "train_program"]


def train_program(program: Program) -> ClientTraining:
    """Return the training that takes a program's steps, and sends the change of every tensor, statistics too."""

    def train(rate: tf.Tensor, weights: tff.learning.models.ModelWeights, dataset: tf.data.Dataset) -> tuple[Any, Any]:
        before, sent = dict(zip(program.names, weights.trainable, strict=True)), Sent(rate)
        carried = dataset.reduce(program.start(before, sent), lambda state, one: program.step(state, one, sent))
        # TFF's updates have the sign of a gradient.
        update = tuple(before[name] - carried["tensors"][name] for name in before)
        is_finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(tensor)) for tensor in update])
        metrics = OrderedDict(num_trained=carried["num_trained"], sums=program.metrics(carried))
        return (
            tff.learning.templates.ClientResult(
                update=_if(is_finite, update), update_weight=_if(is_finite, tf.cast(carried["weight"], tf.float32))
            ),
            _if(is_finite, metrics),
        )

    training: ClientTraining = tf.function(train, autograph=False)  # as in model.py
    return training


def _if(counts: tf.Tensor, values: Any) -> Any:
    """Return the values, or zeros of a client that does not count, as TFF's own loop does."""
    return tf.nest.map_structure(lambda value: tf.where(counts, value, tf.zeros_like(value)), values)


def train_passes(
    plan: Plan, algorithm: ClientAlgorithm, programs: Sequence[tuple[Pass, Program]]
) -> Callable[..., OrderedDict[str, Any]]:
    """Return the training in an algorithm's passes, of (the server's, the client's, its data) to what becomes of them.

    The server has the `rate` of the round, and its `tensors`, flattened records. The client has its own, and the
    `bounds` of each pass, int64 [num_passes, 2]: of the batches in the first of its data. The second is examples as
    they are evaluated, where the algorithm measures these.
    """

    def train(server: Mapping[str, Any], client: Mapping[str, Any], data: Sequence[Any]) -> OrderedDict[str, Any]:
        received, own = unflatten(server["tensors"]), unflatten(client["tensors"])
        tensors = {**received.get("weights", {}), **own.get("weights", {})}
        sent, carried, passed = Sent(server["rate"], received.get("weights", {}), received, own), {}, {}
        measured = _at_start(algorithm, programs[0][1], tensors, data)
        sums, rows = [], []
        for number, (one, program) in enumerate(programs):
            begin = own[one.record] if one.record else tensors
            after = _take(program, begin, sent, client["bounds"][number], data[0])
            if one.record:
                passed[one.record] = after["tensors"]
                continue
            tensors, carried = after["tensors"], after
            sums.append(after["sums"])
            rows.append(after["rows"])
        kept = _kept(plan, programs[-1][1], carried)
        return OrderedDict(
            tensors=OrderedDict(flatten({"weights": tensors, **passed, **kept})),
            sums=_added(sums),
            rows=_added(rows),
            start=measured,
        )

    training: Callable[..., OrderedDict[str, Any]] = tf.function(train, autograph=False)
    return training


def _take(program: Program, begin: Mapping[str, tf.Tensor], sent: Sent, bounds: tf.Tensor, batches: Any) -> Carried:
    """Return what a client carries after the steps of a pass."""
    own = batches.skip(bounds[0]).take(bounds[1] - bounds[0])
    after: Carried = own.reduce(
        program.start(begin, sent, bounds[0]), lambda state, one: program.step(state, one, sent)
    )
    return after


def _at_start(
    algorithm: ClientAlgorithm, program: Program, tensors: Mapping[str, tf.Tensor], data: Sequence[Any]
) -> OrderedDict[str, Any]:
    if not (wanted := algorithm.measured_at_start):
        return OrderedDict()
    assert isinstance(program, OneLoss), "a spec with phases is refused"
    return program.at_start(tensors, data[1], with_gradient="gradient" in wanted)


def _kept(plan: Plan, program: Program, carried: Carried) -> dict[str, dict[str, Any]]:
    """Return the records of the optimizers that a client keeps."""
    records: dict[str, dict[str, Any]] = {}
    for player, rule in optimizers_of(plan).items():
        if keeps_optimizer(plan, player):
            records |= slots_of(rule, carried["optimizers"][player], player, program.learned[player])
    return records


def _added(several: Sequence[Mapping[str, tf.Tensor]]) -> OrderedDict[str, tf.Tensor]:
    return OrderedDict((name, tf.add_n([one[name] for one in several])) for name in several[0])
