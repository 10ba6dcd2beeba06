"""Local training of one client in torch: the loop over its steps, from the weights it is sent to its client update."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flspec.client_algorithms import ClientAlgorithm, ClientOutcome, LocalWork
from flspec.client_optimizers import ClientOptimizer
from flspec.core.randomness import Stream
from flspec.data.examples import Data, step_stream
from flspec.data.store import open_data
from flspec.execution.part_checks import PartCall, read_only, read_only_records
from flspec.execution.parts import client_algorithm_of, client_optimizer_of, loss_of, network_of, objective_of
from flspec.execution.server_step import learned_weights, sent_with_weights
from flspec.layers import Network, trace
from flspec.metrics import Scores, measure
from flspec.protocol.named_records import Records, Weights
from flspec.protocol.plan import ClientTask, Plan
from flspec.protocol.state import ServerState
from flspec.protocol.updates import ClientUpdate
from flspec.schedules.plateau import Plateau, PlateauTracker
from flspec_torch.clipping import clip
from flspec_torch.losses import build_loss
from flspec_torch.model import Forward, build_forward, to_tensors
from flspec_torch.objectives import StepLoss, build_step_loss
from flspec_torch.optimizers import Stepper, build_stepper
from flspec_torch.private_steps import Sums, add_noise, sum_of_clipped
from flspec_torch.scoring_batches import examples_at_once
from flspec_torch.step import StepInputs, StepParts

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

    @cached_property
    def data(self) -> Data:
        return open_data(self.plan.settings.data)

    @cached_property
    def network(self) -> Network:
        return network_of(self.plan)

    @cached_property
    def forward(self) -> Forward:
        return build_forward(self.network)

    @cached_property
    def parts(self) -> StepParts:
        loss = loss_of(self.plan)
        return StepParts(
            network=self.network,
            forward=self.forward,
            loss=loss,
            batch_loss=build_loss(loss, self.plan.settings.label_weights),
            num_outputs=trace(self.network)[self.network.output][0],
            is_multi_label=self.data.is_multi_label,
        )

    @cached_property
    def step_loss(self) -> StepLoss:
        return build_step_loss(objective_of(self.plan))

    @cached_property
    def optimizer(self) -> ClientOptimizer:
        return client_optimizer_of(self.plan)

    @cached_property
    def algorithm(self) -> ClientAlgorithm:
        return client_algorithm_of(self.plan)

    @cached_property
    def constants(self) -> dict[str, Tensor]:
        return to_tensors(self.plan.constants)

    def train_from(self, state: ServerState, task: ClientTask) -> ClientUpdate:
        """Train a task of the round that follows `state`."""
        server = sent_with_weights(self.plan, state)
        return self.train(task, state.weights, state.clients.get(task.client, {}), server)

    def train(
        self, task: ClientTask, weights: Weights, client_state: Records = _NOTHING, server: Records = _NOTHING
    ) -> ClientUpdate:
        """Take the task's steps. `server` has the records that the server sends beside the weights.

        Metrics are measured on each batch before its step.
        """
        own = client_state.get("weights", {})
        tensors = self.constants | to_tensors(weights) | to_tensors(own)
        names = [name for name in (*weights, *own) if name not in self.plan.statistics]
        learned = {name: tensors[name].requires_grad_() for name in names}
        plateau = self._plateau(client_state)
        stepper = build_stepper(self.optimizer, learned, task.rate * (plateau.factor if plateau else 1.0), client_state)
        correct = self._correction(learned, weights, server, client_state)
        sums: dict[str, float] = {}
        for number in range(len(task.batches)):
            if self.stop and self.stop.is_set():
                raise Stopped
            given, measured = self._step(task, number, tensors, learned)
            gradients = correct(given)
            if bound := self.plan.settings.clip:
                gradients = clip(gradients, bound.norm, bound.by)
            stepper(gradients)
            if sums and measured.keys() != sums.keys():
                raise self._objective_call.error(f"measured {', '.join(measured)} in a step after {', '.join(sums)}")
            for name, value in measured.items():
                sums[name] = sums.get(name, 0.0) + value
            if plateau and (number + 1) % max(1, len(task.batches) // self.plan.settings.epochs) == 0:
                stepper.rate = task.rate * plateau.after_pass(self._measure(task.client, plateau.metric, tensors))
        after = {name: tensors[name].detach().numpy() for name in (*weights, *own)}
        outcome = self._finish(self._work(task, weights, after, server, client_state))
        return ClientUpdate(
            client=task.client,
            repeat=task.repeat,
            delta=dict(outcome.delta),
            weight=task.weight,
            num_trained=task.num_trained,
            sums=sums,
            client_state={
                **self._carried({name: after[name] for name in own}, stepper, plateau),
                **outcome.own,
            },
            sent=dict(outcome.sent),
        )

    def _step(
        self, task: ClientTask, number: int, tensors: Mapping[str, Tensor], learned: Mapping[str, Tensor]
    ) -> tuple[Sequence[Tensor], Mapping[str, float]]:
        """Return the gradient of a step, before corrections, and the sums of its metrics."""
        if (bound := self.plan.settings.private_steps) is None:
            loss, measured = self.step_loss(self._inputs(task, number, tensors))
            return self._gradients(loss, learned), measured
        nothing: Sums = {name: torch.zeros(tensor.shape, dtype=torch.float64) for name, tensor in learned.items()}
        sums, measured = nothing, {"loss": 0.0, "accuracy": 0.0}
        if len(task.batches[number]):  # by chance no example may take part, and then the step has noise alone
            sums, measured = sum_of_clipped(self._inputs(task, number, tensors), learned, bound.norm)
        expected = min(bound.batch_size, len(self.plan.client_examples(task.client)))
        noise = Stream(self.plan.noise_seed(task.seed), "step", number, "noise")
        return add_noise(sums, bound, expected, noise), measured

    @property
    def _objective_call(self) -> PartCall:
        return PartCall("client.objective", objective_of(self.plan), "torch")

    def _gradients(self, loss: Tensor, learned: Mapping[str, Tensor]) -> Sequence[Tensor]:
        gradients = torch.autograd.grad(loss, list(learned.values()), allow_unused=True)
        for name, gradient in zip(learned, gradients, strict=True):
            if gradient is None:
                raise self._objective_call.error(f"gave a loss that does not depend on {name}")
        return gradients

    def _inputs(self, task: ClientTask, number: int, tensors: Mapping[str, Tensor]) -> StepInputs:
        batch, stream = task.batches[number], step_stream(task, number)
        inputs = torch.from_numpy(self.data.train.inputs(batch, stream))
        return StepInputs(self.parts, tensors, inputs, self.data.train.labels[batch], stream)

    def _correction(
        self, learned: Mapping[str, Tensor], weights: Weights, server: Records, own: Records
    ) -> Callable[[Sequence[Tensor]], Sequence[Tensor]]:
        """Return the client algorithm's correction of gradients, for the learned tensors that the server sends."""
        if type(self.algorithm).correct is ClientAlgorithm.correct:
            return lambda gradients: gradients
        start = to_tensors({name: weights[name] for name in learned if name in weights})
        received = {slot: to_tensors(server[slot]) for slot in self.algorithm.server_slots}
        carried = {slot: to_tensors(own[slot]) for slot in self.algorithm.client_slots}

        call = PartCall("client.algorithm", self.algorithm, "correct")

        def correct_one(name: str, gradient: Tensor) -> Tensor:
            if name not in start:
                return gradient
            of_server, of_client = (
                {slot: one[name] for slot, one in records.items()} for records in (received, carried)
            )
            with call.guarded():
                corrected = self.algorithm.correct(gradient, learned[name], start[name], of_server, of_client)
            if not isinstance(corrected, Tensor) or corrected.shape != gradient.shape:
                given = list(corrected.shape) if isinstance(corrected, Tensor) else type(corrected).__name__
                raise call.error(f"gave {given} for {name}, not a tensor of shape {list(gradient.shape)}")
            return corrected.to(gradient.dtype)

        @torch.no_grad()
        def correct(gradients: Sequence[Tensor]) -> Sequence[Tensor]:
            return [correct_one(name, gradient) for name, gradient in zip(learned, gradients, strict=True)]

        return correct

    def _finish(self, work: LocalWork) -> ClientOutcome:
        """Return what the client algorithm sends and stores, checked to be exactly what its class declares."""
        call = PartCall("client.algorithm", self.algorithm, "finish")
        with call.guarded():
            outcome = self.algorithm.finish(work)
        if not isinstance(outcome, ClientOutcome):
            raise call.error(f"gave a {type(outcome).__name__}, not a ClientOutcome")
        learned = learned_weights(self.plan)
        return ClientOutcome(
            delta=call.tensors(outcome.delta, work.start, "delta"),
            own=call.records(outcome.own, self.algorithm.client_slots, learned),
            sent=call.records(outcome.sent, self.algorithm.sends, learned),
        )

    def _work(
        self, task: ClientTask, weights: Weights, after: Weights, server: Records, client_state: Records
    ) -> LocalWork:
        """Return the client algorithm's input after the steps."""
        return LocalWork(
            start=read_only(weights),
            after={name: after[name] for name in weights},
            server=read_only_records(server),
            own=read_only_records({slot: client_state[slot] for slot in self.algorithm.client_slots}),
            num_steps=len(task.batches),
            learning_rate=self.optimizer.learning_rate * task.rate,
        )

    def _carried(self, own: Weights, stepper: Stepper[Any], plateau: PlateauTracker | None) -> dict[str, Weights]:
        """Return the client state after the steps, without the records of the client algorithm."""
        state: dict[str, Weights] = {"weights": own} if own else {}
        if self.plan.settings.client_optimizer.get("state") == "kept":
            state |= stepper.carry() | ({"schedule": {"plateau": plateau.carry()}} if plateau else {})
        return state

    def _plateau(self, client_state: Records) -> PlateauTracker | None:
        schedule = self.optimizer.schedule
        if not isinstance(schedule, Plateau):
            return None
        return PlateauTracker(schedule, client_state.get("schedule", {}).get("plateau"))

    @torch.no_grad()
    def _measure(self, client: int, metric: str, tensors: Mapping[str, Tensor]) -> float | None:
        """Measure the metric on the client's holdout; None if it is undefined there."""
        split = self.data.train_as_tested.part(self.plan.holdout_examples(client))
        size = examples_at_once(self.network)
        starts = range(0, len(split), size)
        inputs = (torch.from_numpy(split.inputs(slice(start, start + size))) for start in starts)
        outputs = np.concatenate([self.forward(tensors, some, None).numpy() for some in inputs])
        return measure(Scores(outputs, split.labels, self.plan.settings.loss), [metric])[0].get(metric)
