"""The server's half of a round."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from flspec.aggregators.fedadam import FedAdam
from flspec.aggregators.fedavg import FedAvg
from flspec.events import RoundFinished
from flspec.server import finish_round
from flspec.state import OptimizerState, ServerState
from flspec.updates import ClientUpdate, weighted_mean

ZERO = ServerState(0, {"w": np.zeros(3, np.float32)})


def update(client, delta, weight=1.0, num_trained=10, loss_sum=5.0, num_correct=4):
    return ClientUpdate(client, {"w": np.asarray(delta, np.float32)}, weight, num_trained, loss_sum, num_correct)


def test_the_mean_weighs_each_client_by_its_share():
    mean = weighted_mean([update(0, [1, 2, 3], weight=1), update(1, [5, 6, 7], weight=3)])["w"]
    assert mean.tolist() == [4.0, 5.0, 6.0]
    assert mean.tolist() != np.mean([[1, 2, 3], [5, 6, 7]], axis=0).tolist()


def test_the_mean_does_not_depend_on_the_scale_of_the_shares():
    ones = weighted_mean([update(0, [1, 2, 3], weight=1), update(1, [5, 6, 7], weight=3)])["w"]
    hundreds = weighted_mean([update(0, [1, 2, 3], weight=100), update(1, [5, 6, 7], weight=300)])["w"]
    assert np.array_equal(ones, hundreds)


def test_the_mean_is_summed_in_float64():
    deltas = [1e8] + [1.0] * 100  # float32 would lose every 1
    mean = weighted_mean([update(number, [delta] * 3) for number, delta in enumerate(deltas)])["w"]
    assert mean[0] == pytest.approx((1e8 + 100) / 101, rel=1e-14)
    assert np.float32(1e8) + np.float32(1.0) == np.float32(1e8)


def test_replies_in_any_order_give_the_same_bits():
    updates = [update(number, [delta] * 3) for number, delta in enumerate([1e20, 1.0, -1e20, 3.0, 7.0])]
    outcomes = {
        finish_round(FedAvg(), ZERO, order).state.weights["w"].tobytes() for order in itertools.permutations(updates)
    }
    assert len(outcomes) == 1
    unsorted = {np.float32(weighted_mean(order)["w"]).tobytes() for order in itertools.permutations(updates)}
    assert len(unsorted) > 1  # so the order does matter, and was taken care of


def test_fedavg_moves_the_weights_by_the_mean():
    state = ServerState(4, {"w": np.ones(3, np.float32)}, OptimizerState(4))
    outcome = finish_round(FedAvg(learning_rate=0.5), state, [update(0, [1, 2, 3]), update(1, [3, 4, 5])])
    assert outcome.state.weights["w"].tolist() == [2.0, 2.5, 3.0]
    assert (outcome.state.round, outcome.state.optimizer.step) == (5, 5)


def test_train_metrics_are_over_every_example_trained_on():
    updates = [
        update(0, [0, 0, 0], num_trained=10, loss_sum=20.0, num_correct=1, weight=100),
        update(1, [0, 0, 0], num_trained=30, loss_sum=30.0, num_correct=9),
    ]
    assert finish_round(FedAvg(), ZERO, updates).train == {"loss": 50.0 / 40, "accuracy": 10 / 40}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_update_that_is_not_finite_is_left_out_with_its_share_and_its_metrics(value):
    outcome = finish_round(FedAvg(), ZERO, [update(0, [1, 2, 3]), update(7, [0, value, 0], weight=9, loss_sum=1e9)])
    assert outcome.state.weights["w"].tolist() == [1, 2, 3]
    assert outcome.train == {"loss": 0.5, "accuracy": 0.4}
    assert list(outcome.dropped) == [7]
    assert "not finite" in outcome.dropped[7]


@pytest.mark.parametrize("loss", [math.inf, math.nan])
def test_what_a_round_reports_can_always_be_written_down(loss):
    """Logits 4e38 apart have an infinite float32 loss and a finite gradient."""
    outcome = finish_round(FedAvg(), ZERO, [update(0, [1, 2, 3]), update(7, [0, 0, 0], loss_sum=loss)])
    RoundFinished(round=1, cohort=(0, 7), num_trained=10, train=outcome.train, dropped=outcome.dropped, seconds={})


def test_when_every_update_is_dropped_the_server_keeps_what_it_has():
    aggregator = FedAdam(learning_rate=0.1)
    weights = {"w": np.ones(3, np.float32)}
    optimizer = aggregator.server_optimizer
    state = ServerState(3, weights, optimizer.apply(optimizer.initialize(weights), weights, {"w": np.ones(3)})[0])
    outcome = finish_round(aggregator, state, [update(0, [np.nan] * 3), update(1, [np.inf] * 3)])
    assert outcome.state.round == 4
    assert outcome.state.weights is state.weights
    assert outcome.state.optimizer is state.optimizer
    assert (outcome.train, set(outcome.dropped)) == ({}, {0, 1})


def test_a_round_changes_neither_the_state_nor_the_updates_it_was_given():
    updates = [update(1, [1, 2, 3]), update(0, [3, 4, 5])]
    finish_round(FedAvg(), ZERO, updates)
    assert [u.client for u in updates] == [1, 0]
    assert updates[0].delta["w"].tolist() == [1, 2, 3]
    assert not ZERO.weights["w"].any()


@pytest.mark.parametrize(("weighting", "share"), [("examples", 17), ("uniform", 1)])
def test_a_clients_planned_share_follows_the_weighting(weighting, share):
    assert FedAvg(weighting=weighting).client_weight(17) == share
