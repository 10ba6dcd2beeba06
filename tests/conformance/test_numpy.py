"""Every backend computes what the definitions say: each round of dense plans against an execution in float64 by hand.

Lockstep again: the numpy execution takes each round from the state the backend itself had before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from flspec.protocol.plan import Plan
from flspec.protocol.state import ServerState
from tests.conformance.harness import BACKENDS, Certified
from tests.conformance.plans import SMOOTH
from tests.oracle import execute_dense

# float32 against float64 over a round of some tens of steps; 2.2e-7 is the most that was measured.
ROUNDING = 1e-6
Get = Callable[[str, str], Certified]


def largest_difference(plan: Plan, states: list[ServerState]) -> float:
    by_hand = execute_dense(plan, starts=states[:-1])
    return max(
        float(np.abs(expected["weights"][name] - state.weights[name]).max())
        for expected, state in zip(by_hand, states[1:], strict=True)
        for name in plan.weights
    )


@pytest.mark.parametrize("backend", ["local", *BACKENDS])
@pytest.mark.parametrize("name", SMOOTH)
def test_each_round_is_what_the_definitions_say(certified: Get, name: str, backend: str) -> None:
    case = certified(name, backend)
    plan, states = case.plan, case.states(backend)
    by_hand = execute_dense(plan, starts=states[:-1])
    for expected, state, record in zip(by_hand, states[1:], case.result(backend).rounds, strict=True):
        for weight in plan.weights:
            np.testing.assert_allclose(state.weights[weight], expected["weights"][weight], rtol=0, atol=ROUNDING)
        for slot, values in state.optimizer.slots.items():
            for weight, value in values.items():
                np.testing.assert_allclose(value, expected["slots"][slot][weight], rtol=0, atol=ROUNDING)
        assert record.train["loss"] == pytest.approx(expected["loss"], rel=1e-5)
        assert record.train["accuracy"] == pytest.approx(expected["accuracy"], abs=2e-3)  # a tie may fall either way


def test_the_execution_by_hand_catches_other_weights_in_the_mean(certified: Get) -> None:
    case = certified("tanh-sgd-fedavg", "local")
    plan, states = case.plan, case.states("local")
    assert largest_difference(plan, states) < ROUNDING
    uniform = replace(plan, arrays={**plan.arrays, "task_weights": np.ones_like(plan.arrays["task_weights"])})
    assert largest_difference(uniform, states) > 100 * ROUNDING
