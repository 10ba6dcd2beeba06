"""DP-SGD in a client against a loop over its examples in numpy, and what an example could do beyond its bound."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import ndtri

from flspec.compiler.compile import compile
from flspec.data.store import open_data
from flspec.execution.parts import network_of
from flspec.execution.rounds import initial_state
from flspec.execution.server_step import finish_round
from flspec.layers import Activation, Conv, Dense, Dropout, Flatten, GroupNorm, MaxPool, chain
from flspec.models import Model
from flspec_torch import private_steps
from flspec_torch.supervised import SupervisedStep
from flspec_torch.training import Trainer
from tests.by_hand import draws, network

CLIENT = {"epochs": 2, "batch_size": 4, "optimizer": {"kind": "sgd", "learning_rate": 0.5, "momentum": 0.5}}
NORM, NOISE = 0.3, 0.8


def private(noise=NOISE, norm=NORM, **settings):
    return {"kind": "example", "clip": {"norm": norm}, "noise_multiplier": noise, "delta": 0.01} | settings


def lengths_of(gradients):
    return [np.sqrt(sum((value**2).sum() for value in one.values())) for one in gradients]


def clipped(gradients, rule):
    """The sum of what is left of each example's gradient."""
    if rule == "the batch is clipped":
        total = {name: sum(one[name] for one in gradients) for name in gradients[0]}
        (length,) = lengths_of([total])
        return {name: value * min(1.0, NORM / length) for name, value in total.items()}
    if rule == "each tensor is clipped":
        return {
            name: sum(one[name] * min(1.0, NORM / np.linalg.norm(one[name])) for one in gradients)
            for name in gradients[0]
        }
    return {
        name: sum(
            one[name] * min(1.0, NORM / length) for one, length in zip(gradients, lengths_of(gradients), strict=True)
        )
        for name in gradients[0]
    }


def by_hand(plan, task, rule="as it should be"):
    """A client's update, by a loop over examples: gradients by complex steps in float64, noise by its definition."""
    split, layers = open_data(plan.settings.data).train, network_of(plan).layers
    start = {name: value.astype(np.float64) for name, value in plan.weights.items()}
    now, velocity = dict(start), {name: np.zeros_like(value) for name, value in start.items()}
    for number, batch in enumerate(task.batches):
        x, y = split.features[batch].astype(np.float64), split.labels[batch]
        gradients = [network.step(layers, now, now, x[[i]], y[[i]])[2] for i in range(len(batch))]
        total = clipped(gradients, rule) if gradients else dict.fromkeys(now, 0.0)
        expected = min(4, len(plan.client_examples(task.client)))
        for name, weight in now.items():
            of = "output.bias" if rule == "one noise for all tensors" else name
            noise = np.resize(ndtri(draws.uniforms(weight.size, task.seed, "step", number, "noise", of)), weight.shape)
            deviation = NOISE * NORM * (expected if rule == "the mean is noised" else 1)
            divisor = max(1, len(batch)) if rule == "divided by those in the batch" else expected
            gradient = (total[name] + deviation * noise) / divisor
            velocity[name] = 0.5 * velocity[name] + gradient
        now = {name: now[name] - 0.5 * velocity[name] for name in now}
    return {name: now[name] - start[name] for name in now}


@pytest.fixture(scope="module")
def plan(make_plan):
    return make_plan(client=CLIENT, privacy=private())


def deviation(found, expected):
    return max(np.abs(found[name] - expected[name]).max() for name in expected)


def test_a_client_takes_the_steps_of_dp_sgd(plan):
    for task in plan.cohort(1):
        assert deviation(Trainer(plan).train(task, plan.weights).delta, by_hand(plan, task)) < 2e-6


@pytest.mark.parametrize(
    "rule",
    [
        "the batch is clipped",
        "each tensor is clipped",
        "the mean is noised",
        "one noise for all tensors",
        "divided by those in the batch",
    ],
)
def test_another_rule_is_told_from_dp_sgd(plan, rule):
    task = plan.cohort(1)[0]
    assert deviation(Trainer(plan).train(task, plan.weights).delta, by_hand(plan, task, rule)) > 1e-3


class Everything(Model):
    """A convolution, group norm, pooling and dropout."""

    def layers(self, input_shape, num_outputs):
        return chain(
            [
                Conv(name="conv", channels=4, kernel_size=3),
                GroupNorm(name="norm", groups=2),
                Activation(name="silu", function="silu"),
                MaxPool(name="pool", size=2),
                Flatten(name="flatten"),
                Dropout(name="drop", rate=0.4),
                Dense(name="output", units=num_outputs),
            ]
        )


