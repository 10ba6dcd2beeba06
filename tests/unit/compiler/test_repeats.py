"""Clients that are drawn several times in a round: a task for each draw, told apart; refused where they keep state."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from flspec.comparison.experiments import difference
from flspec.errors import RunError, SpecError
from flspec.execution.rounds import initial_state
from flspec.execution.server_step import finish_round
from flspec.privacy.spending import cost_after
from flspec.protocol.plan import Plan
from flspec.protocol.updates import ClientUpdate
from flspec.runs.runner import run

WORK = {"epochs": 1, "batch_size": 5, "optimizer": {"kind": "sgd", "learning_rate": 0.1}}
UNIFORM = {"kind": "fedavg", "weighting": "uniform"}
RESNET = {"kind": "resnet18", "norm": "batch", "batch_norm": "local"}
KEPT = {"kind": "sgd", "learning_rate": 0.1, "momentum": 0.9, "state": "kept"}
AGAIN = {"kind": "with_replacement", "size": 7}  # of five clients, so that two draws at least are of one client


@pytest.fixture
def repeated(make_plan):
    return make_plan(client=WORK, cohort=AGAIN)


def test_a_client_has_a_task_for_each_draw_with_batches_of_its_own(repeated):
    for number in range(1, repeated.num_rounds + 1):
        tasks = repeated.cohort(number)
        assert [(task.client, task.repeat) for task in tasks] == sorted({(task.client, task.repeat) for task in tasks})
        assert len(tasks) == 7
        for client, times in Counter(task.client for task in tasks).items():
            own = [task for task in tasks if task.client == client]
            assert [task.repeat for task in own] == list(range(times))
            assert len({np.concatenate(task.batches).tobytes() for task in own}) == times
            assert len({np.sort(np.concatenate(task.batches)).tobytes() for task in own}) == 1
    assert [repeated.task(2, place).repeat for place in range(7)] == [task.repeat for task in repeated.cohort(2)]


def test_the_first_task_of_a_client_is_the_one_of_a_cohort_that_draws_it_once(make_plan, repeated):
    everybody = {task.client: task for task in make_plan(client=WORK, cohort={"kind": "all"}).cohort(1)}
    for task in repeated.cohort(1):
        same = np.array_equal(np.concatenate(task.batches), np.concatenate(everybody[task.client].batches))
        assert same is (task.repeat == 0)


def test_a_task_draws_random_numbers_of_its_own(make_plan):
    private = {"kind": "example", "clip": {"norm": 1.0}, "noise_multiplier": 1.0, "delta": 1e-3}
    plan = make_plan(client=WORK, cohort=AGAIN, privacy=private)
    assert len(set(plan.arrays["task_seeds"].tolist())) == len(plan.arrays["task_clients"])


def test_a_plan_says_that_clients_repeat_if_any_does(make_plan, repeated):
    assert "repeats" in repeated.features
    assert "repeats" not in make_plan(client=WORK).features  # clients of rounds that follow each other
    assert "repeats" not in make_plan(client=WORK, cohort={"kind": "with_replacement", "size": 1}).features


def test_plans_that_differ_in_a_second_task_alone_differ(repeated, tmp_path):
    batches = repeated.arrays["batches"].copy()
    place = next(place for place, task in enumerate(repeated.cohort(1)) if task.repeat)
    start = sum(task.num_trained for task in repeated.cohort(1)[:place])
    batches[start : start + 5] = batches[start : start + 5][::-1]
    other = Plan(repeated.settings, {**repeated.arrays, "batches": batches}, repeated.spec)
    repeated.save(tmp_path / "one")
    other.save(tmp_path / "other")
    assert [part.name for part in difference(tmp_path / "one", tmp_path / "other").parts] == ["batches"]


def test_a_run_records_each_task_and_each_example_once(repeated, tmp_path):
    for record in run(repeated, out=tmp_path / "run").rounds:
        tasks = repeated.cohort(record.round)
        assert record.cohort == tuple(task.client for task in tasks)
        assert record.num_examples == 12 * len(set(record.cohort)) < sum(task.num_examples for task in tasks)
        assert record.bytes_down == 7 * sum(weight.nbytes for weight in repeated.weights.values())


@pytest.mark.parametrize("backend", ["flower:inprocess"])
def test_backends_carry_out_every_task_to_the_same_bits(repeated, tmp_path, backend):
    results = [run(repeated, backend=name, out=tmp_path / str(n)) for n, name in enumerate(("local", backend))]
    assert results[0].weights == results[1].weights is not None


def test_each_update_of_a_client_is_paid_for(make_plan):
    local = {"kind": "local", "clip": {"norm": 1.0}, "epsilon": 8.0, "delta": 1e-3}
    plan = make_plan(client=WORK, cohort=AGAIN, privacy=local, aggregator=UNIFORM)
    cost = cost_after(plan, plan.num_rounds)
    assert cost.releases == np.bincount(plan.arrays["task_clients"]).max() > plan.num_rounds
    assert 7.9 < cost.spent.epsilon <= 8.0


def test_an_update_that_comes_twice_does_not_stand_for_both_of_a_client(make_plan):
    central = {"kind": "central", "clip": {"kind": "fixed", "norm": 1.0}, "noise_multiplier": 1.0, "delta": 1e-3}
    plan = make_plan(client=WORK, cohort=AGAIN, privacy=central, aggregator=UNIFORM)
    zeros = {name: np.zeros_like(weight) for name, weight in plan.weights.items()}
    updates = [
        ClientUpdate(task.client, zeros, task.weight, task.num_trained, {}, repeat=task.repeat)
        for task in plan.cohort(1)
    ]
    assert not finish_round(plan, initial_state(plan), updates).dropped
    again = next(place for place, update in enumerate(updates) if update.repeat)
    updates[again] = updates[again - 1]
    with pytest.raises(RunError, match="that the plan does not have"):
        finish_round(plan, initial_state(plan), updates)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"client": WORK | {"optimizer": KEPT}}, "client.optimizer.state"),
        ({"model": RESNET, "dataset": {"kind": "digits"}}, "cohort"),
    ],
)
def test_a_client_that_keeps_state_is_not_drawn_twice_in_a_round(make_plan, changed, field):
    with pytest.raises(SpecError, match=f"{field}: .*several times in"):
        make_plan(**({"client": WORK, "cohort": AGAIN} | changed))


def test_a_mode_without_cohorts_may_keep_state(make_plan):
    assert make_plan(client=WORK, cohort=AGAIN, mode="local_only").features
