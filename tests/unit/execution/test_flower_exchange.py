"""Flower's messages: as many on their way as there are nodes, and large arrays in none of them."""

from __future__ import annotations

import pickle
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("flwr")

from flspec.errors import BackendError
from flspec.protocol.events import Workers
from flspec_flower import exchange as exchanging
from flspec_flower.exchange import exchange
from flspec_flower.server import num_nodes

NODES = [11, 12, 13]


def a_message(number: int, node: int) -> Any:
    return SimpleNamespace(metadata=SimpleNamespace(message_id=f"m{number}", dst_node_id=node), number=number)


class FakeGrid:
    """Answers the last message first, one for each time that it is asked, and not at all every other time."""

    def __init__(self, refused: int = 0) -> None:
        self.open: dict[str, Any] = {}
        self.most, self.pulls, self.nodes, self._refused = 0, 0, list[int](), refused

    def push_messages(self, messages: list[Any]) -> list[str]:
        for message in messages:
            assert message.metadata.dst_node_id not in [one.metadata.dst_node_id for one in self.open.values()]
            self.open[message.metadata.message_id] = message
            self.nodes.append(message.metadata.dst_node_id)
        self.most = max(self.most, len(self.open))
        return [message.metadata.message_id for message in messages][self._refused :]

    def pull_messages(self, ids: list[str]) -> list[Any]:
        assert set(ids) == set(self.open)
        self.pulls += 1
        if self.pulls % 2:
            return []
        _, message = self.open.popitem()
        return [SimpleNamespace(metadata=SimpleNamespace(reply_to_message_id=f"m{message.number}"), of=message.number)]


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds of every pause, none of which is made; a second passes by every time that the clock is read."""
    found: list[float] = []
    seconds = iter(range(1000))
    clock = SimpleNamespace(sleep=found.append, monotonic=lambda: next(seconds))
    monkeypatch.setattr(exchanging, "time", clock)
    return found


def test_every_message_is_answered_and_no_node_has_two_at_once(pauses: list[float]) -> None:
    grid: Any = FakeGrid()
    replies: list[tuple[int, Any]] = list(exchange(grid, NODES, 8, a_message))
    assert sorted(number for number, _ in replies) == list(range(8))
    assert all(number == reply.of for number, reply in replies)
    assert (grid.most, set(grid.nodes)) == (len(NODES), set(NODES))


def test_it_asks_again_after_a_pause_that_grows_with_the_wait(pauses: list[float]) -> None:
    class Slow(FakeGrid):
        def pull_messages(self, ids: list[str]) -> list[Any]:
            return [] if len(pauses) < 4 else super().pull_messages(ids)

    list(exchange(Slow(), NODES, 1, a_message))  # type: ignore[arg-type]
    assert pauses[:4] == pytest.approx([0.05, 0.1, 0.1, 0.1])


def test_a_message_that_the_grid_does_not_take_ends_the_round(pauses: list[float]) -> None:
    with pytest.raises(BackendError, match="did not take 1 of 3 messages"):
        list(exchange(FakeGrid(refused=1), NODES, 5, a_message))  # type: ignore[arg-type]


@pytest.mark.parametrize(("largest", "workers", "nodes"), [(5, 2, 5), (1000, 2, 64), (1000, 50, 100), (0, 2, 1)])
def test_nodes_follow_the_largest_round_and_not_the_population(largest: int, workers: int, nodes: int) -> None:
    plan: Any = SimpleNamespace(arrays={"round_task_ends": np.array([0, largest, largest])}, participants=range(10**6))
    assert num_nodes(plan, Workers(kind="processes", number=workers, why="")) == nodes


def test_a_message_has_the_reference_of_stored_arrays_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    from flspec_flower import object_store

    stored, reads = list[Any](), list[int]()

    def put(value: Any) -> int:
        stored.append(value)
        return len(stored) - 1

    def get(reference: int) -> Any:
        reads.append(reference)
        return stored[reference]

    monkeypatch.setattr(ray, "put", put)
    monkeypatch.setattr(ray, "get", get)
    object_store._fetched.cache_clear()
    sent = pickle.dumps(object_store.in_store([np.ones(100_000, np.float32), np.zeros(3)]))
    assert len(sent) < 1000
    first, second = (pickle.loads(sent).to_numpy_ndarrays() for _ in range(2))
    assert [array.shape for array in first] == [(100_000,), (3,)]
    assert (first is second, reads) == (True, [0])  # two clients of one worker, which reads them once
    object_store._fetched.cache_clear()
