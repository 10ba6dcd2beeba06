"""Times beside a floor: a call of each in turn, so that whatever slows the machine down slows both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager as Context
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from math import exp, log, pi, sqrt

import psutil
from pytest_benchmark.fixture import BenchmarkFixture

__all__ = ["ALL_CORES", "Beside", "measure", "paused"]

ALL_CORES = 0


@dataclass(frozen=True)
class Beside:
    """What was measured of something, beside what was measured of its floor."""

    ours: float  # median, in `unit`
    floor: float  # median
    ratio: float  # median over the pairs of ours / floor
    spread: float  # standard error of the logarithm of that ratio
    pairs: int
    cores: int = 1  # that it may keep busy; ALL_CORES: as many as there are, so that the ratio is of a number of cores
    unit: str = "s"

    @classmethod
    def of(cls, ours: Sequence[float], floor: Sequence[float], cores: int = 1, unit: str = "s") -> Beside:
        """Summarise two pairs or more. The standard error of a median is sqrt(pi / 2) times that of the mean."""
        logs = [log(one / other) for one, other in zip(ours, floor, strict=True)]
        spread = sqrt(pi / 2) * statistics.stdev(logs) / sqrt(len(logs))
        middle = exp(statistics.median(logs))
        return cls(statistics.median(ours), statistics.median(floor), middle, spread, len(logs), cores, unit)


def measure(
    benchmark: BenchmarkFixture,
    group: str,
    act: Callable[[], object],
    floor: Callable[[], object],
    *,
    pairs: int = 5,
    warm_up: int = 1,
    cores: int = 1,
    pause: Callable[[], Context[object]] = nullcontext,
) -> None:
    """Time `act` beside `floor`, and note the ratio for `benchmarks.tracking`.

    While the floor runs `pause` is entered, for what would work on meanwhile.
    """
    floors: list[float] = []

    def run_floor() -> None:
        with pause():
            began = time.perf_counter()
            floor()
            floors.append(time.perf_counter() - began)

    benchmark.group = group
    benchmark.pedantic(act, setup=run_floor, rounds=pairs, warmup_rounds=warm_up)
    if benchmark.stats is not None:  # something was measured
        benchmark.extra_info |= asdict(Beside.of(benchmark.stats.stats.data, floors[warm_up:], cores))


@contextmanager
def paused(process: int | None) -> Iterator[None]:
    """Stop all descendants of a process, and let them go on afterwards; it itself can still end them."""
    descendants = psutil.Process(process).children(recursive=True) if process else []
    for one in descendants:
        with suppress(psutil.Error):  # it has ended meanwhile
            one.suspend()
    try:
        yield
    finally:
        for one in reversed(descendants):
            with suppress(psutil.Error):
                one.resume()
