"""Memory of a run: of one process and all its descendants, whatever the backend."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from types import TracebackType

import psutil

__all__ = ["MemoryMeter"]


_SECONDS = 0.5  # between samples


class MemoryMeter:
    """Context manager that samples the memory of a process and its descendants, and records the peak.

    `find` returns the process's id, or None while there is no process; by default it is this process. Where the system
    reports it (PSS on Linux), a shared page counts in equal parts for the processes that share it.
    """

    def __init__(self, find: Callable[[], int | None] = os.getpid) -> None:
        self.peak_bytes = 0
        self._find = find
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="memory", daemon=True)

    def __enter__(self) -> MemoryMeter:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        is_last = False
        while True:
            self.peak_bytes = max(self.peak_bytes, sum(map(_bytes, self._processes())))
            if is_last:
                return
            is_last = self._stop.wait(_SECONDS)  # one last sample after the stop, for a run shorter than the interval

    def _processes(self) -> list[psutil.Process]:
        if (pid := self._find()) is None:
            return []
        try:
            root = psutil.Process(pid)
            return [root, *root.children(recursive=True)]
        except psutil.Error:  # the process has ended
            return []


def _bytes(process: psutil.Process) -> int:
    try:
        memory = process.memory_full_info()
    except psutil.Error:  # the process has ended, or belongs to another user
        return 0
    return int(getattr(memory, "pss", 0) or memory.rss)
