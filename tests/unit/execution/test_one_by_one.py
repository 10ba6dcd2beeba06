"""Updates that come one by one and go: the bits of `finish_round`, which has all at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from flspec.core.randomness import Stream
from flspec.execution.rounds import initial_state
from flspec.execution.server_step import finish_round, finish_round_of, takes_one_by_one
from flspec.protocol.updates import ClientUpdate, WeightedSum, all_finite, weighted_mean
from flspec_torch.training import Trainer

BUSY = {
    "rounds": 2,
    "postprocessors": [{"kind": "clip_update", "norm": 0.05}],
    "faults": [{"kind": "dropout", "clients": [1]}],
    "client": {
        "epochs": 1,
        "batch_size": 5,
        "optimizer": {"kind": "sgd", "learning_rate": 0.1},
        "algorithm": {"kind": "scaffold"},
    },
    "aggregator": {"kind": "fedadam", "learning_rate": 0.1, "weighting": "uniform"},
}


@pytest.mark.parametrize("sections", [{"rounds": 2}, BUSY], ids=["plain", "busy"])
def test_updates_one_by_one_give_the_bits_of_all_at_once(make_plan, sections):
    plan = make_plan(**sections)
    state, trainer = initial_state(plan), Trainer(plan)
    for number in (1, 2):
        updates = [trainer.train_from(state, task) for task in plan.cohort(number)]
        expected = finish_round(plan, state, updates)
        outcome, light = finish_round_of(plan, state, iter(updates))
        assert outcome
        assert (outcome.train, outcome.dropped) == (expected.train, expected.dropped)
        assert flat(outcome.state) == flat(expected.state)
        assert [update.client for update in light] == [update.client for update in updates]
        assert not any(update.delta for update in light)
        state = outcome.state


def flat(state):
    carried = {f"{record} {name}": value for record, one in state.carried.items() for name, value in one.items()}
    kept = {
        f"{client} {record} {name}": value
        for client, records in state.clients.items()
        for record, one in records.items()
        for name, value in one.items()
    }
    return {name: value.tobytes() for name, value in (carried | kept).items()}


def test_an_update_that_is_not_finite_leaves_no_outcome_since_all_shares_depend_on_it(make_plan):
    plan = make_plan()
    state, trainer = initial_state(plan), Trainer(plan)
    updates = [trainer.train_from(state, task) for task in plan.cohort(1)]
    name = next(iter(updates[1].delta))
    updates[1] = replace(updates[1], delta={**updates[1].delta, name: np.full_like(updates[1].delta[name], np.inf)})
    outcome, light = finish_round_of(plan, state, iter(updates))
    assert outcome is None
    assert len(light) == len(updates)  # every client has trained


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({}, True),
        ({"faults": [{"kind": "dropout", "clients": [1]}]}, True),
        ({"faults": [{"kind": "alie", "clients": [1]}]}, False),
        ({"aggregator": {"kind": "median"}}, False),
        ({"secure_aggregation": {"kind": "simulated_numerics", "clip": 1.0}}, False),
    ],
)
def test_which_rules_need_all_updates_at_once(make_plan, sections, expected):
    assert takes_one_by_one(make_plan(**sections)) is expected


def test_the_mean_of_large_updates_is_taken_in_blocks_on_several_cores_to_the_same_bits():
    deltas = [Stream(0, number).normal(3 * 2**15 + 7).astype(np.float32) for number in range(50)]  # 4.9 million values
    updates = [ClientUpdate(number, {"w": delta}, 3 + number, 1, {}) for number, delta in enumerate(deltas)]
    total, plainly = sum(update.weight for update in updates), np.zeros(3 * 2**15 + 7)
    for update in updates:
        plainly += (update.weight / total) * update.delta["w"].astype(np.float64)
    one_by_one = WeightedSum(total)
    for update in updates:
        one_by_one.add(update)
    assert weighted_mean(updates)["w"].tobytes() == one_by_one.values["w"].tobytes() == plainly.tobytes()
    assert weighted_mean(updates[::-1])["w"].tobytes() != plainly.tobytes()


@pytest.mark.parametrize("place", [0, 2**15 - 1, 2**15, 2**16 + 4])
def test_a_value_that_is_not_finite_is_found_in_every_block(place):
    values = np.zeros((2, 2**15 + 3), np.float32)
    assert all_finite(values)
    values.reshape(-1)[place] = np.nan
    assert not all_finite(values)
