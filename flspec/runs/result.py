"""The common result: one schema for every backend, written as `result.json`."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from flspec.analysis.skew import Skew
from flspec.core.components import Document
from flspec.core.files import read_regular, write_atomically
from flspec.errors import InputError
from flspec.metrics import Confusion

__all__ = ["BestRecord", "Failure", "Result", "RoundRecord", "describe_environment", "load_result", "save_result"]


class Failure(Document):
    """A client whose update did not count."""

    client: int
    reason: str


class RoundRecord(Document):
    """One round. `train` is measured during local training, `evaluation` of the aggregated model after it."""

    round: int
    cohort: tuple[int, ...]
    num_examples: int  # that the cohort trains on, each counted once
    train: dict[str, float]
    evaluation: dict[str, dict[str, float]] | None
    undefined: dict[str, dict[str, str]] = {}  # noqa: RUF012  # why a metric of a set of examples has no value
    epsilon: float | None = None
    bytes_down: int  # of weights sent to the cohort
    bytes_up: int  # of updates sent back
    seconds: dict[str, float]  # train, aggregate (where the backend tells it apart), evaluate
    failures: tuple[Failure, ...] = ()


class BackendInfo(Document):
    """Who ran it."""

    name: str  # as selected, e.g. "flower" or "flower:inprocess"
    versions: dict[str, str]


class Seconds(Document):
    """Of the wall clock: until the engine was up, and of everything."""

    startup: float | None
    total: float


class WeightsFile(Document):
    """Where a model is, relative to the run's folder."""

    path: str
    sha256: str


class FinalRecord(Document):
    """How good the last model is."""

    evaluation: dict[str, dict[str, float]]
    confusion: dict[str, Confusion] = {}  # noqa: RUF012  # by set of examples


class BestRecord(Document):
    """The evaluated round that is the best by `evaluation.best`, and how good its model is."""

    round: int
    metric: str
    on: str  # the set of examples
    value: float
    evaluation: dict[str, dict[str, float]]
    undefined: dict[str, dict[str, str]] = {}  # noqa: RUF012
    confusion: dict[str, Confusion] = {}  # noqa: RUF012
    weights: WeightsFile | None  # None if its checkpoint cannot be read
    note: str | None = None  # what to bear in mind


class Result(Document):
    """What a run was and what came of it."""

    schema_version: Literal[1] = 1
    status: Literal["completed", "failed", "interrupted"]
    error: str | None = None
    name: str
    plan_digest: str
    spec: dict[str, Any]
    seed: int
    backend: BackendInfo
    environment: dict[str, Any]
    started: str  # ISO 8601, UTC
    seconds: Seconds
    memory: dict[str, int]  # peak_bytes: of this process and all that it started; in a sweep, of the cell's worker
    skew: Skew | None = None  # of what the clients train on; None where an example may have several labels
    rounds: tuple[RoundRecord, ...]
    final: FinalRecord | None
    best: BestRecord | None = None  # None where none is asked for, or no round has a value
    weights: WeightsFile | None


def save_result(folder: Path, result: Result) -> None:
    """Write `result.json`, whole or not at all."""
    write_atomically(folder / "result.json", (result.model_dump_json(indent=2) + "\n").encode())


def load_result(folder: Path) -> Result:
    """Read a run's result; raises InputError if there is none or it is not one."""
    path = folder / "result.json"
    try:
        content = read_regular(path)
    except InputError as error:
        raise InputError(f"{folder}: no readable result.json ({error}); name a run's folder") from None
    try:
        return Result.model_validate_json(content)
    except ValidationError as error:
        raise InputError(f"{path}: {_why_not(content, error)}") from None


def describe_environment() -> dict[str, Any]:
    """What of this machine and its software may matter to whoever reads the result."""
    return {
        "flspec": version("flspec"),
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpus": os.cpu_count() or 1,
    }


def _why_not(content: bytes, error: ValidationError) -> str:
    try:
        document = json.loads(content)
        if isinstance(document, dict) and document.get("schema_version") not in (None, 1):
            return f"schema_version {document['schema_version']} is not known to this flspec; upgrade it"
    except (ValueError, RecursionError):
        return "not valid JSON; was it cut short?"
    first = error.errors(include_url=False)[0]
    return f"not a result of this schema: {'.'.join(map(str, first['loc']))}: {first['msg']}"
