"""What can be seen of the workers that a test starts, and of what they should take with them."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

__all__ = ["MARK", "leftovers", "marked", "read_line", "warden_of"]

MARK = "FLSPEC_TEST"  # everything that a test starts has it in its environment or its arguments


def marked(mark: str) -> list[psutil.Process]:
    """Every living process with this mark, but not the one that tests."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            is_marked = process.environ().get(MARK) == mark or mark in process.cmdline()
            if is_marked and process.pid != os.getpid():
                found.append(process)
    return found


def warden_of(started: Any) -> psutil.Process:
    """The parent of the worker that said `started`."""
    warden = psutil.Process(int(started.versions["pid"])).parent()
    assert warden
    return warden


def leftovers(mark: str, started: Any) -> list[object]:
    """Everything that the worker which said `started` should have taken with it."""
    paths = (Path(started.versions["temp"]), Path("/dev/shm", f"fake-{started.versions['pid']}"))
    return [*marked(mark), *(path for path in paths if path.exists())]


def read_line(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout
    return process.stdout.readline()
