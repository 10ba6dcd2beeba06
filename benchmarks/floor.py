"""The floor: the steps of a plan in a bare loop of one torch thread, with nothing of flspec in it but the plan.

It reads its batches from a tensor in memory, uses torch.optim and nn modules, and averages in place: what somebody
would write who needs no events, no kept states, no second engine and no certificate.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from benchmarks.floor_models import module_of, tensors_of
from flspec.client_optimizers import ClientOptimizer
from flspec.client_optimizers.adam import Adam
from flspec.client_optimizers.sgd import Sgd
from flspec.data.store import open_data
from flspec.execution.parts import network_of, networks_of, optimizers_of
from flspec.protocol.plan import ClientTask, Plan

__all__ = ["bare_rounds"]


class _Client(Protocol):
    """A model, and how it takes the steps of a task."""

    tensors: list[torch.Tensor]

    def train(self, task: ClientTask) -> float:
        """Take the steps of a task and return the sum of the loss over its examples."""
        ...


def bare_rounds(plan: Plan) -> Iterator[float]:
    """Train round after round of a FedAvg plan, giving each round's training loss."""
    torch.set_num_threads(1)
    client: _Client = _Gan(plan) if plan.settings.phases else _Classifier(plan)
    server = [torch.from_numpy(weight.copy()) for weight in plan.weights.values()]
    for number in range(1, plan.num_rounds + 1):
        mean = [torch.zeros_like(weight) for weight in server]
        cohort = plan.cohort(number)
        total, loss_sum = sum(task.weight for task in cohort), 0.0
        for task in cohort:
            with torch.no_grad():
                for tensor, weight in zip(client.tensors, server, strict=True):
                    tensor.copy_(weight)
            loss_sum += client.train(task)
            with torch.no_grad():
                for tensor, sum_ in zip(client.tensors, mean, strict=True):
                    sum_.add_(tensor, alpha=task.weight / total)
        server = mean
        yield loss_sum / sum(task.num_trained for task in cohort)


class _Classifier:
    def __init__(self, plan: Plan) -> None:
        train = open_data(plan.settings.data).train
        self._x, self._y = torch.from_numpy(train.inputs(slice(None))), torch.from_numpy(train.labels.copy())
        self._model = module_of(network_of(plan)).train()
        self._rule = optimizers_of(plan)[""]
        self.tensors = tensors_of(self._model)

    def train(self, task: ClientTask) -> float:
        optimizer, loss_sum = _optimizer(self._rule, self._model), 0.0
        for batch in task.batches:
            indices = torch.from_numpy(batch.astype(np.int64))
            optimizer.zero_grad()
            loss = F.cross_entropy(self._model(self._x[indices]), self._y[indices])
            loss.backward()
            optimizer.step()
            loss_sum += loss.item() * len(batch)
        return loss_sum


class _Gan:
    """Steps of a discriminator on real and generated pictures, then of the generator: Goodfellow et al., 2014."""

    def __init__(self, plan: Plan) -> None:
        networks, self._rules = networks_of(plan), optimizers_of(plan)
        self._x = torch.from_numpy(open_data(plan.settings.data).train.inputs(slice(None)))
        (self._latent,) = networks["generator"].inputs.values()
        self._generator, self._judge = (module_of(networks[name]).train() for name in ("generator", "discriminator"))
        self.tensors = [*tensors_of(self._generator), *tensors_of(self._judge)]

    def train(self, task: ClientTask) -> float:
        judging = _optimizer(self._rules["discriminator"], self._judge)
        making, loss_sum = _optimizer(self._rules["generator"], self._generator), 0.0
        for batch in task.batches:
            real = self._x[torch.from_numpy(batch.astype(np.int64))]
            fake = self._generator(torch.randn(len(batch), *self._latent))
            judging.zero_grad()
            loss = F.softplus(-self._judge(real)).mean() + F.softplus(self._judge(fake.detach())).mean()
            loss.backward()
            judging.step()
            making.zero_grad()
            made = F.softplus(-self._judge(fake)).mean()
            made.backward(inputs=list(self._generator.parameters()))
            making.step()
            loss_sum += (loss.item() + made.item()) * len(batch)
        return loss_sum


def _optimizer(rule: ClientOptimizer, model: nn.Module) -> torch.optim.Optimizer:
    match rule:
        case Sgd():
            return torch.optim.SGD(model.parameters(), lr=rule.learning_rate, momentum=rule.momentum)
        case Adam():
            betas = rule.beta_1, rule.beta_2
            return torch.optim.Adam(model.parameters(), lr=rule.learning_rate, betas=betas, eps=rule.epsilon)
    raise ValueError(f"the floor has no {rule!r}; add it to {__name__}")
