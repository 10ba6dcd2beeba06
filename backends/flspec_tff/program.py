"""Training programs in TensorFlow: what a client carries from step to step, and what a step makes of it.

TFF's own training has one loss, and changes only what is learned by its gradient. A program may have several
optimizers, and changes running statistics too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from flspec.core.randomness import Stream
from flspec.execution.parts import loss_of, network_of, networks_of, optimizers_of, players_of
from flspec.protocol.plan import Plan
from flspec_tff.client_optimizers import Rate, build_client_optimizer
from flspec_tff.clients import Inputs, Planned, Target, inputs_of, labels_of, masks_for
from flspec_tff.layers import build_forward
from flspec_tff.layout import to_tensorflow
from flspec_tff.losses import build_loss, count_correct

__all__ = ["Carried", "OneLoss", "Program", "Tensors"]

Tensors = dict[str, tf.Tensor]
Carried = dict[str, Any]  # see `Program.start`


class Program(ABC):
    """A client's training as functions of what it carries."""

    planned: Planned  # the draws of a step

    def __init__(self, plan: Plan, cohort_size: int, metrics: Sequence[str]) -> None:
        self._plan, self._cohort_size, self._metrics = plan, cohort_size, metrics
        self._constants = {name: to_tensorflow(tensor) for name, tensor in plan.constants.items()}
        networks, learned = networks_of(plan), [name for name in plan.weights if name not in plan.statistics]
        self._learned = {
            player: [name for name in learned if name.startswith(tuple(networks[n].prefix for n in trained))]
            for player, trained in players_of(plan).items()
        }

    @abstractmethod
    def take(self, carried: Carried, x: Inputs, target: Target, rate: Rate, tape: tf.GradientTape) -> Carried:
        """Return what a client carries after the step of one batch. The tape watches every learned tensor."""

    def start(self, weights: Sequence[tf.Tensor], rate: Rate) -> Carried:
        """Return what a client carries into its first step. `rate` is the factor of all learning rates."""
        tensors = dict(zip(self._plan.weights, weights, strict=True))
        specs = {
            player: tuple(tf.TensorSpec(tensors[name].shape, tensors[name].dtype) for name in names)
            for player, names in self._learned.items()
        }
        return {
            "tensors": tensors,
            "optimizers": {player: rule.initialize(specs[player]) for player, rule in self._optimizers(rate).items()},
            "number": tf.constant(0, tf.int64),  # of the step
            "sums": {name: tf.constant(0.0, tf.float64) for name in self._metrics},
            "rows": {name: tf.constant(0, tf.int64) for name in self._metrics},  # that each sum is over
            "weight": tf.constant(0, tf.int32),  # the client's, in the mean
            "num_trained": tf.zeros([self._cohort_size], tf.int64),  # by position in the cohort
        }

    def step(self, carried: Carried, element: tuple[Inputs, Target], rate: Rate) -> Carried:
        """Return what a client carries after one element of its dataset."""
        x, target = element
        with tf.GradientTape(persistent=True) as tape:
            tape.watch([carried["tensors"][name] for names in self._learned.values() for name in names])
            after = self.take(carried, x, target, rate, tape)
        place = tf.one_hot(target.position, self._cohort_size, dtype=tf.int64)
        after |= {
            "number": carried["number"] + 1,
            "weight": carried["weight"] + x.step.weight,
            "num_trained": carried["num_trained"] + place * tf.cast(x.step.size, tf.int64),
        }
        # A loop's state must keep its shapes, which TensorFlow does not always know.
        kept: Carried = tf.nest.map_structure(lambda new, old: tf.ensure_shape(new, old.shape), after, carried)
        return kept

    def weights(self, carried: Carried) -> tuple[tf.Tensor, ...]:
        """Return the tensors that the server sends, in the plan's order."""
        return tuple(carried["tensors"][name] for name in self._plan.weights)

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
        rate: Rate,
        tape: tf.GradientTape,
    ) -> Carried:
        """Return what is carried after an optimizer's step on a loss; `tensors` have the statistics of its passes."""
        names = self._learned[player]
        with tape.stop_recording():
            weights = tuple(tensors[name] for name in names)
            gradients = tape.gradient(loss, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
            state, stepped = self._optimizers(rate)[player].next(carried["optimizers"][player], weights, gradients)
        changed = {**tensors, **dict(zip(names, stepped, strict=True))}
        return {
            **carried,
            "tensors": {name: changed[name] for name in carried["tensors"]},
            "optimizers": {**carried["optimizers"], player: state},
        }

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

    def __init__(self, plan: Plan, cohort_size: int) -> None:
        super().__init__(plan, cohort_size, ("accuracy", "loss"))
        network = network_of(plan)
        self.planned, self._forward, self._loss = masks_for(network), build_forward(network), loss_of(plan)
        self._of_batch = build_loss(self._loss, plan.settings.label_weights)

    def take(self, carried: Carried, x: Inputs, target: Target, rate: Rate, tape: tf.GradientTape) -> Carried:
        tensors = self.tensors(carried)
        outputs = self._forward(tensors, inputs_of(x), self.draws(x))
        labels = labels_of(target, outputs)
        loss, count = self._of_batch(outputs, labels), x.step.size
        sums = {
            "loss": tf.cast(loss, tf.float64) * tf.cast(count, tf.float64),
            "accuracy": count_correct(self._loss, outputs, labels),
        }
        return self.measured(self.descend(carried, "", loss, tensors, rate, tape), sums, count)
