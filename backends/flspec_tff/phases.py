"""The phases of a step in TensorFlow, as `flspec.phases` defines them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

from flspec.client_algorithms import Pass
from flspec.core.randomness import Stream
from flspec.execution.parts import networks_of, phases_of
from flspec.layers import Network
from flspec.phases import REAL, Call, Phase, draws_of_step, masks_of_call, metric_names, scored_values, takes_place
from flspec.protocol.plan import Plan
from flspec_tff.clients import Arrays, Inputs, Planned, Target, inputs_of
from flspec_tff.layers import build_network
from flspec_tff.program import WHOLE, Carried, Program, Sent, Tensors

__all__ = ["Phases"]

# Of the scores of a term [rows, 1], taken as those of real examples or not, each row's share of the loss.
_TERMS: dict[str, Callable[[tf.Tensor, bool], tf.Tensor]] = {
    "logistic": lambda z, real: tf.nn.softplus(-z if real else z),
    "hinge": lambda z, real: tf.nn.relu(1 - z if real else 1 + z),
    "least_squares": lambda z, real: tf.square(z - 1 if real else z),
    "wasserstein": lambda z, real: -z if real else z,
}


class Phases(Program):
    """The steps of a plan with phases."""

    def __init__(self, plan: Plan, cohort_size: int, one: Pass = WHOLE) -> None:
        self._phases, networks = phases_of(plan), networks_of(plan)
        super().__init__(plan, cohort_size, metric_names(self._phases), one)
        self.planned, self._scored = _planned_for(self._phases, networks), scored_values(self._phases)
        self._evaluate = {name: build_network(network) for name, network in networks.items()}

    def take(self, carried: Carried, x: Inputs, target: Target, sent: Sent, tape: tf.GradientTape) -> Carried:
        values, drawn = {REAL: inputs_of(x)}, self.draws(x)
        for phase in self._phases:
            carried = self._after(phase, carried, values, drawn, sent, tape)
        return carried

    def _after(
        self, phase: Phase, before: Carried, values: Tensors, drawn: Tensors, sent: Sent, tape: tf.GradientTape
    ) -> Carried:
        """Return what is carried after a phase. `values` gets what it makes.

        A phase that does not take place is computed too, and its results are not taken: the values of a condition
        could not be used outside of it. No phase that takes place uses them (`check_phases`).
        """
        tensors, own = self.tensors(before), {name: drawn[f"{phase.name}/{name}"] for name in phase.draws}
        for call in phase.calls:
            values[call.value] = self._call(phase, call, values | own, tensors, drawn)
        parts = [term.factor * tf.reduce_mean(_TERMS[term.kind](values[term.of], term.real)) for term in phase.terms]
        loss, count = sum(parts[1:], parts[0]), tf.shape(values[REAL])[0]
        after = self.descend(before, phase.optimizer, loss, tensors, sent, tape)
        means = {phase.name: loss, **{name: tf.reduce_mean(values[name]) for name in self._scored[phase.name]}}
        whole = tf.cast(count, tf.float64)
        after = self.measured(after, {name: tf.cast(mean, tf.float64) * whole for name, mean in means.items()}, count)
        if phase.every > 1:
            taken = tf.equal(before["number"] % phase.every, 0)
            after = tf.nest.map_structure(lambda new, old: tf.where(taken, new, old), after, before)
        tape.watch([after["tensors"][name] for name in self.learned[phase.optimizer]])
        return after

    def _call(self, phase: Phase, call: Call, values: Tensors, tensors: Tensors, drawn: Tensors) -> tf.Tensor:
        """Return the value that a call makes. Running statistics in `tensors` are replaced."""
        given = {name: values[source] for name, source in call.inputs.items()}
        if call.detached:
            given = {name: tf.stop_gradient(value) for name, value in given.items()}
        prefix = f"{phase.name}/{call.value}/"
        masks = {name.removeprefix(prefix): mask for name, mask in drawn.items() if name.startswith(prefix)}
        return self._evaluate[call.network](tensors, given, masks)


def _planned_for(phases: Sequence[Phase], networks: Mapping[str, Network]) -> Planned:
    """Return what is drawn for the phases of a step: PHASE/DRAW, and each call's dropout, PHASE/CALL/LAYER."""

    def planned(number: int, rows: int, stream: Stream) -> Arrays:
        drawn = draws_of_step(phases, number, rows, stream)
        found: Arrays = {f"{phase}/{name}": value for phase, own in drawn.items() for name, value in own.items()}
        for phase in phases:
            for call in phase.calls if takes_place(phase, number) else ():
                masks = masks_of_call(networks[call.network], phase, call, rows, stream)
                found |= {f"{phase.name}/{call.value}/{layer}": mask != 0 for layer, mask in masks.items()}
        return found

    return planned
