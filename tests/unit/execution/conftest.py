"""A backend that has an environment of its own, installed by scripts in the place of pip."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flspec.execution import environments
from flspec.protocol.requirements import Environment
from tests.unit.execution.installing import TOY, script, write_backend


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Environment]:
    """A backend with an environment of its own, which can be had here and is not installed."""
    write_backend(tmp_path / "packages")
    monkeypatch.syspath_prepend(tmp_path / "packages")
    monkeypatch.setenv("FLSPEC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    yield TOY
    for module in ("toy_backend", "toy_backend.backend"):
        sys.modules.pop(module, None)


@pytest.fixture
def pip_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Replaces pip by a script, and leaves it out of new environments, where it would take most of the time."""
    python = script(
        tmp_path / "quick_python",
        f"""case "$*" in
            "-I -m venv "*) exec {shlex.quote(sys.executable)} -I -m venv --without-pip "$4" ;;
            *) exec {shlex.quote(sys.executable)} "$@" ;;
        esac""",
    )
    monkeypatch.setattr(sys, "executable", str(python))
    return lambda code: monkeypatch.setattr(environments, "_PIP_INSTALL", ("-I", "-u", "-c", code))
