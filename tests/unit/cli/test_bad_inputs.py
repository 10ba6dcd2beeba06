"""Every bad input is told in a line a problem, at once, and leaves nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line import flspec
from tests.unit.cli.bad_inputs import CASES, GOOD, HOSTILE, Case

MOST_SECONDS = 15  # of processor time, after which the system ends the process; a case takes about one
MOST_BYTES = 300 * 2**20

# Between this process and the one that is measured, because a child's peak begins with the size of its parent.
MEASURE = """
import json, resource, subprocess, sys
resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[2]),) * 2)
status = subprocess.call(sys.argv[3:])
with open(sys.argv[1], "w") as file:
    json.dump([status, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss], file)
"""


def prepared(case: Case, folder: Path) -> set[str]:
    """Make the folder in which a case is tried; returns what is in it."""
    folder.mkdir()
    if case.spec is not None:
        (folder / "spec.yaml").write_bytes(case.spec)
    if case.prepare:
        case.prepare(folder)
    return everything(folder)


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def assert_told(case: Case, status: int, out: str, err: str) -> None:
    assert status == 2, err
    assert case.told in err
    lines = err.splitlines()
    assert len(lines) == case.lines
    assert all(line.isprintable() and len(line) < 1500 for line in lines)
    assert "Traceback" not in err
    assert out == ""


def measured(folder: Path, *command: str, seconds: int = MOST_SECONDS) -> tuple[subprocess.CompletedProcess[str], int]:
    """A process of Python, ended after so many seconds on the processor, and the most memory that it held."""
    report = folder.with_name("measured")
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", MEASURE, report, str(seconds), sys.executable, *command],
        cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True,
    )  # fmt: skip
    status, peak_kib = json.loads(report.read_text())
    return subprocess.CompletedProcess(command, status, done.stdout, done.stderr), peak_kib * 1024


@pytest.mark.parametrize("case", CASES, ids=[f"{case.number}-{case.name}" for case in CASES])
def test_a_bad_input_is_told_and_leaves_nothing(case: Case, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    before = prepared(case, folder)
    done = flspec(folder, *case.arguments)
    assert_told(case, done.returncode, done.stdout, done.stderr)
    assert everything(folder) == before


@pytest.mark.parametrize("case", HOSTILE, ids=[f"{case.number}-{case.name}" for case in HOSTILE])
def test_an_input_made_to_exhaust_is_refused_with_little_time_and_memory(case: Case, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    before = prepared(case, folder)
    done, peak_bytes = measured(folder, "-m", "flspec", *case.arguments)
    assert_told(case, done.returncode, done.stdout, done.stderr)
    assert everything(folder) == before
    assert peak_bytes < MOST_BYTES


def test_what_takes_longer_or_more_would_be_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    endless, _ = measured(folder, "-c", "while True: pass", seconds=1)
    assert endless.returncode < 0
    large, peak_bytes = measured(folder, "-c", f"bytearray(b'x') * {MOST_BYTES}")
    assert large.returncode == 0
    assert peak_bytes > MOST_BYTES


def test_the_good_spec_is_good(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(GOOD)
    done = flspec(tmp_path, "validate", "spec.yaml")
    assert (done.returncode, done.stdout, done.stderr) == (0, "spec.yaml: valid\n", "")
