"""How much memory a run takes: of a process and everything it started, whatever the backend."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from types import TracebackType

import psutil

__all__ = ["MemoryMeter"]


_SECONDS = 0.5  # between samples


class MemoryMeter:
    """Samples, while it is entered, the memory of a process and its descendants, and keeps the peak.

    `find` gives the process's id, or None as long as there is none; by default it is this process. Shared pages are
    divided among those that share them where the system says so (PSS on Linux).
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
            is_last = self._stop.wait(_SECONDS)  # and once more then, for what is over in a moment

    def _processes(self) -> list[psutil.Process]:
        if (found := self._find()) is None:
            return []
        try:
            root = psutil.Process(found)
            return [root, *root.children(recursive=True)]
        except psutil.Error:  # it has ended
            return []


def _bytes(process: psutil.Process) -> int:
    try:
        memory = process.memory_full_info()
    except psutil.Error:  # it has ended, or is not ours
        return 0
    return int(getattr(memory, "pss", 0) or memory.rss)
