"""Who trains on the local backend: what measured steps lead to."""

from __future__ import annotations

import pytest

from flspec.protocol.events import Workers
from flspec_local.choice import Pace, Starting, first_choice, next_choice, selected_processes, useful_workers

ONE, TWO = (Workers(kind="threads", number=number, why="") for number in (1, 2))
SHORT_STEPS = Pace(steps=10_000, seconds=1.0, running=0.99)  # of one thread
WAITING, COMPUTING = (Pace(steps=1000, seconds=1.0, running=share) for share in (0.6, 0.95))  # of two


@pytest.fixture
def plan(make_plan):
    return make_plan()


@pytest.mark.parametrize(
    ("now", "pace", "left", "number", "expected"),
    [
        (ONE, SHORT_STEPS, 70_000, 2, "processes"),  # 7 s, of which two save 3.5
        (ONE, SHORT_STEPS, 50_000, 2, "threads"),  # 2.5 s are less than a start
        (ONE, SHORT_STEPS, 50_000, 4, "processes"),  # four save 3.75 s
        (ONE, SHORT_STEPS, 10**9, 1, "threads"),
        (TWO, WAITING, 20_000, 2, "processes"),  # 10 s, of which they wait 4
        (TWO, WAITING, 10_000, 2, "threads"),
        (TWO, COMPUTING, 10**9, 2, "threads"),
    ],
)
def test_processes_are_started_where_they_save_more_than_their_start(
    plan, monkeypatch, now, pace, left, number, expected
):
    monkeypatch.setattr(Starting, "seconds", 3.0)
    chosen = next_choice(plan, now, pace, left, number)
    assert (chosen.kind, chosen.number) == (expected, number if expected == "processes" else now.number)
    assert chosen.why


def test_the_start_that_was_measured_counts(plan, monkeypatch):
    monkeypatch.setattr(Starting, "seconds", 9.0)
    assert next_choice(plan, ONE, SHORT_STEPS, 70_000, 2).kind == "threads"


def test_a_part_that_no_other_process_finds_keeps_a_run_on_threads(plan, monkeypatch):
    from flspec_local import choice

    monkeypatch.setattr(choice, "out_of_reach", lambda plan: ["client.algorithm: mine is of no installed package"])
    for chosen in (next_choice(plan, ONE, SHORT_STEPS, 10**9, 2), selected_processes(plan, ONE, 2)):
        assert chosen == Workers(kind="threads", number=1, why="client.algorithm: mine is of no installed package")


def test_nothing_is_judged_before_a_quarter_of_a_second():
    assert not Pace(10, 0.2, 0.2).is_measured
    assert Pace(10, 0.3, 0.3).is_measured


@pytest.mark.parametrize(
    ("asked", "variant", "number"), [(0, None, 1), (3, None, 3), (0, "threads", 4), (0, "processes", 1)]
)
def test_a_run_begins_with_as_many_threads_as_were_asked_for(plan, asked, variant, number):
    assert first_choice(plan, asked, 4, variant).number == number


def test_a_rehearsal_counts_on_processes_in_a_long_run_alone(plan):
    assert useful_workers(plan, 1, 100.0, 4) == 4
    assert useful_workers(plan, 1, 1e-6, 4) == 1


def test_workers_are_told_in_a_word():
    assert [ONE.title, TWO.title] == ["1 thread", "2 threads"]
    assert Workers(kind="processes", number=2, why="").title == "2 processes"
