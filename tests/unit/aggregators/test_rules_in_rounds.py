"""Rules of updates in a plan and its rounds: what they are refused for, what the server keeps, what is said of them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from flspec.aggregators import Aggregator
from flspec.aggregators.krum import Krum
from flspec.aggregators.median import Median
from flspec.aggregators.rules import VectorRule
from flspec.analysis.description import describe_plan
from flspec.analysis.memory_estimate import estimate_memory
from flspec.compiler.compile import compile
from flspec.errors import RunError, SpecError
from flspec.execution import parts
from flspec.execution.parts import out_of_reach
from flspec.execution.rounds import initial_state
from flspec.execution.server_step import finish_round
from flspec.protocol.named_records import RESERVED
from flspec.protocol.plan import ClientTask, Plan
from flspec.protocol.state import load_state, save_state
from flspec.protocol.updates import ClientUpdate
from flspec.report.sections.remarks import aggregator_remarks
from flspec.server_optimizers.adam import Adam
from flspec.server_optimizers.base import ServerOptimizer
from flspec.spec.loading import parse_spec
from tests.algorithm_cases import MakePlan
from tests.conftest import SMALL
from tests.plan_settings import settings_with
from tests.unit.report.report_cases import a_result
from tests.unit.scratch_packages import run_python, write_package

WEIGHTS = {"w": np.zeros(2, np.float32), "variance": np.ones(1, np.float32)}


def plan_with(document: dict[str, Any], **more: Any) -> Plan:
    """A plan of which only the server's half matters; `variance` is a statistic."""
    settings = settings_with(aggregator=document, statistics=("variance",), **more)
    rounds = [[ClientTask(0, 1, (np.arange(2),))]] * 6
    return Plan.build(settings=settings, weights=WEIGHTS, clients=[np.arange(2)], rounds=rounds, spec={})


def updates(*rows: list[float], variances: list[float] | None = None) -> list[ClientUpdate]:
    moved = variances or [0.0] * len(rows)
    return [
        ClientUpdate(
            number, {"w": np.array(row, np.float32), "variance": np.array([v], np.float32)}, 1.0, 10, {"loss": 1.0}
        )
        for number, (row, v) in enumerate(zip(rows, moved, strict=True))
    ]


def cohort(num: int) -> list[ClientUpdate]:
    return updates(*([float(number), 1.0] for number in range(num)))


# ------------------------------------------------------------------------------------------ what a spec may ask for


REFUSED = [
    ({"kind": "krum", "f": 2}, {"kind": "uniform", "size": 6}, "aggregator.f: krum needs at least 7", "2 f + 3"),
    ({"kind": "bulyan", "f": 1}, {"kind": "uniform", "size": 6}, "aggregator.f: bulyan needs at least 7", "4 f + 3"),
    ({"kind": "trimmed_mean", "f": 3}, {"kind": "uniform", "size": 6}, "aggregator.f: trimmed_mean needs", "2 f + 1"),
    ({"kind": "multi_krum", "f": 1, "m": 6}, {"kind": "uniform", "size": 6}, "aggregator.m: multi_krum needs", "m + f"),
    ({"kind": "krum", "f": 4}, {"kind": "all"}, "aggregator.f: krum needs at least 11 updates", "cohort has 9"),
    ({"kind": "krum", "f": 1}, {"kind": "poisson", "size": 4}, "aggregator.f: krum needs at least 5", "cohort has"),
]


@pytest.mark.parametrize(("aggregator", "sampler", "where", "why"), REFUSED)
def test_a_cohort_that_is_too_small_is_refused_at_the_field(aggregator, sampler, where, why):
    asked = SMALL | {"partition": {"kind": "iid", "clients": 9}, "cohort": sampler, "aggregator": aggregator}
    with pytest.raises(SpecError) as refused:
        compile(parse_spec(json.dumps(asked, indent=1), "spec.yaml"))
    assert where in str(refused.value)
    assert why in str(refused.value)


@pytest.mark.parametrize(
    ("aggregator", "size"),
    [
        ({"kind": "krum", "f": 2}, 7),
        ({"kind": "bulyan", "f": 1}, 7),
        ({"kind": "trimmed_mean", "f": 3}, 7),
        ({"kind": "multi_krum", "f": 1, "m": 6}, 7),
        ({"kind": "median"}, 1),
    ],
)
def test_the_smallest_cohort_that_is_large_enough_is_not(aggregator, size, make_plan):
    plan = make_plan(
        partition={"kind": "iid", "clients": 9}, cohort={"kind": "uniform", "size": size}, aggregator=aggregator
    )
    assert (plan.arrays["task_weights"] == 1).all()


LOSSES: list[dict[str, Any]] = [
    {"kind": "dropout", "at": [[0, 2], [4, 2], [3, 3]], "phase": "after_training"},
    {"kind": "dropout", "at": [[5, 2], [4, 3]], "phase": "before_training"},
    {"kind": "non_finite", "at": [[1, 2], [4, 2]]},
]


