"""Torch against the oracle: one client's training in float64, layers against loops, and threads against one."""

from __future__ import annotations

import dataclasses
import itertools
import threading
from typing import Any

import numpy as np
import pytest
import torch

from flspec.data.examples import Split
from flspec.data.store import open_data
from flspec.execution.rounds import initial_state
from flspec.layers import AveragePool, Conv, MaxPool, chain, one_network
from flspec.protocol.backend import Job, kept_state
from flspec.protocol.events import RoundFinished
from flspec.protocol.state import load_state
from flspec_local import LocalBackend
from flspec_torch import unsupported_training
from flspec_torch.model import build_forward, to_tensors
from flspec_torch.scoring import TorchScorer
from flspec_torch.training import Stopped, Trainer
from tests import oracle

RNG = np.random.default_rng(0)
SGD = {"kind": "sgd", "learning_rate": 0.3}
OPTIMIZERS = [
    SGD,
    SGD | {"momentum": 0.9},
    SGD | {"momentum": 0.9, "nesterov": True},
    SGD | {"weight_decay": 0.1},
    SGD | {"momentum": 0.5, "nesterov": True, "weight_decay": 0.1},
]
AGGREGATORS = [
    {"kind": "fedavg", "learning_rate": 0.7},
    {"kind": "fedavg", "weighting": "uniform"},
    {"kind": "fedavgm", "learning_rate": 0.5},
    {"kind": "fedadam", "learning_rate": 0.05},
    {"kind": "fedyogi", "learning_rate": 0.05},
    {"kind": "fedadagrad", "learning_rate": 0.05},
]


class Float64(Split):
    """Examples that make torch compute in float64, where a wrong formula has nothing to hide behind."""

    def inputs(self, indices, stream=None):
        return super().inputs(indices).astype(np.float64)


def train_in_float64(plan, task):
    trainer = Trainer(plan)
    data = open_data(plan.settings.data)
    precise = Float64(data.train.features, data.train.labels, data.train.divisor)
    vars(trainer)["data"] = dataclasses.replace(data, train=precise)
    return trainer.train(task, as_float64(plan.weights))


def expect(plan, task, **changed):
    split = open_data(plan.settings.data).train
    settings = dataclasses.replace(plan.settings, client_optimizer=plan.settings.client_optimizer | changed)
    inputs = split.inputs(slice(None)).astype(np.float64)
    return oracle.train_client(settings, as_float64(plan.weights), inputs, split.labels, task.batches)


def as_float64(weights):
    return {name: value.astype(np.float64) for name, value in weights.items()}


def flat(delta):
    return np.concatenate([value.ravel() for value in delta.values()])


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
@pytest.mark.parametrize(
    "model", [{"kind": "mlp", "hidden": [6], "activation": "tanh"}, {"kind": "mlp", "hidden": [7, 5]}]
)
def test_a_clients_training_is_the_oracles_to_the_float64_floor(make_plan, optimizer, model):
    plan = make_plan(model=model, client={"epochs": 3, "batch_size": 5, "optimizer": optimizer})
    task = plan.cohort(1)[0]
    trained, expected = train_in_float64(plan, task), expect(plan, task)
    np.testing.assert_allclose(flat(trained.delta), flat(expected.delta), rtol=0, atol=1e-13)
    assert trained.sums["loss"] == pytest.approx(expected.loss_sum, rel=1e-13)
    assert (trained.sums["accuracy"], trained.num_trained) == (expected.num_correct, expected.num_trained)


@pytest.mark.parametrize(
    "wrong",
    [{"nesterov": False}, {"weight_decay": 0.0}, {"momentum": 0.5 + 1e-6}, {"learning_rate": 0.3 + 1e-6}],
    ids=str,
)
def test_a_slightly_wrong_optimizer_is_noticed(make_plan, wrong):
    plan = make_plan(client={"epochs": 3, "batch_size": 5, "optimizer": OPTIMIZERS[-1]})
    task = plan.cohort(1)[0]
    difference = flat(train_in_float64(plan, task).delta) - flat(expect(plan, task, **wrong).delta)
    assert np.abs(difference).max() > 1e-8


