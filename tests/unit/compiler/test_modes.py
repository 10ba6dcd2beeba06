"""One spec, learned together, pooled, or each client alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flspec.compiler.compile import compile
from flspec.data.store import open_data
from flspec.errors import InputError
from flspec.execution.client_state import first_client_state
from flspec.protocol.backend import Job, kept_state
from flspec.protocol.named_records import flatten
from flspec.protocol.state import ServerState, load_state
from flspec.runs.evaluation import Evaluator
from flspec.runs.runner import run
from flspec_local import LocalBackend
from flspec_torch.scoring import TorchScorer

ADAM: dict[str, Any] = {"epochs": 2, "batch_size": 5, "optimizer": {"kind": "adam", "learning_rate": 0.01}}


def states(plan, folder):
    list(LocalBackend().execute(plan, Job(folder, keep="all")))
    return [load_state(kept_state(folder, number), plan.digest) for number in range(1, plan.num_rounds + 1)]


# -------------------------------------------------------------------------------------------------------- centralized


def test_pooled_training_is_one_client_with_all_examples_in_client_order(make_plan):
    federated, pooled = make_plan(), make_plan(mode="centralized")
    together = np.concatenate([federated.client_examples(client) for client in range(5)])
    assert pooled.num_clients == 1
    assert pooled.client_examples(0).tolist() == together.tolist()
    assert [[task.client for task in pooled.cohort(number)] for number in (1, 2, 3)] == [[0]] * 3
    assert all(np.array_equal(pooled.weights[name], value) for name, value in federated.weights.items())


def test_pooled_training_takes_the_clients_weights_as_they_are_whatever_the_aggregator(make_plan, tmp_path):
    """One step of the same plan by hand: what comes of the round is what the client ends with."""
    plain, adaptive = (
        make_plan(mode="centralized", aggregator=aggregator)
        for aggregator in ({"kind": "fedavg"}, {"kind": "fedadam", "learning_rate": 0.5})
    )
    assert plain.digest == adaptive.digest
    from flspec_torch.training import Trainer

    update = Trainer(plain).train(plain.cohort(1)[0], plain.weights)
    after = states(plain, tmp_path)[0].weights
    for name, delta in update.delta.items():
        assert np.allclose(after[name], plain.weights[name] + delta, atol=1e-7, rtol=0)


HOLDOUT = {"kind": "iid", "clients": 5, "holdout": 0.25}


def test_what_is_held_out_is_pooled_for_training_and_apart_for_evaluation(make_plan):
    federated, pooled = (make_plan(partition=HOLDOUT, mode=mode) for mode in ("federated", "centralized"))
    apart = [row for client in range(5) for row in federated.holdout_examples(client).tolist()]
    assert pooled.holdout_examples(0).tolist() == apart
    assert len(federated.holdout_examples(0)) < len(apart)
    metrics = {"metrics": ["loss", "accuracy"]}
    ours, theirs = (
        Evaluator(make_plan(partition=HOLDOUT, mode=mode, evaluation=metrics))(ServerState(0, federated.weights))
        for mode in ("federated", "centralized")
    )
    assert ours.values == theirs.values  # of the same model, on each client's own examples
    assert ours.values["clients/num_clients"]["loss"] == 5
    assert ours.values["clients/worst"]["loss"] > ours.values["clients/mean"]["loss"]


def test_pooled_training_takes_of_each_client_what_it_would_give_alone(make_plan):
    """A cap of one pool would leave it three examples a round, of fewer than five clients."""
    client = ADAM | {"max_examples": 3}
    federated, pooled = make_plan(client=client, rounds=2), make_plan(mode="centralized", client=client, rounds=2)
    rounds = [set(np.concatenate(pooled.cohort(number)[0].batches).tolist()) for number in (1, 2)]
    for examples in rounds:
        assert [len(examples & set(federated.client_examples(client).tolist())) for client in range(5)] == [3] * 5
    assert rounds[0] != rounds[1]  # drawn anew
    assert [task.num_examples for number in (1, 2) for task in pooled.cohort(number)] == [15, 15]
    assert pooled.cohort(1)[0].weight == 15


def test_a_pooled_optimizer_goes_on_from_round_to_round_as_one_that_nobody_interrupts(make_plan, tmp_path):
    """Three rounds of two passes in the partition's order are six passes in one round."""
    ordered, optimizer = ADAM | {"shuffle": False}, ADAM["optimizer"]
    rounds = states(make_plan(mode="centralized", client=ordered), tmp_path / "rounds")[-1]
    at_once = states(make_plan(mode="centralized", client=ordered | {"epochs": 6}, rounds=1), tmp_path / "one")[-1]
    reset = states(
        make_plan(mode="centralized", client=ordered | {"optimizer": {**optimizer, "state": "reset"}}),
        tmp_path / "reset",
    )[-1]
    for name, value in at_once.weights.items():
        assert np.allclose(value, rounds.weights[name], atol=1e-6, rtol=0)
    assert any(
        not np.allclose(value, reset.weights[name], atol=1e-4, rtol=0) for name, value in at_once.weights.items()
    )