def with_losses(make_plan: MakePlan, losses: list[dict[str, Any]], **more: Any) -> Plan:
    sections = {"partition": {"kind": "iid", "clients": 9}, "cohort": {"kind": "all"}, "rounds": 3}
    return make_plan(**sections | {"aggregator": {"kind": "krum", "f": 2}, "faults": losses} | more)  # it needs 7


def test_a_round_that_faults_leave_too_few_updates_is_refused_by_its_number(make_plan):
    with pytest.raises(SpecError) as refused:
        with_losses(make_plan, LOSSES)
    assert (
        "aggregator.f: krum needs at least 7 updates a round (2 f + 3), but round 2 has 5 of 9 (dropped out after "
        "training: 2, non_finite: 1, dropped out before training: 1); lower f, have more clients in a cohort, or set "
        "min_clients: 7, which leaves such rounds out"
    ) in str(refused.value)
    assert with_losses(make_plan, LOSSES, min_clients=7).settings.min_clients == 7
    with pytest.raises(SpecError, match="round 2 has 5 of 9"):
        with_losses(make_plan, LOSSES, min_clients=5)
    assert with_losses(make_plan, LOSSES[:1]).num_rounds == 3  # 7 are left


@pytest.mark.parametrize(
    ("losses", "min_clients", "message"),
    [
        ([], 10, "min_clients: is 10, but every cohort has 9, so no round would count; lower it"),
        (
            [{"kind": "dropout", "clients": [3]}],
            9,
            "min_clients: is 9, but no round has more than 8 updates that count",
        ),
        ([{"kind": "dropout", "rate": 1.0}], 1, "faults: lose every update of every round"),
        ([{"kind": "dropout", "rate": 1.0, "phase": "before_training"}], 1, "faults: lose every update of every"),
        ([{"kind": "dropout", "count": 10}], 1, "faults.0.count: is 10, but there are 9 clients"),
        ([{"kind": "dropout", "at": [[0, 4]]}], 1, "faults.0.at: round 4 is after the last; rounds is 3"),
    ],
)
def test_what_leaves_nothing_to_learn_or_is_of_nobody_is_refused(make_plan, losses, min_clients, message):
    with pytest.raises(SpecError) as refused:
        with_losses(make_plan, losses, min_clients=min_clients, aggregator={"kind": "median"})
    assert message in str(refused.value)


def test_a_later_attack_makes_an_update_that_counts_of_one_that_is_not_finite(make_plan):
    lost: list[dict[str, Any]] = [{"kind": "non_finite", "clients": [0, 1, 2]}]
    with pytest.raises(SpecError, match=r"round 1 has 6 of 9 \(non_finite: 3\)"):
        with_losses(make_plan, lost)
    with_losses(make_plan, [*lost, {"kind": "gaussian", "deviation": 1.0, "clients": [0]}])


def test_other_modes_have_no_cohort_to_be_too_small(make_plan):
    plan = make_plan(mode="centralized", aggregator={"kind": "krum", "f": 4})
    assert plan.settings.aggregator["kind"] == "fedavg"


@pytest.mark.parametrize("kind", ["median", "trimmed_mean", "krum", "multi_krum", "bulyan", "centered_clipping"])
def test_a_weighting_that_would_mean_nothing_cannot_be_written(kind):
    with pytest.raises(SpecError, match=r"aggregator.weighting: unknown key 'weighting'"):
        parse_spec(json.dumps(SMALL | {"aggregator": {"kind": kind, "weighting": "uniform"}}))


def test_what_needs_a_mean_is_refused_beside_a_rule(make_spec):
    noised = {"kind": "private_mean", "clip": {"kind": "fixed", "norm": 1.0}, "noise_multiplier": 1.0, "clients": 3}
    for document, is_refused in (({"kind": "median"}, True), ({"kind": "fedavg"}, False)):
        asked = json.dumps(SMALL | {"aggregator": document, "postprocessors": [noised]})
        if not is_refused:
            parse_spec(asked)
            continue
        with pytest.raises(SpecError, match=r"postprocessors.0: private_mean needs the mean of updates"):
            parse_spec(asked)


def test_privacy_of_clients_is_refused_beside_a_rule():
    private = {"kind": "central", "clip": {"kind": "fixed", "norm": 1.0}, "noise_multiplier": 1.0, "delta": 1e-3}
    with pytest.raises(SpecError, match="aggregator: is not the plain mean of updates"):
        parse_spec(json.dumps(SMALL | {"aggregator": {"kind": "median"}, "privacy": private}))


