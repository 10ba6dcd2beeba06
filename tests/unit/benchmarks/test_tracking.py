"""A slowed kernel is a regression; a slower machine, on which the floor takes longer as well, is none."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import asdict, replace
from math import exp
from pathlib import Path
from time import thread_time

import numpy as np
import pytest

from benchmarks.history import Entry
from benchmarks.measuring import ALL_CORES, Beside
from benchmarks.tracking import MOST_ERRORS, allowed, main
from flspec.execution.rounds import initial_state
from flspec.execution.server_step import finish_round
from flspec.protocol.plan import ClientTask, Plan
from flspec.protocol.updates import ClientUpdate
from tests.plan_settings import settings_with

SHAPE, CLIENTS = (100, 50), 10
ROUND = "benchmarks/test_rounds.py::test_backend[mlp-local-0]"
BENCHMARK = """
from benchmarks.measuring import measure

def test_kernel(benchmark):
    measure(benchmark, "kernels", lambda: sum(range(1000)), lambda: sum(range(2000)), pairs=3)
"""


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    """What pytest-benchmark writes of a benchmark that is measured beside a floor."""
    folder = tmp_path_factory.mktemp("measured")
    (folder / "test_kernel_alone.py").write_text(BENCHMARK)
    (folder / "pytest.ini").write_text("[pytest]\n")
    storage = f"--benchmark-storage={folder / 'history'}"
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--benchmark-autosave", storage]
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTEST_XDIST_WORKER", raising=False)  # with which it measures nothing
        assert pytest.main([*options, f"--rootdir={folder}", str(folder)]) == 0
    (file,) = folder.glob("history/*/*.json")
    return json.loads(file.read_text())


@pytest.fixture
def bench(document, tmp_path):
    return Bench(document, tmp_path)


class Bench:
    """A repository with a history of runs."""

    def __init__(self, document, root):
        self._document, self.root, self._count = document, root, 0
        (root / "benchmarks").mkdir()

    def run(self, measured: dict[str, Beside], cores: int = 2, load: float = 1.0) -> None:
        """Add a run in which this was measured."""
        self._count += 1
        (template,) = self._document["benchmarks"]
        document = self._document | {
            "datetime": f"2026-01-{self._count:02}T00:00:00+00:00",
            "machine_info": {"cpu": {"brand_raw": "a processor", "count": cores}, "load": load},
            "benchmarks": [template | {"fullname": name, "extra_info": asdict(one)} for name, one in measured.items()],
        }
        file = self.root / ".benchmarks" / "machine" / f"{self._count:04}_run.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(document))

    def baseline(self) -> int:
        return main(["--baseline"], self.root)

    def compare(self) -> int:
        return main([], self.root)


@pytest.fixture(scope="module")
def kernel():
    """The server's step on a few updates."""
    rng = np.random.default_rng(0)
    deltas = [rng.standard_normal(SHAPE, np.float32) for _ in range(CLIENTS)]
    updates = [ClientUpdate(number, {"w": delta}, 1.0, 1, {}) for number, delta in enumerate(deltas)]
    plan = Plan.build(
        settings=settings_with(),
        weights={"w": np.zeros(SHAPE, np.float32)},
        clients=[np.arange(1)],
        rounds=[[ClientTask(0, 1, (np.arange(1),))]],
        spec={},
    )
    return lambda: finish_round(plan, initial_state(plan), updates)


def floor():
    return [np.ones(SHAPE) @ np.ones(SHAPE[::-1]) for _ in range(5)]


def slowed(act: Callable[[], object]) -> Callable[[], object]:
    return lambda: [act() for _ in range(8)]


def timed(act, floor, cores=1) -> Beside:
    """Measured by this thread's processor time, which other processes disturb least."""
    act(), floor()
    pairs = [(seconds(floor), seconds(act)) for _ in range(15)]
    return Beside.of([ours for _, ours in pairs], [bare for bare, _ in pairs], cores)


def seconds(act) -> float:
    began = thread_time()
    act()
    return thread_time() - began


def test_what_pytest_benchmark_stores_is_read(document):
    (stored,) = document["benchmarks"]
    assert Beside(**stored["extra_info"]).pairs == 3
    assert Beside(**stored["extra_info"]).ours == pytest.approx(stored["stats"]["median"])
    assert Beside(**stored["extra_info"]).ratio < 1  # half of the floor's work


@pytest.fixture
def tracked(bench, kernel):
    """With a baseline of two runs of a kernel, and of another that stays as it is."""
    for _ in range(2):
        bench.run({"kernel": timed(kernel, floor), "other": timed(kernel, floor)})
    assert bench.baseline() == 0
    return bench


def test_a_slowed_kernel_fails_by_name(tracked, kernel, capsys):
    tracked.run({"kernel": timed(slowed(kernel), floor), "other": timed(kernel, floor)})
    capsys.readouterr()
    assert tracked.compare() == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("slower: kernel: ")
    assert all(word in line for word in ("x the floor before", "now", "allowed"))


