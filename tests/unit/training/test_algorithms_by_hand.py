"""Client algorithms over several rounds against loops in float64 that share nothing with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flspec.api.models import load_model
from flspec.client_algorithms import ClientAlgorithm, CohortWork, LocalWork
from flspec.client_algorithms.fednova import length_of
from flspec.client_algorithms.qfedavg import QFedAvg
from flspec.client_optimizers.sgd import Sgd
from flspec.core.components import family_members
from flspec.errors import InputError, SpecError
from flspec.execution.client_state import with_every_participant
from flspec.execution.parts import bytes_per_client
from flspec.execution.rounds import initial_state
from flspec.execution.server_step import finish_round
from flspec.protocol.backend import kept_state
from flspec.protocol.plan import Plan
from flspec.protocol.state import ServerState, load_state
from flspec.runs.evaluation import Evaluator
from flspec.runs.result import RoundRecord
from flspec.runs.runner import run
from flspec_torch.training import Trainer
from tests.algorithm_cases import CASES, SECTIONS, SGD, WRONG, MakePlan, client, plan_of, plan_sections
from tests.by_hand import algorithms as by_hand


def states_of(plan: Plan, start: ServerState | None = None) -> list[ServerState]:
    """The states after each round that follows `start`."""
    trainer, states = Trainer(plan), [start or initial_state(plan)]
    while (number := states[-1].round + 1) <= plan.num_rounds:
        updates = [trainer.train_from(states[-1], task) for task in plan.cohort(number)]
        states.append(finish_round(plan, states[-1], updates).state)
    return states[1:]


def test_every_algorithm_that_comes_with_flspec_is_held_to_a_loop() -> None:
    covered = {algorithm["kind"] for algorithm, _ in CASES.values()}
    assert covered == set(family_members(ClientAlgorithm)) == set(by_hand.BY_HAND)
    assert set(WRONG) == set(CASES)


@pytest.mark.parametrize("case", CASES)
def test_each_round_is_the_papers(make_plan: MakePlan, case: str) -> None:
    plan = plan_of(make_plan, case)
    states = states_of(plan)
    assert by_hand.distance(states, by_hand.algorithm_of(plan)) < 2e-6
    for wrong in WRONG[case]:
        assert by_hand.distance(states, by_hand.algorithm_of(plan, **wrong)) > 1e-3, wrong


def test_a_part_of_the_model_that_stays_with_clients_is_fedper(make_plan: MakePlan) -> None:
    sections, more = plan_sections("fedrep")
    plan = make_plan(**sections | {"client": client(None, **more)})
    states = states_of(plan)
    assert list(plan.local) == ["output.weight", "output.bias"]
    assert by_hand.distance(states, by_hand.FedPer(plan)) < 2e-6
    assert by_hand.distance(states, by_hand.Algorithm(plan)) > 1e-3  # one head for all


@pytest.mark.parametrize("case", CASES)
def test_a_run_that_is_interrupted_goes_on_to_the_same_bits(make_plan: MakePlan, case: str, tmp_path: Path) -> None:
    plan, seen = plan_of(make_plan, case), list[int]()

    def interrupt_once(record: RoundRecord) -> None:
        seen.append(record.round)
        if seen == [1, 2]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(plan, "local", tmp_path / "run", watch=interrupt_once)
    before, whole = load_state(kept_state(tmp_path / "run", 2), plan.digest), states_of(plan)[-1]
    run(plan, "local", tmp_path / "run", watch=interrupt_once, resume=True)
    assert seen == [1, 2, 3, 4, 5]
    resumed = load_state(kept_state(tmp_path / "run", 5), plan.digest)
    for state, again in ((whole.carried, resumed.carried), *zip(*map(_clients, (whole, resumed)), strict=True)):
        assert state.keys() == again.keys()
        assert all(np.array_equal(state[record][n], again[record][n]) for record in state for n in state[record])
    if before.clients:  # clients that had forgotten would go another way
        forgetful = states_of(plan, replace(before, clients={}))[-1]
        assert any(
            not np.array_equal(one[record][n], other[record][n])
            for one, other in zip(_clients(whole), _clients(forgetful), strict=False)
            for record in one
            for n in one[record]
        )


def _clients(state: ServerState) -> list[Any]:
    return [state.clients[client] for client in sorted(state.clients)]


def test_the_models_that_ditto_is_evaluated_by_are_the_clients_own(make_plan: MakePlan) -> None:
    plan = plan_of(make_plan, "ditto")
    last, on = states_of(plan)[-1], by_hand.Problem(plan)
    measured = Evaluator(plan)(last).values["test"]["loss"]
    own = [on.test_loss(by_hand.own_weights(last.clients[client]).astype(np.float64)) for client in plan.participants]
    assert measured == pytest.approx(np.mean(own), rel=1e-5)
    assert measured != pytest.approx(on.test_loss(on.vector(last.weights)), rel=1e-3)


def test_a_stored_model_of_ditto_is_a_clients_own(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = plan_of(make_plan, "ditto")
    run(plan, "local", tmp_path / "run")
    for k, records in states_of(plan)[-1].clients.items():
        for which in ("last", plan.num_rounds):
            weights = load_model(tmp_path / "run", which, client=k).weights
            assert all(np.array_equal(weights[name], value) for name, value in records["personal"].items())
    with pytest.raises(InputError, match="each of 6 clients has a model of its own"):
        load_model(tmp_path / "run")


def test_a_client_that_never_takes_part_has_dittos_first_weights(make_plan: MakePlan) -> None:
    sections, more = plan_sections("ditto")
    partition = sections["partition"] | {"holdout": 0.3}
    work = client(CASES["ditto"][0], **more)
    sections |= {"rounds": 1, "partition": partition, "client": work, "cohort": {"kind": "uniform", "size": 1}}
    plan = make_plan(**sections)
    (last,), on = states_of(plan), by_hand.Problem(plan)
    losses = []
    for k, held in enumerate(plan.holdout):
        own = by_hand.own_weights(last.clients[k]) if k in plan.participants else on.vector(plan.weights)
        losses.append(on.loss_of(held, own.astype(np.float64)))
    assert Evaluator(plan)(last).values["clients/mean"]["loss"] == pytest.approx(np.mean(losses), rel=1e-5)


@pytest.mark.parametrize("case", ["ditto", "scaffold II"])
def test_a_state_has_the_clients_that_have_taken_part_and_no_others(make_plan: MakePlan, case: str) -> None:
    plan, seen = plan_of(make_plan, case), set[int]()
    assert not initial_state(plan).clients
    for number, state in enumerate(states_of(plan), start=1):
        seen |= {task.client for task in plan.cohort(number)}
        assert state.clients.keys() == seen
        assert with_every_participant(plan, state).clients.keys() == set(plan.participants)


@pytest.mark.parametrize("option", ["I", "II"])
def test_scaffolds_variate_is_the_mean_of_all_clients(make_plan: MakePlan, option: str) -> None:
    plan = plan_of(make_plan, f"scaffold {option}")
    for state in states_of(plan):
        every = with_every_participant(plan, state).clients
        of_clients = [every[client]["control"] for client in plan.participants]
        for name, value in state.records["control"].items():
            mean = sum(one[name].astype(np.float64) for one in of_clients) / plan.num_clients
            np.testing.assert_allclose(value, mean, atol=1e-6)
            assert np.abs(value).max() > 1e-3


def test_feddyns_h_is_the_mean_of_what_clients_remember(make_plan: MakePlan) -> None:
    """Each client's gradient changes by -alpha times its way, and h by the sum of these over all clients."""
    plan = plan_of(make_plan, "feddyn")
    last = states_of(plan)[-1]
    for name, value in last.records["h"].items():
        of_clients = [last.clients[client]["gradient"][name] for client in plan.participants]
        np.testing.assert_allclose(value, sum(of_clients) / plan.num_clients, atol=1e-6)