def test_an_aggregator_needs_a_server_optimizer_be_it_a_property_or_a_field():
    class Bare(Aggregator):
        def combine(self, updates):
            return updates[0].delta

    assert Bare.__abstractmethods__ == {"server_optimizer"}
    assert not Median.__abstractmethods__


# ------------------------------------------------------------------------------------------ what a round makes of it


def test_too_few_updates_that_are_finite_end_the_run_with_the_numbers():
    plan = plan_with({"kind": "krum", "f": 1})
    five = cohort(5)
    finish_round(plan, initial_state(plan), five)
    spoiled = [*five[:4], replace(five[4], delta={**five[4].delta, "w": np.array([np.nan, 0], np.float32)})]
    why = r"round 1: aggregator.f: krum needs at least 5 updates \(2 f \+ 3\), but only 4 of 5 count; lower f, raise"
    with pytest.raises(RunError, match=why):
        finish_round(plan, initial_state(plan), spoiled)
    left_out = replace(plan, settings=replace(plan.settings, min_clients=5))
    after = finish_round(left_out, initial_state(left_out), spoiled).state
    assert np.array_equal(after.weights["w"], WEIGHTS["w"])


def test_any_server_optimizer_applies_what_the_rule_chose():
    adam = Adam(learning_rate=0.1)
    plan = plan_with({"kind": "krum", "f": 1, "server_optimizer": adam.model_dump(mode="json")})
    start = initial_state(plan)
    after = finish_round(plan, start, cohort(6)).state
    learned = {"w": WEIGHTS["w"]}
    chosen = {"w": np.array([1.0, 1.0])}  # of a row of points: 6 from its 3 nearest, as the next is
    slots, expected = adam.apply(adam.initialize(learned), learned, chosen)
    assert np.array_equal(after.weights["w"], expected["w"])
    assert np.array_equal(after.optimizer.slots["first_moment"]["w"], slots.slots["first_moment"]["w"])


def test_statistics_take_their_median_and_no_part_in_distances():
    rows = [[float(number), 0.0] for number in (0, 1, 2, 3, 90)]
    moved = [0.5, 1e9, 1.0, -1e9, 2.0]  # counted as coordinates, these would say whom Krum takes
    plan = plan_with({"kind": "krum", "f": 1})
    after = finish_round(plan, initial_state(plan), updates(*rows, variances=moved)).state.weights
    assert after["w"].tolist() == [1.0, 0.0]
    assert after["variance"].tolist() == [2.0]  # 1, and their median
    assert list(after) == ["w", "variance"]
    mean = plan_with({"kind": "trimmed_mean", "f": 1})
    assert finish_round(mean, initial_state(mean), updates(*rows, variances=moved)).state.weights["variance"] == (
        pytest.approx(1 + 3.5 / 3)
    )


def test_centered_clipping_goes_on_from_where_it_was_also_after_a_file(tmp_path):
    plan = plan_with({"kind": "centered_clipping", "tau": 1.0})
    state, far = initial_state(plan), [[3.0, 4.0]] * 3
    assert {name: dict(record) for name, record in state.records.items()}.keys() == {"aggregator"}
    assert list(state.records["aggregator"]) == ["w"]  # statistics have no center
    state = finish_round(plan, state, updates(*far)).state
    assert state.records["aggregator"]["w"].tolist() == pytest.approx([0.6, 0.8])
    save_state(tmp_path / "state", state, plan.digest)
    resumed = load_state(tmp_path / "state", plan.digest)
    both = [finish_round(plan, one, updates(*far)).state for one in (state, resumed)]
    assert both[0].records["aggregator"]["w"].tolist() == pytest.approx([1.2, 1.6])
    assert both[0].weights["w"].tolist() == pytest.approx([1.8, 2.4])
    for one in ("weights", "aggregator"):
        assert np.array_equal(both[0].carried[one]["w"], both[1].carried[one]["w"])
    lost = finish_round(plan, both[0], updates([np.nan, 0.0])).state
    assert lost.records["aggregator"] is both[0].records["aggregator"]
    assert "aggregator" in RESERVED  # no client algorithm's record has that name


def test_a_record_that_is_none_is_its_rules_fault(monkeypatch):
    plan = plan_with({"kind": "krum", "f": 1})
    monkeypatch.setattr(VectorRule, "next_record", lambda self, combined: {"a/b": combined["w"]})
    with pytest.raises(RunError, match=r"aggregator: krum .*named a tensor of its record 'a/b'"):
        finish_round(plan, initial_state(plan), cohort(5))


# ------------------------------------------------------------------------------------------------ what is said of it


def test_a_server_optimizer_that_a_plan_names_must_be_found_by_other_processes(make_plan, monkeypatch):
    named, made = make_plan(aggregator={"kind": "median"}), make_plan(aggregator={"kind": "fedavg"})
    assert out_of_reach(named) == []
    for name in ("comes_with_flspec", "is_offered"):
        monkeypatch.setattr(parts, name, lambda part: not isinstance(part, ServerOptimizer))
    assert [text.partition(" ")[0] for text in out_of_reach(named)] == ["aggregator.server_optimizer:"]
    assert out_of_reach(made) == []  # its aggregator makes it


