"""The server's half of a round."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from flspec.aggregators.fedadam import FedAdam
from flspec.aggregators.fedavg import FedAvg
from flspec.aggregators.fedavgm import FedAvgM
from flspec.execution.rounds import initial_state, round_result
from flspec.execution.server_step import finish_round
from flspec.postprocessors.private_update import PrivateUpdate
from flspec.protocol.events import RoundFinished
from flspec.protocol.plan import ClientTask, Plan
from flspec.protocol.state import OptimizerState, ServerState
from flspec.protocol.updates import ClientUpdate, weighted_mean
from tests.plan_settings import settings_with

ZERO = ServerState(0, {"w": np.zeros(3, np.float32)})


def plan_with(aggregator, weights=ZERO.weights, rounds=6, **more):
    """A plan of which only the server's half matters."""
    tasks = [[ClientTask(0, 1, (np.arange(2),))]] * rounds
    settings = settings_with(
        aggregator=aggregator.model_dump(mode="json"), statistics=tuple(more.pop("statistics", ()))
    )
    return Plan.build(settings=settings, weights=weights, clients=[np.arange(2)], rounds=tasks, spec={}, **more)


def update(client, delta, weight=1.0, num_trained=10, loss_sum=5.0, num_correct=4):
    return ClientUpdate(
        client, {"w": np.asarray(delta, np.float32)}, weight, num_trained, {"loss": loss_sum, "accuracy": num_correct}
    )


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
    plan = plan_with(FedAvg())
    updates = [update(number, [delta] * 3) for number, delta in enumerate([1e20, 1.0, -1e20, 3.0, 7.0])]
    outcomes = {
        finish_round(plan, ZERO, order).state.weights["w"].tobytes() for order in itertools.permutations(updates)
    }
    assert len(outcomes) == 1
    unsorted = {np.float32(weighted_mean(order)["w"]).tobytes() for order in itertools.permutations(updates)}
    assert len(unsorted) > 1  # so the order does matter, and was taken care of


def test_fedavg_moves_the_weights_by_the_mean():
    state = ServerState(4, {"w": np.ones(3, np.float32)}, OptimizerState(4))
    outcome = finish_round(plan_with(FedAvg(learning_rate=0.5)), state, [update(0, [1, 2, 3]), update(1, [3, 4, 5])])
    assert outcome.state.weights["w"].tolist() == [2.0, 2.5, 3.0]
    assert (outcome.state.round, outcome.state.optimizer.step) == (5, 5)


def test_train_metrics_are_over_every_example_trained_on():
    updates = [
        update(0, [0, 0, 0], num_trained=10, loss_sum=20.0, num_correct=1, weight=100),
        update(1, [0, 0, 0], num_trained=30, loss_sum=30.0, num_correct=9),
    ]
    assert finish_round(plan_with(FedAvg()), ZERO, updates).train == {"loss": 50.0 / 40, "accuracy": 10 / 40}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_update_that_is_not_finite_is_left_out_with_its_share_and_its_metrics(value):
    outcome = finish_round(
        plan_with(FedAvg()), ZERO, [update(0, [1, 2, 3]), update(7, [0, value, 0], weight=9, loss_sum=1e9)]
    )
    assert outcome.state.weights["w"].tolist() == [1, 2, 3]
    assert outcome.train == {"loss": 0.5, "accuracy": 0.4}
    assert list(outcome.dropped) == [1]  # its place in the cohort
    assert "not finite" in outcome.dropped[1]


@pytest.mark.parametrize("loss", [math.inf, math.nan])
def test_what_a_round_reports_can_always_be_written_down(loss):
    """Logits 4e38 apart have an infinite float32 loss and a finite gradient."""
    outcome = finish_round(plan_with(FedAvg()), ZERO, [update(0, [1, 2, 3]), update(7, [0, 0, 0], loss_sum=loss)])
    RoundFinished(round=1, cohort=(0, 7), num_trained=10, train=outcome.train, dropped=outcome.dropped, seconds={})


def test_two_updates_of_one_client_count_each_for_itself():
    once, again = update(4, [1, 2, 3]), replace(update(4, [5, 6, 7]), repeat=1)
    both = finish_round(plan_with(FedAvg()), ZERO, [again, update(0, [0, 0, 0]), once])
    assert both.state.weights["w"].tolist() == [2.0, pytest.approx(8 / 3), pytest.approx(10 / 3)]
    spoiled = replace(again, delta={"w": np.full(3, np.nan, np.float32)})
    outcome = finish_round(plan_with(FedAvg()), ZERO, [spoiled, update(0, [0, 0, 0]), once])
    assert outcome.state.weights["w"].tolist() == [0.5, 1.0, 1.5]
    assert outcome.dropped == {2: "its update is not finite"}
    report = round_result(outcome, [spoiled, update(0, [0, 0, 0]), replace(once, num_trained=30)], {})
    assert (report.cohort, report.num_trained) == ((0, 4, 4), 40)


def test_two_updates_of_one_client_in_any_order_give_the_same_bits():
    updates = [replace(update(3, [delta] * 3), repeat=place) for place, delta in enumerate([1e20, 1.0, -1e20, 3.0])]
    outcomes = {
        finish_round(plan_with(FedAvg()), ZERO, order).state.weights["w"].tobytes()
        for order in itertools.permutations(updates)
    }
    assert len(outcomes) == 1