def test_a_slower_machine_does_not_fail(tracked, kernel, capsys):
    slow = timed(slowed(kernel), slowed(floor))
    tracked.run({"kernel": slow, "other": slow})
    assert tracked.compare() == 0
    assert "2 compared" in capsys.readouterr().out


def test_ratios_of_all_cores_are_not_compared_where_there_are_more(bench, capsys):
    one = Beside(ours=1.0, floor=1.0, ratio=1.0, spread=0.001, pairs=5)
    for _ in range(2):
        bench.run({"one": one, "all": replace(one, cores=ALL_CORES)})
    assert bench.baseline() == 0
    bench.run({"one": one, "all": replace(one, cores=ALL_CORES, ratio=9.0)}, cores=4)
    assert bench.compare() == 0
    assert "1 not compared" in capsys.readouterr().out
    bench.run({"one": replace(one, ratio=9.0), "all": one}, cores=4)
    assert bench.compare() == 1


def test_one_run_makes_no_baseline(bench, capsys):
    assert bench.compare() == 2
    bench.run({"kernel": Beside(1.0, 1.0, 1.0, 0.01, 5)})
    assert bench.compare() == 0  # there is none to compare with
    assert bench.baseline() == 2
    assert "run make bench again" in capsys.readouterr().err
    assert not (bench.root / "benchmarks" / "baseline.json").exists()


def test_a_busy_machine_makes_no_baseline(bench, capsys):
    for load in (1.0, 4.5):
        bench.run({"kernel": Beside(1.0, 1.0, 1.0, 0.01, 5)}, load=load)
    assert bench.baseline() == 2
    assert "busy" in capsys.readouterr().err


def test_the_allowance_is_of_all_three_spreads():
    before = Entry(1.0, 1.0, ratio=2.0, spread=0.03, pairs=5, between=0.04)
    assert allowed(before, Beside(1.0, 1.0, 2.0, 0.12, 5)) == pytest.approx(2.0 * exp(MOST_ERRORS * 0.13))


def noisy(ratio: float, rng: np.random.Generator) -> Beside:
    """Pairs that are apart by a tenth, in a run that is off by a fiftieth."""
    off = rng.normal(0, 0.02)
    return Beside.of((ratio * np.exp(rng.normal(off, 0.1, 15))).tolist(), [1.0] * 15)


def test_noise_is_no_regression_and_a_half_more_is_one(bench, capsys):
    rng = np.random.default_rng(0)
    names = [f"kernel {number}" for number in range(200)]
    for _ in range(3):
        bench.run({name: noisy(1.0, rng) for name in names})
    assert bench.baseline() == 0
    bench.run({name: noisy(1.0, rng) for name in names})
    assert bench.compare() == 0
    capsys.readouterr()
    bench.run({name: noisy(1.5, rng) for name in names})
    assert bench.compare() == 1
    assert len(capsys.readouterr().err.splitlines()) > 190


def test_the_page_shows_what_was_measured_last_and_is_the_same_each_time(bench):
    others = (
        "benchmarks/test_scaling.py::test_cohort[500]",
        "benchmarks/test_scaling.py::test_cohort[1000]",
        "a::test_b",
    )
    for ratio in (1.0, 1.1):
        bench.run({name: Beside(1.0, 1.0, ratio, 0.01, 5, ALL_CORES) for name in (ROUND, *others)})
    assert bench.baseline() == 0
    shutil.rmtree(bench.root / ".benchmarks")  # as in a clone
    bench.run({ROUND: Beside(0.5, 1.0, 0.5, 0.01, 5, ALL_CORES)}, load=9.0)
    assert bench.compare() == 0
    page = (bench.root / "docs" / "benchmarks.md").read_text()
    assert "| `local` | 0.5 ± 0.005 |" in page
    assert "while 9 processes shared them" in page
    assert "1,000 | 1 s | 1 s | 1.05 ± 0.01" in page  # the baseline's
    pictures = {file: file.read_bytes() for file in (bench.root / "docs").rglob("*.svg")}
    assert {f"benchmarks/{file.name}" for file in pictures} == set(picture_names(page))
    assert all(ET.fromstring(text).tag.endswith("svg") for text in pictures.values())
    bench.compare()
    assert pictures == {file: file.read_bytes() for file in (bench.root / "docs").rglob("*.svg")}


def picture_names(page: str) -> list[str]:
    return [part.partition(")")[0] for part in page.split("](")[1:]]


def test_the_stored_baseline_can_be_read():
    from benchmarks.history import read_baseline

    file = Path(__file__).parents[3] / "benchmarks" / "baseline.json"
    assert (baseline := read_baseline(file)) is None or baseline.benchmarks