# --------------------------------------------------------------------------------------------------------- local only


def test_alone_every_client_trains_in_every_round_and_sends_nothing(make_plan, tmp_path):
    plan = make_plan(mode="local_only")
    assert plan.weights == {}
    assert list(plan.local) == list(make_plan().weights)
    assert [[task.client for task in plan.cohort(number)] for number in (1, 2, 3)] == [[0, 1, 2, 3, 4]] * 3
    result = run(plan, "local", tmp_path / "run")
    assert {(record.bytes_down, record.bytes_up) for record in result.rounds} == {(0, 0)}


def test_alone_a_client_learns_what_it_would_by_itself(make_plan, tmp_path):
    """Its model after three rounds is that of a run in which it is the only one there is."""
    alone = make_plan(mode="local_only", client=ADAM)
    kept = states(alone, tmp_path / "alone")[-1].clients
    from flspec_torch.training import Trainer

    for client in (0, 3):
        trainer, own = Trainer(alone), first_client_state(alone)
        for number in (1, 2, 3):
            own = trainer.train(alone.cohort(number)[client], {}, own).client_state
        assert {name: value.tobytes() for name, value in flatten(own).items()} == {
            name: value.tobytes() for name, value in flatten(kept[client]).items()
        }
    assert kept[0]["weights"]["output.bias"].tobytes() != kept[3]["weights"]["output.bias"].tobytes()


def test_clients_that_keep_more_than_a_run_can_hold_are_refused(make_spec, monkeypatch):
    monkeypatch.setattr("flspec.compiler.compile._MOST_KEPT", 1000)
    assert compile(make_spec(rounds=1))
    with pytest.raises(InputError, match=r"mode: 5 clients that each keep 0\.0 MiB .* use fewer clients"):
        compile(make_spec(mode="local_only", rounds=1))


# ------------------------------------------------------------------------------------- what clients keep, in a run


@pytest.mark.parametrize("mode", ["local_only", "centralized"])
def test_a_resumed_run_goes_on_with_what_clients_kept(make_plan, tmp_path, mode):
    plan = make_plan(mode=mode, client=ADAM)
    whole = states(plan, tmp_path / "whole")
    start = kept_state(tmp_path / "whole", 1)
    list(LocalBackend().execute(plan, Job(tmp_path / "rest", start=start, keep="all")))
    last = kept_state(tmp_path / "rest", 3)
    assert last.read_bytes() == kept_state(tmp_path / "whole", 3).read_bytes()
    assert whole[0].clients.keys() == whole[2].clients.keys()


@pytest.mark.parametrize("kind", ["adam", "adamw", "sgd"])
def test_an_optimizer_that_is_kept_and_one_that_is_not_differ_after_the_first_round(make_plan, tmp_path, kind):
    optimizer = {"kind": kind, "learning_rate": 0.05} | ({"momentum": 0.9} if kind == "sgd" else {})
    cohort = {"kind": "all"}
    kept, reset = (
        states(make_plan(cohort=cohort, client=ADAM | {"optimizer": optimizer | {"state": state}}), tmp_path / state)
        for state in ("kept", "reset")
    )
    same = [
        all(a.weights[name].tobytes() == b.weights[name].tobytes() for name in a.weights)
        for a, b in zip(kept, reset, strict=True)
    ]
    assert same == [True, False, False]
    assert set(kept[0].clients) == set(range(5))
    assert reset[0].clients == {}


# ---------------------------------------------------------------------------------------- what own models are worth


def test_where_each_has_a_model_a_value_of_the_test_set_is_the_mean_over_clients(make_plan, tmp_path):
    partition = {"kind": "iid", "clients": 4, "holdout": 0.3}
    evaluation = {"every": 3, "metrics": ["loss", "accuracy"]}
    plan = make_plan(mode="local_only", partition=partition, evaluation=evaluation)
    result = run(plan, "local", tmp_path / "run")
    state = load_state(kept_state(tmp_path / "run", 3), plan.digest)
    data, told = open_data(plan.settings.data), result.rounds[-1].evaluation
    assert told is not None
    own: list[Any] = []
    holdout: list[Any] = []
    for client in range(4):
        weights = {name: state.clients[client]["weights"][name] for name in plan.local}
        held = plan.holdout_examples(client)
        for split, values in ((data.test, own), (data.train.part(held), holdout)):
            logits = TorchScorer(plan).logits(weights, split)
            values.append(float((logits.argmax(1) == split.labels).mean()))
    assert told["test"]["accuracy"] == pytest.approx(np.mean(own))
    assert told["test/clients/worst"]["accuracy"] == pytest.approx(min(own))
    assert told["clients/mean"]["accuracy"] == pytest.approx(np.mean(holdout))
    assert len(set(own)) > 1
    first = {name: state.clients[0]["weights"][name] for name in plan.local}
    of_one_for_all = (TorchScorer(plan).logits(first, data.test).argmax(1) == data.test.labels).mean()
    assert told["test"]["accuracy"] != pytest.approx(of_one_for_all)
