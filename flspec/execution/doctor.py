"""Checks of backends: is each installed, does it run, and does it compute what the reference computes?"""

from __future__ import annotations

import secrets
import shutil
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from flspec.compiler.compile import compile
from flspec.core.cache import cache_folder, workplace
from flspec.data.store import open_data, store_data
from flspec.errors import FlspecError, InputError, RunError
from flspec.execution.environments import environment_folder, is_installed, why_damaged, why_unavailable, why_untrusted
from flspec.execution.remote import Limits, open_backend
from flspec.execution.rounds import timed
from flspec.protocol.backend import Backend, Job, kept_state
from flspec.protocol.events import RunStarted
from flspec.protocol.plan import Plan
from flspec.protocol.registry import REFERENCE, find_backend, installed_backends
from flspec.protocol.requirements import module_names, pip_command
from flspec.protocol.state import Weights, load_state
from flspec.spec.loading import parse_spec

__all__ = ["Diagnosis", "availability", "examine"]

_REINSTALL = "install the package that offers it again"
_TOLERANCE = 1e-6  # of any weight after one round; correct engines differ by about 1e-8

_SMOKE_SPEC = """
flspec: 1
name: doctor
seed: {seed}
rounds: 1
dataset: {{kind: synthetic, classes: 3, features: 4, train_examples: 40, test_examples: 4}}
partition: {{kind: iid, clients: 2}}
model: {{kind: softmax_regression}}
client: {{epochs: 1, batch_size: 10, optimizer: {{kind: sgd, learning_rate: 0.1}}}}
"""


@dataclass(frozen=True)
class Diagnosis:
    """Finding of `examine` about one backend."""

    name: str
    status: Literal["ok", "missing", "broken"]
    versions: dict[str, str] = field(default_factory=dict)  # of the engine's packages and its Python
    seconds: float | None = None  # of the smoke run, start included; None if there was none
    detail: str = ""  # the problem, in one line
    remedy: str = ""  # the way out, in one line


def availability() -> dict[str, dict[str, Any]]:
    """Return for each backend its `variants`, and what is `missing` for it to run or None. Starts nothing."""
    return {name: _available(name) for name in installed_backends()}


def examine(selection: str, deadline_seconds: float = 120.0) -> Diagnosis:
    """Run a tiny experiment on a backend and compare its weights with those of `local`. Leaves no files behind.

    The engine is stopped if its start, or after that its round, takes longer than the deadline.
    Raises InputError if there is no such backend.
    """
    if found := _without_a_run(selection):
        return found
    lap = timed()
    try:
        if found := _damaged(selection):
            return found
        with workplace(cache_folder() / "doctor") as folder:  # gone even after a kill, with the next examination
            return _smoke_run(selection, folder, deadline_seconds)
    except Exception as error:
        seconds, remedy = lap(), _mend(selection)
        if seconds > deadline_seconds:
            remedy = f"give it longer (--deadline), or {remedy}"
        return Diagnosis(selection, "broken", seconds=seconds, detail=_one_line(error), remedy=remedy)


# Checks that need no run


def _available(name: str) -> dict[str, Any]:
    found = _without_a_run(name)
    try:
        variants = list(find_backend(name).variants)
    except InputError:
        variants = []
    return {"variants": variants, "missing": f"{found.detail}; {found.remedy}" if found else None}


def _without_a_run(selection: str) -> Diagnosis | None:
    """Return the diagnosis if the backend or something that it needs is missing, else None."""
    try:
        backend = find_backend(selection)
    except InputError as error:
        if error.__cause__ is None:  # there is no such backend
            raise
        return Diagnosis(selection, "broken", detail=_one_line(error), remedy=_REINSTALL)
    try:
        return _missing(selection, backend)
    except InputError as error:  # of the cache: what is wrong, and the way out
        detail, _, remedy = _one_line(error).rpartition("; ")
        return Diagnosis(selection, "broken", detail=detail, remedy=remedy)
    except Exception as error:  # the backend's declarations are not what they should be
        return Diagnosis(selection, "broken", detail=_one_line(error), remedy=_REINSTALL)