def test_the_order_of_batches_matters_and_is_the_plans(make_plan):
    plan = make_plan()
    task = plan.cohort(1)[0]
    reversed_task = dataclasses.replace(task, batches=task.batches[::-1])
    difference = flat(train_in_float64(plan, task).delta) - flat(expect(plan, reversed_task).delta)
    assert np.abs(difference).max() > 1e-5


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_the_oracles_gradient_is_the_slope_of_its_loss(make_plan, activation):
    plan = make_plan(model={"kind": "mlp", "hidden": [6, 5], "activation": activation})
    layers, weights = plan.settings.layers, as_float64(plan.weights)
    inputs, labels = RNG.normal(size=(8, 4)), np.arange(8) % 3
    gradient = oracle.loss_and_gradient(layers, weights, inputs, labels)[2]
    for name, value in weights.items():
        for position in np.ndindex(value.shape):
            sides = []
            for step in (1e-6, -1e-6):
                moved = value.copy()
                moved[position] += step
                sides.append(oracle.loss_and_gradient(layers, weights | {name: moved}, inputs, labels)[0])
            assert gradient[name][position] == pytest.approx((sides[0] - sides[1]) / 2e-6, abs=1e-8)


def test_the_first_step_of_softmax_regression_has_a_closed_form(make_plan):
    plan = make_plan(model={"kind": "softmax_regression"}, client={"steps": 1, "batch_size": 100, "optimizer": SGD})
    task = plan.cohort(1)[0]
    split = open_data(plan.settings.data).train
    inputs, hits = split.features[task.batches[0]].astype(np.float64), np.eye(3)[split.labels[task.batches[0]]]
    trained = train_in_float64(plan, task)
    slope = (1 / 3 - hits).T @ inputs / len(inputs)  # every class is equally likely at zero
    np.testing.assert_allclose(trained.delta["output.weight"], -0.3 * slope, atol=1e-14)
    assert trained.sums["loss"] == pytest.approx(len(inputs) * np.log(3.0), rel=1e-14)


@pytest.mark.parametrize("aggregator", AGGREGATORS, ids=lambda aggregator: str(aggregator)[10:40])
def test_the_local_backend_follows_the_oracle_in_lockstep(make_plan, tmp_path, aggregator):
    plan = make_plan(
        rounds=4, aggregator=aggregator, client={"epochs": 2, "batch_size": 5, "optimizer": OPTIMIZERS[-1]}
    )
    events = list(LocalBackend().execute(plan, Job(tmp_path, keep="all", workers=2)))
    rounds = [event for event in events if isinstance(event, RoundFinished)]
    states = [load_state(kept_state(tmp_path, number), plan.digest) for number in range(1, 5)]
    expected = oracle.execute_dense(plan, starts=[initial_state(plan), *states])
    for event, state, round_expected in zip(rounds, states, expected, strict=True):
        for name, weight in state.weights.items():
            np.testing.assert_allclose(weight, round_expected["weights"][name], rtol=0, atol=3e-6)
        for slot, values in state.optimizer.slots.items():
            np.testing.assert_allclose(flat(values), flat(round_expected["slots"][slot]), rtol=1e-4, atol=1e-6)
        assert event.train["loss"] == pytest.approx(round_expected["loss"], rel=1e-5)
        assert event.train["accuracy"] == pytest.approx(round_expected["accuracy"])
    free = oracle.execute_dense(plan)
    assert free[0]["loss"] == expected[0]["loss"]
    assert np.abs(flat(free[0]["weights"]) - flat(expected[1]["weights"])).max() > 1e-4  # a round off by one


def test_the_same_plan_gives_the_same_bits_with_one_worker_and_with_many(make_plan, tmp_path):
    plan = make_plan(
        dataset={"kind": "digits"},
        partition={"kind": "iid", "clients": 8},
        model={"kind": "cnn", "channels": [4], "dense": [16]},
        client={"steps": 3, "batch_size": 32, "optimizer": SGD},
        cohort={"kind": "all"},
        rounds=2,
    )
    contents = set()
    for workers in (1, 2, 8):
        list(LocalBackend().execute(plan, Job(tmp_path / str(workers), workers=workers)))
        contents.add(kept_state(tmp_path / str(workers), 2).read_bytes())
    assert len(contents) == 1


def test_every_client_trains_on_one_thread_however_many_torch_has(make_plan, tmp_path, monkeypatch):
    threads: Any = set()
    train = Trainer.train
    monkeypatch.setattr(Trainer, "train", lambda *given: threads.add(torch.get_num_threads()) or train(*given))
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        list(LocalBackend().execute(make_plan(), Job(tmp_path, workers=2)))
    finally:
        torch.set_num_threads(before)
    assert threads == {1}


# ------------------------------------------------------------------------------------------------------------- layers


def apply(layer, inputs, weights=None):
    tensors = to_tensors(weights or {})
    forward: Any = build_forward(one_network(chain([layer]), inputs.shape[1:]))
    return forward(tensors, torch.from_numpy(inputs)).numpy()


