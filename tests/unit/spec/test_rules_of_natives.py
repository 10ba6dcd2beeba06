"""Where `implementation: native` is refused: by a spec, and by a backend that has no such algorithm."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from flspec.errors import SpecError
from flspec.protocol.native import definition_of, is_native
from flspec.spec.loading import parse_spec
from flspec_flower import FlowerBackend
from flspec_local import LocalBackend
from flspec_tff import TffBackend
from tests.conftest import SMALL

FEDADAM = {"kind": "fedadam", "learning_rate": 0.1, "epsilon_hat": True}
NATIVE = FEDADAM | {"implementation": "native"}
FLOWER, TFF = FlowerBackend("inprocess"), TffBackend()
CENTRAL = {"kind": "central", "delta": 0.01, "noise_multiplier": 1.0, "clip": {"kind": "fixed", "norm": 1.0}}


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"privacy": CENTRAL}, "privacy"),
        ({"secure_aggregation": {"kind": "simulated_numerics", "clip": 1.0, "bits": 32}}, "secure_aggregation"),
        ({"postprocessors": [{"kind": "clip_update", "norm": 1.0}]}, "postprocessors"),
        ({"client": SMALL["client"] | {"algorithm": {"kind": "scaffold"}}}, "client.algorithm does on the server"),
    ],
)
def test_what_an_engines_own_algorithm_would_not_see_is_refused_where_it_stands(section, told):
    spec = "\n".join(f"{key}: {json.dumps(value)}" for key, value in (SMALL | {"aggregator": NATIVE} | section).items())
    with pytest.raises(SpecError) as error:
        parse_spec(spec)
    line = 1 + list(SMALL).index("cohort") + 1  # the aggregator's
    (problem,) = [one for one in str(error.value).splitlines() if "aggregator.implementation" in one]
    assert problem.startswith(f"spec:{line}:") or f":{line}:" in problem
    assert f"knows nothing of {'what ' if 'does' in told else ''}{told}" in problem
    parse_spec(spec.replace(json.dumps(NATIVE), json.dumps(FEDADAM | {"weighting": "uniform"})))


def test_a_client_algorithm_of_clients_alone_may_stand_beside_it(make_plan):
    client = SMALL["client"] | {"algorithm": {"kind": "fedprox", "mu": 0.1}}
    (problem,) = TFF.refusals(make_plan(aggregator=NATIVE, client=client))
    assert problem.startswith("aggregator.implementation: native, but TFF's own processes have no client algorithms")
    assert FLOWER.refusals(make_plan(aggregator=NATIVE, client=client)) == []


def test_it_is_part_of_the_experiment_and_saying_the_default_is_not(make_plan):
    said, unsaid = (make_plan(aggregator=FEDADAM | more) for more in ({"implementation": "flspec"}, {}))
    native = make_plan(aggregator=NATIVE)
    assert said.digest == unsaid.digest != native.digest
    assert definition_of(native).digest == unsaid.digest
    assert (is_native(native), is_native(unsaid)) == (True, False)


def test_other_modes_have_no_server_that_could_be_native(make_plan):
    assert not is_native(make_plan(aggregator=NATIVE, mode="centralized"))


@pytest.mark.parametrize(
    ("backend", "aggregator", "told"),
    [
        (LocalBackend(), {}, "aggregator.implementation: native, but local has no algorithm of its own; remove it"),
        (FlowerBackend("inprocess"), {"epsilon_hat": False}, "aggregator.epsilon_hat: not given, but Flower's FedAdam"),
        (
            FlowerBackend("inprocess"),
            {"weighting": "uniform"},
            'aggregator.weighting: "uniform", but Flower\'s FedAdam',
        ),
        (FlowerBackend("inprocess"), {"bias_correction": False, "epsilon_hat": False}, "aggregator.bias_correction: f"),
        (
            FlowerBackend("inprocess"),
            {"schedule": {"kind": "cosine"}},
            "aggregator.schedule: Flower's FedAdam has one learning rate; remove it",
        ),
        (
            TffBackend(),
            {"initial_accumulator": 0.5},
            "aggregator.initial_accumulator: 0.5, but TFF's Adam has only 0.0",
        ),
    ],
)
def test_a_backend_refuses_what_its_own_algorithm_does_not_know(make_plan, backend, aggregator, told):
    problems = backend.refusals(make_plan(aggregator=NATIVE | aggregator))
    assert any(problem.startswith(told) for problem in problems), problems
    assert not any("\n" in problem for problem in problems)
    assert not any(told[:24] in problem for problem in backend.refusals(make_plan(aggregator=FEDADAM | aggregator)))


def test_a_kind_that_a_backend_has_no_algorithm_for_is_told_with_those_that_it_has(make_plan):
    plan = make_plan(aggregator={"kind": "centered_clipping", "tau": 1.0, "implementation": "native"})
    (problem,) = FLOWER.refusals(plan)
    assert "no algorithm of its own for centered_clipping, only for fedavg, fedavgm, fedadam" in problem


def test_flowers_strategies_that_keep_moments_step_running_statistics_as_they_do_weights(make_plan):
    plan = make_plan(aggregator=NATIVE)
    plan = replace(plan, settings=replace(plan.settings, statistics=("output.bias",)))
    (problem,) = FLOWER.refusals(plan)
    assert problem.startswith("model.batch_norm: ")
    assert FLOWER.refusals(definition_of(plan)) == []
    assert TFF.refusals(plan) == []
