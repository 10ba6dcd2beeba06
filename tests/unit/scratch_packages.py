"""Packages of somebody else's, written as pip would install them, and an flspec that finds them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def write_package(folder: Path, module: str, source: str, group: str, *names: str) -> None:
    """The package `module` of one file, which offers `names` of it in an entry point group."""
    folder.mkdir(exist_ok=True)
    (folder / f"{module}.py").write_text(source)
    info = folder / f"{module}-1.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1\n")
    offered = "".join(f"{name.lower()} = {module}:{name}\n" for name in names)
    (info / "entry_points.txt").write_text(f"[{group}]\n{offered}")


def flspec(packages: Path, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run flspec where those packages are installed, in their folder unless told otherwise."""
    return run_python(packages, "-m", "flspec", *arguments, cwd=cwd)


def run_python(packages: Path, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run Python where those packages are installed."""
    paths = os.pathsep.join([str(packages), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        cwd=cwd or packages,
        timeout=240,
        check=False,
    )


def digest_of(packages: Path, spec: str = "spec.yaml") -> str:
    """The digest of the plan that a spec in the packages' folder compiles into there."""
    done = run_python(packages, "-c", f"import flspec; print(flspec.compile({spec!r}).digest)")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
