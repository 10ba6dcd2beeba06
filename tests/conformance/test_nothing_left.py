"""However a run ends, no process, port, shared memory or temporary folder of it is left. Real engines, real kills."""

from __future__ import annotations

import os
import random
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from flspec.runs.result import load_result
from tests.conformance.harness import require
from tests.processes import wait_until

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
        self.segments: set[Path] = set()  # shared memory that they were seen to use
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
        wait_until(lambda: self._events().count("round_finished") >= 3, lambda: f"no rounds: {self._output()}")

    def leftovers(self) -> list[str]:
        """Temporary folders and shared memory of it that are still there."""
        folders = [
            Path(parent, f"flspec-{token}") for parent in ("/tmp", tempfile.gettempdir()) for token in self.tokens
        ]
        return [str(path) for path in (*folders, *sorted(self.segments)) if path.exists()]

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
            self.segments |= shared_memory(process)
            return True
        except (psutil.Error, OSError):  # it has ended meanwhile
            return False


def shared_memory(process: psutil.Process) -> set[Path]:
    """The files of /dev/shm that a process has open or mapped; what is unlinked already goes with it."""
    opened = [file.path for file in process.open_files()]
    mapped = re.findall(r"/dev/shm/.+", Path(f"/proc/{process.pid}/maps").read_text())
    return {
        Path(path) for path in (*opened, *mapped) if path.startswith("/dev/shm/") and not path.endswith("(deleted)")
    }


def test_shared_memory_is_seen_in_the_process_that_has_it() -> None:
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
        assert Path(file.name) in shared_memory(psutil.Process())
    assert Path(file.name) not in shared_memory(psutil.Process())


@pytest.fixture
def launched(backend: str, tmp_path: Path) -> Iterator[Launched]:
    require(backend)
    run = Launched(tmp_path, backend)
    yield run
    for process in run.processes():
        process.kill()


def assert_nothing_left(run: Launched) -> None:
    wait_until(lambda: not run.processes(), lambda: f"still there: {run.processes()}")
    wait_until(lambda: not run.leftovers(), lambda: f"left behind: {run.leftovers()}")


@every_engine
def test_killed_in_its_rounds(launched: Launched) -> None:
    launched.wait_for_rounds()
    assert len(launched.processes()) >= 3  # flspec, warden, worker, and what the engine started
    launched.process.kill()
    launched.process.wait()
    assert_nothing_left(launched)


@every_engine
def test_killed_while_its_engine_starts(launched: Launched) -> None:
    wait_until(lambda: len(launched.processes()) >= 3, lambda: "no worker")
    launched.process.kill()
    launched.process.wait()
    assert_nothing_left(launched)


@pytest.mark.release("kills at a random moment: another each time, so it is worth repeating, and proves little once")
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
    assert run.process.wait(120) == status
    result = load_result(run.folder)
    assert result.status == "interrupted"
    assert len(result.rounds) >= 2
