"""Faults: the same bits on local and Flower, equivalent on TFF, and what is lost might never have been."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from flspec.api.models import load_model
from flspec.compiler.compile import compile
from flspec.core.components import family_members
from flspec.data.store import open_data
from flspec.errors import SpecError
from flspec.execution.parts import faults_of
from flspec.faults import Fault
from flspec.protocol.plan import Plan
from flspec.runs.runner import run
from flspec.spec.loading import load_spec
from tests.conformance.harness import BACKENDS, Certified, Engines

BASE: dict[str, Any] = {
    "flspec": 1,
    "name": "faulty",
    "seed": 3,
    "rounds": 4,
    "dataset": {"kind": "digits"},
    "partition": {"kind": "iid", "clients": 12},
    "cohort": {"kind": "uniform", "size": 9},
    "model": {"kind": "mlp", "hidden": [16]},
    "client": {"epochs": 1, "batch_size": 16, "optimizer": {"kind": "sgd", "learning_rate": 0.1}},
}
LOST: list[dict[str, Any]] = [
    {"kind": "dropout", "rate": 0.15},
    {"kind": "dropout", "rate": 0.15, "phase": "before_training"},
    {"kind": "straggler", "deadline": 12},
    {"kind": "non_finite", "at": [[5, 1], [9, 3]]},
]
ATTACKS: list[dict[str, Any]] = [
    {"kind": "label_flip", "count": 2},
    {"kind": "sign_flip", "clients": [0]},
    {"kind": "alie", "clients": [1, 6]},
    {"kind": "ipm", "clients": [2, 10]},
    {"kind": "gaussian", "deviation": 0.1, "rate": 0.2},
    {"kind": "scaled", "factor": 3, "rate": 0.3, "rounds": [2, 3]},
]
PRIVACY = {"kind": "central", "delta": 0.01, "noise_multiplier": 1.0, "clip": {"kind": "fixed", "norm": 1.0}}
OF_EVERY_ENGINE = [ATTACKS[0], {"kind": "dropout", "rate": 0.3, "phase": "before_training"}]


def planned(faults: list[dict[str, Any]], **more: Any) -> Plan:
    return compile(load_spec({**BASE, "faults": faults, **more}))


@pytest.fixture(scope="module")
def certified(
    engines: Engines, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Plan, tuple[str, ...]], Certified]:
    made: dict[str, Certified] = {}

    def get(plan: Plan, backends: tuple[str, ...]) -> Certified:
        if plan.digest not in made:
            folder = tmp_path_factory.mktemp("faults") / "certificate"
            made[plan.digest] = engines.certify(plan, engines.available(backends), folder)
        return made[plan.digest]

    return get


@pytest.fixture(scope="module")
def every_kind(certified: Callable[[Plan, tuple[str, ...]], Certified]) -> Certified:
    return certified(planned([*ATTACKS, *LOST]), BACKENDS)


def test_every_kind_on_every_engine(every_kind):
    if "flower:inprocess" in every_kind.certificate.backends:
        assert every_kind.verdict("flower:inprocess").bitwise
    if "tff" in every_kind.certificate.backends:
        assert every_kind.verdict("tff").verdict == "equivalent", every_kind.verdict("tff").reason
        for ours, theirs in zip(every_kind.result("local").rounds, every_kind.result("tff").rounds, strict=True):
            assert (ours.failures, ours.faults) == (theirs.failures, theirs.faults)
    result = every_kind.result("local")
    assert result.status == "completed"
    assert min(len(record.failures) for record in result.rounds) >= 9 // 3  # a third of each cohort
    hit = sum((Counter(record.faults) for record in result.rounds), Counter())
    assert set(hit) == {fault.title for fault in faults_of(every_kind.plan)}
    assert {fault["kind"] for fault in [*LOST, *ATTACKS]} == set(family_members(Fault))
    why = Counter(failure.reason for record in result.rounds for failure in record.failures)
    assert why["its update is not finite"] == hit["non_finite"]
    assert all(why[reason] == hit[reason] for reason in why if reason != "its update is not finite")


@pytest.mark.parametrize("backend", BACKENDS)
def test_wrong_labels_and_absent_clients_on_every_engine(engines, certified, backend):
    engines(backend)
    case = certified(planned(OF_EVERY_ENGINE, rounds=2), tuple(BACKENDS))
    assert case.verdict(backend).verdict == "equivalent", case.verdict(backend).reason
    assert case.result(backend).rounds[0].faults == case.result("local").rounds[0].faults


def test_what_is_lost_might_never_have_been_in_the_cohort(every_kind, tmp_path):
    """The plan of the attacks alone, less the tasks that are lost, leads to the same weights, bit by bit."""
    whole, result = planned(ATTACKS), every_kind.result("local")
    gone = {(record.round, failure.client) for record in result.rounds for failure in record.failures}
    assert {number for number, _ in gone} == {1, 2, 3, 4}
    assert {failure.reason for record in result.rounds for failure in record.failures} == {
        "dropped out before training",
        "dropped out after training",
        "late: after 12 s",
        "its update is not finite",
    }
    rounds = [[task for task in whole.cohort(n) if (n, task.client) not in gone] for n in range(1, 5)]
    clients = [whole.client_examples(client) for client in range(whole.num_clients)]

    def last_of(tasks: list[Any], name: str) -> Any:
        seeds = whole.arrays["round_seeds"].tolist()
        less = Plan.build(whole.settings, whole.weights, clients, tasks, whole.spec, round_seeds=seeds)
        run(less, "local", tmp_path / name)
        return load_model(tmp_path / name).weights

    without_them = last_of(rounds, "less")
    for backend in ("local", *every_kind.certificate.backends):
        weights, near = every_kind.states(backend)[-1].weights, 1e-5 if backend == "tff" else 0.0
        assert all(np.abs(weights[name] - value).max() <= near for name, value in without_them.items()), backend
    with_one_more = last_of([*rounds[:3], list(whole.cohort(4))], "other")
    assert all(np.abs(without_them[name] - value).max() > 1e-3 for name, value in with_one_more.items())


def test_clients_train_on_labels_that_are_flipped_and_are_measured_on_true_ones():
    plan = planned([{"kind": "label_flip", "clients": [4]}], partition={**BASE["partition"], "holdout": 0.2})
    data, clean = open_data(plan.settings.data), open_data(planned([]).settings.data)
    assert plan.settings.data.num_changed == len(plan.client_examples(4)) == len(data.train) - len(clean.train)
    np.testing.assert_array_equal(data.train.labels[: len(clean.train)], clean.train.labels)
    for number in range(1, 5):
        for task in plan.cohort(number):
            used = np.concatenate(task.batches)
            if task.client != 4:
                assert used.max() < len(clean.train)
                continue
            own = np.sort(plan.client_examples(4))
            pictures = {clean.train.features[n].tobytes(): clean.train.labels[n] for n in own}
            assert len(used) == len(own)
            for n in used:
                assert data.train.labels[n] == 9 - pictures[data.train.features[n].tobytes()]
    assert all(holdout.max() < len(clean.train) for holdout in plan.holdout)


def test_too_few_updates_change_nothing(tmp_path):
    everybody = [[client, 2] for client in range(12)]
    plan = planned([{"kind": "dropout", "at": everybody[:10]}], min_clients=3, cohort={"kind": "all"})
    result = run(plan, "local", tmp_path / "run")
    second = result.rounds[1]
    assert Counter(failure.reason for failure in second.failures) == {
        "dropped out after training": 10,
        "the round has fewer updates than min_clients: 3": 2,
    }
    assert second.train == {}
    assert result.rounds[0].evaluation == second.evaluation != result.rounds[2].evaluation
    enough = planned([{"kind": "dropout", "at": everybody[:10]}], min_clients=2, cohort={"kind": "all"})
    third = run(enough, "local", tmp_path / "enough").rounds
    assert third[0].evaluation != third[1].evaluation


def test_a_round_in_which_all_are_lost_is_no_divergence(tmp_path):
    plan = planned(
        [{"kind": "dropout", "rate": 1.0, "rounds": [2, 2]}, {"kind": "non_finite", "rate": 1.0, "rounds": [3, 3]}]
    )
    assert run(plan, "local", tmp_path / "run").status == "completed"


def test_faults_change_no_other_draw():
    plain, faulty = planned([]), planned([{"kind": "dropout", "rate": 0.5}, *ATTACKS[1:]])
    for number in range(1, 5):
        for ours, theirs in zip(plain.cohort(number), faulty.cohort(number), strict=True):
            assert all(map(np.array_equal, ours.batches, theirs.batches))
            for name in ("client", "weight", "seed", "rate", "repeat"):
                assert getattr(ours, name) == getattr(theirs, name)
    assert plain.digest != faulty.digest
    assert "faults" not in plain.document


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"faults": [{"kind": "dropout", "rate": 0.1, "count": 2}]}, r"faults\.0: .*count and rate both say"),
        ({"faults": [{"kind": "droput", "rate": 0.1}]}, r"faults\.0\.kind: .*dropout"),
        (
            {"faults": [{"kind": "dropout", "rate": 0.1}], "privacy": PRIVACY},
            r"faults: .*remove faults or privacy",
        ),
        ({"faults": [{"kind": "dropout", "clients": [12]}]}, r"faults\.0\.clients: 12 is no client; there are 12"),
        ({"min_clients": 0}, "min_clients"),
    ],
)
def test_faults_that_cannot_be(more, message):
    with pytest.raises(SpecError, match=message):
        compile(load_spec({**BASE, **more}))
