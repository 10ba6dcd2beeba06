"""A Python environment of its own for what is compared with flspec and shares no packages with it."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from flspec.core.cache import cache_folder

__all__ = ["PinnedEnvironment"]


@dataclass(frozen=True)
class PinnedEnvironment:
    """An environment of the pins in a file, which is complete once `module` has been imported there."""

    name: str
    pins: Path
    module: str
    sees_ours: bool = False  # behind the pins, the packages of this interpreter, such as torch

    @property
    def folder(self) -> Path:
        """Below the cache, as those of backends are, and named by its pins."""
        digest = hashlib.sha256(self.pins.read_bytes()).hexdigest()
        return cache_folder() / "environments" / f"{self.name}-{digest[:12]}"

    def find_python(self) -> Path | None:
        """Its interpreter, or None where it is not installed."""
        python = self.folder / "bin" / "python"
        return python if (self.folder / "complete").exists() and python.exists() else None

    def make(self) -> None:
        """Install it, unless it is there."""
        if self.find_python():
            return
        folder, python = self.folder, self.folder / "bin" / "python"
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        install = ["-m", "pip", "install", "--quiet", "--no-deps", "--requirement"]
        subprocess.run([python, *install, self.pins], check=True)
        if self.sees_ours:
            (library,) = folder.glob("lib/python*/site-packages")
            (library / "behind_the_pins.pth").write_text(sysconfig.get_path("purelib") + "\n")
        subprocess.run([python, "-c", f"import {self.module}"], check=True)
        (folder / "complete").touch()
