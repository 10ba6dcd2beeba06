"""However a run ends, no process, port, shared memory or temporary folder of it is left. Real engines, real kills."""

from __future__ import annotations

import random
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from flspec.runs.result import load_result
from tests.conformance.harness import require
from tests.conformance.launched import Launched, shared_memory
from tests.processes import wait_until

every_engine = pytest.mark.parametrize("backend", ["flower", "tff"])


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
