"""Two experiments held against each other: what is said to differ, and that nothing else is."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import yaml

from flspec.comparison.experiments import Side, difference
from flspec.errors import InputError
from flspec.protocol.plan import Plan
from flspec.runs.runner import run


@pytest.fixture
def write(tmp_path, make_spec):
    """Writes the smallest spec with some sections replaced, and gives its path."""

    def write(file, text="", **sections):
        document = make_spec(**sections).model_dump(mode="json", exclude_none=True)
        (tmp_path / file).write_text(text + yaml.safe_dump(document, sort_keys=True))
        return tmp_path / file

    return write


def settings(found):
    return {change.path: (change.a, change.b) for change in found.settings}


def parts(found):
    return {part.name: part.what for part in found.parts}


def test_comments_and_key_order_are_no_difference(write, tmp_path):
    ours = write("a.yaml")
    document = yaml.safe_load(ours.read_text())
    theirs = tmp_path / "b.yaml"
    theirs.write_text("# the same\n" + yaml.safe_dump(dict(reversed(document.items())), sort_keys=False))
    found = difference(ours, theirs)
    assert found.same_plan
    assert (found.settings, found.parts, found.facts, found.runs) == ((), (), (), None)
    assert found.a == Side(path=str(ours), kind="spec", name="small", plan_digest=found.b.plan_digest)


def test_a_name_differs_without_another_plan(write):
    found = difference(write("a.yaml"), write("b.yaml", name="other"))
    assert settings(found) == {"name": ("small", "other")}
    assert found.same_plan
    assert found.parts == ()


def test_a_default_written_out_is_no_difference(write):
    found = difference(write("a.yaml"), write("b.yaml", aggregator={"kind": "fedavg", "learning_rate": 1.0}))
    assert found.settings == ()


def test_a_learning_rate_changes_the_client_optimizer_and_nothing_else(write):
    client = {"epochs": 1, "batch_size": 5, "optimizer": {"kind": "sgd", "learning_rate": 0.2}}
    found = difference(write("a.yaml"), write("b.yaml", client=client))
    assert settings(found) == {"client.optimizer.learning_rate": (0.1, 0.2)}
    assert parts(found) == {"client optimizer": ""}
    assert found.facts == ()


def test_another_partition_changes_who_holds_what_and_how_skewed_they_are(write):
    other = {"kind": "by_label", "clients": 3, "examples_per_client": 10}
    kept = {"kind": "iid", "clients": 3}
    found = difference(
        write("a.yaml", partition=kept, cohort={"kind": "all"}),
        write("b.yaml", partition=other, cohort={"kind": "all"}),
    )
    assert settings(found) == {
        "partition.kind": ("iid", "by_label"), "partition.examples_per_client": (None, 10),
    }  # fmt: skip
    assert parts(found) == {
        "partition": "3 of 3 clients",
        "batches": "9 of the 9 tasks that both have",
        "clients' shares of the mean": "9 of the 9 tasks that both have",
    }
    facts: dict[str, Any] = {change.path: (change.a, change.b) for change in found.facts}
    assert facts["clients.num_unheld"] == (0, 30)
    assert facts["skew.label_entropy.max"][1] == 0.0 < facts["skew.label_entropy.max"][0]
    assert "model.num_parameters" not in facts


def test_a_longer_run_extends_a_shorter_one(write):
    found = difference(write("a.yaml"), write("b.yaml", rounds=5))
    assert parts(found) == {"rounds": "3 and 5"}
    facts = {change.path: (change.a, change.b) for change in found.facts}
    assert facts["rounds.num"] == (3, 5)
    assert facts["bytes_up.total"] == (3 * 3 * 204, 5 * 3 * 204)


def test_another_seed_decides_all_that_is_drawn(write):
    found = difference(write("a.yaml"), write("b.yaml", seed=1))
    assert {"data", "partition", "initial weights", "batches"} <= parts(found).keys()
    assert "layers" not in parts(found)
    assert parts(found)["initial weights"] == "2 of 4 tensors"  # biases start at zero


def test_another_model_changes_layers_weights_and_bytes(write):
    found = difference(write("a.yaml"), write("b.yaml", model={"kind": "softmax_regression"}))
    assert {"layers", "initial weights"} <= parts(found).keys()
    facts = {change.path: (change.a, change.b) for change in found.facts}
    assert facts["model.num_parameters"] == (51, 15)


def test_cohorts_and_common_tasks_are_told_apart(write):
    found = difference(write("a.yaml"), write("b.yaml", cohort={"kind": "all"}))
    assert parts(found) == {"cohorts": "3 of 3 rounds"}  # what both train is the same batches


@pytest.mark.parametrize(
    ("array", "part", "what"),
    [
        ("task_weights", "clients' shares of the mean", "1 of the 9 tasks that both have"),
        ("batches", "batches", "1 of the 9 tasks that both have"),
        ("client_examples", "partition", "1 of 5 clients"),
        ("weights/output.bias", "initial weights", "1 of 4 tensors"),
    ],
)
def test_one_value_of_a_plan_is_noticed(make_plan, tmp_path, array, part, what):
    plan = make_plan()
    changed = plan.arrays[array].copy()
    changed[0] += 1
    plan.save(tmp_path / "a")
    replace(plan, arrays=dict(plan.arrays) | {array: changed}).save(tmp_path / "b")
    found = difference(tmp_path / "a", tmp_path / "b")
    assert parts(found) == {part: what}
    assert found.settings == ()


def test_a_setting_without_a_name_of_its_own_is_a_part(make_plan, tmp_path):
    plan = make_plan()
    plan.save(tmp_path / "a")
    replace(plan, settings=replace(plan.settings, epochs=3)).save(tmp_path / "b")
    assert parts(difference(tmp_path / "a", tmp_path / "b")) == {"epochs": ""}


def test_a_setting_that_this_version_does_not_know_is_refused(make_plan, tmp_path):
    make_plan().save(tmp_path)
    written = json.loads((tmp_path / "plan.json").read_text())
    written["settings"]["secrecy"] = {"noise": 1.0}
    (tmp_path / "plan.json").write_text(json.dumps(written))
    with pytest.raises(InputError, match="its settings have secrecy, unknown to this version of flspec; upgrade"):
        Plan.load(tmp_path)


def test_plans_whose_data_are_elsewhere_can_still_be_told_apart(make_plan, tmp_path, monkeypatch):
    make_plan().save(tmp_path / "a")
    make_plan(rounds=2).save(tmp_path / "b")
    monkeypatch.setenv("FLSPEC_CACHE", str(tmp_path / "empty"))
    assert parts(difference(tmp_path / "a", tmp_path / "b")) == {"rounds": "3 and 2"}


# -------------------------------------------------------------------------------------------------------------- runs


@pytest.fixture(scope="module")
def runs(tmp_path_factory, make_plan):
    folder = tmp_path_factory.mktemp("runs")
    longer = make_plan(rounds=4)
    run(make_plan(), out=folder / "a")
    run(make_plan(), out=folder / "again")
    run(longer, out=folder / "longer")
    return folder


def test_two_runs_of_a_plan_are_the_same_in_metrics_and_weights(runs):
    found = difference(runs / "a", runs / "again")
    assert found.runs
    assert found.same_plan
    assert [(metric.path, metric.difference) for metric in found.runs.metrics] == [
        ("test.accuracy", 0.0), ("test.loss", 0.0),
    ]  # fmt: skip
    assert (found.runs.same_weights, found.runs.weights_diff, found.runs.engines) == (True, 0.0, ())


def test_two_runs_that_differ_say_by_how_much(runs):
    found = difference(runs / "a", runs / "longer")
    assert found.runs
    loss: Any = next(metric for metric in found.runs.metrics if metric.path == "test.loss")
    stated = [json.loads((runs / name / "result.json").read_text())["final"]["evaluation"] for name in ("a", "longer")]
    assert (loss.a, loss.b) == tuple(side["test"]["loss"] for side in stated)
    assert loss.difference == loss.b - loss.a != 0
    assert found.runs.same_weights is False
    assert found.runs.weights_diff
    assert found.runs.weights_diff > 0


def test_another_engine_is_named(runs, tmp_path):
    import shutil

    shutil.copytree(runs / "a", tmp_path / "b")
    result = json.loads((tmp_path / "b" / "result.json").read_text())
    result["backend"] = {"name": "flower", "versions": {"flwr": "1.0"}}
    (tmp_path / "b" / "result.json").write_text(json.dumps(result))
    found = difference(runs / "a", tmp_path / "b").runs
    assert found
    engines = {change.path: (change.a, change.b) for change in found.engines}
    assert engines["backend"] == ("local", "flower")
    assert engines["versions.flwr"] == (None, "1.0")


def test_a_run_and_the_spec_it_came_from_are_the_same_plan(runs, write):
    found = difference(write("a.yaml"), runs / "a")
    assert (found.a.kind, found.b.kind) == ("spec", "run")
    assert found.same_plan
    assert found.runs is None


def test_a_run_that_has_not_ended_is_its_plan(runs, tmp_path):
    Plan.load(runs / "a" / "plan").save(tmp_path / "run" / "plan")
    assert difference(tmp_path / "run", runs / "a").a.kind == "plan"


def test_a_result_beside_another_plan_is_refused(runs, tmp_path, make_plan):
    make_plan(rounds=2).save(tmp_path / "plan")
    (tmp_path / "result.json").write_bytes((runs / "a" / "result.json").read_bytes())
    with pytest.raises(InputError, match="its result belongs to another plan than the one beside it"):
        difference(tmp_path, runs / "a")


def test_a_folder_of_something_else_is_refused(tmp_path, write):
    with pytest.raises(InputError, match=r"has neither result\.json nor plan\.json; name a spec"):
        difference(write("a.yaml"), tmp_path)


def test_weights_that_are_not_numbers_a_side_does_not_have_are_no_crash(make_plan, tmp_path):
    plan = make_plan()
    plan.save(tmp_path / "a")
    arrays = dict(plan.arrays) | {"weights/output.bias": np.full(3, np.nan, np.float32)}
    replace(plan, arrays=arrays).save(tmp_path / "b")
    assert parts(difference(tmp_path / "a", tmp_path / "b")) == {"initial weights": "1 of 4 tensors"}
