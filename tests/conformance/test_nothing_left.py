"""However a run ends, no process, port, shared memory or temporary folder of it is left. Real engines, real kills."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from flspec.runs.result import RoundRecord, load_result
from flspec.runs.runner import run
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
@pytest.mark.parametrize("backend", ["flower", "tff", "local:processes"])
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


@pytest.mark.parametrize("backend", ["local:processes"])
def test_terminated(launched: Launched) -> None:
    assert_interrupted(launched, signal.SIGTERM, 143)
    assert_nothing_left(launched)


@pytest.mark.parametrize("backend", ["local:processes"])
def test_worker_processes_of_local_end_with_a_killed_run_which_goes_on(launched: Launched) -> None:
    launched.wait_for_rounds()
    assert len(launched.processes()) == os.cpu_count()  # those that train, the run's own among them
    launched.process.kill()
    launched.process.wait()
    assert_nothing_left(launched)

    def stop(record: RoundRecord) -> None:
        raise Seen

    with pytest.raises(Seen):
        run(launched.folder.parent / "spec.yaml", "local:processes", launched.folder, resume=True, watch=stop)


class Seen(Exception):
    """A round of the resumed run is complete."""


@pytest.mark.parametrize("guarded", [True, False])
def test_a_worker_that_trains_ends_when_its_run_is_killed(guarded: bool) -> None:
    """One that only reads what it is asked next would train on to the end of its task: it is the wrong one here."""
    run = subprocess.Popen([sys.executable, "-c", RUN, WORKER, str(int(guarded))], stdout=subprocess.PIPE)
    assert run.stdout
    worker = psutil.Process(int(run.stdout.readline()))
    run.kill()
    run.wait()
    gone, alive = psutil.wait_procs([worker], timeout=10 if guarded else 1)
    for process in alive:
        process.kill()
    assert bool(gone) is guarded


# A run that starts a worker and is killed while the worker is busy.
RUN = """
import multiprocessing, os, subprocess, sys
ours, theirs = multiprocessing.Pipe()
numbers = str(theirs.fileno()), str(os.getpid()), sys.argv[2]
worker = subprocess.Popen([sys.executable, "-c", sys.argv[1], *numbers], pass_fds=[theirs.fileno()])
theirs.close()
ours.recv()
print(worker.pid, flush=True)
worker.wait()
"""
WORKER = """
import sys, threading, time
from multiprocessing.connection import Connection
from flspec_local.worker import end_with
connection, guarded = Connection(int(sys.argv[1])), int(sys.argv[3])
if guarded:
    threading.Thread(target=end_with, args=(connection.fileno(), int(sys.argv[2])), daemon=True).start()
connection.send("busy")
time.sleep(60)
"""


def assert_interrupted(run: Launched, number: signal.Signals, status: int) -> None:
    run.wait_for_rounds()
    run.process.send_signal(number)
    assert run.process.wait(120) == status
    result = load_result(run.folder)
    assert result.status == "interrupted"
    assert len(result.rounds) >= 2
