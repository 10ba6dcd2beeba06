"""Two steps of two clients' generative adversarial networks, and the server's mean, held to numpy by hand."""

from __future__ import annotations

import numpy as np
import pytest

from flspec.compiler.compile import compile
from flspec.data.store import open_data
from flspec.execution.parts import networks_of
from flspec.execution.rounds import initial_state
from flspec.execution.server_step import finish_round
from flspec.spec.loading import parse_spec
from flspec_torch.training import Trainer
from tests.by_hand.adversaries import WRONG, Adversaries, latents

# Adam's epsilon is large, or it makes whole steps of what rounding leaves.
SPEC = """
flspec: 1
name: small-gan
rounds: 1
dataset: {kind: celeba, twin: {clients: 8, examples: 40}, split: published, size: 16, fit: crop, normalise: half}
partition: {kind: iid, clients: 2}
model: {kind: dcgan, latent: 2, width: 1, batch_norm: averaged}
client:
  steps: 2
  batch_size: 3
  objective: {kind: gan}
  optimizer: {kind: adam, learning_rate: 0.01, beta_1: 0.5, beta_2: 0.9, epsilon: 0.001}
aggregator: {kind: fedavg, weighting: uniform}
evaluation: {metrics: [kid], generated: 20}
"""
ADAM = {"rate": 0.01, "beta_1": 0.5, "beta_2": 0.9, "epsilon": 0.001}
CLOSE, FAR = 2e-4, 5e-3  # in parts of the largest movement, of learned tensors or of statistics


@pytest.fixture(scope="module")
def plan():
    return compile(parse_spec(SPEC, "small-gan.yaml"))


@pytest.fixture(scope="module")
def updates(plan):
    return [Trainer(plan).train(task, plan.weights) for task in plan.cohort(1)]


def by_hand(plan, task, wrong="", seed=None):
    """A client's movement of every tensor."""
    train, both = open_data(plan.settings.data).train, Adversaries(networks_of(plan), plan.weights, ADAM)
    for number, batch in enumerate(task.batches):
        drawn = latents((2, 1, 1), len(batch), task.seed if seed is None else seed, number)
        again = None
        if wrong == "fakes are drawn anew for the generator":
            again = latents((2, 1, 1), len(batch), task.seed, number, "generator")
        both.step(train.inputs(batch).astype(np.float64), drawn, wrong, again)
    return {name: both.tensors[name] - plan.weights[name].astype(np.float64) for name in plan.weights}


def deviation(plan, got, expected):
    """The largest difference, in parts of the largest movement of what is learned or of the statistics."""
    worst = 0.0
    for statistics in (False, True):
        names = [name for name in expected if (name in plan.statistics) == statistics]
        largest = max(np.abs(expected[name]).max() for name in names)
        worst = max(worst, *(np.abs(got[name] - expected[name]).max() / largest for name in names))
    return worst


def test_two_steps_of_each_client_are_those_of_the_definitions(plan, updates):
    for task, update in zip(plan.cohort(1), updates, strict=True):
        assert deviation(plan, update.delta, by_hand(plan, task)) < CLOSE


@pytest.mark.parametrize("wrong", WRONG)
def test_another_order_or_another_derivation_is_seen(plan, updates, wrong):
    assert deviation(plan, updates[0].delta, by_hand(plan, plan.cohort(1)[0], wrong)) > FAR


def test_latents_are_each_clients_own(plan, updates):
    one, other = plan.cohort(1)
    assert deviation(plan, updates[1].delta, by_hand(plan, other, seed=one.seed)) > FAR


def test_the_server_averages_both_networks_and_their_statistics(plan, updates):
    after = finish_round(plan, initial_state(plan), updates).state.weights
    moved = {name: after[name].astype(np.float64) - plan.weights[name] for name in after}
    expected = [by_hand(plan, task) for task in plan.cohort(1)]
    mean = {name: (expected[0][name] + expected[1][name]) / 2 for name in moved}
    assert deviation(plan, moved, mean) < CLOSE
    kept = {name: 0.0 * value if name in plan.statistics else value for name, value in mean.items()}
    assert deviation(plan, kept, mean) > FAR  # statistics that are not exchanged
    assert {name.partition(".")[0] for name in plan.statistics} == {"generator", "discriminator"}


def test_training_metrics_are_each_phases_loss_and_each_mean_score(plan, updates):
    assert list(updates[0].sums) == ["discriminator", "on_real", "on_fake", "generator", "judged"]
    train, task, both = open_data(plan.settings.data).train, plan.cohort(1)[0], None
    both = Adversaries(networks_of(plan), plan.weights, ADAM)
    scores, losses = [], []
    for number, batch in enumerate(task.batches):
        real, drawn = train.inputs(batch).astype(np.float64), latents((2, 1, 1), len(batch), task.seed, number)
        fake = both.run("generator", drawn, both.tensors)
        on_real, on_fake = (both.run("discriminator", x, both.tensors) for x in (real, fake))
        scores.append(on_real.mean())
        losses.append((np.log1p(np.exp(-on_real)) + np.log1p(np.exp(on_fake))).mean())
        both.step(real, drawn)
    assert updates[0].sums["on_real"] / task.num_trained == pytest.approx(np.mean(scores), rel=1e-3)
    assert updates[0].sums["discriminator"] / task.num_trained == pytest.approx(np.mean(losses), rel=1e-4)
