"""Pairs give a ratio and its standard error; engines that work ahead stand still while the floor is timed."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from math import log

import numpy as np
import psutil
import pytest

from benchmarks.measuring import Beside, measure, paused


def test_the_ratio_is_the_median_over_the_pairs_even_on_a_machine_that_slows_down():
    floor = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    beside = Beside.of((floor * [1.4, 1.5, 1.6, 1.5, 9.0]).tolist(), floor.tolist())
    assert beside.ratio == pytest.approx(1.5)
    assert beside.ours / beside.floor == pytest.approx(1.6)  # the ratio of the medians, which drift has moved


def test_the_spread_is_what_medians_of_as_many_pairs_deviate_by():
    rng = np.random.default_rng(0)
    many = [Beside.of(np.exp(rng.normal(0, 0.1, 25)).tolist(), [1.0] * 25) for _ in range(2000)]
    deviation = np.std([log(one.ratio) for one in many])
    assert np.mean([one.spread for one in many]) == pytest.approx(deviation, rel=0.05)
    assert np.mean([one.ratio for one in many]) == pytest.approx(1.0, abs=0.01)


def test_the_floor_goes_first(benchmark):
    done: list[str] = []
    measure(benchmark, "order", lambda: done.append("ours"), lambda: done.append("floor"))
    assert done[:2] == ["floor", "ours"]


def test_what_descends_from_a_process_is_stopped_and_goes_on():
    with subprocess.Popen(["sh", "-c", "sleep 60 & wait"]) as guard:
        try:
            assert soon(lambda: len(psutil.Process(guard.pid).children()) == 1)
            (worker,) = psutil.Process(guard.pid).children()
            with paused(guard.pid):
                assert soon(lambda: worker.status() == psutil.STATUS_STOPPED)
                assert psutil.Process(guard.pid).status() != psutil.STATUS_STOPPED
            assert soon(lambda: worker.status() != psutil.STATUS_STOPPED)
        finally:
            for child in psutil.Process(guard.pid).children():
                child.kill()


def soon(holds: Callable[[], bool]) -> bool:
    """Whether it holds within ten seconds: signals take a moment."""
    end = time.monotonic() + 10
    while not (held := holds()) and time.monotonic() < end:
        time.sleep(0.01)
    return held
