"""Updates as they are sent and as the server takes them: error feedback, statistics, draws, and parts that do wrong."""

from __future__ import annotations

import numpy as np
import pytest

from flspec.compressors import Compressor
from flspec.core.randomness import Stream
from flspec.errors import RunError
from flspec.execution.client_state import first_client_state
from flspec.execution.compression import compressed, restored
from flspec.execution.parts import bytes_per_client
from flspec.execution.rounds import initial_state
from flspec.execution.server_step import finish_round
from flspec.protocol.plan import ClientTask, Plan
from flspec.protocol.updates import ClientUpdate
from tests.plan_settings import settings_with

WEIGHTS = {"w": np.zeros((2, 3), np.float32), "mean": np.zeros(2, np.float32), "b": np.zeros(2, np.float32)}
TASK = ClientTask(0, 1, (np.arange(2),), seed=7)


def plan_with(compression):
    settings = settings_with(compression=compression, statistics=("mean",))
    return Plan.build(settings=settings, weights=WEIGHTS, clients=[np.arange(2)], rounds=[[TASK]], spec={})


def update(*values):
    """An update of all eight learned values, in the plan's order."""
    w, b = np.array(values[:6], np.float32).reshape(2, 3), np.array(values[6:], np.float32)
    return ClientUpdate(0, {"w": w, "mean": np.array([0.1, -0.2], np.float32), "b": b}, 1.0, 2, {})


def learned(tensors):
    return np.concatenate([tensors["w"].ravel(), tensors["b"]])


TOP_TWO = {"kind": "top_k", "share": 0.25}


def test_statistics_are_sent_as_they_are_beside_the_payload():
    plan = plan_with(TOP_TWO)
    sent = compressed(plan, TASK, update(1, 2, 3, 4, 5, 6, 7, 8), first_client_state(plan))
    assert list(sent.delta) == ["mean"]
    assert {name: value.nbytes for name, value in sent.payload.items()} == {"places": 8, "values": 8}
    (whole,) = restored(plan, [sent])
    assert list(whole.delta) == ["w", "mean", "b"]
    assert whole.delta["mean"].tolist() == np.array([0.1, -0.2], np.float32).tolist()
    assert learned(whole.delta).tolist() == [0, 0, 0, 0, 0, 0, 7, 8]
    assert bytes_per_client(plan) == (40, 8 + 16)


def test_what_is_left_out_is_sent_later_and_nothing_is_lost():
    """Over rounds sum(sent) + memory = sum(Delta): whole numbers, so float32 adds them exactly."""
    plan, rng = plan_with(TOP_TWO), Stream(3)
    state, memory = first_client_state(plan), np.zeros(8)
    all_deltas, all_sent = np.zeros(8), np.zeros(8)
    for _ in range(12):
        values = np.floor(rng.uniform(8) * 41) - 20
        sent = compressed(plan, TASK, update(*values), state)
        given, state = learned(restored(plan, [sent])[0].delta), sent.client_state
        by_hand = memory + values  # the loop of Karimireddy et al., Algorithm 1, lines 4 to 7
        kept = sorted(range(8), key=lambda place: (-abs(by_hand[place]), place))[:2]
        expected = np.array([by_hand[place] if place in kept else 0.0 for place in range(8)])
        memory = by_hand - expected
        np.testing.assert_array_equal(given, expected)
        np.testing.assert_array_equal(learned(state["compression"]), memory)
        all_deltas, all_sent = all_deltas + values, all_sent + given
    np.testing.assert_array_equal(all_sent + memory, all_deltas)
    assert memory.any()


def test_memory_is_what_arrived_differs_by_for_any_compressor():
    plan = plan_with({"kind": "int8", "error_feedback": True})
    sent = compressed(plan, TASK, update(*np.linspace(-1, 1, 8)), first_client_state(plan))
    given, memory = learned(restored(plan, [sent])[0].delta), learned(sent.client_state["compression"])
    np.testing.assert_array_equal(memory, np.linspace(-1, 1, 8).astype(np.float32) - given)
    assert memory.any()


