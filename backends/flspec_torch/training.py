"""Local training of one client in torch: the loop over its steps, from the weights it is sent to its client update."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from flspec.client_algorithms import ClientAlgorithm, Pass
from flspec.client_optimizers import ClientOptimizer
from flspec.data.examples import Data
from flspec.data.store import open_data
from flspec.execution.client_state import first_client_state
from flspec.execution.client_step import Given, Trained, finish_task
from flspec.execution.part_checks import PartCall
from flspec.execution.parts import (
    client_algorithm_of,
    keeps_optimizer,
    networks_of,
    optimizers_of,
    players_of,
)
from flspec.execution.server_step import sent_with_weights
from flspec.metrics import measure
from flspec.protocol.named_records import Records, Weights
from flspec.protocol.part_scope import using_parts_of
from flspec.protocol.plan import ClientTask, Plan
from flspec.protocol.state import ServerState
from flspec.protocol.updates import ClientUpdate
from flspec.schedules.plateau import Plateau, PlateauTracker
from flspec_torch.at_start import gradient_of, scores_of
from flspec_torch.clipping import clip
from flspec_torch.devices import HOST, TorchDevice
from flspec_torch.measuring import Measured
from flspec_torch.optimizers import Stepper, build_stepper
from flspec_torch.phases import PhasesStep
from flspec_torch.step import Learned
from flspec_torch.supervised import SupervisedStep

__all__ = ["Stopped", "Trainer"]

_NOTHING: Records = {}


class Stopped(Exception):
    """Signal that training was abandoned because the run was asked to stop."""


@dataclass(frozen=True)
class Trainer:
    """A trainer of one plan's clients, safe to share between threads.

    Each of them must have one intra-op thread, because the last bits of a matrix product depend on the number.
    """

    plan: Plan
    stop: threading.Event | None = None  # set to abandon training at the next batch
    device: TorchDevice = HOST

    @cached_property
    def data(self) -> Data:
        with using_parts_of(self.plan.settings):  # of which transforms may be
            return open_data(self.plan.settings.data)

    @cached_property
    def step(self) -> SupervisedStep | PhasesStep:
        return (PhasesStep if self.plan.settings.phases else SupervisedStep)(self.plan, self.data, self.device)

    @cached_property
    def optimizers(self) -> dict[str, ClientOptimizer]:
        return optimizers_of(self.plan)

    @cached_property
    def algorithm(self) -> ClientAlgorithm:
        return client_algorithm_of(self.plan)

    @cached_property
    def constants(self) -> dict[str, Tensor]:
        return self.device.copies(self.plan.constants)

    def train_from(self, state: ServerState, task: ClientTask) -> ClientUpdate:
        """Train a task of the round that follows `state`."""
        server = sent_with_weights(self.plan, state)
        return self.train(task, state.weights, state.clients.get(task.client, {}), server)

    @cached_property
    def _keeps_no_graph(self) -> bool:
        """Whether nothing in a task can ask autograd, so that torch need not note what it would need."""
        never_corrects = type(self.algorithm).correct is ClientAlgorithm.correct
        knows_optimizers = all(type(one).torch is ClientOptimizer.torch for one in self.optimizers.values())
        asks_nothing_else = never_corrects and knows_optimizers and not self.algorithm.measured_at_start
        return asks_nothing_else and self.step.is_written_out

    def train(
        self, task: ClientTask, weights: Weights, client_state: Records = _NOTHING, server: Records = _NOTHING
    ) -> ClientUpdate:
        """Take the task's steps. `server` has the records that the server sends beside the weights.

        Metrics are measured on each batch before its step. Without `client_state` it is the client's first round.
        Raises RunError if the device has not memory enough.
        """
        began = time.perf_counter()
        graphs = torch.inference_mode() if self._keeps_no_graph else torch.no_grad()
        with graphs, self.device.in_words("client training"):
            update = self._train(task, weights, client_state or first_client_state(self.plan), server)
        return replace(update, seconds=time.perf_counter() - began)

    def _train(self, task: ClientTask, weights: Weights, client_state: Records, server: Records) -> ClientUpdate:
        own = client_state.get("weights", {})
        tensors = self.constants | self.device.copies_of_round(weights) | self.device.copies(own)
        sent = Given(task, weights, server, client_state)
        measured_before = self._measured_at_start(task, tensors, weights)
        plateau, measured, passed = self._plateau(client_state), Measured(), dict[str, Weights]()
        steppers: Mapping[str, Stepper[Any]] = {}
        for one in self.algorithm.passes(len(task.batches), self.plan.settings.epochs):
            if one.record:
                trained = self.constants | self.device.copies(client_state[one.record])
                self._take(one, sent, trained, Measured(), plateau)
                passed[one.record] = self.device.read({name: trained[name] for name in client_state[one.record]})
            else:
                steppers = self._take(one, sent, tensors, measured, plateau)
        after = self.device.read({name: tensors[name] for name in (*weights, *own)})
        sums, carried = measured.sums(task.num_trained), self._carried(steppers, plateau)
        return finish_task(self.plan, sent, Trained(after, sums, passed, carried, **measured_before))

    def _take(
        self, one: Pass, sent: Given, tensors: Mapping[str, Tensor], measured: Measured, plateau: PlateauTracker | None
    ) -> Mapping[str, Stepper[Any]]:
        """Take the steps of a pass: change `tensors` in place, and return the optimizers after them."""
        task, learned = sent.task, self._learned(tensors, one.trains, sent.weights)
        rate = task.rate * (plateau.factor if plateau else 1.0)
        steppers = {
            player: build_stepper(optimizer, learned[player], rate, sent.client_state, player)
            for player, optimizer in self.optimizers.items()
        }
        correct = {player: self._correction(one, some, sent) for player, some in learned.items()}
        bound, numbers = self.plan.settings.clip, range(len(task.batches))[one.first : one.end]
        for number, turns in enumerate(self.step.steps(task, numbers, tensors, learned, measured), numbers.start):
            if self.stop and self.stop.is_set():
                raise Stopped
            for player, given in turns:
                gradients = correct[player](given)
                if bound:
                    gradients = clip(gradients, bound.norm, bound.by)
                steppers[player](gradients)
            if plateau and (number + 1) % max(1, len(task.batches) // self.plan.settings.epochs) == 0:
                with using_parts_of(self.plan.settings):  # of which the metric may be
                    rate = task.rate * plateau.after_pass(self._measure(task.client, plateau.metric, tensors))
                for stepper in steppers.values():
                    stepper.rate = rate
        return steppers

    def _learned(self, tensors: Mapping[str, Tensor], trains: str, sent: Weights) -> Learned:
        """Return the tensors that each optimizer changes."""
        still = self.plan.statistics | self.constants.keys()
        names = [
            name for name in tensors if name not in still and trains in ("all", "sent" if name in sent else "local")
        ]
        return {
            player: {name: tensors[name] for name in names if name.startswith(prefixes)}
            for player, prefixes in self._prefixes.items()
        }

    @cached_property
    def _prefixes(self) -> dict[str, tuple[str, ...]]:
        """What the names of the tensors begin with that each optimizer changes."""
        networks = networks_of(self.plan)
        return {player: tuple(networks[name].prefix for name in own) for player, own in players_of(self.plan).items()}

    def _correction(
        self, one: Pass, learned: Mapping[str, Tensor], sent: Given
    ) -> Callable[[Sequence[Tensor]], Sequence[Tensor]]:
        """Return the client algorithm's correction of gradients, for the learned tensors that the server sends."""
        if not one.is_corrected or type(self.algorithm).correct is ClientAlgorithm.correct:
            return lambda gradients: gradients
        start = self.device.copies({name: sent.weights[name] for name in learned if name in sent.weights})
        received = {slot: self.device.copies(sent.server[slot]) for slot in self.algorithm.server_slots}
        carried = {slot: self.device.copies(sent.client_state[slot]) for slot in self.algorithm.client_slots}

        def of_tensor(records: Mapping[str, Mapping[str, Tensor]], name: str) -> dict[str, Any]:
            return {slot: one[name] for slot, one in records.items()}

        beside: list[tuple[Any, ...] | None] = [  # what `correct` is given of each tensor that the server sends
            (name, weight, start[name], of_tensor(received, name), of_tensor(carried, name)) if name in start else None
            for name, weight in learned.items()
        ]
        call = PartCall("client.algorithm", self.algorithm, "correct")

        def correct_one(gradient: Tensor, name: str, weight: Tensor, *given: Any) -> Tensor:
            corrected = self.algorithm.correct(gradient, weight, *given)
            if not isinstance(corrected, Tensor) or corrected.shape != gradient.shape:
                what = list(corrected.shape) if isinstance(corrected, Tensor) else type(corrected).__name__
                raise call.error(f"gave {what} for {name}, not a tensor of shape {list(gradient.shape)}")
            return corrected.to(gradient.dtype)

        def correct(gradients: Sequence[Tensor]) -> Sequence[Tensor]:
            with call.guarded():
                return [
                    correct_one(gradient, *its) if its else gradient
                    for gradient, its in zip(gradients, beside, strict=True)
                ]

        return correct

    def _measured_at_start(self, task: ClientTask, tensors: Mapping[str, Tensor], weights: Weights) -> dict[str, Any]:
        """Return what the client algorithm has a client measure before its steps, as fields of `Trained`."""
        if not (wanted := self.algorithm.measured_at_start):
            return {}
        step, split = self.step, self.data.train_as_tested.part(self.plan.client_examples(task.client))
        assert isinstance(step, SupervisedStep)
        found: dict[str, Any] = {}
        if "loss" in wanted:
            with using_parts_of(self.plan.settings):  # of which the loss may be
                found["start_loss"] = measure(scores_of(step, tensors, split), ["loss"])[0].get("loss", math.inf)
        if "gradient" in wanted:
            learned = [name for name in weights if name not in self.plan.statistics]
            found["start_gradient"] = gradient_of(step, tensors, split, learned)
        return found

    def _carried(self, steppers: Mapping[str, Stepper[Any]], plateau: PlateauTracker | None) -> dict[str, Weights]:
        """Return the state of optimizers and schedule that the client keeps."""
        state: dict[str, Weights] = {}
        for player, stepper in steppers.items():
            if player in self._kept_optimizers:
                state |= stepper.carry() | ({"schedule": {"plateau": plateau.carry()}} if plateau else {})
        return state

    @cached_property
    def _kept_optimizers(self) -> frozenset[str]:
        return frozenset(player for player in self.optimizers if keeps_optimizer(self.plan, player))

    def _plateau(self, client_state: Records) -> PlateauTracker | None:
        schedule = self.optimizers[""].schedule if "" in self.optimizers else None
        if not isinstance(schedule, Plateau):
            return None
        return PlateauTracker(schedule, client_state.get("schedule", {}).get("plateau"))

    def _measure(self, client: int, metric: str, tensors: Mapping[str, Tensor]) -> float | None:
        """Measure the metric on the client's holdout; None if it is undefined there."""
        step = self.step
        assert isinstance(step, SupervisedStep)
        split = self.data.train_as_tested.part(self.plan.holdout_examples(client))
        return measure(scores_of(step, tensors, split), [metric])[0].get(metric)
