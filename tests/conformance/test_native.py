"""`implementation: native`: an engine's own algorithm, how far it is from the definition, and who says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from flspec.cli.tables import certificate_table, run_table
from flspec.comparison.certification import Certificate, certify
from flspec.comparison.results import compare
from flspec.protocol.backend import Job, kept_state
from flspec.protocol.native import definition_of
from flspec.protocol.plan import Plan
from flspec.protocol.state import ServerState, Weights, load_state, load_weights
from flspec.protocol.updates import as_vector
from flspec.report import write_certificate_report, write_comparison_report
from flspec.runs.result import Result, load_result
from flspec.runs.runner import execute_plan
from tests.conformance.harness import Engines

FEDADAM = {"kind": "fedadam", "learning_rate": 0.02, "epsilon_hat": True, "implementation": "native"}
BACKENDS = ("flower:inprocess", "tff")


@dataclass(frozen=True)
class Ran:
    """A native run of the smallest plan with every state kept, and the definition's run on `local`."""

    plan: Plan
    folder: Path
    result: Result
    states: list[ServerState]  # after each round
    definition: list[Weights]


@pytest.fixture(scope="module")
def ran(
    engines: Engines, make_plan: Callable[..., Plan], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Ran]:
    plan = make_plan(aggregator=FEDADAM)

    def states(folder: Path, plan: Plan) -> list[ServerState]:
        return [load_state(kept_state(folder, 1 + number), plan.digest) for number in range(plan.num_rounds)]

    @cache
    def run(backend: str) -> Ran:
        folder, beside = (tmp_path_factory.mktemp(name) for name in ("native", "definition"))
        result = execute_plan(engines(backend), backend, plan, Job(folder, keep="all"))
        defined = definition_of(plan)
        execute_plan(engines("local"), "local", defined, Job(beside, keep="all"))
        return Ran(plan, folder, result, states(folder, plan), [one.weights for one in states(beside, defined)])

    return run


def furthest(ones: Weights, others: Weights) -> float:
    return float(np.abs(as_vector(ones).astype(float) - as_vector(others).astype(float)).max())


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_run_beside_it_is_the_definitions_and_how_far_it_is_is_the_difference(
    ran: Callable[[str], Ran], backend: str
) -> None:
    case = ran(backend)
    rounding = 0.0 if backend.startswith("flower") else 2e-6
    for number, (state, defined) in enumerate(zip(case.states, case.definition, strict=True)):
        assert state.definition
        assert furthest(state.definition.weights, defined) <= rounding
        stated = case.result.rounds[number].native
        assert stated
        assert stated.free_running.largest == furthest(state.definition.weights, state.weights)
        moved = furthest(state.definition.weights, case.plan.weights)
        assert stated.free_running.relative == pytest.approx(stated.free_running.largest / moved, rel=1e-12)
    assert case.result.native
    assert case.result.native.free_running == case.result.rounds[-1].native.free_running  # type: ignore[union-attr]


def test_flowers_fedadam_is_late_and_tffs_adam_is_the_definition(ran: Callable[[str], Ran]) -> None:
    """From zero moments both go the same way, Flower by a factor of the bias: sqrt(1 - b2^2) / (1 - b1^2) = 0.742."""
    flower = ran("flower:inprocess").result.native
    late = 1 - np.sqrt(1 - 0.99**2) / (1 - 0.9**2) * (1 - 0.9) / np.sqrt(1 - 0.99)
    assert flower
    assert (flower.algorithm, flower.round) == ("Flower's FedAdam", 1)
    assert flower.lockstep.relative == pytest.approx(late, abs=1e-5)
    tff = ran("tff").result.native
    assert tff
    assert (tff.algorithm, tff.lockstep.relative < 1e-5) == ("TFF's Adam", True)


def test_a_native_run_goes_on_to_the_same_bits(ran: Callable[[str], Ran], engines: Engines, tmp_path: Path) -> None:
    case = ran("flower:inprocess")
    job = Job(tmp_path, start=kept_state(case.folder, 1), keep="all")
    events = list(engines("flower:inprocess").execute(case.plan, job))
    stated = [event.native for event in events if hasattr(event, "native")]
    assert stated == [record.native for record in case.result.rounds[1:]]
    assert kept_state(tmp_path, 3).read_bytes() == kept_state(case.folder, 3).read_bytes()


@pytest.fixture(scope="module")
def certificate(
    ran: Callable[[str], Ran], engines: Engines, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Certificate, Path]:
    folder = tmp_path_factory.mktemp("certificate")
    names = ("local", "flower:inprocess")
    plan = ran("flower:inprocess").plan
    return certify(plan, names, folder, engines={name: engines(name) for name in names}), folder


def test_no_certificate_says_that_a_native_run_is_the_definition(
    ran: Callable[[str], Ran], certificate: tuple[Certificate, Path]
) -> None:
    made, folder = certificate
    assert (made.reference, made.is_equivalent) == ("flspec's definition", False)
    assert {name: verdict.verdict for name, verdict in made.backends.items()} == {
        "local": "refused",
        "flower:inprocess": "native",
    }
    measured = made.backends["flower:inprocess"]
    assert measured.native == ran("flower:inprocess").result.native
    assert "by intent" in (measured.reason or "")
    assert "nothing is certified" in made.not_compared
    assert "nothing is certified" in str(certificate_table(made).caption)
    page = write_certificate_report(folder).read_text()
    assert "native, nothing certified" in page
    assert "equivalent" not in page


def test_a_comparison_says_which_run_is_native(
    ran: Callable[[str], Ran], certificate: tuple[Certificate, Path]
) -> None:
    folder = certificate[1] / "flower-inprocess"
    told = compare([folder])
    native = load_result(folder).native
    assert native
    assert native.in_words in str(run_table(load_result(folder)).caption)
    assert f"ran {native.in_words}" in told.warnings[0]
    assert told.as_dict()["runs"][0]["native"] == native.model_dump(mode="json")
    write_comparison_report(told, certificate[1] / "compared.html")
    assert "FedAdam in place of" in (certificate[1] / "compared.html").read_text()
    weights = load_weights(folder / "weights.safetensors")
    assert furthest(weights, ran("flower:inprocess").states[-1].weights) == 0.0
