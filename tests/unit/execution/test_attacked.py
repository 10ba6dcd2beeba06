"""A round's updates as they come to the server: attacked ones, in order, and lost ones."""

from __future__ import annotations

import numpy as np
import pytest

from flspec.errors import RunError
from flspec.execution.faults import attacked, lost_updates
from flspec.faults.dropout import Dropout
from flspec.faults.ipm import InnerProductManipulation
from flspec.faults.scaled import Scaled
from flspec.faults.sign_flip import SignFlip
from flspec.protocol.plan import ClientTask, Plan
from flspec.protocol.updates import ClientUpdate
from tests.plan_settings import settings_with


def plan_with(faults, marks):
    """A plan of one round, whose client n has the set of faults `marks[n]`."""
    tasks = [ClientTask(client, 1, (np.arange(2),), faults=mark) for client, mark in enumerate(marks)]
    settings = settings_with(faults=tuple(fault.model_dump(mode="json") for fault in faults))
    weights = {"w": np.zeros(2, np.float32)}
    return Plan.build(settings=settings, weights=weights, clients=[np.arange(2)] * len(marks), rounds=[tasks], spec={})


def update(client, *values):
    return ClientUpdate(client, {"w": np.array(values, np.float32)}, 1.0, 2, {})


def deltas(plan, *updates):
    return [one.delta["w"].tolist() for one in attacked(plan, 1, updates)]


def test_attacks_act_one_after_the_other_on_all_that_they_hit():
    faults = (SignFlip(count=1, scale=2.0), InnerProductManipulation(count=1, epsilon=1.0), Scaled(count=1, factor=3.0))
    plan = plan_with(faults, [0b000, 0b101, 0b010, 0b000, 0b001])
    given = [update(client, client + 1.0, -1.0) for client in range(5)]
    assert deltas(plan, *given) == [
        [1.0, -1.0],
        [-2.0 * 2 * 3, 2.0 * 3],  # turned round, then larger
        [-(1.0 + 4.0) / 2, 1.0],  # the mean of clients 0 and 3, turned round
        [4.0, -1.0],
        [-10.0, 2.0],
    ]
    assert all(one.delta["w"].dtype == np.float32 for one in attacked(plan, 1, given))


def test_attackers_that_know_all_see_what_arrives():
    """Not what is lost, be it an honest client's or an attacker's: the round is one in which these never were."""
    faults = (InnerProductManipulation(count=1, epsilon=1.0), Dropout(count=1))
    plan = plan_with(faults, [0b00, 0b10, 0b01, 0b00])
    assert deltas(plan, *(update(client, 10.0**client, 0.0) for client in range(4)))[2] == [-(1.0 + 1000.0) / 2, 0.0]


def test_updates_without_faults_are_left_alone():
    given = [update(0, 1.0, 2.0)]
    assert attacked(plan_with((), [0]), 1, given)[0] is given[0]
    assert attacked(plan_with((SignFlip(count=1),), [0, 1]), 1, given)[0] is given[0]


def test_what_float32_cannot_hold_arrives_as_infinity():
    assert deltas(plan_with((Scaled(count=1, factor=1e30),), [1]), update(0, 1e20, 0.0)) == [[np.inf, 0.0]]


def test_lost_updates_by_position():
    plan = plan_with((Dropout(count=1), Scaled(count=1, factor=2.0)), [0b00, 0b01, 0b10])
    assert lost_updates(plan, 1) == {1: "dropped out after training"}
    assert lost_updates(plan, 1, [update(1, 0.0, 0.0), update(2, 0.0, 0.0)]) == {0: "dropped out after training"}
    assert lost_updates(plan_with((), [0]), 1) == {}


def test_an_attack_that_gives_too_few_is_named(monkeypatch):
    monkeypatch.setattr(SignFlip, "updates", lambda self, own, honest, streams: [])
    with pytest.raises(RunError, match=r"faults\.0: .*updates gave 0 updates for 1 tasks"):
        deltas(plan_with((SignFlip(count=1),), [1]), update(0, 1.0, 2.0))
