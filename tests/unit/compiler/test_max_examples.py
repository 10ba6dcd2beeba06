"""`client.max_examples`: which of its examples a client takes, and that it counts in the mean for those alone."""

from __future__ import annotations

import numpy as np
import pytest

from tests.by_hand import draws

WORK = {"epochs": 1, "batch_size": 5, "optimizer": {"kind": "sgd", "learning_rate": 0.1}}


def tasks(plan):
    return [(number, task) for number in range(1, plan.num_rounds + 1) for task in plan.cohort(number)]


def test_without_shuffling_a_client_takes_its_first_examples(make_plan):
    plan = make_plan(client=WORK | {"shuffle": False, "max_examples": 7})
    for _, task in tasks(plan):
        assert [len(batch) for batch in task.batches] == [5, 2]
        assert np.concatenate(task.batches).tolist() == plan.client_examples(task.client)[:7].tolist()


def test_with_shuffling_a_client_takes_others_each_round_by_the_planned_draw(make_plan):
    plan = make_plan(client=WORK | {"max_examples": 7})
    for number, task in tasks(plan):
        own = plan.client_examples(task.client)
        chosen = [own[i] for i in draws.order(12, 0, "batches", number, task.client, "chosen")[:7]]
        wanted = [chosen[i] for i in draws.order(7, 0, "batches", number, task.client, 0)]
        assert np.concatenate(task.batches).tolist() == wanted


@pytest.mark.parametrize(("most", "weight"), [(7, 7), (11, 11), (12, 12), (100, 12), (None, 12)])
def test_a_client_counts_in_the_mean_for_the_examples_that_it_may_use(make_plan, most, weight):
    """Sixty examples dealt to five clients are twelve each."""
    work = WORK | ({"max_examples": most} if most else {})
    assert {task.weight for _, task in tasks(make_plan(client=work))} == {weight}
    uniform = make_plan(client=work, aggregator={"kind": "fedavg", "weighting": "uniform"})
    assert {task.weight for _, task in tasks(uniform)} == {1}


def test_a_pooled_client_counts_for_what_each_of_those_pooled_may_use(make_plan):
    (_, task), *_ = tasks(make_plan(mode="centralized", client=WORK | {"max_examples": 4}))
    assert task.weight == task.num_examples == 5 * 4


def test_the_mean_of_a_run_weighs_by_them(make_plan, tmp_path):
    """Of clients of 2 and 40 examples of whom each may use 10: 2 to 10, not 2 to 40."""
    from flspec.protocol.state import load_weights
    from flspec.runs.runner import run
    from flspec_torch.training import Trainer

    plan = make_plan(
        rounds=1,
        partition={"kind": "sizes", "sizes": [2, 40]},
        cohort={"kind": "all"},
        client=WORK | {"max_examples": 10},
    )
    deltas = [Trainer(plan).train(task, plan.weights).delta for task in plan.cohort(1)]
    run(plan, "local", tmp_path / "r")
    for name, weight in load_weights(tmp_path / "r" / "weights.safetensors").items():
        expected = plan.weights[name] + (2 * deltas[0][name].astype(np.float64) + 10 * deltas[1][name]) / 12
        np.testing.assert_allclose(weight, expected, atol=1e-6)
