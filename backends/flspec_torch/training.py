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
from flspec.components import parse_component
from flspec.data import Data, step_stream
from flspec.layers import Layer, draw_masks, parse_layers
from flspec.plan import ClientTask, Plan
from flspec.state import Weights
from flspec.store import open_data
from flspec.updates import ClientUpdate
from flspec_torch.clipping import clip
from flspec_torch.losses import Objective, build_objective, count_correct, to_targets
from flspec_torch.model import Forward, build_forward, to_tensors
from flspec_torch.optimizers import Stepper, build_stepper

__all__ = ["Stopped", "Trainer"]

_NOTHING: Weights = {}


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
        stepper = build_stepper(self.optimizer, learned, task.rate, _optimizer_state(kept))
        loss_sum, num_correct = 0.0, 0.0
        for number, batch in enumerate(task.batches):
            if self.stop and self.stop.is_set():
                raise Stopped
            loss, correct = self._step(task, number, tensors, learned, stepper)
            loss_sum += loss * len(batch)
            num_correct += correct
        after = {name: tensors[name].detach().numpy() for name in (*weights, *own)}
        return ClientUpdate(
            client=task.client,
            delta={name: after[name] - value for name, value in weights.items()},
            weight=task.weight,
            num_trained=task.num_trained,
            loss_sum=loss_sum,
            num_correct=num_correct,
            kept={f"weights/{name}": after[name] for name in own} | self._optimizer_kept(stepper),
        )

    def _step(
        self, task: ClientTask, number: int, tensors: dict[str, Tensor], learned: dict[str, Tensor], stepper: Stepper
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

    def _optimizer_kept(self, stepper: Stepper) -> dict[str, NDArray[np.float32]]:
        if self.plan.settings["client_optimizer"].get("state") != "kept":
            return {}
        return {f"optimizer/{name}": value for name, value in stepper.carry().items()}


def _optimizer_state(kept: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]] | None:
    """What an optimizer that goes on goes on from; None for a fresh one."""
    prefix = "optimizer/"
    return {name.removeprefix(prefix): value for name, value in kept.items() if name.startswith(prefix)} or None
