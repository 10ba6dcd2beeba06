"""A client's update is bounded in TensorFlow as a private mean says, whatever its shapes and magnitudes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from tests.conformance.tensorflow_questions import Answers, Arrays, answers_of, ask, below

BOUND = 5.0
_UPDATES: dict[str, tuple[dict[str, Any], float]] = {
    "at the bound": ({"a": [3.0], "b": [[0.0, -4.0]]}, 1.0),
    "within": ({"a": [3.0], "b": [[1.0]]}, 1.0),
    "a large number alone": ({"a": 1000.0, "b": [3.0, 4.0]}, 1.0),
    "an empty tensor": ({"a": np.zeros((0, 3)), "b": [30.0, 40.0]}, 1.0),
    "nothing": ({"a": [0.0, 0.0]}, 1.0),
    "left out": ({"a": [0.0, 0.0]}, 0.0),
    "tiny": ({"a": [1e-30, -2e-38]}, 1.0),  # below 1.2e-38 TensorFlow takes 0
    "huge": ({"a": [1e30, 3e38], "b": [-2e38]}, 1.0),
    "many": ({"a": np.full(1_000_000, 0.1), "b": np.full((1000, 1000), 1e-3)}, 1.0),
}
# Updates of a client, and its weight: 0 where TFF put zeros in place of it.
UPDATES: dict[str, tuple[Arrays, float]] = {
    name: ({tensor: np.asarray(value, np.float32) for tensor, value in update.items()}, weight)
    for name, (update, weight) in _UPDATES.items()
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    questions: dict[str, Any] = {}
    arrays: dict[str, Any] = {}
    for name, (update, weight) in UPDATES.items():
        ask(questions, arrays, name, {"about": "private", "clip": BOUND, "weight": weight}, below(update=update))
    return answers_of(questions, arrays, tmp_path_factory.mktemp("tensorflow"))


def bounded_by_hand(update: Arrays, by_tensor: bool = False) -> Arrays:
    """The update times min(1, bound / length), with the length of all values together, in float64."""
    exact = {name: value.astype(np.float64) for name, value in update.items()}
    lengths = {name: math.sqrt(math.fsum(x * x for x in value.ravel().tolist())) for name, value in exact.items()}
    if not by_tensor:
        lengths = dict.fromkeys(lengths, math.hypot(*lengths.values()))
    return {name: value * min(1.0, BOUND / (lengths[name] or 1.0)) for name, value in exact.items()}


@pytest.mark.parametrize("name", UPDATES)
def test_an_update_is_bounded_with_all_its_tensors_together(answers: Answers, name: str) -> None:
    answer = answers(name)
    for tensor, value in bounded_by_hand(UPDATES[name][0]).items():
        assert answer[f"update/{tensor}"].dtype == np.float64
        np.testing.assert_allclose(answer[f"update/{tensor}"], value, rtol=1e-12, atol=0)


def test_bounding_each_tensor_by_itself_is_caught(answers: Answers) -> None:
    wrong = bounded_by_hand(UPDATES["a large number alone"][0], by_tensor=True)
    assert abs(answers("a large number alone")["update/b"] - wrong["b"]).max() > 1.0


def test_a_norm_is_summed_in_float64(answers: Answers) -> None:
    for name in ("many", "huge"):
        length = math.hypot(*(float(np.linalg.norm(v)) for k, v in answers(name).items() if k.startswith("update/")))
        assert length == pytest.approx(BOUND, rel=1e-12)


@pytest.mark.parametrize("name", [name for name, (_, weight) in UPDATES.items() if weight])
def test_a_client_within_the_bound_is_counted_as_such(answers: Answers, name: str) -> None:
    is_within = name in ("at the bound", "within", "nothing", "tiny")
    assert answers(name)["within"] == (0.5 if is_within else -0.5)


def test_a_client_that_was_left_out_is_not_counted(answers: Answers) -> None:
    assert answers("left out")["within"] == 0.0
