"""The local backend as a sweep gets it, but in the process of the tests."""

from __future__ import annotations

import threading
from collections.abc import Generator

from flspec.protocol.backend import Job
from flspec.protocol.events import Event
from flspec.protocol.plan import Plan
from flspec_local import LocalBackend

__all__ = ["InProcess"]


class InProcess(LocalBackend):
    """Saves the tests a second a worker process."""

    process = None
    jobs: list[Job] = []  # noqa: RUF012
    stop = threading.Event()  # which the sweep sets once it has noticed that it was interrupted

    def execute(self, plan: Plan, job: Job) -> Generator[Event, None, None]:
        self.jobs.append(job)
        return super().execute(plan, job)

    def __enter__(self) -> InProcess:
        return self

    def __exit__(self, *_: object) -> None:
        pass
