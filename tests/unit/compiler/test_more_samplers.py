"""Cohorts by size, in turn, and of those who are available: their laws, and what a file of theirs can have wrong."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from flspec.compiler.compile import compile
from flspec.core.randomness import Stream
from flspec.errors import InputError, SpecError
from flspec.samplers.available import Available, Day
from flspec.samplers.by_size import BySize
from flspec.samplers.round_robin import RoundRobin
from flspec.spec.loading import load_spec

BASE = {
    "flspec": 1,
    "name": "cohorts",
    "rounds": 6,
    "dataset": {"kind": "synthetic", "classes": 3, "features": 4, "train_examples": 90, "test_examples": 20},
    "partition": {"kind": "sizes", "sizes": [60, 20, 10]},
    "model": {"kind": "softmax_regression"},
    "client": {"epochs": 1, "batch_size": 5, "optimizer": {"kind": "sgd", "learning_rate": 0.1}},
}


def cohorts(sampler, rounds, num, seed=1):
    return [sampler.cohort_of(number, num, Stream(seed, "cohort")).tolist() for number in range(1, rounds + 1)]


def test_sets_by_size_have_the_probability_of_drawing_one_after_the_other():
    """Of sizes 6, 2, 1: P({a, b}) = p_a p_b / (1 - p_a) + p_b p_a / (1 - p_b), by enumeration of all orders."""
    sizes = np.array([6, 2, 1])
    sampler = BySize(size=2).for_clients(sizes, Path())
    drawn = [tuple(cohort) for cohort in cohorts(sampler, 20_000, 3)]
    p = sizes / sizes.sum()
    for pair in itertools.combinations(range(3), 2):
        due = sum(p[a] * p[b] / (1 - p[a]) for a, b in itertools.permutations(pair))
        assert drawn.count(pair) / len(drawn) == pytest.approx(due, abs=0.012)  # 3.5 deviations


def test_compile_tells_a_sampler_the_sizes_of_its_clients():
    plan = compile(load_spec({**BASE, "rounds": 300, "cohort": {"kind": "by_size", "size": 1}}))
    drawn = np.bincount(plan.arrays["task_clients"], minlength=3) / 300
    assert drawn == pytest.approx([60 / 90, 20 / 90, 10 / 90], abs=0.09)


def test_clients_in_turn_come_once_before_any_comes_again():
    drawn = cohorts(RoundRobin(size=2), 10, 5)
    assert all(len(set(cohort)) == 2 and cohort == sorted(cohort) for cohort in drawn)
    assert [sum(client in cohort for cohort in drawn) for client in range(5)] == [4] * 5
    flat = [set(itertools.chain(*drawn[start : start + 3])) for start in range(8)]
    assert all(len(some) == 5 for some in flat)  # six places, of five clients one twice
    assert cohorts(RoundRobin(size=2, shuffle=False), 4, 5) == [[0, 1], [2, 3], [0, 4], [1, 2]]
    assert cohorts(RoundRobin(size=2), 3, 5) != cohorts(RoundRobin(size=2), 3, 5, seed=2)


def test_days_and_nights():
    day, stream = Day(rounds=10, awake=0.3), Stream(4, "cohort")
    awake = np.stack([day.is_available(number, 2000, stream) for number in range(1, 41)])
    np.testing.assert_array_equal(awake[:10], awake[10:20])
    assert (awake[:10].sum(axis=0) == 3).all()  # each client for three rounds a day
    assert awake.mean(axis=1) == pytest.approx(np.full(40, 0.3), abs=0.05)  # at times of their own
    for client in range(20):  # one stretch a day
        assert np.count_nonzero(np.diff(np.append(awake[:10, client], awake[0, client]).astype(int)) == 1) <= 1


def test_of_those_who_are_there_some_are_drawn(tmp_path):
    (tmp_path / "trace.csv").write_text("client,from,to\n0,1,2\n1,2,2\n2,2,3\n0,4,4\n")
    known = Available(size=2, trace=str(tmp_path / "trace.csv")).for_clients(np.ones(4, np.int64), tmp_path)
    drawn = cohorts(known, 8, 4)
    assert [drawn[0], drawn[2], drawn[3]] == [[0], [2], [0]]
    assert len(drawn[1]) == 2
    assert set(drawn[1]) < {0, 1, 2}
    assert [drawn[4], drawn[6], drawn[7]] == [[0], [2], [0]]  # the trace starts anew
    few = Available(size=2, min_available=2, trace=str(tmp_path / "trace.csv")).for_clients(
        np.ones(4, np.int64), tmp_path
    )
    assert [len(cohort) for cohort in cohorts(few, 4, 4)] == [0, 2, 0, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("client,round\n", "its heading is client,round, not client,from,to"),
        ("client,from,to\n", "has no rows"),
        ("client,from,to\n0,1,2\n3,1,1\n", r"trace.csv:3: 3 is no client; there are 3"),
        ("client,from,to\n0,2,1\n", "trace.csv:2: from 2 to 1"),
        ("client,from,to\n0,soon,1\n", "trace.csv:2: 0,soon,1 is not three whole numbers"),
    ],
)
def test_a_trace_that_cannot_be_used(tmp_path, text, message):
    (tmp_path / "trace.csv").write_text(text)
    spec = load_spec({**BASE, "cohort": {"kind": "available", "size": 2, "trace": str(tmp_path / "trace.csv")}})
    with pytest.raises(InputError, match=message) as caught:
        compile(spec)
    assert "cohort.trace" in str(caught.value)


def test_a_trace_that_is_not_there_or_no_text(tmp_path):
    for name, content, message in (
        ("a.csv", None, "a.csv does not exist$"),
        ("b.csv", b"\xff\xfe0", "b.csv is not UTF-8"),
    ):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        spec = load_spec({**BASE, "cohort": {"kind": "available", "size": 2, "trace": str(tmp_path / name)}})
        with pytest.raises(InputError, match=f"^cohort.trace: .*{message}"):
            compile(spec)


def test_available_when():
    both = {"day": {"rounds": 4, "awake": 0.5}, "trace": "trace.csv"}
    with pytest.raises(SpecError, match="day and trace both say when clients are available; give one"):
        load_spec({**BASE, "cohort": {"kind": "available", "size": 2, **both}})
