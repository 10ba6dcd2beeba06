"""A private run that is killed for good and resumed is the run that nobody killed, on an engine of its own, too."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from flspec.core.reading import read_regular
from flspec.execution.ledger import LEDGER, num_releases
from flspec.runs.result import Result, load_result
from tests.command_line import flspec_apart
from tests.conformance.harness import absent
from tests.processes import wait_until

ROUNDS = 30
SPEC = f"""
flspec: 1
name: private-and-killed
rounds: {ROUNDS}
dataset: {{kind: digits}}
partition: {{kind: iid, clients: 20}}
model: {{kind: mlp, hidden: [16]}}
client: {{epochs: 1, batch_size: 4, optimizer: {{kind: sgd, learning_rate: 0.1}}}}
cohort: {{kind: poisson, size: 10}}
aggregator: {{kind: fedadam, learning_rate: 0.02, weighting: uniform}}
privacy:
  kind: central
  clip: {{kind: adaptive, initial: 0.5, noise_on_count: 3.0}}
  noise_multiplier: 1.0
  delta: 0.001
"""
APART = pytest.mark.release("starts the engine three times; in `make test` runs are killed within this process")


def rounds_done(folder: Path) -> int:
    events = folder / "events.jsonl"
    return events.read_text().count('"event":"round_finished"') if events.exists() else 0


def killed_after(rounds: int, folder: Path, backend: str) -> None:
    """Begin the run, and kill it with the signal that no process sees coming, once so many rounds are done."""
    command = ["run", "spec.yaml", "--backend", backend, "--out", "parts"]
    process = subprocess.Popen(
        [sys.executable, "-m", "flspec", *command],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: rounds_done(folder / "parts") >= rounds or process.poll() is not None)
    finally:
        process.kill()
        process.wait()
    assert rounds_done(folder / "parts") < ROUNDS, "it was done before it could be killed"


def finished(folder: Path) -> tuple[str, tuple[int, float | None]]:
    """The weights of a run, and its releases and their epsilon."""
    result: Result = load_result(folder)
    assert result.weights
    assert result.privacy
    return result.weights.sha256, (result.privacy.rounds, result.privacy.epsilon)


@pytest.mark.parametrize("backend", ["local", pytest.param("tff", marks=APART)])
def test_a_private_run_killed_and_resumed_has_the_bits_and_the_cost_of_one_that_was_not(
    tmp_path: Path, backend: str
) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    whole = flspec_apart(tmp_path, "run", "spec.yaml", "--backend", backend, "--out", "whole")
    if whole.returncode == 2:
        absent(backend, whole.stderr)
    assert whole.returncode == 0, whole.stderr
    killed_after(3, tmp_path, backend)
    before, done = num_releases(tmp_path / "parts"), rounds_done(tmp_path / "parts")
    assert not (tmp_path / "parts" / "result.json").exists()
    assert done <= before <= ROUNDS
    ledger = read_regular(tmp_path / "parts" / LEDGER)
    resumed = flspec_apart(tmp_path, "run", "spec.yaml", "--backend", backend, "--out", "parts", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert read_regular(tmp_path / "parts" / LEDGER).startswith(ledger)
    assert num_releases(tmp_path / "parts") == ROUNDS
    assert finished(tmp_path / "parts") == finished(tmp_path / "whole")
    assert [json.loads(line)["round"] for line in ledger.splitlines() if line][:done] == list(range(1, done + 1))
