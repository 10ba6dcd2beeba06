"""A plan that says how its batches are drawn is the same experiment on every engine as one that holds them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from flspec.compiler import compile as compiler
from flspec.protocol.plan import Plan
from tests.conformance.harness import BACKENDS, Engines


@pytest.fixture(scope="module")
def plans(make_plan: Callable[..., Plan]) -> tuple[Plan, Plan]:
    """The same experiment in both forms."""
    held = make_plan(rounds=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiler, "_MOST_BATCHES", 1)
        return held, make_plan(rounds=1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_engine_draws_the_batches_that_a_plan_would_hold(
    engines: Engines, plans: tuple[Plan, Plan], tmp_path: Path, backend: str
) -> None:
    engines(backend)  # skips, or fails, where it is missing
    held, drawn = (
        engines.certify(plan, (backend,), tmp_path / name / "runs") for plan, name in zip(plans, "ab", strict=True)
    )
    assert drawn.plan.settings.batch_rule
    assert drawn.verdict(backend).verdict == "equivalent", drawn.verdict(backend).reason
    for name in ("local", backend):
        last, same = (case.states(name)[-1].weights for case in (held, drawn))
        assert all(np.array_equal(last[one], same[one]) for one in last)
