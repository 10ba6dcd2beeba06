"""What an engine takes beside its clients' training, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from flspec.protocol.events import RoundFinished, Workers
from flspec.runs.overheads import Overheads

TWO = Workers(kind="processes", number=2, why="as selected")


def a_round(number: int, train: float, clients: float | None, workers: Workers | None = TWO, **more: Any):
    return RoundFinished(
        round=number,
        cohort=more.pop("cohort", (0, 1, 2, 4)),
        num_trained=8,
        train={},
        dropped={},
        seconds={"train": train, "aggregate": 0.5, **more},
        clients_seconds=clients,
        workers=workers,
    )


def record(*events: RoundFinished, startup: float | None = 3.0):
    overheads = Overheads()
    for event in events:
        overheads.add(event)
    return overheads.record(startup)


def test_a_round_costs_what_its_workers_did_not_train():
    found = record(a_round(1, 9.0, 6.0), a_round(2, 3.0, 4.0), a_round(3, 4.0, 5.0), a_round(4, 3.5, 4.0))
    assert (found.startup, found.first_round) == (3.0, 9.5 - 4.0)
    assert found.round == pytest.approx(2.0)  # the median of 3.5 - 4 / 2, 4.5 - 5 / 2 and 4 - 4 / 2
    assert found.client == pytest.approx(2.0 / 4)
    assert found.unknown is None


def test_fewer_clients_than_workers_train_at_once():
    alone = a_round(2, 3.0, 2.5, cohort=(7,))
    assert record(a_round(1, 1.0, 1.0), alone).round == pytest.approx(3.5 - 2.5)


def test_the_definition_beside_a_native_round_is_no_overhead_of_the_engine():
    assert record(a_round(1, 1.0, 1.0), a_round(2, 3.0, 4.0, definition=100.0)).round == pytest.approx(1.5)


@pytest.mark.parametrize(
    "second", [a_round(2, 3.0, None), a_round(2, 3.0, 2.0, workers=None), a_round(2, 3.0, 0.0, cohort=())]
)
def test_what_is_not_measured_is_unknown_and_not_zero(second):
    found = record(a_round(1, 4.0, 1.0), second)
    assert (found.first_round, found.round, found.client) == (1.0, None, None)
    assert "does not tell" in (found.unknown or "")


def test_one_round_says_nothing_of_later_ones():
    found = record(a_round(1, 4.0, 1.0), startup=None)
    assert (found.startup, found.first_round, found.round, found.client) == (None, None, None, None)
    assert "two rounds" in (found.unknown or "")


def test_the_first_round_after_a_resumption_is_a_first_round():
    overheads = Overheads()
    for number, train in enumerate((9.0, 3.0, 7.0, 3.0), 1):
        if number == 3:
            overheads.start()
        overheads.add(a_round(number, train, 2.0))
    found = overheads.record(1.0)
    assert (found.first_round, found.round) == (4.0, 2.5)
