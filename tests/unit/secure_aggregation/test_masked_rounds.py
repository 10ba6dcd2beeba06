"""Simulated secure aggregation in specs, plans and the server's step."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from flspec.analysis.description import describe_plan
from flspec.compiler.compile import compile
from flspec.errors import DataRemark, SpecError
from flspec.execution.parts import bytes_per_client
from flspec.execution.rounds import initial_state, round_result
from flspec.execution.server_step import finish_round
from flspec.protocol.plan import ClientTask, Plan
from flspec.protocol.updates import ClientUpdate
from flspec.secure_aggregation.simulated_numerics import SimulatedNumerics
from flspec.spec.loading import load_spec
from tests.plan_settings import settings_with

PART = {"kind": "simulated_numerics", "bits": 24, "fraction_bits": 10, "clip": 2.0}
SPEC: dict[str, Any] = {
    "flspec": 1,
    "name": "masked",
    "rounds": 2,
    "dataset": {"kind": "synthetic", "classes": 3, "features": 4, "train_examples": 60, "test_examples": 20},
    "partition": {"kind": "iid", "clients": 4},
    "model": {"kind": "softmax_regression"},
    "client": {"epochs": 1, "batch_size": 5, "optimizer": {"kind": "sgd", "learning_rate": 0.1}},
    "secure_aggregation": PART,
}


def planned(clients=5, part=PART, **more):
    tasks = [[ClientTask(client, 3 + client, (np.array([client]),)) for client in range(clients)]] * 2
    own = [np.array([client]) for client in range(clients)]
    weights = {"w": np.zeros(6, np.float32)}
    settings = settings_with(secure_aggregation=part, **more)
    return Plan.build(settings, weights, own, tasks, {}, round_seeds=[11, 12])


def updates(clients=5, scale=1.0):
    rng = np.random.default_rng(3)
    deltas = rng.normal(0, scale, (clients, 6)).astype(np.float32)
    return [ClientUpdate(client, {"w": delta}, 3.0 + client, 1, {"loss": 1.0}) for client, delta in enumerate(deltas)]


def test_the_server_steps_by_the_sum_of_those_that_arrive():
    plan, sent = planned(), updates()
    sent[2] = replace(sent[2], delta={"w": np.full(6, np.nan, np.float32)})
    outcome = finish_round(plan, initial_state(plan), sent[::-1])
    assert outcome.dropped == {2: "its update is not finite"}
    counts = [0, 1, 3, 4]
    total = sum(np.rint(np.clip(sent[n].delta["w"], -2, 2).astype(float) * 1024) * (3 + n) for n in counts)
    mean = total / 1024 / sum(3 + n for n in counts)
    np.testing.assert_array_equal(outcome.state.weights["w"], mean.astype(np.float32))
    clipped = sum(int((np.abs(sent[n].delta["w"]) > 2).sum()) for n in counts)
    assert outcome.sums == {"clipped": clipped, "wrapped": 0}
    assert round_result(outcome, sent, {}).sums == outcome.sums


def test_all_tasks_of_a_round_agree_on_masks(monkeypatch):
    plan, asked = planned(), []
    mean = SimulatedNumerics.mean

    def asked_for(*given):
        asked.append(given)
        return mean(*given)

    monkeypatch.setattr(SimulatedNumerics, "mean", asked_for)
    state = initial_state(plan)
    state = finish_round(plan, state, updates()[1:]).state
    finish_round(plan, state, updates()[:4])
    assert [list(senders) for _, _, senders, _ in asked] == [[(client, 0) for client in range(5)]] * 2
    streams = [stream for *_, stream in asked]
    assert [one.seed for one in streams] == [11, 12]  # masks are those of one round
    assert {one.name for one in streams} == {("secure_aggregation",)}


def test_wrapped_sums_are_counted_and_leave_wrong_weights():
    plan = planned(part={**PART, "bits": 12, "fraction_bits": 9})
    sent = [replace(one, delta={"w": np.full(6, 1.5, np.float32)}) for one in updates()]
    outcome = finish_round(plan, initial_state(plan), sent)  # 768 * 25 = 19200 = 4 * 4096 + 2816 = 5 * 4096 - 1280
    assert outcome.sums == {"clipped": 0, "wrapped": 6}
    np.testing.assert_array_equal(outcome.state.weights["w"], np.full(6, -1280 / 512 / 25, np.float32))


def test_without_it_nothing_is_counted():
    plan = planned(part=None)
    outcome = finish_round(plan, initial_state(plan), updates())
    assert outcome.sums == {}
    assert "secure_aggregation" not in plan.document
    assert "secure_aggregation" not in plan.features


def test_the_plan_names_it_and_tells_what_can_go_wrong():
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataRemark)
        plan = compile(load_spec(SPEC))
    assert plan.features == ["secure_aggregation"]
    assert bytes_per_client(plan) == (60, 45)  # 15 values, of 4 bytes down and 24 bits up
    (words,) = describe_plan(plan).secure_aggregation
    assert "simulated, nothing is secret: sums modulo 2^24 of values to 2 in steps of 2^-10" in words
    with pytest.warns(DataRemark, match="secure_aggregation: sums may wrap round: weights of a round sum to 60"):
        narrow = compile(load_spec({**SPEC, "secure_aggregation": {**PART, "bits": 17}}))
    assert "raise bits to 18" in describe_plan(narrow).secure_aggregation[1]
    alone = compile(load_spec({**SPEC, "mode": "local_only"}))
    assert alone.settings.secure_aggregation is None


@pytest.mark.parametrize(
    ("field", "more"),
    [
        ("aggregator", {"aggregator": {"kind": "median"}}),
        ("compression", {"compression": {"kind": "float16"}}),
        ("client.algorithm", {"client": {**SPEC["client"], "algorithm": {"kind": "scaffold"}}}),
        (
            "secure_aggregation",
            {
                "privacy": {
                    "kind": "central",
                    "delta": 0.01,
                    "noise_multiplier": 1,
                    "clip": {"kind": "fixed", "norm": 1},
                }
            },
        ),
        (
            "postprocessors.0",
            {
                "postprocessors": [
                    {
                        "kind": "private_mean",
                        "clip": {"kind": "fixed", "norm": 1},
                        "noise_multiplier": 1.0,
                        "clients": 4.0,
                    }
                ]
            },
        ),
    ],
)
def test_what_needs_more_than_a_sum_is_refused(field, more):
    uniform = {"kind": "fedavg", "weighting": "uniform"}
    with pytest.raises(SpecError, match=rf"^spec: {field}: .*secure_aggregation"):
        load_spec({**SPEC, "aggregator": uniform, **more})


def test_it_stands_beside_what_clients_do_themselves():
    clip = [{"kind": "clip_update", "norm": 1.0}]
    assert load_spec({**SPEC, "postprocessors": clip, "aggregator": {"kind": "fedadam", "learning_rate": 0.1}})
    prox = {**SPEC["client"], "algorithm": {"kind": "fedprox", "mu": 0.1}}
    assert load_spec({**SPEC, "client": prox})