def test_without_error_feedback_a_client_remembers_nothing():
    plan = plan_with({**TOP_TWO, "error_feedback": False})
    assert first_client_state(plan) == {}
    assert compressed(plan, TASK, update(1, 2, 3, 4, 5, 6, 7, 8), {}).client_state == {}


def test_draws_follow_from_the_tasks_planned_seed():
    plan = plan_with({"kind": "int8"})

    def sent(seed):
        task = ClientTask(0, 1, TASK.batches, seed=seed)
        return compressed(plan, task, update(*np.linspace(0.1, 1, 8)), {}).payload["w"].tolist()

    assert sent(7) == sent(7)
    assert len({str(sent(seed)) for seed in range(8)}) > 1


@pytest.mark.parametrize("kind", [{"kind": "float16"}, {"kind": "int8", "error_feedback": True}, TOP_TWO])
def test_an_update_that_is_not_finite_is_left_out_and_its_client_stays_as_it_was(kind):
    plan = plan_with(kind)
    state = initial_state(plan)
    sent = compressed(plan, TASK, update(np.inf, 2, 3, 4, 5, 6, 7, 8), first_client_state(plan))
    outcome = finish_round(plan, state, [sent])
    assert list(outcome.dropped.values()) == ["its update is not finite"]
    assert outcome.state.clients == state.clients


def test_the_server_steps_by_what_arrives():
    plan = plan_with(TOP_TWO)
    state = initial_state(plan)
    sent = compressed(plan, TASK, update(1, 2, 3, 4, 5, 6, 7, 8), first_client_state(plan))
    after = finish_round(plan, state, [sent]).state
    assert learned(after.weights).tolist() == [0, 0, 0, 0, 0, 0, 7, 8]
    assert learned(after.clients[0]["compression"]).tolist() == [1, 2, 3, 4, 5, 6, 0, 0]


def test_an_update_that_a_backend_did_not_compress_is_refused():
    with pytest.raises(RunError, match="compression: the backend gave an update of client 0 that is not compressed"):
        finish_round(plan := plan_with(TOP_TWO), initial_state(plan), [update(1, 2, 3, 4, 5, 6, 7, 8)])


class NoZeros(Compressor):
    """As many bytes as there are values that are not 0."""

    def compress(self, delta, stream):
        return {"values": np.concatenate([value[value != 0] for value in delta.values()])}

    def restore(self, payload, like):
        return {}


@pytest.mark.parametrize(
    ("gives", "message"),
    [
        (lambda self, delta, stream: [1], "compress gave list, not numpy arrays by name"),
        (lambda self, delta, stream: {"a": [1]}, "compress gave dict, not numpy arrays by name"),
        (lambda self, delta, stream: {"a": np.array(["x"])}, "compress gave a of type <U1, not of numbers"),
        (NoZeros.compress, "compress gave 32 bytes, but 0 of an update of zeros; the size may not depend on values"),
        (lambda self, delta, stream: {"a": stream.uniform(1)}, "compress raised RuntimeError: a random draw that the "),
    ],
)
def test_a_compressor_that_gives_something_else_is_told(monkeypatch, gives, message):
    part = NoZeros()
    monkeypatch.setattr("flspec.execution.compression.compressor_of", lambda plan: part)
    monkeypatch.setattr("flspec.execution.compression.payload_bytes", lambda plan: 0)
    monkeypatch.setattr(NoZeros, "compress", gives)
    with pytest.raises(RunError, match=f"compression: .*{message}"):
        compressed(plan_with(TOP_TWO), TASK, update(1, 2, 3, 4, 5, 6, 7, 8), {})


def test_a_compressor_that_restores_something_else_is_told(monkeypatch):
    monkeypatch.setattr("flspec.execution.compression.compressor_of", lambda plan: NoZeros())
    sent = ClientUpdate(0, {"mean": WEIGHTS["mean"]}, 1.0, 2, {}, payload={"values": np.ones(8, np.float32)})
    with pytest.raises(RunError, match=r"compression: .*restore gave update without b, w"):
        restored(plan_with(TOP_TWO), [sent])
