"""Dense plans executed in float64 by hand-written numpy: what every backend's arithmetic is held to.

Reads nothing but a plan's arrays and settings and the examples it names, and shares no code with the trainers, the
server or its optimizers. Covers flatten, dense, relu and tanh; softmax cross entropy; SGD with momentum, nesterov
and weight decay; the weighted mean, or a private one (`tests/by_hand/private.py`); and the server's sgd, momentum,
adam, yogi and adagrad. States are rounded to float32 between rounds, because that is what a server keeps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.data.store import open_data
from flspec.protocol.plan import Plan
from flspec.protocol.settings import PlanSettings
from tests.by_hand.private import RECORD, PrivateRound, first_clip

Tensors = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Task:
    client: int
    weight: float
    batches: list[NDArray[np.int64]]


@dataclass(frozen=True)
class Trained:
    delta: Tensors
    loss_sum: float  # each batch's before its step, times its size
    num_correct: int
    num_trained: int


def execute_dense(
    plan: Plan, starts: Sequence[Any] | None = None, mechanism: type[PrivateRound] = PrivateRound
) -> list[dict[str, Any]]:
    """Every round's `weights`, `slots` and `clip` (float64, not yet rounded), train `loss` and `accuracy`.

    `starts[r]` is the server state (`weights`, `optimizer.step`, `optimizer.slots`, `records`) that round r + 1 starts
    from; without it each round starts from the one before. `mechanism` makes a private plan's mean and its clip.
    """
    split = open_data(plan.settings.data).train
    inputs = (split.features.astype(np.float32) / np.float32(split.divisor)).astype(np.float64)
    weights = {name: plan.arrays[f"weights/{name}"].astype(np.float64) for name in plan.settings.weights}
    step, slots, clip = 0, initial_slots(plan.settings.aggregator, weights), first_clip(plan.spec)
    rounds = []
    for number in range(len(plan.arrays["round_task_ends"])):
        if starts is not None:
            given = starts[number]
            weights, step = rounded(given.weights), given.optimizer.step
            slots = {slot: rounded(values) for slot, values in given.optimizer.slots.items()}
            clip = clip and float(given.records[RECORD]["clip"])
        tasks = sorted(_tasks(plan.arrays, number), key=lambda task: task.client)
        trained = [train_client(plan.settings, weights, inputs, split.labels, task.batches) for task in tasks]
        deltas = [update.delta for update in trained]
        if clip:
            private = mechanism.of(plan, number, clip)
            delta, clip = private.mean(deltas, weights), private.next_clip(deltas)
        elif tasks:
            delta = weighted_mean(deltas, [task.weight for task in tasks])
        if clip or tasks:  # without privacy a round that nobody takes part in changes nothing
            weights, slots = server_step(plan.settings.aggregator, step + 1, weights, slots, delta)
            step += 1
        rounds.append({"weights": weights, "slots": slots, "clip": clip} | _train_metrics(trained))
        weights, slots = rounded(weights), {slot: rounded(values) for slot, values in slots.items()}
        clip = clip and float(np.float32(clip))
    return rounds


def _train_metrics(trained: Sequence[Trained]) -> dict[str, float]:
    if not trained:
        return {}
    seen = sum(update.num_trained for update in trained)
    return {
        "loss": sum(update.loss_sum for update in trained) / seen,
        "accuracy": sum(update.num_correct for update in trained) / seen,
    }


def train_client(
    settings: PlanSettings,
    weights: Tensors,
    inputs: NDArray[np.float64],
    labels: NDArray[np.integer[Any]],
    batches: Sequence[NDArray[np.integer[Any]]],
) -> Trained:
    """One client's steps of SGD in a round."""
    sgd = settings.client_optimizer
    assert sgd["kind"] == "sgd"
    assert settings.loss == "cross_entropy"
    current, velocity = dict(weights), {name: np.zeros_like(value) for name, value in weights.items()}
    loss_sum, num_correct = 0.0, 0
    for batch in batches:
        loss, correct, gradient = loss_and_gradient(settings.layers, current, inputs[batch], labels[batch])
        loss_sum, num_correct = loss_sum + loss * len(batch), num_correct + correct
        for name, value in gradient.items():
            direction = value + sgd["weight_decay"] * current[name]
            velocity[name] = sgd["momentum"] * velocity[name] + direction
            ahead = direction + sgd["momentum"] * velocity[name]
            current[name] = current[name] - sgd["learning_rate"] * (ahead if sgd["nesterov"] else velocity[name])
    delta = {name: current[name] - weights[name] for name in weights}
    return Trained(delta, loss_sum, num_correct, sum(len(batch) for batch in batches))


def loss_and_gradient(
    layers: Sequence[Mapping[str, Any]], weights: Tensors, inputs: NDArray[np.float64], labels: NDArray[np.int64]
) -> tuple[float, int, Tensors]:
    """Mean cross entropy of a batch, how many it gets right, and the gradient, going back layer by layer."""
    values = [inputs]  # what went into each layer, then the logits [batch, classes]
    for layer in layers:
        values.append(_forward(layer, weights, values[-1]))
    rows = np.arange(len(labels))
    shifted = values[-1] - values[-1].max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    back = np.exp(log_probabilities)
    back[rows, labels] -= 1.0
    back /= len(labels)
    gradient: Tensors = {}
    for layer, before, after in reversed(list(zip(layers, values, values[1:], strict=False))):
        match layer["kind"]:
            case "dense":
                gradient[f"{layer['name']}.weight"] = back.T @ before
                gradient[f"{layer['name']}.bias"] = back.sum(axis=0)
                back = back @ weights[f"{layer['name']}.weight"]
            case "flatten":
                back = back.reshape(before.shape)
            case "activation":
                back = back * ((before > 0) if layer["function"] == "relu" else 1.0 - after**2)
    correct = int((values[-1].argmax(axis=1) == labels).sum())
    return float(-log_probabilities[rows, labels].mean()), correct, gradient


