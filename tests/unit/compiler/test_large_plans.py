"""A plan of more batches than it could hold says how they are drawn, and whoever reads it draws the same."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flspec.analysis.memory_estimate import estimate_memory
from flspec.compiler import compile as compiler
from flspec.compiler.first_steps import first_steps_of
from flspec.errors import InputError
from flspec.protocol.plan import Plan
from flspec.runs.runner import run

SGD = {"kind": "sgd", "learning_rate": 0.1}
ONE = {"batch_size": 5, "optimizer": SGD}
PRIVATE = {"kind": "example", "clip": {"norm": 0.5}, "noise_multiplier": 1.0, "delta": 1e-3}
SPECS: dict[str, dict[str, Any]] = {
    "epochs": {"client": ONE | {"epochs": 2}},
    "steps": {"client": ONE | {"steps": 4}},
    "across epochs": {"client": ONE | {"epochs": 3, "batch_across_epochs": True}},
    "in order": {"client": ONE | {"epochs": 1, "shuffle": False}},
    "at most some": {"client": ONE | {"epochs": 2, "max_examples": 7}},
    "pooled": {"client": ONE | {"epochs": 1, "max_examples": 7}, "mode": "centralized"},
    "drawn again": {"client": ONE | {"epochs": 1}, "cohort": {"kind": "with_replacement", "size": 9}},
    "coins": {"client": ONE | {"epochs": 1}, "privacy": PRIVATE},  # whose tasks have seeds, too
}


@pytest.fixture
def both(make_plan, monkeypatch):
    """Compile a spec twice, so that a plan holds its batches and so that it says how they are drawn."""

    def compiled(**values: Any) -> tuple[Plan, Plan]:
        held = make_plan(**values)
        monkeypatch.setattr(compiler, "_MOST_BATCHES", 1)
        return held, make_plan(**values)

    return compiled


def tasks(plan: Plan) -> list[Any]:
    return [
        (number, vars(task) | {"batches": [batch.tolist() for batch in task.batches]})
        for number in range(1, plan.num_rounds + 1)
        for task in plan.cohort(number)
    ]


@pytest.mark.parametrize("values", SPECS.values(), ids=SPECS)
def test_batches_that_are_drawn_when_asked_for_are_those_that_would_be_held(both, values, tmp_path):
    held, drawn = both(**values)
    assert ("batches" in held.arrays, "batches" in drawn.arrays) == (True, False)
    drawn.save(tmp_path)
    for plan in (drawn, Plan.load(tmp_path)):
        assert tasks(plan) == tasks(held)
        assert vars(plan.task(2, 0))["client"] == held.cohort(2)[0].client
        assert [len(task.batches) for task in plan.cohort(1)] == [len(task.batches) for task in held.cohort(1)]
    assert Plan.load(tmp_path).digest == drawn.digest
    if "privacy" in values:  # sizes by coins are not known beforehand
        assert drawn.largest_batch >= held.largest_batch
        assert (drawn.num_trained >= held.num_trained).all()
    else:
        assert drawn.batch_sizes == held.batch_sizes
        assert np.array_equal(drawn.num_trained, held.num_trained)
        assert estimate_memory(drawn) == estimate_memory(held)


def test_the_first_steps_of_both_are_the_same(both):
    held, drawn = (first_steps_of(plan, 1) for plan in both(**SPECS["epochs"]))
    assert tasks(drawn) == tasks(held)


def test_a_run_is_the_same_to_the_bit(both, tmp_path):
    held, drawn = (run(plan, "local", tmp_path / name) for plan, name in zip(both(), "ab", strict=True))
    assert held.weights
    assert drawn.weights
    assert held.weights.sha256 == drawn.weights.sha256
    assert [record.num_examples for record in held.rounds] == [record.num_examples for record in drawn.rounds]


def changed(folder: Path, **rule: Any) -> None:
    """Write a plan anew with another rule, as someone would who also gives it the digest of what it then is."""
    plan = Plan.load(folder)
    assert plan.settings.batch_rule
    other = replace(plan.settings, batch_rule=replace(plan.settings.batch_rule, **rule))
    Plan(other, plan.arrays, plan.spec).save(folder)


def test_a_reader_that_would_draw_other_batches_refuses(both, tmp_path):
    _, drawn = both()
    for rule, why in (({"seed": 1}, "draws other batches"), ({"epochs": 7}, "not those of its batch_rule")):
        drawn.save(tmp_path)
        changed(tmp_path, **rule)
        with pytest.raises(InputError, match=why):
            Plan.load(tmp_path)
    drawn.save(tmp_path)
    document = json.loads((tmp_path / "plan.json").read_text())
    document["settings"]["batch_rule"]["shuffle"] = False
    (tmp_path / "plan.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match="draws other batches"):
        Plan.load(tmp_path)


def test_equal_experiments_have_equal_digests_and_others_do_not(both, make_plan):
    _, drawn = both()
    assert make_plan().digest == drawn.digest
    assert make_plan(seed=5).digest != drawn.digest


def test_a_backend_that_reads_arrays_refuses_what_is_in_none(both):
    held, drawn = both()
    assert set(drawn.features) - set(held.features) == {"batch_rule"}


def test_what_neither_form_can_hold_is_refused(make_plan, monkeypatch):
    monkeypatch.setattr(compiler, "_MOST_BATCHES", 1)
    flip = {"kind": "label_flip"}
    with pytest.raises(InputError, match=r"faults.0: .* changes the examples of batches"):
        make_plan(faults=[flip])
    monkeypatch.setattr(compiler, "_MOST_INDICES", 20)
    with pytest.raises(InputError, match=r"client.epochs: a client trains on 24 examples in a round"):
        make_plan(client=ONE | {"epochs": 2})
    monkeypatch.setattr(compiler, "_MOST_TASKS", 3)
    with pytest.raises(InputError, match=r"rounds: 3 rounds of 3 clients are 9 tasks, but a plan holds 3"):
        make_plan()
