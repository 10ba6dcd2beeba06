"""The floor: the steps of a plan in a bare loop of one torch thread, with nothing of flspec in it but the plan.

It reads its batches from a tensor in memory, uses torch.optim and nn modules, and averages in place: what somebody
would write who needs no events, no kept states, no second engine and no certificate.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from flspec.data.store import open_data
from flspec.execution.parts import network_of
from flspec.layers import Activation, Conv, Dense, Flatten, MaxPool, trace
from flspec.protocol.plan import ClientTask, Plan

__all__ = ["bare_rounds"]


def bare_rounds(plan: Plan) -> Iterator[float]:
    """Train round after round of a FedAvg plan, giving each round's training loss."""
    torch.set_num_threads(1)
    data = open_data(plan.settings.data)
    x, y = torch.from_numpy(data.train.inputs(slice(None))), torch.from_numpy(data.train.labels.copy())
    model = _module(plan)
    server = [torch.from_numpy(weight.copy()) for weight in plan.weights.values()]
    for number in range(1, plan.num_rounds + 1):
        mean = [torch.zeros_like(weight) for weight in server]
        cohort = plan.cohort(number)
        total, loss_sum = sum(task.weight for task in cohort), 0.0
        for task in cohort:
            with torch.no_grad():
                for parameter, weight in zip(model.parameters(), server, strict=True):
                    parameter.copy_(weight)
            loss_sum += _train(model, plan, task, x, y)
            with torch.no_grad():
                for parameter, sum_ in zip(model.parameters(), mean, strict=True):
                    sum_.add_(parameter, alpha=task.weight / total)
        server = mean
        yield loss_sum / sum(task.num_trained for task in cohort)


def _train(model: nn.Module, plan: Plan, task: ClientTask, x: torch.Tensor, y: torch.Tensor) -> float:
    settings = plan.settings.client_optimizer
    optimizer = torch.optim.SGD(model.parameters(), lr=settings["learning_rate"], momentum=settings["momentum"])
    loss_sum = 0.0
    for batch in task.batches:
        indices = torch.from_numpy(batch.astype(np.int64))
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x[indices]), y[indices])
        loss.backward()
        optimizer.step()
        loss_sum += loss.item() * len(batch)
    return loss_sum


def _module(plan: Plan) -> nn.Sequential:
    network = network_of(plan)
    shapes = trace(network)
    modules: list[nn.Module] = []
    for layer in network.layers:
        features = shapes[layer.inputs[0]][0]
        match layer:
            case Flatten():
                modules.append(nn.Flatten())
            case Dense():
                modules.append(nn.Linear(features, layer.units))
            case Conv():
                modules.append(nn.Conv2d(features, layer.channels, layer.kernel_size, padding=layer.padding))
            case MaxPool():
                modules.append(nn.MaxPool2d(layer.size))
            case Activation(function="relu"):
                modules.append(nn.ReLU())
            case _:
                raise ValueError(f"the floor has no {layer!r}")
    return nn.Sequential(*modules)