def weighted_mean(deltas: Sequence[Tensors], shares: Sequence[float]) -> Tensors:
    return {
        name: np.asarray(sum(share * delta[name] for share, delta in zip(shares, deltas, strict=True))) / sum(shares)
        for name in deltas[0]
    }


def initial_slots(aggregator: Mapping[str, Any], weights: Mapping[str, NDArray[Any]]) -> dict[str, Tensors]:
    """What the server remembers before the first round, by slot and tensor."""
    starts: dict[str, dict[str, Any]] = {
        "fedavg": {},
        "fedavgm": {"momentum": 0.0} if aggregator.get("momentum") else {},
        "fedadagrad": {"accumulator": aggregator.get("initial_accumulator")},
    }
    moments = {"first_moment": 0.0, "second_moment": aggregator.get("initial_accumulator")}
    return {
        slot: {name: np.full(value.shape, start, np.float32).astype(np.float64) for name, value in weights.items()}
        for slot, start in starts.get(aggregator["kind"], moments).items()
    }


def server_step(
    aggregator: Mapping[str, Any], step: int, weights: Tensors, slots: Mapping[str, Tensors], delta: Tensors
) -> tuple[Tensors, dict[str, Tensors]]:
    """The server's weights and slots after update number `step`, from 1."""
    after: dict[str, Tensors] = {slot: {} for slot in slots}
    moved: Tensors = {}
    for name, d in delta.items():
        change, remembered = _server_change(aggregator, step, {slot: slots[slot][name] for slot in slots}, d)
        moved[name] = weights[name] + aggregator["learning_rate"] * change
        for slot, value in remembered.items():
            after[slot][name] = value
    return moved, after


def _server_change(
    p: Mapping[str, Any], step: int, slots: Mapping[str, NDArray[np.float64]], d: NDArray[np.float64]
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    """Reddi et al. 2021, Algorithm 2, line by line."""
    if p["kind"] == "fedavg" or (p["kind"] == "fedavgm" and not slots):
        return d, {}
    if p["kind"] == "fedavgm":
        velocity = p["momentum"] * slots["momentum"] + d
        return velocity, {"momentum": velocity}
    if p["kind"] == "fedadagrad":
        total = slots["accumulator"] + d * d
        return d / (np.sqrt(total) + p["epsilon"]), {"accumulator": total}
    m = p["beta_1"] * slots["first_moment"] + (1.0 - p["beta_1"]) * d
    v = slots["second_moment"]
    if p["kind"] == "fedadam":
        v = p["beta_2"] * v + (1.0 - p["beta_2"]) * d * d
    else:
        assert p["kind"] == "fedyogi"
        v = v - (1.0 - p["beta_2"]) * d * d * np.sign(v - d * d)
    if p.get("epsilon_hat"):  # Kingma and Ba 2015, the end of Section 2
        rate = np.sqrt(1.0 - p["beta_2"] ** step) / (1.0 - p["beta_1"] ** step)
        return rate * m / (np.sqrt(v) + p["epsilon"]), {"first_moment": m, "second_moment": v}
    scale_m, scale_v = (1.0 - p["beta_1"] ** step, 1.0 - p["beta_2"] ** step) if p["bias_correction"] else (1.0, 1.0)
    return (m / scale_m) / (np.sqrt(v / scale_v) + p["epsilon"]), {"first_moment": m, "second_moment": v}


def _forward(layer: Mapping[str, Any], weights: Tensors, x: NDArray[np.float64]) -> NDArray[np.float64]:
    match layer["kind"], layer.get("function"):
        case "flatten", _:
            return x.reshape(len(x), -1)
        case "dense", _:
            return x @ weights[f"{layer['name']}.weight"].T + weights[f"{layer['name']}.bias"]
        case "activation", "relu":
            return np.maximum(x, 0.0)
        case "activation", "tanh":
            return np.tanh(x)
    raise ValueError(f"the oracle has no layer {layer!r}")


def _tasks(arrays: Mapping[str, NDArray[Any]], number: int) -> Iterator[Task]:
    """The tasks of round `number` (from 0), unpacked from the plan's arrays."""
    tasks = np.split(np.arange(len(arrays["task_clients"])), arrays["round_task_ends"][:-1])[number]
    batches = np.split(arrays["batches"].astype(np.int64), arrays["batch_ends"][:-1])
    of_task = np.split(np.arange(len(batches)), arrays["task_batch_ends"][:-1])
    for task in tasks:
        yield Task(
            int(arrays["task_clients"][task]),
            float(arrays["task_weights"][task]),
            [batches[position] for position in of_task[task]],
        )


def rounded(values: Mapping[str, NDArray[Any]]) -> Tensors:
    return {name: np.asarray(value).astype(np.float32).astype(np.float64) for name, value in values.items()}
