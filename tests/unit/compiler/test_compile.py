"""Compiling: every draw is made once, follows from the seed, and stays where it is when something else changes."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

from flspec.compiler.compile import _round_seeds, compile, data_root
from flspec.core.randomness import Stream
from flspec.errors import InputError
from flspec.protocol.plan import Plan
from flspec.protocol.settings import BestSettings
from flspec.spec.loading import parse_spec
from flspec.spec.study import parse_study
from tests.by_hand import draws

TEXT = """\
flspec: 1
name: small
rounds: 3
seed: 5
dataset: {kind: synthetic, classes: 3, features: 4, train_examples: 60, test_examples: 20}
partition: {kind: iid, clients: 5}
model: {kind: mlp, hidden: [6]}
client: {epochs: 1, batch_size: 5, optimizer: {kind: sgd, learning_rate: 0.1}}
cohort: {kind: uniform, size: 3}
"""
SGD = {"kind": "sgd", "learning_rate": 0.1}


def compiled(text):
    return compile(parse_spec(text))


def cohorts(plan, rounds):
    return [[task.client for task in plan.cohort(number)] for number in rounds]


def batches(plan, rounds):
    return {
        (number, task.client): [batch.tolist() for batch in task.batches]
        for number in rounds
        for task in plan.cohort(number)
    }


def partition(plan):
    return [plan.client_examples(client).tolist() for client in range(plan.num_clients)]


def weights(plan):
    return {name: value.tobytes() for name, value in plan.weights.items()}


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        "# a comment\n" + TEXT.replace("rounds: 3", "rounds: 3  # few"),
        "".join(reversed(TEXT.splitlines(keepends=True))),
        json.dumps(yaml.safe_load(TEXT), indent=4),
        TEXT.replace("name: small", "name: another"),
        TEXT + "backend: flower\n",
        TEXT.replace("0.1", "1e-1").replace("rounds: 3", "rounds: 3e0"),
        TEXT + "aggregator: {kind: fedavg, learning_rate: 1.0}\n",
        TEXT.replace("batch_size: 5", "batch_size: 5, shuffle: true"),
    ],
    ids=["itself", "comments", "key order", "as JSON", "name", "backend", "notation", "a default", "another default"],
)
def test_the_digest_does_not_change_with(text):
    assert compiled(text).digest == compiled(TEXT).digest


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("seed: 5", "seed: 6"),
        ("rounds: 3", "rounds: 4"),
        ("train_examples: 60", "train_examples: 61"),
        ("clients: 5", "clients: 6"),
        ("hidden: [6]", "hidden: [7]"),
        ("hidden: [6]", "hidden: [6], activation: tanh"),
        ("epochs: 1", "epochs: 2"),
        ("batch_size: 5", "batch_size: 6"),
        ("learning_rate: 0.1", "learning_rate: 0.10000001"),
        ("size: 3", "size: 2"),
        ("name: small", "aggregator: {kind: fedavg, learning_rate: 0.5}\nname: small"),
        ("name: small", "evaluation: {every: 2}\nname: small"),
    ],
)
def test_the_digest_changes_with(before, after):
    assert compiled(TEXT.replace(before, after)).digest != compiled(TEXT).digest


def test_the_digest_changes_with_one_pixel_of_the_data(make_plan, write_mnist):
    sections = {"dataset": {"kind": "mnist"}, "partition": {"kind": "iid", "clients": 2}, "cohort": {"kind": "all"}}
    images = np.zeros((20, 4, 4), np.uint8)
    before = make_plan(write_mnist(images), **sections).digest
    assert make_plan(write_mnist(images), **sections).digest == before
    images[19, 3, 3] = 1
    assert make_plan(write_mnist(images), **sections).digest != before


def test_a_longer_run_extends_a_shorter_one(make_plan):
    short, long = make_plan(rounds=3), make_plan(rounds=9)
    common = range(1, 4)
    assert cohorts(long, common) == cohorts(short, common)
    assert batches(long, common) == batches(short, common)
    assert (partition(long), weights(long)) == (partition(short), weights(short))
    assert len({json.dumps(cohort) for cohort in cohorts(long, range(1, 10))}) > 1  # and rounds do differ


@pytest.mark.parametrize(
    "sections",
    [
        {"rounds": 7},
        {"model": {"kind": "softmax_regression"}},
        {"aggregator": {"kind": "fedadam", "learning_rate": 0.1}},
        {"evaluation": {"every": 2}},
        {"client": {"epochs": 1, "batch_size": 5, "optimizer": SGD | {"momentum": 0.9}}},
    ],
    ids=lambda sections: next(iter(sections)),
)
def test_another_setting_shifts_neither_partition_cohorts_nor_batches(make_plan, sections):
    plan, other = make_plan(), make_plan(**sections)
    assert plan.digest != other.digest
    for drawn in (cohorts, batches):
        assert drawn(plan, range(1, 4)) == drawn(other, range(1, 4))
    assert partition(plan) == partition(other)


def test_more_epochs_extend_the_passes_of_fewer(make_plan):
    one, three = (make_plan(client={"epochs": n, "batch_size": 5, "optimizer": SGD}) for n in (1, 3))
    for place, first in batches(one, (1, 2)).items():
        assert batches(three, (1, 2))[place][: len(first)] == first


def test_a_larger_cohort_does_not_shift_a_clients_batches(make_plan):
    some, everyone = batches(make_plan(), (1, 2, 3)), batches(make_plan(cohort={"kind": "all"}), (1, 2, 3))
    assert some.items() <= everyone.items()


def test_another_partition_leaves_the_initial_weights(make_plan):
    other = make_plan(partition={"kind": "dirichlet", "clients": 5, "alpha": 1.0})
    assert weights(other) == weights(make_plan())


@pytest.mark.parametrize("drawn", [partition, weights, lambda plan: cohorts(plan, (1, 2, 3))])
def test_another_seed_draws_everything_anew(make_plan, drawn):
    assert drawn(make_plan(seed=1)) != drawn(make_plan(seed=2))


def test_every_pass_goes_once_over_what_the_client_holds(make_plan):
    plan = make_plan(client={"epochs": 3, "batch_size": 5, "optimizer": SGD})  # 12 examples a client
    for task in plan.cohort(1):
        assert [len(batch) for batch in task.batches] == [5, 5, 2] * 3
        passes = np.concatenate(task.batches).reshape(3, 12)
        assert all(sorted(order) == sorted(plan.client_examples(task.client)) for order in passes)
        assert len({tuple(order) for order in passes}) == 3


def test_every_client_has_an_order_of_its_own_in_every_round(make_plan):
    plan = make_plan(cohort={"kind": "all"})
    orders = set()
    for number in (1, 2, 3):
        for task in plan.cohort(number):
            held = plan.client_examples(task.client).tolist()
            orders.add(tuple(held.index(example) for batch in task.batches for example in batch))
    assert len(orders) == 15


def test_steps_go_over_the_examples_as_often_as_it_takes(make_plan):
    plan = make_plan(client={"steps": 7, "batch_size": 5, "optimizer": SGD})
    in_epochs = make_plan(client={"epochs": 3, "batch_size": 5, "optimizer": SGD})
    for task, longer in zip(plan.cohort(2), in_epochs.cohort(2), strict=True):
        assert [len(batch) for batch in task.batches] == [5, 5, 2, 5, 5, 2, 5]
        assert all(map(np.array_equal, task.batches, longer.batches))


def test_a_batch_larger_than_the_client_is_all_it_holds(make_plan):
    plan = make_plan(client={"epochs": 2, "batch_size": 1000, "optimizer": SGD})
    assert [len(batch) for batch in plan.cohort(1)[0].batches] == [12, 12]


def test_without_shuffling_every_pass_has_the_order_of_the_partition(make_plan):
    plan = make_plan(client={"epochs": 2, "batch_size": 5, "shuffle": False, "optimizer": SGD})
    for task in plan.cohort(1):
        assert np.concatenate(task.batches).tolist() == 2 * plan.client_examples(task.client).tolist()


@pytest.mark.parametrize("weighting", ["examples", "uniform"])
def test_a_tasks_share_follows_the_weighting(make_plan, weighting):
    plan = make_plan(
        partition={"kind": "dirichlet", "clients": 5, "alpha": 1.0},
        cohort={"kind": "all"},
        aggregator={"kind": "fedavg", "weighting": weighting},
    )
    held = [len(plan.client_examples(client)) for client in range(5)]
    assert len(set(held)) > 1
    assert [task.weight for task in plan.cohort(1)] == (held if weighting == "examples" else [1] * 5)


def test_what_cannot_be_held_is_refused_before_it_is_drawn(make_plan):
    with pytest.raises(InputError, match=r"rounds: 1,000,000 rounds of 20 clients.*lower rounds"):
        make_plan(rounds=10**6, partition={"kind": "iid", "clients": 20}, cohort={"kind": "all"})


@pytest.mark.parametrize(
    "sections",
    [
        {"dataset": {"kind": "synthetic", "classes": 10**4, "features": 10**9}},
        {"model": {"kind": "mlp", "hidden": [10**15]}},
        {"model": {"kind": "mlp", "hidden": [10**18]}},
    ],
    ids=["examples", "weights", "more weights"],
)
def test_what_no_machine_could_hold_is_refused_as_an_input(make_plan, sections):
    with pytest.raises(InputError):
        make_plan(**sections)


def test_a_model_that_does_not_fit_the_examples_is_refused(make_plan):
    with pytest.raises(InputError, match=r"model: does not fit examples of shape \[4\].*conv_1"):
        make_plan(model={"kind": "cnn"})


def test_a_plan_carries_its_resolved_spec(make_spec):
    spec = make_spec()
    plan = compile(spec)
    assert plan.spec == spec.model_dump(mode="json")
    assert plan.spec["aggregator"] == {"kind": "fedavg", "weighting": "examples", "learning_rate": 1.0}


def test_a_compiled_plan_is_the_plan_it_is_read_back_as(make_plan, tmp_path):
    plan = make_plan()
    plan.save(tmp_path)
    loaded = Plan.load(tmp_path)
    assert loaded.settings == plan.settings
    assert loaded.document == json.loads(json.dumps(plan.document)) == plan.document
    assert batches(loaded, (1, 2, 3)) == batches(plan, (1, 2, 3))


def test_compiling_touches_no_global_generator(make_plan):
    before = repr(np.random.get_state(legacy=False))
    make_plan(partition={"kind": "dirichlet", "clients": 5, "alpha": 1.0})
    assert repr(np.random.get_state(legacy=False)) == before


@pytest.mark.parametrize(("given", "root"), [("/somewhere", "/somewhere"), ("", "data"), (None, "data")])
def test_the_data_root_is_flspec_data_or_data(monkeypatch, given, root):
    if given is None:
        monkeypatch.delenv("FLSPEC_DATA", raising=False)
    else:
        monkeypatch.setenv("FLSPEC_DATA", given)
    assert str(data_root()) == root


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"cohort": {"kind": "uniform", "size": 50}}, "cohort.size is 50, but partition.clients is 5"),
        ({"client": {"batch_size": 5, "optimizer": SGD}}, "needs epochs or steps"),
        ({"client": {"batch_size": 5, "epochs": 3, "steps": 1, "optimizer": SGD}}, "client.epochs is given too"),
    ],
)
def test_a_spec_made_in_python_is_held_to_the_same_rules(make_plan, sections, message):
    with pytest.raises(InputError, match=message):
        make_plan(**sections)


def test_what_is_called_otherwise_by_now_leaves_plans_and_their_digests_as_they_were(tmp_path):
    rows = "".join(f"{n % 2},{n // 3},{n}\n" for n in range(60))
    (tmp_path / "train.csv").write_text(f"label,user,x\n{rows}")
    (tmp_path / "test.csv").write_text("label,user,x\n" + "".join(f"{n % 2},{n},{n}\n" for n in range(9)))
    dataset = f"{{kind: csv, file: {json.dumps(str(tmp_path / 'train.csv'))}, columns: [user]}}"
    plan = compiled(f"""\
