"""However a run ends, no process, port, shared memory or temporary folder of it is left. Real engines, real kills."""

from __future__ import annotations

import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from flspec.runs.result import load_result
from tests.conformance.harness import Engines

MARK = "FLSPEC_TEST_MARK"
SPEC = """
flspec: 1
name: to-be-killed
rounds: 500
dataset: {kind: digits}
partition: {kind: iid, clients: 4}
model: {kind: mlp, hidden: [16]}
client: {steps: 300, batch_size: 16, optimizer: {kind: sgd, learning_rate: 0.1}}
evaluation: {every: 10}
"""
every_engine = pytest.mark.parametrize("backend", ["flower", "tff"])


class Launched:
    """`flspec run` in a process of its own, and all that came of it."""

    def __init__(self, folder: Path, backend: str) -> None:
        self.folder, self.mark = folder / "run", secrets.token_hex(8)
        (folder / "spec.yaml").write_text(SPEC)
        self.tokens: set[str] = set()  # of the workers that were seen
        self.segments = shared_memory()
        command = ["run", str(folder / "spec.yaml"), "--backend", backend, "--out", str(self.folder)]
        with (folder / "output").open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flspec", *command],
                env=os.environ | {MARK: self.mark},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def processes(self) -> list[psutil.Process]:
        """Whoever carries our mark in its environment, wherever it hangs."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def wait_for_rounds(self) -> None:
        """Until two rounds are recorded: what is told of the third comes after that."""
        wait_until(lambda: self._events().count("round_finished") >= 3, 120, lambda: f"no rounds: {self._output()}")

    def leftovers(self) -> list[str]:
        """Temporary folders and shared memory of it that are still there."""
        folders = [
            Path(parent, f"flspec-{token}") for parent in ("/tmp", tempfile.gettempdir()) for token in self.tokens
        ]
        return [str(folder) for folder in folders if folder.exists()] + sorted(shared_memory() - self.segments)

    def _output(self) -> str:
        return (self.folder.parent / "output").read_text(errors="replace")[-2000:]

    def _events(self) -> str:
        path = self.folder / "events.jsonl"
        return path.read_text() if path.exists() else ""

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            environment = process.environ()
            if environment.get(MARK) != self.mark or process.status() == psutil.STATUS_ZOMBIE:
                return False
            self.tokens |= {environment["FLSPEC_RUN"]} if "FLSPEC_RUN" in environment else set()
            return True
        except psutil.Error:
            return False


def shared_memory() -> set[str]:
    return {str(path) for path in Path("/dev/shm").glob("*")}


def wait_until(true: Callable[[], bool], seconds: float, otherwise: Callable[[], str]) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(otherwise())
        time.sleep(0.1)


@pytest.fixture
def launched(backend: str, engines: Engines, tmp_path: Path) -> Iterator[Launched]:
    engines(backend)  # skips, or fails, where it is missing
    run = Launched(tmp_path, backend)
    yield run
    for process in run.processes():
        process.kill()


def assert_nothing_left(run: Launched) -> None:
    wait_until(lambda: not run.processes(), 10, lambda: f"still there: {run.processes()}")
    wait_until(lambda: not run.leftovers(), 10, lambda: f"left behind: {run.leftovers()}")


@every_engine
def test_killed_in_its_rounds(launched: Launched) -> None:
    launched.wait_for_rounds()
    assert len(launched.processes()) >= 3  # flspec, warden, worker, and what the engine started
    launched.process.kill()
    launched.process.wait()
    assert_nothing_left(launched)


@every_engine
def test_killed_at_a_random_moment(launched: Launched) -> None:
    moment = random.SystemRandom().uniform(0.5, 15.0)
    time.sleep(moment)
    launched.processes()  # notes whose folders to look for
    launched.process.kill()
    launched.process.wait()
    print(f"killed after {moment:.2f} s")
    assert_nothing_left(launched)


@every_engine
def test_interrupted_from_the_keyboard(launched: Launched) -> None:
    assert_interrupted(launched, signal.SIGINT, 130)
    assert_nothing_left(launched)


@pytest.mark.parametrize("backend", ["local"])
def test_terminated(launched: Launched) -> None:
    assert_interrupted(launched, signal.SIGTERM, 143)


def assert_interrupted(run: Launched, number: signal.Signals, status: int) -> None:
    run.wait_for_rounds()
    run.process.send_signal(number)
    assert run.process.wait(30) == status
    result = load_result(run.folder)
    assert result.status == "interrupted"
    assert len(result.rounds) >= 2
