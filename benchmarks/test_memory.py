"""The most memory of a run on `local`, in a process of its own, beside that of the floor's."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.measuring import Beside
from benchmarks.workloads import WORKLOADS
from flspec.core.memory import MemoryMeter

ROUNDS, PAIRS = 3, 2
LOAD = (
    "import sys, tempfile; from pathlib import Path; from flspec.protocol.plan import Plan; "
    "plan = Plan.load(Path(sys.argv[1])); "
)
FLOOR = LOAD + "from benchmarks.floor import bare_rounds; list(bare_rounds(plan))"
LOCAL = LOAD + (
    "from flspec_local import LocalBackend; from flspec.protocol.backend import Job; "
    "list(LocalBackend().execute(plan, Job(Path(tempfile.mkdtemp(dir=sys.argv[1])))))"
)


@pytest.mark.holds_times
@pytest.mark.parametrize("name", ["mlp512", "resnet18"])
def test_peak(benchmark: BenchmarkFixture, tmp_path: Path, name: str) -> None:
    WORKLOADS[name].plan(ROUNDS).save(tmp_path)
    benchmark.group = f"peak memory: {WORKLOADS[name].title}"
    ours, floor = [], []

    def run_both() -> None:
        floor.append(peak_mib(FLOOR, tmp_path))
        ours.append(peak_mib(LOCAL, tmp_path))

    benchmark.pedantic(run_both, rounds=PAIRS)
    benchmark.extra_info |= asdict(Beside.of(ours, floor, unit="MiB"))


def peak_mib(code: str, plan: Path) -> float:
    """Run the code on the plan, and return the most memory of its processes together."""
    root = Path(__file__).parents[1]
    with (
        subprocess.Popen([sys.executable, "-c", code, str(plan)], cwd=root) as process,
        MemoryMeter(lambda: process.pid) as meter,
    ):
        assert process.wait() == 0
    return meter.peak_bytes / 2**20
