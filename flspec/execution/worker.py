"""The worker process behind `flspec.execution.remote`: runs the jobs that it receives on one backend, and reports.

    python -P -m flspec.execution.worker NAME[:VARIANT]    3< jobs  4> reports

A job is one line of JSON: a `flspec.protocol.backend.Job` whose folder has the plan. A report is one line of JSON: an
event, `{"failed": {...}}`, `{"warning": "..."}`, or `{"heartbeat": n}` every second while this process is alive.
Everything that is printed goes to the log instead. The worker ends when the pipe of jobs is closed.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
import warnings
from typing import Any

from pydantic import TypeAdapter

from flspec.core.tracebacks import place_of
from flspec.errors import BackendError, FlspecError, InputError, RunError, RunWarning
from flspec.execution.noise_key import with_noise_key
from flspec.execution.warden import EVENTS, JOBS
from flspec.protocol.backend import Backend, Job
from flspec.protocol.events import RunFinished, dump_event
from flspec.protocol.plan import Plan
from flspec.protocol.registry import find_backend

__all__ = ["ERRORS", "job_lines"]

ERRORS: dict[str, type[FlspecError]] = {cls.__name__: cls for cls in (InputError, BackendError, RunError, FlspecError)}
job_lines = TypeAdapter(Job)


class _Reports:
    """A writer of whole lines that any thread may use."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def send(self, line: str) -> None:
        rest = f"{line}\n".encode()
        with self._lock:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]


def main(selection: str) -> None:
    """Run jobs until there are no more."""
    for descriptor in (JOBS, EVENTS):
        os.set_inheritable(descriptor, False)  # not for the processes that engines start
    reports = _Reports(EVENTS)
    threading.Thread(target=_beat, args=(reports, os.getppid()), name="heartbeat", daemon=True).start()
    _report_warnings(reports)
    backend: Backend | None = None
    with os.fdopen(JOBS, "rb") as jobs:
        for line in jobs:
            try:
                backend = backend or find_backend(selection)
                _run(backend, job_lines.validate_json(line), reports)
            except Exception as error:
                traceback.print_exc()
                reports.send(json.dumps({"failed": _describe(error)}))


def _run(backend: Backend, job: Job, reports: _Reports) -> None:
    finished = None
    for event in backend.execute(with_noise_key(Plan.load(job.folder / "plan"), job.folder), job):
        if isinstance(event, RunFinished):
            finished = event  # sent after the backend has cleaned up, because that may fail too
        else:
            reports.send(dump_event(event))
    if finished is None:
        raise BackendError("the backend ended before the run did")
    reports.send(dump_event(finished))


def _report_warnings(reports: _Reports) -> None:
    """Send every warning about the run to the process that started this one, beside printing it."""
    usual = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any, **rest: Any) -> None:
        if issubclass(category, RunWarning):
            reports.send(json.dumps({"warning": str(message)}))
        usual(message, category, *place, **rest)

    warnings.showwarning = show
    warnings.simplefilter("always", RunWarning)


def _beat(reports: _Reports, warden: int) -> None:
    number = 0
    while os.getppid() == warden:
        reports.send(json.dumps({"heartbeat": number}))
        time.sleep(1.0)
        number += 1
    os._exit(1)  # the warden has gone


def _describe(error: Exception) -> dict[str, str]:
    for cls in type(error).__mro__:
        if ERRORS.get(cls.__name__) is cls:
            return {"kind": cls.__name__, "message": str(error)}
    place = place_of(error)
    return {"kind": type(error).__name__, "message": f"{error} ({place})" if place else str(error)}


if __name__ == "__main__":
    main(sys.argv[1])