def test_gradients_of_many_examples_are_those_of_each_alone_whatever_the_layers(make_spec, monkeypatch):
    client = CLIENT | {"steps": 1, "epochs": None}
    spec = make_spec(dataset={"kind": "digits"}, client=client, privacy=private(0.0, delta=0.001))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this model is in no family
        plan = compile(spec.model_copy(update={"model": Everything()}))
    supervised, task = SupervisedStep(plan, Trainer(plan).data), plan.cohort(1)[0]
    tensors = {name: torch.from_numpy(value).requires_grad_() for name, value in plan.weights.items()}
    step = supervised.inputs(replace(task, batches=(np.arange(9),)), 0, tensors)
    expected, losses = {name: np.zeros(value.shape) for name, value in plan.weights.items()}, []
    for row in range(9):
        masks = {name: mask[[row]] for name, mask in step.masks.items()}
        loss = supervised.parts.batch_loss(supervised.forward(tensors, step.inputs[[row]], masks), step.targets[[row]])
        losses.append(loss.item())
        gradients = torch.autograd.grad(loss, list(tensors.values()))
        one = {name: g.numpy().astype(np.float64) for name, g in zip(tensors, gradients, strict=True)}
        for name, value in one.items():
            expected[name] += value * min(1.0, NORM / lengths_of([one])[0])
    for most in (2**26, 1):  # all at a time, and each by itself
        monkeypatch.setattr(private_steps, "MOST_GRADIENT_VALUES", most)
        sums, measured = private_steps.sum_of_clipped(step, tensors, NORM)
        assert deviation({name: value.numpy() for name, value in sums.items()}, expected) < 1e-6
        assert measured["loss"] == pytest.approx(sum(losses), rel=1e-6)


@pytest.mark.parametrize("value", [1e-30, 1.0, 1e15, 1e30, np.inf, np.nan])
def test_one_example_changes_the_sum_by_no_more_than_the_bound(plan, value):
    """Whatever its features are: what overflows counts as nothing."""
    supervised = SupervisedStep(plan, Trainer(plan).data)
    tensors = {name: torch.from_numpy(weight).requires_grad_() for name, weight in plan.weights.items()}
    step = supervised.inputs(replace(plan.cohort(1)[0], batches=(np.arange(7),)), 0, tensors)
    without = private_steps.sum_of_clipped(
        replace(step, inputs=step.inputs[1:], labels=step.labels[1:]), tensors, NORM
    )[0]
    inputs = step.inputs.clone()
    inputs[0] = value
    sums = private_steps.sum_of_clipped(replace(step, inputs=inputs), tensors, NORM)[0]
    moved = np.sqrt(sum(((sums[name] - without[name]).numpy() ** 2).sum() for name in sums))
    assert moved <= NORM * (1 + 1e-6)


def test_a_step_whose_batch_is_empty_adds_noise_and_counts_as_a_step(plan):
    task = replace(plan.cohort(1)[0], batches=(np.empty(0, np.int32),) * 3)
    update = Trainer(plan).train(task, plan.weights)
    assert deviation(update.delta, by_hand(plan, task)) < 2e-6
    assert (update.num_trained, update.sums) == (0, {"loss": 0.0, "accuracy": 0.0})
    outcome = finish_round(plan, initial_state(plan), [update])
    assert (outcome.train, outcome.dropped) == ({}, {})


def test_a_client_with_fewer_examples_than_a_batch_has_all_of_them_in_each(make_plan):
    plan = make_plan(client=CLIENT | {"batch_size": 50}, privacy=private())
    for task in plan.cohort(1):
        assert [len(batch) for batch in task.batches] == [12, 12]


def test_noise_differs_between_steps_tensors_rounds_and_clients(make_plan):
    """With a clip of next to nothing an update is the noise of its steps."""
    client = CLIENT | {"epochs": None, "steps": 2, "optimizer": {"kind": "sgd", "learning_rate": 1.0}}
    plan = make_plan(client=client, privacy=private(1e6, 1e-6))
    seen = []
    for number in (1, 2):
        for task in plan.cohort(number):
            for steps in (1, 2):
                delta = Trainer(plan).train(replace(task, batches=task.batches[:steps]), plan.weights).delta
                seen += [float(value.flat[0]) for value in delta.values()]
    assert len(set(seen)) == len(seen) == 2 * 3 * 2 * 4