def test_scaffold_sends_as_much_again(make_plan: MakePlan) -> None:
    sizes = {name: bytes_per_client(plan_of(make_plan, name)) for name in ("scaffold II", "feddyn", "qfedavg")}
    weights = sum(weight.nbytes for weight in plan_of(make_plan, "feddyn").weights.values())
    assert sizes == {
        "scaffold II": (2 * weights, 2 * weights),
        "feddyn": (2 * weights, weights),
        "qfedavg": (weights, weights + 8),
    }


@pytest.mark.parametrize("nesterov", [False, True])
def test_the_length_of_steps_is_the_sum_of_their_factors(nesterov: bool) -> None:
    """With gradients g_k the way is -eta sum_k a_k g_k: the a_k one by one, from a way that has one gradient."""
    rule, pull, num = Sgd(learning_rate=1.0, momentum=0.7, nesterov=nesterov), 0.1, 6

    def way(gradients: Any) -> float:
        w = v = 0.0
        for given in gradients:
            g = given + pull * w
            v = 0.7 * v + g
            w -= g + 0.7 * v if nesterov else v
        return -w

    assert length_of(num, rule, pull) == pytest.approx(sum(way(row) for row in np.eye(num)), rel=1e-12)


def test_of_equal_work_fednova_is_the_mean(make_plan: MakePlan) -> None:
    same = {"partition": {"kind": "iid", "clients": 6}, "cohort": {"kind": "uniform", "size": 3}}
    plain, normalised = (
        make_plan(**SECTIONS | same | {"client": {"epochs": 2, "batch_size": 4, "optimizer": SGD, "algorithm": one}})
        for one in (None, {"kind": "fednova"})
    )
    assert by_hand.farthest(by_hand.vectors(states_of(plain)), by_hand.vectors(states_of(normalised))) < 1e-6


