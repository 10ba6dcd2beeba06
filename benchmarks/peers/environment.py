"""The Python environment of pfl-research: `python -m benchmarks.peers.environment` makes it."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from flspec.core.cache import cache_folder

__all__ = ["find_python", "make"]

PINS = Path(__file__).with_name("requirements.txt")


def environment_folder() -> Path:
    """Below the cache, as those of backends are, and named by its pins."""
    return cache_folder() / "environments" / f"pfl-{hashlib.sha256(PINS.read_bytes()).hexdigest()[:12]}"


def find_python() -> Path | None:
    """Its interpreter, or None where it is not installed."""
    python = environment_folder() / "bin" / "python"
    return python if (environment_folder() / "complete").exists() and python.exists() else None


def make() -> None:
    """Install it, unless it is there. It has the pins, and behind them the packages of this interpreter."""
    if find_python():
        return
    folder = environment_folder()
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", "--requirement", PINS], check=True)
    (library,) = folder.glob("lib/python*/site-packages")
    (library / "behind_the_pins.pth").write_text(sysconfig.get_path("purelib") + "\n")
    subprocess.run([python, "-c", "import pfl.model.pytorch"], check=True)
    (folder / "complete").touch()


if __name__ == "__main__":
    make()