BOTH = """
from typing import Literal

from flspec.aggregators import MeanAggregator
from flspec.server_optimizers import ServerOptimizer


class Half(ServerOptimizer):
    "Half of the update is added."
    kind: Literal["half"] = "half"

    def initial_slots(self):
        return {}

    def step(self, number, delta, slots):
        return delta / 2, {}


class FedHalf(MeanAggregator):
    "The mean, halved."
    kind: Literal["fedhalf"] = "fedhalf"

    @property
    def server_optimizer(self):
        return Half()
"""


def test_a_server_optimizer_from_elsewhere_applies_any_rule_also_beside_an_aggregator(tmp_path):
    write_package(tmp_path, "halves", BOTH, "flspec.server_optimizers", "Half")
    with next(tmp_path.glob("*.dist-info")).joinpath("entry_points.txt").open("a") as entries:
        entries.write("[flspec.aggregators]\nfedhalf = halves:FedHalf\n")
    document = {"kind": "median", "server_optimizer": {"kind": "half"}}
    (tmp_path / "spec.yaml").write_text(json.dumps(SMALL | {"aggregator": document}))
    script = (
        "import flspec; from flspec.execution.parts import server_optimizer_of; plan = flspec.compile('spec.yaml');"
        "print(server_optimizer_of(plan).kind, *plan.settings.code)"
    )
    done = run_python(tmp_path, "-c", script)
    assert done.stdout.split() == ["half", "aggregator.server_optimizer"], done.stderr


@pytest.mark.parametrize(("partition", "is_skewed"), [("by_label", True), ("iid", False)])
def test_a_rule_and_clients_that_differ_are_remarked_on_in_plan_and_report(make_plan, partition, is_skewed):
    asked: dict[str, Any] = {"kind": "median"}
    plan = make_plan(partition={"kind": partition, "clients": 3}, aggregator=asked)
    described = describe_plan(plan, rehearse=False)
    found = [text for text in described.remarks if "a robust rule takes clients for alike" in text]
    assert bool(found) == is_skewed
    skew = described.skew.model_dump() if described.skew else None
    result = a_result("local", spec=dict(plan.spec), skew=skew)
    shown = aggregator_remarks(subject_of(result))
    assert [block.tone for block in shown] == ["unsure"] * is_skewed
    assert all(block.text.startswith("aggregator: median: a robust rule takes clients for alike") for block in shown)
    assert all(block.text.endswith(" Of plans A and B.") for block in aggregator_remarks(subject_of(result, result)))
    mean = make_plan(partition={"kind": partition, "clients": 3})
    assert not describe_plan(mean, rehearse=False).remarks


def subject_of(*results: Any) -> Any:
    from types import SimpleNamespace

    groups = [SimpleNamespace(result=one, letter=letter) for one, letter in zip(results, "ABC", strict=False)]
    return SimpleNamespace(plans=groups, has_one_plan=len(groups) == 1)


def test_a_rule_whose_cohort_cannot_be_cut_is_rehearsed_all_the_same():
    from flspec_local.rehearsal import _aggregate

    plan = plan_with({"kind": "krum", "f": 2})
    plan = replace(plan, arrays={**plan.arrays, "task_clients": np.arange(7 * 6)})  # seven a round
    assert _aggregate(plan, cohort(2)) > 0


def test_memory_counts_what_a_rule_needs_beside_a_mean(make_plan):
    many = {"model": {"kind": "mlp", "hidden": [2**15]}, "partition": {"kind": "iid", "clients": 9}}

    def estimate(**sections: Any) -> int:
        return estimate_memory(make_plan(**many, **sections), workers=1)

    mean, values = estimate(aggregator={"kind": "fedavg"}), 2**15 * 8 + 3
    clip = [{"kind": "clip_update", "norm": 1.0}]
    assert estimate(aggregator={"kind": "median"}) - mean == pytest.approx(2 * 8 * values, abs=2**20)
    clipped = estimate(aggregator={"kind": "median"}, postprocessors=clip)
    assert clipped - mean == pytest.approx((2 + 3) * 8 * values, abs=2**20)
    center = estimate(aggregator={"kind": "centered_clipping", "tau": 1.0})
    assert center - mean == pytest.approx((2 * 8 + 2 * 4) * values, abs=2**20)


def test_a_rule_has_its_parameters_and_no_other():
    assert Krum(f=1).model_dump(mode="json") == {
        "kind": "krum", "f": 1, "server_optimizer": {"kind": "sgd", "learning_rate": 1.0, "momentum": 0.0}
    }  # fmt: skip
