"""Plans cut to the first steps of each task: the same as specs of so few steps, where a spec can say it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from flspec.compiler.first_steps import first_steps_of
from flspec.errors import InputError
from flspec.privacy.spending import cost_after
from flspec.protocol.plan import Plan
from flspec.runs.runner import run

SGD = {"kind": "sgd", "learning_rate": 0.1}
UNIFORM = {"kind": "fedavg", "weighting": "uniform"}
CENTRAL = {"kind": "central", "clip": {"kind": "fixed", "norm": 1.0}, "noise_multiplier": 0.5, "delta": 0.01}
EXAMPLE = {"kind": "example", "clip": {"norm": 1.0}, "noise_multiplier": 0.5, "delta": 0.01}


def work(steps, **more):
    return {"steps": steps, "batch_size": 5, "optimizer": SGD, **more}


SHORTER: dict[str, dict[str, Any]] = {
    "plain": {},
    "across epochs": {"client": {"batch_across_epochs": True}},
    "kept optimizer": {"client": {"optimizer": SGD | {"momentum": 0.9, "state": "kept"}}},
    "schedules": {
        "client": {"optimizer": SGD | {"schedule": {"kind": "step", "every": 1}}},
        "aggregator": {"kind": "fedavg", "schedule": {"kind": "step", "every": 1}},
    },
    "pooled": {"mode": "centralized", "cohort": {"kind": "all"}},
    "alone": {"mode": "local_only", "cohort": {"kind": "all"}},
    "memory": {"client": {"algorithm": {"kind": "fedprox", "mu": 0.1}}},
    "cohorts by coins": {"cohort": {"kind": "poisson", "size": 2}},
    "noise of the server": {"cohort": {"kind": "poisson", "size": 2}, "aggregator": UNIFORM, "privacy": CENTRAL},
    "noise in each step": {"aggregator": UNIFORM, "privacy": EXAMPLE},
}


@pytest.mark.parametrize("name", SHORTER)
def test_first_steps_are_what_a_spec_of_so_few_steps_plans(make_plan, name):
    sections = dict(SHORTER[name])
    more = sections.pop("client", {})
    whole, short = (make_plan(client=work(steps, **more), **sections) for steps in (7, 2))
    cut = first_steps_of(whole, 2)
    assert cut.settings == replace(short.settings, first_steps=2)
    assert cut.arrays.keys() == short.arrays.keys()
    for key, array in short.arrays.items():
        assert cut.arrays[key].dtype == array.dtype
        assert np.array_equal(cut.arrays[key], array), key
    assert len({plan.digest for plan in (whole, short, cut)}) == 3


def test_tasks_of_fewer_steps_stay_whole_and_weigh_as_planned(make_plan):
    """Clients of 5, 20 and 35 examples take 1, 4 and 7 steps."""
    sections = {"partition": {"kind": "sizes", "sizes": [5, 20, 35]}, "cohort": {"kind": "all"}}
    whole = make_plan(**sections)
    cut = first_steps_of(whole, 3)
    for number in range(1, 4):
        for ours, theirs in zip(cut.cohort(number), whole.cohort(number), strict=True):
            assert [batch.tolist() for batch in ours.batches] == [batch.tolist() for batch in theirs.batches[:3]]
            assert vars(ours) | {"batches": ()} == vars(theirs) | {"batches": ()}
    assert [task.weight for task in cut.cohort(1)] == [5, 20, 35]
    assert [task.num_examples for task in cut.cohort(1)] == [5, 15, 15]


def test_a_cut_plan_runs_and_says_so(make_plan, tmp_path):
    result = run(first_steps_of(make_plan(), 1), out=tmp_path / "run")
    assert result.first_steps == 1
    assert [record.num_examples for record in result.rounds] == [15, 15, 15]
    assert Plan.load(tmp_path / "run" / "plan").settings.first_steps == 1
    assert run(make_plan(), out=tmp_path / "whole").first_steps is None


def test_private_steps_cost_what_is_left_of_them_and_the_promise_says_so(make_plan, tmp_path):
    whole = make_plan(client=work(7), aggregator=UNIFORM, privacy=EXAMPLE)
    cut = first_steps_of(whole, 2)
    assert cost_after(whole, 1).releases == 7
    assert cost_after(cut, 1).releases == 2
    assert cost_after(cut, 3).spent.epsilon < cost_after(whole, 3).spent.epsilon
    privacy = run(cut, out=tmp_path / "run").privacy
    assert privacy is not None
    assert any(
        "after its first 2, which this run left out: whole tasks cost more" in one for one in privacy.not_covered
    )


def test_a_batch_that_is_empty_by_chance_is_a_step_like_others(make_plan):
    """Of one expected example a step, a third of the batches are empty."""
    cut = first_steps_of(make_plan(client=work(7) | {"batch_size": 1}, aggregator=UNIFORM, privacy=EXAMPLE), 3)
    assert all(len(task.batches) == 3 for number in (1, 2, 3) for task in cut.cohort(number))
    assert 0 in cut.batch_sizes


@pytest.mark.parametrize("steps", [0, -1, True, 2.0, "2", None])
def test_what_is_no_number_of_steps_is_refused(make_plan, steps):
    with pytest.raises(InputError, match=r"^first steps: .* is not a number of steps; give 1 or more$"):
        first_steps_of(make_plan(), steps)


def test_more_steps_than_any_task_has_are_refused_and_as_many_are_not(make_plan):
    plan = make_plan(client=work(7))
    with pytest.raises(InputError, match=r"^first steps: 8 are more than any task has; give 1 to 7, or leave it out$"):
        first_steps_of(plan, 8)
    assert np.array_equal(first_steps_of(plan, 7).arrays["batches"], plan.arrays["batches"])


def test_a_schedule_that_measures_after_epochs_is_refused_by_field(make_plan):
    client = {"epochs": 2, "batch_size": 5, "optimizer": SGD | {"schedule": {"kind": "plateau"}}}
    plan = make_plan(client=client, partition={"kind": "iid", "clients": 5, "holdout": 0.2})
    with pytest.raises(InputError, match=r"^client.optimizer.schedule: plateau measures after each epoch"):
        first_steps_of(plan, 1)