def _missing(selection: str, backend: Backend) -> Diagnosis | None:
    """Return the diagnosis if something that the backend declares is missing or was changed, else None."""
    if missing := backend.missing():
        detail = f"{module_names(missing)} not installed"
        return Diagnosis(selection, "missing", detail=detail, remedy=pip_command(missing))
    environment = backend.environment
    if environment is None:
        return None
    remedy = f"flspec backends install {environment.name}"
    if is_installed(environment):
        why = why_untrusted(environment)
        return Diagnosis(selection, "broken", detail=why, remedy=remedy) if why else None
    if reason := why_unavailable(environment):
        others = ", ".join(name for name in installed_backends() if name != backend.name)
        return Diagnosis(selection, "missing", detail=reason, remedy=f"use one of: {others or 'none'}")
    return Diagnosis(selection, "missing", detail="its Python environment is not installed", remedy=remedy)


def _damaged(selection: str) -> Diagnosis | None:
    """Return the diagnosis if a package in the backend's environment is not as it was installed, else None."""
    environment = find_backend(selection).environment
    if environment is None or not (why := why_damaged(environment)):
        return None
    again = f"flspec backends remove {environment.name}, then flspec backends install {environment.name}"
    return Diagnosis(selection, "broken", detail=why, remedy=again)


# The smoke run


def _smoke_run(selection: str, folder: Path, deadline: float) -> Diagnosis:
    """Run one round and return the diagnosis `ok`. Raises an error if it fails or differs from `local`."""
    # The random seed makes the data unique, so no other process can be reading them when they are removed.
    plan = compile(parse_spec(_SMOKE_SPEC.format(seed=secrets.randbits(32))))
    stored = store_data(open_data(plan.settings.data))
    try:
        lap = timed()
        versions, weights = _execute(selection, plan, folder / "examined", deadline)
        if (seconds := lap()) > deadline:
            raise RunError(f"it took {seconds:.0f} s, more than its deadline of {deadline:g} s")
        if selection != REFERENCE:
            _compare(weights, _reference(plan, folder / "reference", deadline))
        return Diagnosis(selection, "ok", versions, seconds)
    finally:
        shutil.rmtree(stored)


def _execute(selection: str, plan: Plan, folder: Path, deadline: float) -> tuple[dict[str, str], Weights]:
    """Run the plan; return the engine's versions and its final weights."""
    folder.mkdir()
    versions: dict[str, str] = {}
    try:
        with open_backend(selection, Limits(start=deadline, silence=deadline)) as backend:
            if refused := backend.refusals(plan):
                raise RunError(f"it refuses the simplest experiment: {'; '.join(refused)}")
            with closing(backend.execute(plan, Job(folder, workers=2))) as events:
                for event in events:
                    versions |= event.versions if isinstance(event, RunStarted) else {}
    except FlspecError as error:
        raise RunError(_without_log(str(error), folder / "worker.log")) from error
    return versions, load_state(kept_state(folder, 1), plan.digest).weights


def _reference(plan: Plan, folder: Path, deadline: float) -> Weights:
    try:
        return _execute(REFERENCE, plan, folder, deadline)[1]
    except Exception as error:
        raise RunError(f"it runs, but {REFERENCE}, which it is compared with, does not: {_one_line(error)}") from error


def _compare(weights: Weights, expected: Weights) -> None:
    if list(weights) != list(expected):
        raise RunError(f"its weights are {', '.join(weights)}, those of {REFERENCE} are {', '.join(expected)}")
    distance = np.max([np.max(np.abs(value - expected[name])) for name, value in weights.items()])
    if not distance <= _TOLERANCE:  # also true for NaN
        raise RunError(
            f"after one round its weights differ from those of {REFERENCE} by {distance:.1e}, "
            f"more than the {_TOLERANCE:g} that rounding explains"
        )


# Messages


def _mend(selection: str) -> str:
    backend = find_backend(selection)
    if environment := backend.environment:
        return f"delete {environment_folder(environment)} and run 'flspec backends install {environment.name}' again"
    return pip_command(backend.requirements, "--force-reinstall") if backend.requirements else _REINSTALL


def _without_log(message: str, log: Path) -> str:
    """Remove the path of the log from a message, because the log will be deleted before anybody reads it."""
    return message.replace(f"its log is {log}, whose end reads: ", "its log ends: ").replace(f"; its log is {log}", "")


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())[:400]
    return text if isinstance(error, FlspecError) else f"{type(error).__name__}: {text}"
