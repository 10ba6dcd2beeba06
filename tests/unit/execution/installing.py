"""What stands in for programs that an installation runs, and what is told of it."""

from __future__ import annotations

from pathlib import Path

__all__ = ["Told", "script"]


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


class Told(list[str]):
    """What is reported of an installation; the file is there once somebody has said that it waits for another."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.awaited = f"while not pathlib.Path({str(file)!r}).exists(): time.sleep(0.02)"

    def append(self, line: str) -> None:
        super().append(line)
        if line.startswith("waiting"):
            self.file.touch()
