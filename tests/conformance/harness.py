"""What the conformance tests share: engines that are started once, and certificates of all of them together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

from flspec.comparison.certification import BackendVerdict, Certificate, Phase, certify
from flspec.errors import InputError
from flspec.execution.environments import environment_python
from flspec.execution.remote import open_backend
from flspec.execution.rounds import initial_state
from flspec.protocol.backend import Backend, kept_state
from flspec.protocol.plan import Plan
from flspec.protocol.registry import find_backend
from flspec.protocol.requirements import module_names
from flspec.protocol.state import ServerState, load_state
from flspec.runs.result import Result, RoundRecord, load_result

# `flower` alone runs on Ray, whose start takes longer than all these plans together: it has plans of its own.
BACKENDS = ("flower:inprocess", "tff")


@dataclass(frozen=True)
class Certified:
    """One plan, its certificate, and the folder with each backend's run."""

    plan: Plan
    certificate: Certificate
    folder: Path
    kept: Path  # the states of each backend's free run, which the certificate itself forgets

    def verdict(self, backend: str) -> BackendVerdict:
        return self.certificate.backends[backend]

    def result(self, backend: str) -> Result:
        return load_result(self.folder / _home(backend))

    def states(self, backend: str) -> list[ServerState]:
        """The states of its free run, from round 0 on."""
        files = [kept_state(self.kept / _home(backend), number + 1) for number in range(self.plan.num_rounds)]
        return [initial_state(self.plan), *(load_state(file, self.plan.digest) for file in files)]


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

    def available(self, names: Sequence[str]) -> list[str]:
        """Those that are not missing."""
        for name in names:
            with suppress(pytest.skip.Exception, pytest.fail.Exception):
                self(name)
        return [name for name in names if isinstance(self._open[name], Backend)]

    def certify(self, plan: Plan, backends: Sequence[str], folder: Path) -> Certified:
        """The certificate of a plan on several backends against one run of `local`."""
        kept = folder.with_name("states")

        def keep(name: str, phase: Phase, record: RoundRecord) -> None:
            if phase == "free-running":
                file = kept_state(kept / _home(name), record.round)
                file.parent.mkdir(parents=True, exist_ok=True)
                os.link(kept_state(folder / _home(name), record.round), file)

        engines = {name: self(name) for name in ("local", *backends)}
        return Certified(plan, certify(plan, list(engines), folder, engines=engines, watch=keep), folder, kept)


def _home(backend: str) -> str:
    """The folder of a backend's run below a certificate's."""
    return backend.replace(":", "-")


def require(name: str) -> None:
    """Skip the test, or fail it where FLSPEC_REQUIRE names the backend, if it cannot be started here."""
    backend = find_backend(name)
    try:
        if backend.environment:
            environment_python(backend.environment)
    except InputError as error:
        absent(name, str(error))
    if missing := backend.missing():
        absent(name, f"{module_names(missing)} cannot be imported")


def absent(name: str, reason: str) -> NoReturn:
    required = name.partition(":")[0] in os.environ.get("FLSPEC_REQUIRE", "").split(",")
    if required:
        pytest.fail(f"{name} is not available: {reason}")
    pytest.skip(f"{name} is not available: {reason}")
