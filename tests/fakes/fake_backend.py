"""A backend without an engine, whose variants misbehave in every way that a real one might.

This folder is found like an installed package: it holds a dist-info with the entry point, and goes on PYTHONPATH.
"""

from __future__ import annotations

import atexit
import ctypes
import mmap
import os
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Generator, Mapping
from pathlib import Path

from flspec.errors import InputError, RunError, RunWarning
from flspec.protocol.backend import Backend, Job
from flspec.protocol.events import Event, RoundFinished, RunFinished, RunStarted
from flspec.protocol.plan import Plan

_DAEMON = """
import os, signal, socket, time
for number in signal.SIGTERM, signal.SIGINT, signal.SIGHUP:
    signal.signal(number, signal.SIG_IGN)
os.setsid()
if os.fork() == 0:
    listener = socket.create_server(("localhost", 0))
    print("ready", flush=True)
    time.sleep(600)
"""


class FakeBackend(Backend):
    """Trains nothing, says where it runs in the place of its engine's versions, and does its worst in round 2."""

    name = "fake"
    isolated = True
    variants = (
        "chatty",
        "daemon",
        "daemon_then_hangs",
        "dies",
        "ends_early",
        "exits",
        "floods",
        "freezes",
        "hides",
        "hangs",
        "hangs_at_once",
        "lingers",
        "mumbles",
        "raises",
        "raises_input_error",
        "raises_late",
        "raises_run_error",
        "seizes",
        "sleeps",
        "warns",
    )

    jobs = 0

    def unsupported(self, plan: Plan) -> list[str]:
        return ["rounds: too many"] if plan.num_rounds > 9 else []

    def execute(self, plan: Plan, job: Job) -> Generator[Event, None, None]:
        self.jobs += 1
        if self.variant == "hangs_at_once":
            time.sleep(600)
        Path(tempfile.gettempdir(), "left-over").touch()
        found = {"pid": str(os.getpid()), "temp": tempfile.gettempdir(), "jobs": str(self.jobs)}
        yield RunStarted(versions=found | {"network": os.readlink("/proc/self/ns/net")})
        for number in range(1, plan.num_rounds + 1):
            if number == 2 and self.variant:
                misbehave = getattr(self, f"_{self.variant}", lambda: None)
                misbehave()
            if number == 3 and self.variant == "daemon_then_hangs":
                self._hangs()
            if self.variant == "sleeps":
                time.sleep(1)
            yield RoundFinished(
                round=number,
                cohort=(3, 1),
                num_trained=7,
                train={"loss": 0.1},
                dropped={1: "späť"},
                seconds={"train": 1e-9},
                state=f"{job.keep} {job.workers} {job.follow}",
            )
        if self.variant != "ends_early":
            yield RunFinished()
        if self.variant == "raises_late":
            raise ValueError("could not clean up")

    def _raises(self) -> None:
        raise ValueError("the weights are\nodd")

    def _raises_input_error(self) -> None:
        raise InputError("rounds: 3 is one too many; ask for 2")

    def _raises_run_error(self) -> None:
        raise RunError("client 7 fell asleep")

    def _exits(self) -> None:
        print("\x1b[31mdisk   on fire\x1b[0m\n")
        os._exit(3)

    def _dies(self) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)

    def _hangs(self) -> None:
        print("waiting for client 7")
        time.sleep(600)

    def _freezes(self) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)

    def _seizes(self) -> None:
        ctypes.PyDLL(None).sleep(600)  # does not let go of the GIL

    def _chatty(self) -> None:
        print('{"event": "run_finished"}')
        os.write(1, b'{"event": "run_finished"}\n')
        subprocess.run(["echo", '{"event": "run_finished"}'], check=True)

    def _floods(self) -> None:
        for _ in range(100):
            os.write(2, b"blah\n" * 200_000)
        time.sleep(1.5)  # the warden looks twice a second

    def _mumbles(self) -> None:
        os.write(4, b'{"event": "lunch"}\n')

    def _daemon(self) -> None:
        _start_daemon(os.environ)
        with open(f"/dev/shm/fake-{os.getpid()}", "w+b") as file:
            file.truncate(4096)
            self.segment = mmap.mmap(file.fileno(), 4096)
        time.sleep(0.7)  # the warden looks twice a second

    _daemon_then_hangs = _daemon

    def _hides(self) -> None:
        _start_daemon({})

    def _warns(self) -> None:
        for _ in range(2):
            warnings.warn("the door\x1b[31m is open", RunWarning, stacklevel=2)
        warnings.warn("nobody else's business", UserWarning, stacklevel=2)

    def _lingers(self) -> None:
        atexit.register(time.sleep, 600)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _start_daemon(environ: Mapping[str, str]) -> None:
    command = [sys.executable, "-S", "-c", _DAEMON, os.environ.get("FLSPEC_TEST", "")]
    daemon = subprocess.Popen(command, stdout=subprocess.PIPE, env=environ)
    assert daemon.stdout
    daemon.stdout.readline()
    daemon.wait()