def test_with_q_of_zero_qfedavg_is_the_mean(make_plan: MakePlan) -> None:
    plain, fair = (
        make_plan(**SECTIONS | {"client": {"epochs": 2, "batch_size": 4, "optimizer": SGD, "algorithm": one}})
        for one in (None, {"kind": "qfedavg", "q": 0})
    )
    assert by_hand.farthest(by_hand.vectors(states_of(plain)), by_hand.vectors(states_of(fair))) < 1e-6


def test_a_client_without_loss_counts_nothing() -> None:
    start, after = ({"w": np.full(2, value, np.float32)} for value in (1.0, 3.0))
    outcome = QFedAvg(q=0.5).finish(LocalWork(start, after, {}, {}, num_steps=1, learning_rate=0.5, start_loss=0.0))
    assert (outcome.delta["w"].tolist(), dict(outcome.numbers)) == ([0.0, 0.0], {"h": 0.0})
    moved, _ = QFedAvg(q=0.5).combine(CohortWork({"w": np.zeros(2)}, {}, [{}], [outcome.numbers], [1.0], 1))
    assert moved["w"].tolist() == [0.0, 0.0]


def test_a_number_that_is_not_finite_drops_its_update(make_plan: MakePlan) -> None:
    plan = plan_of(make_plan, "qfedavg")
    state, trainer = initial_state(plan), Trainer(plan)
    updates = [trainer.train_from(state, task) for task in plan.cohort(1)]
    spoilt = [replace(updates[0], numbers={"h": float("nan")}), *updates[1:]]
    assert finish_round(plan, state, spoilt).dropped == {0: "its update is not finite"}


REFUSED: dict[str, tuple[str, dict[str, Any], dict[str, Any], str]] = {
    "momentum": ("scaffold II", {"optimizer": SGD | {"momentum": 0.9}}, {}, "choose sgd without momentum"),
    "adam": ("scaffold II", {"optimizer": {"kind": "adam", "learning_rate": 0.1}}, {}, "choose sgd without momentum"),
    "clip": ("scaffold II", {"clip": {"norm": 1.0}}, {}, "remove client.clip"),
    "weighting": ("scaffold I", {}, {"aggregator": {"kind": "fedavg"}}, "with weighting: uniform"),
    "feddyn by examples": ("feddyn", {}, {"aggregator": {"kind": "fedavg"}}, "with weighting: uniform"),
    "adam in fednova": (
        "fednova",
        {"optimizer": {"kind": "adam", "learning_rate": 0.1}},
        {},
        "how far steps of SGD go",
    ),
    "kept in fednova": (
        "fednova momentum",
        {"optimizer": SGD | {"momentum": 0.5, "state": "kept"}},
        {},
        "state: reset",
    ),
    "clip in fednova": ("fednova proximal", {"clip": {"norm": 1.0}}, {}, "remove client.clip"),
    "qfedavg by examples": ("qfedavg", {}, {"aggregator": {"kind": "fedavg"}}, "with weighting: uniform"),
    "head alone": ("fedrep", {"epochs": 2}, {}, "leaves nothing of client.epochs: 2 to what is sent"),
    "steps of a head": ("fedrep", {"epochs": None, "steps": 5}, {}, "which are of client.epochs; give these"),
    "no head": ("fedrep", {}, {"model": {"kind": "mlp", "hidden": [5]}}, "name it, as in model.local: [output]"),
    "a second model with a part": (
        "ditto",
        {},
        {"model": {"kind": "mlp", "hidden": [5], "local": ["output"]}},
        "output.weight is no weight that is sent",
    ),
    "kept": ("ditto", {"optimizer": SGD | {"momentum": 0.5, "state": "kept"}}, {}, "choose state: reset"),
    "label weights": ("scaffold I", {"label_weights": [1, 2, 1]}, {}, "remove label_weights"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_an_algorithm_does_not_permit_is_refused(make_plan: MakePlan, name: str) -> None:
    case, work, sections, way_out = REFUSED[name]
    usual, more = plan_sections(case)
    with pytest.raises(SpecError, match=r"client\.algorithm") as refused:
        make_plan(**usual | {"client": client(CASES[case][0], **more | work)} | sections)
    assert way_out in str(refused.value)
