"""Client algorithms: Flower carries them out to the same bits, and TFF's rounds are the papers', within rounding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import flspec
from flspec.spec.new_part import new_part
from tests.algorithm_cases import CASES, WRONG, MakePlan, plan_of
from tests.by_hand import algorithms as by_hand
from tests.conformance.harness import BACKENDS, Certified, Engines

# One of each kind, and of SCAFFOLD that which measures before its steps; their other parameters meet no other code.
ON_ENGINES = [*{algorithm["kind"]: case for case, (algorithm, _) in reversed(CASES.items())}.values()]

Get = Callable[[str, str], Certified]


@pytest.fixture(scope="module")
def certified(engines: Engines, make_plan: MakePlan, tmp_path_factory: pytest.TempPathFactory) -> Get:
    made: dict[str, Certified] = {}

    def get(case: str, backend: str) -> Certified:
        engines(backend)  # skips where it is missing
        if case not in made:
            folder = tmp_path_factory.mktemp("algorithm") / "certificate"
            made[case] = engines.certify(plan_of(make_plan, case), engines.available(BACKENDS), folder)
        return made[case]

    return get


@pytest.mark.parametrize("case", ON_ENGINES)
def test_flower_does_the_same_to_the_last_bit(certified: Get, case: str) -> None:
    verdict = certified(case, "flower:inprocess").verdict("flower:inprocess")
    assert verdict.verdict == "equivalent", verdict.reason
    assert verdict.bitwise


@pytest.mark.parametrize("case", ON_ENGINES)
def test_tff_does_the_same_within_rounding(certified: Get, case: str) -> None:
    verdict = certified(case, "tff").verdict("tff")
    assert verdict.verdict == "equivalent", verdict.reason
    assert verdict.lockstep
    assert verdict.free_running
    assert max(verdict.lockstep.max_abs_diff, verdict.free_running.max_abs_diff) <= 1e-5
    assert verdict.independent == ("client training", "transport")


@pytest.mark.parametrize("case", ON_ENGINES)
def test_tffs_rounds_are_the_papers(certified: Get, case: str) -> None:
    found = certified(case, "tff")
    states = found.states("tff")[1:]
    assert by_hand.distance(states, by_hand.algorithm_of(found.plan)) < 5e-6
    for wrong in WRONG[case]:
        assert by_hand.distance(states, by_hand.algorithm_of(found.plan, **wrong)) > 1e-3, wrong


FILES = ("aggregator", "client_algorithm", "compressor", "postprocessor")
SPEC = """
flspec: 1
name: of-files
rounds: 2
parts: [my_aggregator.py, my_client_algorithm.py, my_compressor.py, my_postprocessor.py]
dataset: {kind: synthetic, classes: 3, features: 4, train_examples: 60, test_examples: 20}
partition: {kind: iid, clients: 5}
model: {kind: softmax_regression}
client:
  epochs: 1
  batch_size: 5
  optimizer: {kind: sgd, learning_rate: 0.2}
  algorithm: {kind: my_client_algorithm, strength: 0.1}
"""
ASKED = {kind: new_part(kind)[1].partition(".py]\n")[2].partition('"""')[0] for kind in FILES}  # the lines of a spec


def test_parts_of_files_are_carried_out_on_every_engine(engines: Engines, tmp_path: Path) -> None:
    for kind in FILES:
        (tmp_path / f"my_{kind}.py").write_text(new_part(kind)[1])
    lines = "".join(lines for kind, lines in ASKED.items() if kind != "client_algorithm")
    (tmp_path / "spec.yaml").write_text(SPEC + lines)
    plan = flspec.compile(flspec.load_spec(tmp_path / "spec.yaml"))
    found = engines.certify(plan, engines.available(BACKENDS), tmp_path / "certificate").certificate.backends
    assert {name: verdict.verdict for name, verdict in found.items()} == dict.fromkeys(found, "equivalent"), found
