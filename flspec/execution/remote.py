"""Backends that run in a process of their own, in any Python environment, and leave no process or file behind.

    this process            warden                           worker, in the backend's environment
    Remote.execute ── jobs ────────────────────────────────▶ python -m flspec.execution.worker NAME[:VARIANT]
           events  ◀── JSON lines ──────────────────────────┘     its output ──▶ worker.log
          lifeline ───────▶ kills all descendants of the worker

However this process ends, even by `kill -9`, its end of the lifeline closes, and the warden kills the worker.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from flspec.core.cache import cache_folder
from flspec.errors import BackendError, FlspecError, InputError, RunWarning, printable
from flspec.execution import own_network, warden
from flspec.execution.parts import out_of_reach
from flspec.execution.rounds import timed
from flspec.execution.worker import ERRORS, job_lines
from flspec.protocol.backend import Backend, Job
from flspec.protocol.devices import Device
from flspec.protocol.events import Event, RoundFinished, RunFinished, RunStarted, parse_event
from flspec.protocol.part_scope import using_parts_of
from flspec.protocol.plan import Plan
from flspec.protocol.registry import find_backend

__all__ = ["Limits", "Remote", "open_apart", "open_backend"]

_TICK_SECONDS = 0.2
_GRACE_SECONDS = 5.0  # time for an idle worker to end by itself
_WARDEN_SECONDS = 15.0  # time for the warden to end everything; it gives up by itself before that
_THREAD_COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


@dataclass(frozen=True)
class Limits:
    """Time limits, in seconds, on the silence of a backend in a process of its own."""

    start: float = 300.0  # until the first event of a job
    silence: float = 3600.0  # between later events: the longest round
    heartbeat: float = 60.0  # without a heartbeat: longer means that the process is frozen or stopped


@contextmanager
def open_backend(selection: str, limits: Limits = Limits()) -> Iterator[Backend]:
    """Yield the backend that `NAME` or `NAME:VARIANT` selects, in a process of its own if it needs one.

    All its processes have ended when the context ends. Raises InputError if there is no such backend or environment.
    """
    backend = find_backend(selection)
    if not (backend.isolated or backend.environment):
        yield backend
        return
    with Remote(backend, _python(backend), limits) as remote:
        yield remote


def open_apart(selection: str, limits: Limits, log: Path, stop: threading.Event) -> Remote:
    """Return the backend in a process of its own, even if it does not need one. See `Remote`."""
    backend = find_backend(selection)
    return Remote(backend, _python(backend), limits, log, stop)


def _python(backend: Backend) -> Path:
    if not backend.environment:
        return Path(sys.executable)
    from flspec.execution.environments import environment_python

    return environment_python(backend.environment)


class Remote(Backend):
    """A backend that runs `inner` in a worker process of the interpreter `python`, which must have both installed.

    `inner` itself is never executed in this process, so no engine is imported here. The worker starts with the first
    job and also serves the following jobs, until `close`. Its log is `log`, by default `worker.log` in the first job's
    folder. A job that fails or is abandoned ends the worker, and the next job gets a new one. Setting `stop`, in any
    thread, interrupts a job.
    """

    def __init__(
        self,
        inner: Backend,
        python: Path,
        limits: Limits = Limits(),
        log: Path | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        super().__init__(inner.variant)
        self._inner, self._python, self._limits = inner, python, limits
        self._log, self._stop = log, stop or threading.Event()
        self._worker: _Worker | None = None

    @property
    def name(self) -> str:  # type: ignore[override]
        return self._inner.name

    @property
    def done_by(self) -> Mapping[str, str]:  # type: ignore[override]
        return self._inner.done_by

    @property
    def declaration(self) -> type[Backend]:
        return self._inner.declaration

    def stages(self, plan: Plan) -> Mapping[str, str]:
        return self._inner.stages(plan)

    def find_device(self, asked: str) -> Device:
        return self._inner.find_device(asked)

    def unsupported_on(self, plan: Plan, device: Device) -> list[str]:
        return self._inner.unsupported_on(plan, device)

    def unsupported(self, plan: Plan) -> list[str]:
        with using_parts_of(plan.settings):
            return self._inner.unsupported(plan)

    def refusals(self, plan: Plan) -> list[str]:
        return self._inner.refusals(plan) or out_of_reach(plan)

    def execute(self, plan: Plan, job: Job) -> Generator[Event, None, None]:
        """Run the plan in the worker. Raises what the backend raised, or BackendError, which names the log."""
        _save_plan(plan, job.folder / "plan")
        worker = self._living_worker(self._log or job.folder / "worker.log")
        assert worker.is_idle, "one job at a time"
        try:
            worker.send(job_lines.dump_json(job))
            for event in self._events(worker, plan):
                worker.is_idle = isinstance(event, RunFinished)
                yield event
        finally:
            if not worker.is_idle:
                worker.stop()

    @property
    def process(self) -> int | None:
        """Id of the process that is the ancestor of all of this backend's processes, if it has been started."""
        return self._worker.process if self._worker else None

    def close(self) -> None:
        """End the worker, and return once all its processes have ended."""
        if self._worker:
            self._worker.stop(_GRACE_SECONDS if self._worker.is_idle else 0.0)

    def __enter__(self) -> Remote:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _living_worker(self, log: Path) -> _Worker:
        if self._worker and not self._worker.has_ended:
            return self._worker
        self.close()
        selection = f"{self.name}:{self.variant}" if self.variant else self.name
        # PYTHONPATH is meant for this interpreter. An environment of the backend's own has all it needs, hence -I.
        option = "-I" if self._inner.environment else "-P"
        command = [str(self._python), option, "-u", "-m", "flspec.execution.worker", selection]
        if self._inner.offline:
            command = [sys.executable, "-I", "-S", own_network.__file__, *command]
        try:
            self._worker = _Worker(command, log, worker_environment(self._python))
        except OSError as error:
            raise BackendError(f"{self.name}: its process cannot be started: {error}") from error
        return self._worker

    def _events(self, worker: _Worker, plan: Plan) -> Generator[Event, None, None]:
        """Yield the events of one job, up to its last."""
        last: Event | None = None
        silence = _Silence()
        for line in worker.lines():
            if self._stop.is_set():
                raise KeyboardInterrupt  # Python itself raises it in the main thread only
            silence.add(heard=bool(line))
            match self._understand(line, worker.log):
                case {"failed": failed}:
                    raise self._raised(failed["kind"], failed["message"], worker.log)
                case {"warning": text}:
                    warnings.warn(printable(f"{self.name}: {text}"), RunWarning, stacklevel=2)
                case {}:
                    if limit := self._limit_passed(silence, started=last is not None):
                        raise self._failure(f"{limit} {_place(last, plan)}", worker.log)
                case event:
                    last = event
                    yield last
                    if isinstance(last, RunFinished):
                        return
                    silence = _Silence()
        raise self._failure(f"its process ended ({worker.how_it_ended()}) {_place(last, plan)}", worker.log)

    def _understand(self, line: bytes, log: _Log) -> Event | dict[str, Any]:
        """Parse a line: an event, or the worker's report about itself, which is empty for an empty line."""
        try:
            report: dict[str, Any] = dict(json.loads(line or b"{}"))
            return parse_event(line) if "event" in report else report
        except (ValueError, TypeError):
            said = f"it sent {line[:80]!r}, which this version of flspec cannot read, under {self._python}"
            raise self._failure(said, log) from None

    def _limit_passed(self, silence: _Silence, started: bool) -> str | None:
        if silence.since_line > self._limits.heartbeat:
            return f"no sign of life for {self._limits.heartbeat:g} s"
        limit = self._limits.silence if started else self._limits.start
        return f"no event for {limit:g} s" if silence.since_event > limit else None

    def _raised(self, kind: str, message: str, log: _Log) -> FlspecError:
        """Return the exception that the backend raised, or a BackendError if its class is not one of flspec's."""
        if kind == "InputError":
            return InputError(message)
        if kind in ERRORS:
            return ERRORS[kind](f"{self.name}: {message}; its log is {log.path}")
        message = " ".join(message.split())[:500]
        return BackendError(f"{self.name}: {kind}: {message}; its log is {log.path}")

    def _failure(self, what: str, log: _Log) -> BackendError:
        end = log.end()
        return BackendError(
            f"{self.name}: {what}; its log is {log.path}" + (f", whose end reads: {end}" if end else "")
        )


