"""Processes that a test started, found by what it put into their environment, and waiting for what they do."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress

import psutil

__all__ = ["marked", "wait_until"]


def marked(variable: str, mark: str) -> list[psutil.Process]:
    """All that live, this one apart, whose environment has `variable` as `mark`."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            is_ours = process.environ().get(variable) == mark and process.pid != os.getpid()
            if is_ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def wait_until(happened: Callable[[], object], otherwise: Callable[[], str] = lambda: "waited too long") -> None:
    """Return as soon as it has happened; fails, in the words of `otherwise`, after two minutes."""
    deadline = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.05)
