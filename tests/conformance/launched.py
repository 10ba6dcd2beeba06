"""`flspec run` in a process of its own, and all that came of it: processes, shared memory, temporary folders."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import psutil

from tests.processes import wait_until

__all__ = ["Launched", "shared_memory"]

MARK = "FLSPEC_TEST_MARK"
SPEC = """
flspec: 1
name: to-be-killed
rounds: 500
dataset: {kind: digits}
partition: {kind: iid, clients: 4}
model: {kind: mlp, hidden: [16]}
client: {steps: 300, batch_size: 16, optimizer: {kind: sgd, learning_rate: 0.1}}
evaluation: {every: 10}
"""


class Launched:
    """`flspec run` in a process of its own, and all that came of it; `before` is a command that becomes it."""

    def __init__(self, folder: Path, backend: str, before: Sequence[str] = ()) -> None:
        self.folder, self.mark = folder / "run", secrets.token_hex(8)
        (folder / "spec.yaml").write_text(SPEC)
        self.tokens: set[str] = set()  # of the workers that were seen
        self.segments: set[Path] = set()  # shared memory that they were seen to use
        command = ["run", str(folder / "spec.yaml"), "--backend", backend, "--out", str(self.folder)]
        with (folder / "output").open("wb") as output:
            self.process = subprocess.Popen(
                [*before, sys.executable, "-m", "flspec", *command],
                env=os.environ | {MARK: self.mark},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def processes(self) -> list[psutil.Process]:
        """Whoever carries our mark in its environment, wherever it hangs."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def wait_for_rounds(self) -> None:
        """Until two rounds are recorded: what is told of the third comes after that."""
        wait_until(lambda: self._events().count("round_finished") >= 3, lambda: f"no rounds: {self.output()}")

    def leftovers(self) -> list[str]:
        """Temporary folders and shared memory of it that are still there."""
        folders = [
            Path(parent, f"flspec-{token}") for parent in ("/tmp", tempfile.gettempdir()) for token in self.tokens
        ]
        return [str(path) for path in (*folders, *sorted(self.segments)) if path.exists()]

    def output(self) -> str:
        """The end of what it printed."""
        return (self.folder.parent / "output").read_text(errors="replace")[-2000:]

    def _events(self) -> str:
        path = self.folder / "events.jsonl"
        return path.read_text() if path.exists() else ""

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            environment = process.environ()
            if environment.get(MARK) != self.mark or process.status() == psutil.STATUS_ZOMBIE:
                return False
            self.tokens |= {environment["FLSPEC_RUN"]} if "FLSPEC_RUN" in environment else set()
            self.segments |= shared_memory(process)
            return True
        except (psutil.Error, OSError):  # it has ended meanwhile
            return False


def shared_memory(process: psutil.Process) -> set[Path]:
    """The files of /dev/shm that a process has open or mapped; what is unlinked already goes with it."""
    opened = [file.path for file in process.open_files()]
    mapped = re.findall(r"/dev/shm/.+", Path(f"/proc/{process.pid}/maps").read_text())
    return {
        Path(path) for path in (*opened, *mapped) if path.startswith("/dev/shm/") and not path.endswith("(deleted)")
    }
