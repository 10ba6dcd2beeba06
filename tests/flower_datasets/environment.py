"""The Python environment of Flower Datasets: `python -m tests.flower_datasets.environment` makes it."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from flspec.core.cache import cache_folder

__all__ = ["find_python"]

PINS = Path(__file__).with_name("requirements.txt")


def environment_folder() -> Path:
    """Below the cache, as those of backends are, and named by its pins."""
    return cache_folder() / "environments" / f"flwr-datasets-{hashlib.sha256(PINS.read_bytes()).hexdigest()[:12]}"


def find_python() -> Path | None:
    """Its interpreter, or None where it is not installed."""
    python = environment_folder() / "bin" / "python"
    return python if (environment_folder() / "complete").exists() and python.exists() else None


def make() -> None:
    """Install it, unless it is there."""
    if find_python():
        return
    folder = environment_folder()
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", "--requirement", PINS], check=True)
    subprocess.run([python, "-c", "import flwr_datasets.partitioner"], check=True)
    (folder / "complete").touch()


if __name__ == "__main__":
    make()
