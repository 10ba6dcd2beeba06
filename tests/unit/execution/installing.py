"""A backend with an environment of its own, what stands in for programs of its installation, and what is told of it."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from flspec.protocol.requirements import Environment

__all__ = ["TOY", "Told", "contents", "pinned", "script", "write_backend"]

VERSION = sys.version_info[:2]
TOY = Environment(
    name="toy",
    title="Toy",
    package="toy_backend",
    python=VERSION,
    machine=("Linux", "x86_64"),
    engine="toy_engine",
    gigabytes=0.1,
)

BACKEND = f"""
from flspec.protocol.backend import Backend
from flspec.protocol.requirements import Environment

class ToyBackend(Backend):
    name, environment = "toy", {TOY}
    def unsupported(self, plan): return []
    def execute(self, plan, job): yield
"""


def pinned(version: str, content: bytes = b"") -> str:
    """A pin of the toy engine, whose only file has this content."""
    return f"toy-engine=={version} \\\n    --hash=sha256:{hashlib.sha256(content).hexdigest()}\n"


def write_backend(folder: Path, pins: str = pinned("1.0")) -> None:
    """The package `toy_backend` with its pins, offered to flspec as the backend `toy`."""
    package, info = folder / "toy_backend", folder / "toy_backend-1.dist-info"
    for part in (package, info):
        part.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").touch()
    (package / "backend.py").write_text(BACKEND)
    (package / "requirements.txt").write_text(pins)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-backend\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[flspec.backends]\ntoy = toy_backend.backend:ToyBackend\n")


def contents(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


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