class _Worker:
    """A worker process, started and guarded by its warden."""

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self.is_idle = True
        self.log = _Log(log, log.stat().st_size if log.exists() else 0)
        self._rest = b""  # the beginning of a line whose end has not arrived
        self._token = secrets.token_hex(4)
        self._folder = _short_folder(f"flspec-{self._token}")
        reader, writer = os.pipe()
        self._lifeline = os.fdopen(writer, "wb", buffering=0)
        try:
            self._process = self._start(command, reader, environment)
        except BaseException:
            self._lifeline.close()
            raise
        finally:
            os.close(reader)

    def _start(self, command: Sequence[str], lifeline: int, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        guard = [warden.__file__, str(lifeline), str(os.getpid()), self._token, self._folder]
        with self.log.path.open("a+b") as output:
            return subprocess.Popen(
                [sys.executable, "-I", "-S", *guard, *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                bufsize=0,
                pass_fds=(lifeline,),
                env={**environment, "TMPDIR": self._folder, warden.TOKEN: self._token},
                start_new_session=True,  # Ctrl-C in the terminal is for this process alone
            )

    @property
    def process(self) -> int:
        return self._process.pid  # the warden's

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def how_it_ended(self) -> str:
        status = self._process.wait()
        number = -status if status < 0 else status - 128
        if number == signal.SIGKILL:
            return "killed by SIGKILL, as happens when memory runs out"
        with suppress(ValueError):
            return f"killed by {signal.Signals(number).name}"
        return f"exit code {status}"

    def send(self, job: bytes) -> None:
        self.is_idle = False
        assert self._process.stdin
        with suppress(BrokenPipeError):  # the worker has ended; `lines` will report it
            self._process.stdin.write(job + b"\n")

    def lines(self) -> Iterator[bytes]:
        """Yield the worker's lines, and an empty line after each moment without one, until the worker has ended."""
        assert self._process.stdout
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while True:
                ended = self.has_ended  # checked before reading: a worker that has ended cannot write any more
                if not selector.select(0 if ended else _TICK_SECONDS):
                    if ended:
                        return
                    yield b""
                elif chunk := os.read(self._process.stdout.fileno(), 2**16):
                    *lines, self._rest = (self._rest + chunk).split(b"\n")
                    yield from lines
                else:
                    return

    def stop(self, grace: float = 0.0) -> None:
        """End the worker and its descendants, after `grace` seconds to end by itself. May be called twice."""
        assert self._process.stdin
        assert self._process.stdout
        try:
            self._process.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(grace)
        finally:
            with suppress(OSError, ValueError):
                self._lifeline.write(b".")  # a forked process may keep the pipe open, so closing is not enough
            self._lifeline.close()
            try:
                self._process.wait(_WARDEN_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            warden.kill_marked(self._token, self._folder)
            self._process.stdout.close()


@dataclass(frozen=True)
class _Log:
    """The file that a worker's output is written to."""

    path: Path
    start: int  # its size in bytes before this worker

    def end(self) -> str:
        """Return the last line that names a Python exception, or else the last line."""
        with suppress(OSError), self.path.open("rb") as file:
            file.seek(max(self.start, file.seek(0, os.SEEK_END) - 2**13))
            text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", file.read().decode(errors="replace"))
            lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()][-20:]
            raised = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Exit|Interrupt)\b|Fatal ", line)]
            return (raised or lines or [""])[-1][:300]
        return ""


class _Silence:
    """Time without a line from a worker. It counts only the time that this process spent reading."""

    def __init__(self) -> None:
        self.since_event = self.since_line = 0.0  # seconds
        self._lap = timed()

    def add(self, heard: bool) -> None:
        passed = min(self._lap(), 5 * _TICK_SECONDS)  # more time passes only if this process itself was stopped
        self.since_event += passed
        self.since_line = 0.0 if heard else self.since_line + passed


def _place(last: Event | None, plan: Plan) -> str:
    match last:
        case None:
            return "while starting"
        case RunStarted():
            return "in its first round"
        case RoundFinished(round=number) if number < plan.num_rounds:
            return f"in round {number + 1}"
    return "after the last round"


def _save_plan(plan: Plan, folder: Path) -> None:
    if not (folder / "plan.json").exists():
        plan.save(folder)
    elif (found := Plan.load(folder).digest) != plan.digest:
        raise InputError(f"{folder} holds plan {found[:12]}, not {plan.digest[:12]}; choose another folder")


def worker_environment(python: Path) -> dict[str, str]:
    """Return the environment variables of the warden and the worker, whose interpreter is `python`."""
    search = f"{python.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    threads = dict.fromkeys(_THREAD_COUNTS, "1")  # one thread each, so sums have a fixed order
    return os.environ | {"PATH": search, "FLSPEC_CACHE": str(cache_folder())} | threads


def _short_folder(name: str) -> str:
    """Return a short path for temporary files: engines put sockets there, whose paths are 107 bytes at most."""
    parent = tempfile.gettempdir()
    if len(parent) > 20 and os.access("/tmp", os.W_OK):
        parent = "/tmp"
    return str(Path(parent, name))
