"""One client's local training in torch."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flspec.client_optimizers import ClientOptimizer
from flspec.core.components import parse_component
from flspec.data.examples import Data, step_stream
from flspec.data.store import open_data
from flspec.layers import Layer, draw_masks, parse_layers
from flspec.metrics import Scores, measure
from flspec.protocol.plan import ClientTask, Plan
from flspec.protocol.state import Weights
from flspec.protocol.updates import ClientUpdate
from flspec.schedules.plateau import Plateau, PlateauTracker
from flspec_torch.clipping import clip
from flspec_torch.losses import Objective, build_objective, count_correct, to_targets
from flspec_torch.model import Forward, build_forward, to_tensors
from flspec_torch.optimizers import Stepper, build_stepper
from flspec_torch.scoring_batches import examples_at_once

__all__ = ["Stopped", "Trainer"]

_NOTHING: Weights = {}
_OPTIMIZER = "optimizer/"  # what the names of what a client keeps of its optimizer begin with
_PLATEAU = f"{_OPTIMIZER}plateau"


class Stopped(Exception):
    """Training was abandoned because the run was asked to stop."""


@dataclass(frozen=True)
class Trainer:
    """Trains the clients of one plan; safe to share between threads that have one intra-op thread each.

    One thread each because the last bits of a matrix product depend on how many threads share it.
    """

    plan: Plan
    stop: threading.Event | None = None  # set to abandon training at the next batch

    @cached_property
    def data(self) -> Data:
        return open_data(self.plan.settings["data"])

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        return parse_layers(self.plan.settings["layers"])

    @cached_property
    def forward(self) -> Forward:
        return build_forward(self.layers)

    @cached_property
    def objective(self) -> Objective:
        return build_objective(self.plan.settings)

    @cached_property
    def optimizer(self) -> ClientOptimizer:
        return parse_component(ClientOptimizer, self.plan.settings["client_optimizer"])

    @cached_property
    def constants(self) -> dict[str, Tensor]:
        return to_tensors(self.plan.constants)

    def train(self, task: ClientTask, weights: Weights, kept: Weights = _NOTHING) -> ClientUpdate:
        """Take the task's steps from `weights`, and from what the client `kept` since its last round.

        Metrics are of each batch before its step.
        """
        own = {name: kept[f"weights/{name}"] for name in self.plan.local}
        tensors = self.constants | to_tensors(weights) | to_tensors(own)
        names = [name for name in (*weights, *own) if name not in self.plan.statistics]
        learned = {name: tensors[name].requires_grad_() for name in names}
        plateau = self._plateau(kept)
        rate = task.rate * (plateau.factor if plateau else 1.0)
        stepper = build_stepper(self.optimizer, learned, rate, _optimizer_state(kept))
        loss_sum, num_correct = 0.0, 0.0
        for number, batch in enumerate(task.batches):
            if self.stop and self.stop.is_set():
                raise Stopped
            loss, correct = self._step(task, number, tensors, learned, stepper)
            loss_sum += loss * len(batch)
            num_correct += correct
            if plateau and (number + 1) % max(1, len(task.batches) // self.plan.settings["epochs"]) == 0:
                stepper.rate = task.rate * plateau.after_pass(self._measure(task.client, plateau.metric, tensors))
        after = {name: tensors[name].detach().numpy() for name in (*weights, *own)}
        return ClientUpdate(
            client=task.client,
            delta={name: after[name] - value for name, value in weights.items()},
            weight=task.weight,
            num_trained=task.num_trained,
            loss_sum=loss_sum,
            num_correct=num_correct,
            kept={f"weights/{name}": after[name] for name in own} | self._optimizer_kept(stepper, plateau),
        )

    def _step(
        self,
        task: ClientTask,
        number: int,
        tensors: dict[str, Tensor],
        learned: dict[str, Tensor],
        stepper: Stepper[Any],
    ) -> tuple[float, float]:
        """One step on one batch; its mean loss before it, and how many it got right."""
        batch, stream, settings = task.batches[number], step_stream(task, number), self.plan.settings
        inputs = torch.from_numpy(self.data.train.inputs(batch, stream))
        masks = draw_masks(self.layers, tuple(inputs.shape[1:]), len(batch), stream)
        outputs = self.forward(tensors, inputs, {name: torch.from_numpy(mask) for name, mask in masks.items()})
        held = to_targets(settings["loss"], self.data.train.labels[batch], outputs.shape[1])
        loss = self.objective(outputs, held)
        gradients = torch.autograd.grad(loss, list(learned.values()))
        if bound := settings.get("clip"):
            gradients = clip(gradients, bound["norm"], bound["by"])
        stepper(gradients)
        return loss.item(), count_correct(settings["loss"], outputs.detach(), held, self.data.is_multi_label)

    def _plateau(self, kept: Weights) -> PlateauTracker | None:
        schedule = self.optimizer.schedule
        return PlateauTracker(schedule, kept.get(_PLATEAU)) if isinstance(schedule, Plateau) else None

    @torch.no_grad()
    def _measure(self, client: int, metric: str, tensors: Mapping[str, Tensor]) -> float | None:
        """What the model is worth on the examples that a client holds out; None where that is not defined."""
        split = self.data.train_as_tested.part(self.plan.holdout_examples(client))
        size = examples_at_once(self.layers, split.input_shape)
        starts = range(0, len(split), size)
        inputs = (torch.from_numpy(split.inputs(slice(start, start + size))) for start in starts)
        outputs = np.concatenate([self.forward(tensors, some, None).numpy() for some in inputs])
        return measure(Scores(outputs, split.labels, self.plan.settings["loss"]), [metric])[0].get(metric)

    def _optimizer_kept(self, stepper: Stepper[Any], plateau: PlateauTracker | None) -> Weights:
        if self.plan.settings["client_optimizer"].get("state") != "kept":
            return {}
        kept = {f"{_OPTIMIZER}{name}": value for name, value in stepper.carry().items()}
        return kept | ({_PLATEAU: plateau.carry()} if plateau else {})


def _optimizer_state(kept: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]] | None:
    """What an optimizer that goes on goes on from; None for a fresh one."""
    return {name.removeprefix(_OPTIMIZER): value for name, value in kept.items() if name.startswith(_OPTIMIZER)} or None