def test_two_updates_of_one_client_get_noise_of_their_own():
    """With the same noise on both, their difference would tell how they differ without any."""
    noised = PrivateUpdate(norm=1.0, noise_multiplier=1.0).model_dump(mode="json")
    plan = plan_with(FedAvg())
    plan = replace(plan, settings=replace(plan.settings, postprocessors=(noised,)))
    plan = replace(plan, arrays={**plan.arrays, "round_seeds": np.arange(6)})

    def moved(*updates):
        return finish_round(plan, ZERO, updates).state.weights["w"]

    alone = moved(update(2, [0, 0, 0]))
    assert not np.allclose(moved(update(2, [0, 0, 0]), replace(update(2, [0, 0, 0]), repeat=1)), alone)
    assert np.allclose(moved(update(2, [0, 0, 0])), alone)


def test_when_every_update_is_dropped_the_server_keeps_what_it_has():
    aggregator = FedAdam(learning_rate=0.1)
    weights = {"w": np.ones(3, np.float32)}
    optimizer = aggregator.server_optimizer
    state = ServerState(3, weights, optimizer.apply(optimizer.initialize(weights), weights, {"w": np.ones(3)})[0])
    outcome = finish_round(plan_with(aggregator), state, [update(0, [np.nan] * 3), update(1, [np.inf] * 3)])
    assert outcome.state.round == 4
    assert outcome.state.weights is state.weights
    assert outcome.state.optimizer is state.optimizer
    assert (outcome.train, set(outcome.dropped)) == ({}, {0, 1})


def test_a_round_changes_neither_the_state_nor_the_updates_it_was_given():
    updates = [update(1, [1, 2, 3]), update(0, [3, 4, 5])]
    finish_round(plan_with(FedAvg()), ZERO, updates)
    assert [u.client for u in updates] == [1, 0]
    assert updates[0].delta["w"].tolist() == [1, 2, 3]
    assert not ZERO.weights["w"].any()


@pytest.mark.parametrize(("weighting", "share"), [("examples", 17), ("uniform", 1)])
def test_a_clients_planned_share_follows_the_weighting(weighting, share):
    assert FedAvg(weighting=weighting).client_weight(17) == share


def test_a_schedule_multiplies_the_step_of_its_round_and_leaves_the_optimizers_memory():
    plan = plan_with(FedAvgM(learning_rate=1.0, momentum=0.5), rates={"server": [0.0, 0.5, 1, 1, 1, 1]})
    state = initial_state(plan)
    for expected, velocity in [(0.0, 1.0), (0.75, 1.5), (2.5, 1.75)]:
        state = finish_round(plan, state, [update(0, [1, 1, 1])]).state
        assert state.weights["w"].tolist() == [expected] * 3
        assert state.optimizer.slots["momentum"]["w"].tolist() == [velocity] * 3


def test_statistics_take_the_mean_whatever_the_server_optimizer():
    weights = {"w": np.zeros(3, np.float32), "mean": np.full(3, 2, np.float32)}
    adam = FedAdam(learning_rate=0.1, epsilon=1e-3)
    plan = plan_with(adam, weights, statistics=["mean"])
    state = initial_state(plan)
    assert list(state.optimizer.slots["first_moment"]) == ["w"]
    updates = [
        ClientUpdate(number, {"w": np.ones(3, np.float32), "mean": np.full(3, moved, np.float32)}, 1.0, 10, {})
        for number, moved in enumerate([1.0, 3.0])
    ]
    after = finish_round(plan, state, updates).state
    assert after.weights["mean"].tolist() == [4.0] * 3
    assert list(after.weights) == ["w", "mean"]
    alike = plan_with(adam, weights)  # what a server makes of them that does not tell them apart
    assert finish_round(alike, initial_state(alike), updates).state.weights["mean"].tolist() != [4.0] * 3


def test_what_clients_keep_is_replaced_for_those_that_count_alone():
    state = replace(ZERO, clients={client: {"weights": {"own": np.zeros(2, np.float32)}} for client in (0, 1, 2)})
    kept = [np.ones(2, np.float32), np.array([np.nan, 1], np.float32)]
    updates = [
        replace(update(number, [1, 1, 1]), client_state={"weights": {"own": own}}) for number, own in enumerate(kept)
    ]
    outcome = finish_round(plan_with(FedAvg()), state, updates)
    assert {c: k["weights"]["own"].tolist() for c, k in outcome.state.clients.items()} == {
        0: [1, 1],
        1: [0, 0],
        2: [0, 0],
    }
    assert list(outcome.dropped) == [1]
    assert outcome.state.weights["w"].tolist() == [1.0] * 3


def test_a_client_that_sends_nothing_is_still_dropped_for_what_it_keeps():
    """Where each learns alone there is no update in which anything could be seen."""
    alone = ClientUpdate(3, {}, 1.0, 10, {"loss": 5.0}, {"weights": {"w": np.full(3, np.inf, np.float32)}})
    outcome = finish_round(plan_with(FedAvg(), {}), ServerState(0, {}), [alone])
    assert outcome.dropped == {0: "its update is not finite"}
