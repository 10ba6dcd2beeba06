"""Training programs in TensorFlow: what a client carries from step to step, and what a step makes of it.

TFF's own training has one loss, and changes only what is learned by its gradient. A program may have several
optimizers, changes running statistics too, and lets the client algorithm correct gradients. It is for one pass of that
algorithm (`flspec.client_algorithms.Pass`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from flspec.client_algorithms import ClientAlgorithm, Pass
from flspec.core.randomness import Stream
from flspec.execution.part_checks import PartCall
from flspec.execution.parts import (
    client_algorithm_of,
    loss_of,
    network_of,
    networks_of,
    optimizers_of,
    players_of,
)
from flspec.protocol.plan import Plan
from flspec_tff.client_optimizers import Rate, build_client_optimizer, with_slots
from flspec_tff.clients import Inputs, Planned, Target, inputs_of, labels_of, masks_for
from flspec_tff.layers import build_forward
from flspec_tff.layout import to_tensorflow
from flspec_tff.losses import build_loss, count_correct

__all__ = ["WHOLE", "Carried", "OneLoss", "Program", "Records", "Sent", "Tensors"]

Tensors = dict[str, tf.Tensor]
Records = Mapping[str, Mapping[str, tf.Tensor]]  # `flspec.protocol.named_records`, in TensorFlow's layout
Carried = dict[str, Any]  # see `Program.start`
WHOLE = Pass()


@dataclass(frozen=True, eq=False)
class Sent:
    """What a client has for all of its steps."""

    rate: Rate  # the factor of all learning rates
    weights: Mapping[str, tf.Tensor] = field(
        default_factory=dict
    )  # as the server sent them, if gradients are corrected
    server: Records = field(default_factory=dict)  # the client algorithm's `server_slots`
    own: Records = field(default_factory=dict)  # the client's: of its algorithm, and of optimizers that it keeps


class Program(ABC):
    """A client's training as functions of what it carries."""

    planned: Planned  # the draws of a step

    def __init__(self, plan: Plan, cohort_size: int, metrics: Sequence[str], one: Pass = WHOLE) -> None:
        self._plan, self._cohort_size, self._metrics = plan, cohort_size, metrics
        self.names = tuple(plan.weights)  # of the tensors that the server sends
        self._constants = {name: to_tensorflow(tensor) for name, tensor in plan.constants.items()}
        self._algorithm = client_algorithm_of(plan)
        self._correct_call = PartCall("client.algorithm", self._algorithm, "correct")
        self._corrects = one.is_corrected and type(self._algorithm).correct is not ClientAlgorithm.correct
        trained = {"all": [*plan.weights, *plan.local], "sent": plan.weights, "local": plan.local}[one.trains]
        networks, learned = networks_of(plan), [name for name in trained if name not in plan.statistics]
        self.learned = {  # names by optimizer, in this pass
            player: [name for name in learned if name.startswith(tuple(networks[n].prefix for n in own))]
            for player, own in players_of(plan).items()
        }

    @abstractmethod
    def take(self, carried: Carried, x: Inputs, target: Target, sent: Sent, tape: tf.GradientTape) -> Carried:
        """Return what a client carries after the step of one batch. The tape watches every learned tensor."""

    def start(self, tensors: Mapping[str, tf.Tensor], sent: Sent, number: Any = 0) -> Carried:
        """Return what a client carries into its first step, which is the `number`th of its task."""
        specs = {
            player: tuple(tf.TensorSpec(tensors[name].shape, tensors[name].dtype) for name in names)
            for player, names in self.learned.items()
        }
        rules = optimizers_of(self._plan)
        return {
            "tensors": dict(tensors),
            "optimizers": {
                player: with_slots(rules[player], optimizer.initialize(specs[player]), player, sent.own)
                for player, optimizer in self._optimizers(sent.rate).items()
            },
            "number": tf.cast(number, tf.int64),  # of the step
            "sums": {name: tf.constant(0.0, tf.float64) for name in self._metrics},
            "rows": {name: tf.constant(0, tf.int64) for name in self._metrics},  # that each sum is over
            "weight": tf.constant(0, tf.int32),  # the client's, in the mean
            "num_trained": tf.zeros([self._cohort_size], tf.int64),  # by position in the cohort
        }

    def step(self, carried: Carried, element: tuple[Inputs, Target], sent: Sent) -> Carried:
        """Return what a client carries after one element of its dataset."""
        x, target = element
        with tf.GradientTape(persistent=True) as tape:
            tape.watch([carried["tensors"][name] for names in self.learned.values() for name in names])
            after = self.take(carried, x, target, sent, tape)
        place = tf.one_hot(target.position, self._cohort_size, dtype=tf.int64)
        after |= {
            "number": carried["number"] + 1,
            "weight": carried["weight"] + x.step.weight,
            "num_trained": carried["num_trained"] + place * tf.cast(x.step.size, tf.int64),
        }
        # A loop's state must keep its shapes, which TensorFlow does not always know.
        kept: Carried = tf.nest.map_structure(lambda new, old: tf.ensure_shape(new, old.shape), after, carried)
        return kept

    def metrics(self, carried: Carried) -> OrderedDict[str, tf.Tensor]:
        """Return each metric's sum as if it were over all examples: it may be over the rows of some steps alone."""
        total = tf.cast(tf.reduce_sum(carried["num_trained"]), tf.float64)
        share = {name: total / tf.cast(rows, tf.float64) for name, rows in carried["rows"].items()}
        return OrderedDict((name, value * share[name]) for name, value in sorted(carried["sums"].items()))

    def draws(self, x: Inputs) -> Tensors:
        """Return what is drawn for a step, by name."""
        names = self.planned(0, 1, Stream(0))
        return {name: value[: x.step.size] for name, value in zip(names, x.step.planned, strict=True)}

    def tensors(self, carried: Carried) -> Tensors:
        """Return the model's tensors as they are, the constants too."""
        return {**{name: tf.constant(value) for name, value in self._constants.items()}, **carried["tensors"]}

    def descend(
        self,
        carried: Carried,
        player: str,
        loss: tf.Tensor,
        tensors: Mapping[str, tf.Tensor],
        sent: Sent,
        tape: tf.GradientTape,
    ) -> Carried:
        """Return what is carried after an optimizer's step on a loss; `tensors` have the statistics of its passes."""
        names = self.learned[player]
        with tape.stop_recording():
            weights = tuple(tensors[name] for name in names)
            gradients = tape.gradient(loss, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
            if self._corrects:
                given = zip(names, weights, gradients, strict=True)
                gradients = tuple(self._corrected(name, weight, gradient, sent) for name, weight, gradient in given)
            optimizer = self._optimizers(sent.rate)[player]
            state, stepped = optimizer.next(carried["optimizers"][player], weights, gradients)
        changed = {**tensors, **dict(zip(names, stepped, strict=True))}
        return {
            **carried,
            "tensors": {name: changed[name] for name in carried["tensors"]},
            "optimizers": {**carried["optimizers"], player: state},
        }

    def _corrected(self, name: str, weight: tf.Tensor, gradient: tf.Tensor, sent: Sent) -> tf.Tensor:
        """Return the gradient of a tensor as the client algorithm corrects it: of those that the server sent."""
        if name not in sent.weights:
            return gradient
        server, own = (
            {slot: records[slot][name] for slot in slots}
            for records, slots in (
                (sent.server, self._algorithm.server_slots),
                (sent.own, self._algorithm.client_slots),
            )
        )
        with self._correct_call.guarded():
            corrected = self._algorithm.correct(gradient, weight, sent.weights[name], server, own)
        # TensorFlow does not always know a gradient's shape.
        if not isinstance(corrected, tf.Tensor) or not corrected.shape.is_compatible_with(weight.shape):
            given = list(corrected.shape) if isinstance(corrected, tf.Tensor) else type(corrected).__name__
            raise self._correct_call.error(f"gave {given} for {name}, not a tensor of shape {list(weight.shape)}")
        return tf.cast(corrected, gradient.dtype)

    def measured(self, carried: Carried, sums: Mapping[str, tf.Tensor], count: tf.Tensor) -> Carried:
        """Return what is carried with more sums, each over `count` rows."""
        added = {name: carried["sums"][name] + tf.cast(value, tf.float64) for name, value in sums.items()}
        rows = {name: carried["rows"][name] + tf.cast(count, tf.int64) for name in sums}
        return {**carried, "sums": carried["sums"] | added, "rows": carried["rows"] | rows}

    def _optimizers(self, rate: Rate) -> dict[str, tff.learning.optimizers.Optimizer]:
        clip = self._plan.settings.clip
        return {
            player: build_client_optimizer(rule, rule.learning_rate * rate, clip)
            for player, rule in optimizers_of(self._plan).items()
        }


class OneLoss(Program):
    """The steps of one network on one loss: what TFF's own training does, and its running statistics."""

    def __init__(self, plan: Plan, cohort_size: int, one: Pass = WHOLE) -> None:
        super().__init__(plan, cohort_size, ("accuracy", "loss"), one)
        network = network_of(plan)
        self.planned, self._forward, self._loss = masks_for(network), build_forward(network), loss_of(plan)
        self._of_batch = build_loss(self._loss, plan.settings.label_weights)

    def take(self, carried: Carried, x: Inputs, target: Target, sent: Sent, tape: tf.GradientTape) -> Carried:
        tensors = self.tensors(carried)
        outputs = self._forward(tensors, inputs_of(x), self.draws(x))
        labels = labels_of(target, outputs)
        loss, count = self._of_batch(outputs, labels), x.step.size
        sums = {
            "loss": tf.cast(loss, tf.float64) * tf.cast(count, tf.float64),
            "accuracy": count_correct(self._loss, outputs, labels),
        }
        return self.measured(self.descend(carried, "", loss, tensors, sent, tape), sums, count)

    def at_start(
        self, tensors: Mapping[str, tf.Tensor], examples: tf.data.Dataset, with_gradient: bool
    ) -> OrderedDict[str, Any]:
        """Return float64 sums over examples as they are evaluated: `number`, `loss`, and `gradient` by tensor."""
        names = [name for name in self.learned[""] if name in self.names] if with_gradient else []
        none = OrderedDict((name, tf.zeros(tensors[name].shape, tf.float64)) for name in names)
        nothing = tf.constant(0.0, tf.float64)

        def add(sums: OrderedDict[str, Any], element: tuple[Inputs, Target]) -> OrderedDict[str, Any]:
            count, means = tf.cast(element[0].step.size, tf.float64), self._means(tensors, names, element)
            after: OrderedDict[str, Any] = tf.nest.map_structure(
                lambda total, mean: total + count * tf.cast(mean, tf.float64), sums, means
            )
            return after

        total: OrderedDict[str, Any] = examples.reduce(OrderedDict(number=nothing, loss=nothing, gradient=none), add)
        return total

    def _means(
        self, tensors: Mapping[str, tf.Tensor], names: Sequence[str], element: tuple[Inputs, Target]
    ) -> OrderedDict[str, Any]:
        """Return the mean loss of a batch, which is not trained on, and its gradient."""
        given, (x, target) = self.tensors({"tensors": tensors}), element
        learned = [given[name] for name in names]
        with tf.GradientTape() as tape:
            tape.watch(learned)
            outputs = self._forward(given, inputs_of(x), None)
            loss = self._of_batch(outputs, labels_of(target, outputs))
        gradients = tape.gradient(loss, learned, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return OrderedDict(number=tf.ones([]), loss=loss, gradient=OrderedDict(zip(names, gradients, strict=True)))
