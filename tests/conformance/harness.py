"""What the conformance tests share: engines that are started once, and certificates."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from flspec.comparison.certification import BackendVerdict, Certificate, certify
from flspec.errors import InputError
from flspec.execution.remote import open_backend
from flspec.protocol.backend import Backend
from flspec.protocol.plan import Plan
from flspec.runs.result import Result, load_result

# `flower` alone runs on Ray, whose start takes longer than all these plans together: it has plans of its own.
BACKENDS = ("flower:inprocess", "tff")


@dataclass(frozen=True)
class Certified:
    """One plan, its certificate, and the folder with each backend's run."""

    plan: Plan
    certificate: Certificate
    folder: Path

    def verdict(self, backend: str) -> BackendVerdict:
        return self.certificate.backends[backend]

    def result(self, backend: str) -> Result:
        return load_result(self.folder / backend.replace(":", "-"))


class Engines:
    """Backends that are opened when first needed and closed at the end of the session."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._open: dict[str, Backend | InputError] = {}

    def __call__(self, name: str) -> Backend:
        """The open backend; skips the test, or fails it if FLSPEC_REQUIRE names the backend, when it is missing."""
        if name not in self._open:
            try:
                self._open[name] = self._stack.enter_context(open_backend(name))
            except InputError as error:
                self._open[name] = error
        engine = self._open[name]
        if isinstance(engine, InputError):
            absent(name, str(engine))
        return engine

    def certify(self, plan: Plan, backend: str, folder: Path) -> Certified:
        """The certificate of a plan on one backend against `local`."""
        engines = {name: self(name) for name in ("local", backend)}
        return Certified(plan, certify(plan, list(engines), folder, engines=engines), folder)


def absent(name: str, reason: str) -> None:
    required = name.partition(":")[0] in os.environ.get("FLSPEC_REQUIRE", "").split(",")
    (pytest.fail if required else pytest.skip)(f"{name} is not available: {reason}")
