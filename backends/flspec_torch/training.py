"""One client's local training in torch."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F  # noqa: N812

from flspec.client_optimizers import ClientOptimizer
from flspec.components import parse_component
from flspec.data import Data, step_stream
from flspec.layers import parse_layers
from flspec.plan import ClientTask, Plan
from flspec.state import Weights
from flspec.store import open_data
from flspec.updates import ClientUpdate
from flspec_torch.model import Forward, build_forward, to_tensors
from flspec_torch.optimizers import build_step


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
    def forward(self) -> Forward:
        return build_forward(parse_layers(self.plan.settings["layers"]))

    @cached_property
    def optimizer(self) -> ClientOptimizer:
        return parse_component(ClientOptimizer, self.plan.settings["client_optimizer"])

    def train(self, task: ClientTask, weights: Weights) -> ClientUpdate:
        """Take the task's steps from `weights`; metrics are of each batch before its step."""
        tensors = to_tensors(weights, requires_grad=True)
        trained = list(tensors.values())
        step = build_step(self.optimizer, trained)
        loss_sum, num_correct = 0.0, 0
        for number, batch in enumerate(task.batches):
            if self.stop and self.stop.is_set():
                raise Stopped
            inputs = torch.from_numpy(self.data.train.inputs(batch, step_stream(task, number)))
            labels = torch.from_numpy(self.data.train.labels[batch])
            logits = self.forward(tensors, inputs)
            loss = F.cross_entropy(logits, labels)
            step(torch.autograd.grad(loss, trained))
            loss_sum += loss.item() * len(batch)
            num_correct += int((logits.detach().argmax(1) == labels).sum())
        delta = {name: tensors[name].detach().numpy() - value for name, value in weights.items()}
        return ClientUpdate(task.client, delta, task.weight, task.num_trained, loss_sum, num_correct)
