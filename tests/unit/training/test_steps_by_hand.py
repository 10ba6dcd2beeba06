"""A client's steps in numpy: the order of clipping and decay, what a plateau measures, what dropout drops."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest

from flspec.compiler.compile import compile
from flspec.data.store import open_data
from flspec.layers import Dense, Dropout, Flatten, chain
from flspec.models import Model
from flspec_torch.model import to_tensors
from flspec_torch.training import Trainer
from tests.by_hand import draws

SOFTMAX = {"kind": "softmax_regression", "initializer": "glorot_uniform"}


def gradient(weights, x, y):
    """Of the mean cross entropy of softmax regression."""
    scores = np.exp(x @ weights["output.weight"].T + weights["output.bias"])
    error = (scores / scores.sum(axis=1, keepdims=True) - np.eye(3)[y]) / len(x)
    return {"output.weight": error.T @ x, "output.bias": error.sum(axis=0)}


def shortened(tensors, norm):
    length = np.sqrt(sum((value**2).sum() for value in tensors.values()))
    return {name: value * min(1.0, norm / length) for name, value in tensors.items()}


def descend(plan, task, order, momentum=0.0):
    """Steps of rate 0.5, decay 0.3 and bound 0.2, of which `order` says what is bounded."""
    split = open_data(plan.settings.data).train
    start = {name: value.astype(np.float64) for name, value in plan.weights.items()}
    now, velocity = dict(start), dict.fromkeys(start, 0.0)
    for batch in task.batches:
        g = gradient(now, split.features[batch].astype(np.float64), split.labels[batch])
        if order == "clip, decay":
            g = shortened(g, 0.2)
        g = {name: value + 0.3 * now[name] for name, value in g.items()}
        if order == "decay, clip":
            g = shortened(g, 0.2)
        velocity = {name: momentum * velocity[name] + value for name, value in g.items()}
        now = {name: now[name] - 0.5 * velocity[name] for name in now}
    return {name: now[name] - start[name] for name in now}


@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_a_gradient_is_clipped_before_decay_is_added(make_plan, momentum):
    optimizer = {"kind": "sgd", "learning_rate": 0.5, "weight_decay": 0.3, "momentum": momentum}
    plan = make_plan(
        model=SOFTMAX, client={"epochs": 2, "batch_size": 5, "clip": {"norm": 0.2}, "optimizer": optimizer}
    )
    task = plan.cohort(1)[0]
    got = Trainer(plan).train(task, plan.weights).delta
    for order, is_right in (("clip, decay", True), ("decay, clip", False), ("decay", False)):
        expected = descend(plan, task, order, momentum)
        largest = max(np.abs(got[name] - expected[name]).max() for name in got)
        assert bool(largest < 1e-5) is is_right, order


def test_adams_decay_is_not_clipped_either(make_plan):
    """One step of Adam is lr g / (|g| + epsilon): with 1000 for both, the bounded gradient plus decay."""
    optimizer = {"kind": "adam", "learning_rate": 1000.0, "weight_decay": 0.3, "epsilon": 1e3}
    plan = make_plan(
        model=SOFTMAX, client={"steps": 1, "batch_size": 12, "clip": {"norm": 0.1}, "optimizer": optimizer}
    )
    (batch,), split = plan.cohort(1)[0].batches, open_data(plan.settings.data).train
    w = {name: value.astype(np.float64) for name, value in plan.weights.items()}
    g = shortened(gradient(w, split.features[batch].astype(np.float64), split.labels[batch]), 0.1)
    got = Trainer(plan).train(plan.cohort(1)[0], plan.weights).delta
    for name, value in got.items():
        np.testing.assert_allclose(value, -(g[name] + 0.3 * w[name]), rtol=2e-3, atol=1e-6)


# ------------------------------------------------------------------------------------------------------------- plateau


def with_labels(plan, examples, labels):
    """A trainer for whom some training examples have other labels."""
    trainer = Trainer(plan)
    train = trainer.data.train
    changed = np.array(train.labels, np.int64)
    changed[examples] = labels
    vars(trainer)["data"] = dataclasses.replace(trainer.data, train=dataclasses.replace(train, labels=changed))
    return trainer


def test_a_plateau_measures_what_the_client_holds_out_and_not_what_it_trains_on(make_plan):
    """With wrong labels in the holdout alone its loss rises, and the rate falls; training itself is the same."""
    schedule = {"kind": "plateau", "metric": "loss", "patience": 0, "decay": 0.5}
    work = {"epochs": 4, "batch_size": 5, "optimizer": {"kind": "sgd", "learning_rate": 0.3, "schedule": schedule}}
    plan = make_plan(model=SOFTMAX, partition={"kind": "iid", "clients": 3, "holdout": 0.3}, client=work)
    fixed = make_plan(
        model=SOFTMAX,
        partition={"kind": "iid", "clients": 3, "holdout": 0.3},
        client=work | {"optimizer": {"kind": "sgd", "learning_rate": 0.3}},
    )
    task = plan.cohort(1)[0]
    held = plan.holdout_examples(task.client)
    right = open_data(plan.settings.data).train.labels[held]
    rises = with_labels(plan, held, (right + 1) % 3).train(task, plan.weights).delta
    at_full_rate = Trainer(fixed).train(task, fixed.weights).delta
    falls = with_labels(plan, held, right).train(task, plan.weights).delta
    assert max(np.abs(rises[name] - at_full_rate[name]).max() for name in rises) > 1e-3
    assert max(np.abs(falls[name] - at_full_rate[name]).max() for name in falls) == 0.0


def test_a_plateau_sees_the_holdout_as_the_test_set_is_seen(make_plan):
    """Through the test set's transforms: what a crop in training cuts away decides nothing."""
    schedule = {"kind": "plateau", "metric": "accuracy", "patience": 0, "decay": 0.5}
    plan = make_plan(
        dataset={
            "kind": "digits",
            "train_transforms": [{"kind": "random_crop", "size": 6}],
            "test_transforms": [{"kind": "centre_crop", "size": 6}],
        },
        model=SOFTMAX,
        partition={"kind": "iid", "clients": 5, "holdout": 0.5},
        client={
            "epochs": 1,
            "batch_size": 50,
            "optimizer": {"kind": "sgd", "learning_rate": 0.1, "schedule": schedule},
        },
    )
    trainer, client = Trainer(plan), plan.cohort(1)[0].client
    got = trainer._measure(client, "loss", to_tensors(plan.weights))
    split, held = open_data(plan.settings.data).train, plan.holdout_examples(client)
    x = split.features[held][:, 0, 1:7, 1:7].reshape(len(held), -1) / 16.0
    z = x @ plan.weights["output.weight"].T.astype(np.float64) + plan.weights["output.bias"]
    expected = (np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(z)), split.labels[held]]).mean()
    assert got == pytest.approx(expected, rel=1e-6)


