"""Client algorithms: Flower carries them out to the same bits, and TFF refuses them by their field."""

from __future__ import annotations

from pathlib import Path

import pytest

from flspec.protocol.registry import find_backend
from tests.algorithm_cases import CASES, MakePlan, plan_of
from tests.conformance.harness import Engines

# One of each kind, and of SCAFFOLD that which measures before its steps; their other parameters meet no other code.
ON_FLOWER = [*{algorithm["kind"]: case for case, (algorithm, _) in reversed(CASES.items())}.values()]


@pytest.mark.parametrize("case", ON_FLOWER)
def test_flower_does_the_same_to_the_last_bit(engines: Engines, make_plan: MakePlan, case: str, tmp_path: Path) -> None:
    verdict = engines.certify(plan_of(make_plan, case), ["flower:inprocess"], tmp_path / "c").verdict(
        "flower:inprocess"
    )
    assert verdict.verdict == "equivalent", verdict.reason
    assert verdict.bitwise


@pytest.mark.parametrize("case", CASES)
def test_tff_refuses_it_by_its_field(make_plan: MakePlan, case: str) -> None:
    problems = find_backend("tff").refusals(plan_of(make_plan, case))
    assert any(problem.startswith("client.algorithm: tff does not read this") for problem in problems)
