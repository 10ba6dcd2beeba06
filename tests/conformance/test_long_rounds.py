"""Rounds of many steps, in which rounding alone grows: engines that are right are not called different."""

from __future__ import annotations

from pathlib import Path

from flspec.comparison.certification import certify
from flspec.comparison.nudging import nudge
from flspec.compiler.compile import compile
from flspec.execution.rounds import initial_state
from flspec.protocol.plan import Plan
from flspec.spec.loading import parse_spec
from flspec_local import LocalBackend
from tests.conformance.harness import Engines
from tests.conformance.wrong import SlightlyOffLearningRate


def long_plan() -> Plan:
    return compile(
        parse_spec("""
flspec: 1
name: long-rounds
rounds: 2
dataset: {kind: digits}
partition: {kind: iid, clients: 4}
model: {kind: mlp, hidden: [32]}
client: {steps: 600, batch_size: 16, optimizer: {kind: sgd, learning_rate: 0.05, momentum: 0.9}}
""")
    )


def test_tff_is_equivalent_over_long_rounds(engines: Engines, tmp_path: Path) -> None:
    open_engines = {"local": engines("local"), "tff": engines("tff")}
    verdict = certify(long_plan(), ["local", "tff"], tmp_path / "c", engines=open_engines).backends["tff"]
    assert verdict.verdict == "equivalent", verdict.reason
    assert verdict.lockstep is not None
    assert not verdict.lockstep.resolution.is_coarse


def test_a_learning_rate_off_by_a_thousandth_is_still_caught(tmp_path: Path) -> None:
    engines = {"local": LocalBackend(), "wrong": SlightlyOffLearningRate()}
    verdict = certify(long_plan(), list(engines), tmp_path / "c", engines=engines, explain=False).backends["wrong"]
    assert verdict.verdict == "different"


def test_a_nudge_moves_every_weight_that_is_not_zero_by_what_rounding_adds() -> None:
    state = initial_state(long_plan())
    moved = nudge(state, steps=16, number=0)
    for name, weight in state.weights.items():
        distance = abs(moved.weights[name].astype(float) - weight)
        assert (distance[weight == 0] == 0).all()
        assert (distance <= 32 * 2.0**-23 * abs(weight)).all()
        assert (distance[weight != 0] > 0).all()
