"""Processes that a test started, found by what it put into their environment."""

from __future__ import annotations

import os
from contextlib import suppress

import psutil

__all__ = ["marked"]


def marked(variable: str, mark: str) -> list[psutil.Process]:
    """All that live, this one apart, whose environment has `variable` as `mark`."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            is_ours = process.environ().get(variable) == mark and process.pid != os.getpid()
            if is_ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found
