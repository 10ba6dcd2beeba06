"""How much memory a run takes: of this process and everything it started, whatever the backend."""

from __future__ import annotations

import threading
from types import TracebackType

import psutil

__all__ = ["MemoryMeter"]


class MemoryMeter:
    """Samples, while it is entered, the memory of this process and its descendants, and keeps the peak.

    Shared pages are divided among those that share them where the system says so (PSS on Linux).
    """

    def __init__(self, interval: float = 0.5) -> None:
        self.peak_bytes = 0
        self._interval = interval  # seconds between samples
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
        me = psutil.Process()
        while True:
            total = sum(_bytes(process) for process in [me, *me.children(recursive=True)])
            self.peak_bytes = max(self.peak_bytes, total)
            if self._stop.wait(self._interval):
                return


def _bytes(process: psutil.Process) -> int:
    try:
        memory = process.memory_full_info()
    except psutil.Error:  # it has ended, or is not ours
        return 0
    return int(getattr(memory, "pss", 0) or memory.rss)
