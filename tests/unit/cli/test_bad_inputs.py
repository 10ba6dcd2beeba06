"""Every bad input is told in a line a problem, at once, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from bad_inputs import CASES, GOOD, Case

MOST_SECONDS = 2.0  # of processor time: the clock of a busy machine says little
MOST_BYTES = 300 * 2**20
# Users have flspec compiled once, not each time.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

# Between this process and the one that is measured, because a child's peak begins with the size of its parent.
MEASURE = """
import json, resource, subprocess, sys
status = subprocess.call(sys.argv[2:])
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
with open(sys.argv[1], "w") as file:
    json.dump([status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss], file)
"""


@dataclass(frozen=True)
class Outcome:
    """What became of a case."""

    status: int
    out: str
    err: str
    seconds: float
    peak_bytes: int
    left: set[str]  # what was not there before


def run(case: Case, folder: Path) -> Outcome:
    """Run a case in a folder of its own."""
    work = folder / "work"
    work.mkdir(parents=True)
    if case.spec is not None:
        (work / "spec.yaml").write_bytes(case.spec)
    if case.prepare:
        case.prepare(work)
    before = everything(work)
    out, err = folder / "out", folder / "err"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        measured = folder / "measured"
        subprocess.run(
            [sys.executable, "-I", "-S", "-c", MEASURE, measured, sys.executable, "-m", "flspec", *case.arguments],
            cwd=work, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, check=True,
        )  # fmt: skip
    status, seconds, peak_kib = json.loads(measured.read_text())
    return Outcome(status, out.read_text(), err.read_text(), seconds, peak_kib * 1024, everything(work) - before)


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Case], Outcome]:
    """All cases, run side by side when the first is asked for."""
    root = tmp_path_factory.mktemp("cases")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        done = list(pool.map(lambda number: run(CASES[number], root / str(number)), range(len(CASES))))
    return lambda case: done[CASES.index(case)]


@pytest.mark.parametrize("case", CASES, ids=[f"{case.number}-{case.name}" for case in CASES])
def test_a_bad_input_is_told_and_leaves_nothing(case: Case, outcomes: Callable[[Case], Outcome]) -> None:
    outcome = outcomes(case)
    assert outcome.status == 2, outcome.err
    assert case.told in outcome.err
    lines = outcome.err.splitlines()
    assert len(lines) == case.lines
    assert all(line.isprintable() and len(line) < 1500 for line in lines)
    assert "Traceback" not in outcome.err
    assert outcome.out == ""
    assert outcome.left == set()
    assert outcome.seconds < MOST_SECONDS
    assert outcome.peak_bytes < MOST_BYTES


def test_the_good_spec_is_good(tmp_path: Path) -> None:
    outcome = run(Case(0, "good", "", GOOD.encode()), tmp_path)
    assert (outcome.status, outcome.out, outcome.err) == (0, "spec.yaml: valid\n", "")