# ------------------------------------------------------------------------------------------------------------- dropout


class Dropped(Model):
    """One dense layer behind a dropout."""

    def layers(self, input_shape, num_outputs):
        return chain([Flatten(name="flatten"), Dropout(name="drop", rate=0.4), Dense(name="output", units=num_outputs)])


def masks(plan, task, number):
    """Of a step, from the documented draws: the halves of each word, kept from 0.4 * 2^32 on, times 1 / 0.6."""
    size = len(task.batches[number]) * 4
    words = draws.words(-(-size // 2), task.seed, "step", number, "dropout", "drop")
    halves = [half for word in words for half in (word & 0xFFFFFFFF, word >> 32)][:size]
    kept = [half >= round(0.4 * 2**32) for half in halves]
    return np.array(kept, np.float64).reshape(-1, 4) / 0.6


@pytest.fixture
def dropping(make_spec):
    work = {"steps": 3, "batch_size": 5, "optimizer": {"kind": "sgd", "learning_rate": 0.5}}
    spec = make_spec(client=work, cohort={"kind": "all"})
    with warnings.catch_warnings(action="ignore"):  # pydantic's, of a model that no spec can name
        return compile(spec.model_copy(update={"model": Dropped()}))


def test_each_client_drops_what_is_planned_for_its_own_steps(dropping):
    """Nobody's masks are another's: every client follows the steps with its own, and no other's."""
    plan, split = dropping, open_data(dropping.settings.data).train
    cohort = plan.cohort(1)
    assert len({task.seed for task in cohort}) == len(cohort)
    for task, other in zip(cohort, (*cohort[1:], cohort[0]), strict=True):
        got = Trainer(plan).train(task, plan.weights).delta
        for whose, is_right in ((task, True), (other, False)):
            now = {name: value.astype(np.float64) for name, value in plan.weights.items()}
            for number, batch in enumerate(task.batches):
                mask = masks(plan, whose, number)
                if mask.shape[0] != len(batch):
                    break
                g = gradient(now, split.features[batch] * mask, split.labels[batch])
                now = {name: now[name] - 0.5 * g[name] for name in now}
            largest = max(np.abs(got[name] - (now[name] - plan.weights[name])).max() for name in got)
            assert bool(largest < 1e-5) is is_right


def test_seeds_of_dropout_differ_between_clients_and_rounds(dropping):
    seeds = [task.seed for number in range(1, 4) for task in dropping.cohort(number)]
    assert len(set(seeds)) == len(seeds) == 15
    expected = [draws.words(1, 0, "transforms", n, c)[0] >> 1 for n in range(1, 4) for c in range(5)]
    assert seeds == expected
