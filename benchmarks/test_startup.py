"""The processor time of short commands, beside that of importing what they stand on."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.measuring import Beside

PAIRS = 7
SPEC = Path(__file__).parents[1] / "specs" / "quickstart.yaml"
FLSPEC = [sys.executable, "-m", "flspec"]
LIBRARIES = "import pydantic, yaml, typer, numpy"


def processor_seconds(command: list[str], folder: Path) -> float:
    """Return the user and system time of a command, which must succeed."""
    root = str(SPEC.parents[1])
    paths = os.pathsep.join(filter(None, (root, f"{root}/backends", os.environ.get("PYTHONPATH"))))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def beside(benchmark: BenchmarkFixture, title: str, ours: Callable[[], float], floor: Callable[[], float]) -> float:
    """Measure both in turn; returns the ratio, of one pair where nothing is measured."""
    benchmark.group = f"start-up: {title}"
    times: list[tuple[float, float]] = []
    is_measured = benchmark.enabled
    benchmark.pedantic(lambda: times.append((ours(), floor())), rounds=PAIRS if is_measured else 1)
    if is_measured:
        found = Beside.of([one for one, _ in times], [one for _, one in times])
        benchmark.extra_info |= asdict(found)
        return found.ratio
    return times[0][0] / times[0][1]


def test_validate(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    ratio = beside(
        benchmark,
        "flspec validate beside pydantic, yaml, typer and numpy",
        lambda: processor_seconds([*FLSPEC, "validate", str(SPEC)], tmp_path),
        lambda: processor_seconds([sys.executable, "-c", LIBRARIES], tmp_path),
    )
    assert ratio < 3.0  # about 1.6; before kinds were imported one by one it was 6


@pytest.mark.holds_times
def test_run(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    ratio = beside(
        benchmark,
        "flspec run of the quickstart beside importing torch",
        lambda: processor_seconds([*FLSPEC, "run", str(SPEC)], tmp_path),
        lambda: processor_seconds([sys.executable, "-c", "import torch"], tmp_path),
    )
    assert ratio < 2.0