flspec: 1
name: small
rounds: 3
dataset: {dataset}
partition: {{kind: iid, clients: 5, holdout: 0.3, holdout_by: user}}
model: {{kind: mlp, hidden: [6]}}
client:
  {{epochs: 2, batch_size: 5, batch_across_epochs: true, clip: {{norm: 0.1, by: tensor}},
  optimizer: {{kind: sgd, learning_rate: 0.1}}}}
cohort: {{kind: uniform, size: 3}}
evaluation: {{best: {{metric: loss, on: holdout}}}}
""")
    assert plan.document["clip"] == {"norm": 0.1, "by": "variable"}
    assert {"held_out_examples", "held_out_ends"} <= set(plan.arrays)
    assert plan.settings.evaluation.best == BestSettings("loss", "holdout")  # as results call it
    assert plan.document["evaluation"]["best"]["on"] == "held_out"
    # Of the version whose keys were held_out, held_out_by, across_passes and by: variable.
    assert plan.digest == "5a96f74262b08e8fe05d8ffdef36722dd53cdf638b83712ac593adc82a353d5a"


def test_the_seeds_of_a_matrix_share_the_test_set_that_is_drawn(tmp_path):
    rows = "".join(f"{number % 2},{number}\n" for number in range(100))
    (tmp_path / "a.csv").write_text("label,x\n" + rows)
    study = parse_study("""
flspec: 1
name: seeds
rounds: 1
dataset: {kind: csv, file: a.csv, holdout: 0.2}
partition: {kind: iid, clients: 4}
model: {kind: softmax_regression}
client: {epochs: 1, batch_size: 8, optimizer: {kind: sgd, learning_rate: 0.1}}
matrix: {seeds: [0, 1, 2]}
""")
    plans = [compile(cell.spec, tmp_path) for cell in study.cells]
    assert len({plan.digest for plan in plans}) == 3
    assert len({plan.settings.data.digest for plan in plans}) == 1


def test_a_server_that_draws_has_a_seed_of_its_own_each_round():
    """From the stream of the round, halved, so that it is no negative number."""
    spec: Any = SimpleNamespace(
        rounds=3, postprocessors=[SimpleNamespace(is_random=True)], faults=[], secure_aggregation=None
    )
    expected = [draws.words(1, 7, "postprocessors", number)[0] >> 1 for number in (1, 2, 3)]
    assert _round_seeds(spec, Stream(7)) == expected
    assert len(set(expected)) == 3
    spec.postprocessors = []
    assert _round_seeds(spec, Stream(7)) == []