@pytest.mark.parametrize(("kernel_size", "padding"), [(3, 0), (3, 1), (5, 2), (2, 1), (1, 0)])
def test_a_convolution_is_the_sum_over_its_window(kernel_size, padding):
    inputs = RNG.normal(size=(2, 3, 6, 7))
    kernel, bias = RNG.normal(size=(4, 3, kernel_size, kernel_size)), RNG.normal(size=4)
    layer = Conv(name="conv", channels=4, kernel_size=kernel_size, padding=padding)
    got = apply(layer, inputs, {"conv.weight": kernel, "conv.bias": bias})
    assert got.shape[1:] == layer.output_shape((3, 6, 7))
    np.testing.assert_allclose(got, convolve(inputs, kernel, bias, padding), atol=1e-12)
    if kernel_size > 1:
        flipped = convolve(inputs, kernel[:, :, ::-1, ::-1], bias, padding)  # what signal processing calls convolution
        assert np.abs(got - flipped).max() > 0.1


def convolve(inputs, kernel, bias, padding):
    """y[e, o, i, j] = b[o] + sum over c, u, v of x[e, c, i + u, j + v] k[o, c, u, v], by loops."""
    padded = np.pad(inputs, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    size = kernel.shape[-1]
    out = np.zeros((len(inputs), len(kernel), padded.shape[2] - size + 1, padded.shape[3] - size + 1))
    for e, o, i, j in itertools.product(*map(range, out.shape)):
        out[e, o, i, j] = bias[o] + (padded[e, :, i : i + size, j : j + size] * kernel[o]).sum()
    return out


@pytest.mark.parametrize(("pool", "reduce", "wrong"), [(MaxPool, np.max, np.mean), (AveragePool, np.mean, np.max)])
@pytest.mark.parametrize("size", [2, 3])
def test_pooling_reduces_each_whole_window(pool, reduce, wrong, size):
    inputs = RNG.normal(size=(2, 3, 7, 6))
    layer = pool(name="pool", size=size)
    got = apply(layer, inputs)
    assert got.shape[1:] == layer.output_shape((3, 7, 6))
    windows = inputs[:, :, : 7 // size * size, : 6 // size * size]
    windows = windows.reshape(2, 3, 7 // size, size, 6 // size, size)
    np.testing.assert_allclose(got, reduce(windows, axis=(3, 5)), atol=1e-12)
    assert np.abs(got - wrong(windows, axis=(3, 5))).max() > 0.1


def test_a_flatten_runs_over_channels_then_rows_then_columns(make_plan):
    plan = make_plan(dataset={"kind": "digits"}, model={"kind": "softmax_regression", "initializer": "glorot_uniform"})
    images = open_data(plan.settings.data).test
    logits = TorchScorer(plan).logits(plan.weights, images)
    kernel = plan.weights["output.weight"].astype(np.float64)
    inputs = images.inputs(slice(None)).astype(np.float64)
    np.testing.assert_allclose(logits, inputs.reshape(len(inputs), -1) @ kernel.T, atol=1e-5)
    columns_first = inputs.transpose(0, 1, 3, 2).reshape(len(inputs), -1) @ kernel.T
    assert np.abs(logits - columns_first).max() > 0.1


def test_scores_do_not_depend_on_how_many_are_asked_for_at_once(make_plan):
    plan = make_plan(dataset={"kind": "digits"})
    train = open_data(plan.settings.data).train  # 1,438 examples: three batches of scoring
    part = Split(train.features[:700], train.labels[:700], train.divisor)
    scorer = TorchScorer(plan)
    assert np.allclose(scorer.logits(plan.weights, train)[:700], scorer.logits(plan.weights, part), atol=1e-6)


# ------------------------------------------------------------------------------------------------------------- limits


def test_training_leaves_the_weights_it_was_given(make_plan):
    plan = make_plan()
    before = {name: value.tobytes() for name, value in plan.weights.items()}
    Trainer(plan).train(plan.cohort(1)[0], plan.weights)
    assert {name: value.tobytes() for name, value in plan.weights.items()} == before


def test_training_stops_at_the_next_batch_when_asked(make_plan):
    plan, stop = make_plan(), threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        Trainer(plan, stop).train(plan.cohort(1)[0], plan.weights)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (
            {"client_optimizer": {"kind": "lion"}},
            "client.optimizer: lion has no torch translation; known: sgd, adam, adamw",
        ),
        (
            {"loss": "hinge"},
            "client.loss: hinge has no torch translation; "
            "known: binary_cross_entropy, cross_entropy, huber, mean_squared_error",
        ),
    ],
    ids=["optimizer", "loss"],
)
def test_what_torch_does_not_do_here_is_named(make_plan, settings, problem):
    plan = make_plan()
    assert unsupported_training(plan) == []
    assert unsupported_training(dataclasses.replace(plan, settings=dataclasses.replace(plan.settings, **settings))) == [
        problem
    ]
