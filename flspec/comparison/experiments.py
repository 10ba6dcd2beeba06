"""Differences between two experiments: in settings, in the plan, in its numbers, and in results.

Each side is a spec's file, a folder with a plan, or a run's folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import JsonValue

from flspec.analysis.description import Description, describe_plan
from flspec.comparison.results import SECRET_NOISE, compare
from flspec.core.components import Document
from flspec.core.text import join_some
from flspec.errors import InputError
from flspec.protocol.plan import Plan
from flspec.runs.result import Result, load_result
from flspec.spec.trust import check_trusted_plan

__all__ = ["Change", "Difference", "MetricChange", "Part", "RunDifference", "Side", "difference"]

_TOLD_BY_ARRAYS = {"data", "weights", "constants", "local", "statistics"}
_SECTIONS = {
    "data": "data",
    "layers": "layers",
    "networks": "networks",
    "loss": "loss",
    "client_optimizer": "client optimizer",
    "aggregator": "aggregator",
    "evaluation": "evaluation",
    "first_steps": "cut to the first steps of each task",
    "parts": "files of parts",
    "code": "code of parts that do not come with flspec",
}
_NOT_FACTS = ("plan_digest", "name", "backends", "estimates.time")  # not compared: names, measured values


class Change(Document):
    """One value in A and in B, by dotted path; None if a side does not have it."""

    path: str
    a: JsonValue
    b: JsonValue


class MetricChange(Change):
    """One metric of the last model; `difference` is B less A."""

    difference: float | None


class Part(Document):
    """A part of the plan that differs."""

    name: str
    what: str = ""  # how much of it differs, if it has several entries


class Side(Document):
    """One of the two experiments."""

    path: str
    kind: Literal["spec", "plan", "run"]
    name: str
    plan_digest: str


class RunDifference(Document):
    """The differences between two runs' results."""

    metrics: tuple[MetricChange, ...]  # all metrics, equal ones included
    same_weights: bool | None  # equal to the last bit; None if either run has no final weights
    weights_diff: float | None  # largest difference of any weight; None if they cannot be compared
    engines: tuple[Change, ...]  # backend, versions, machine
    note: str | None = None  # why runs of one plan differ, if they must


class Difference(Document):
    """All differences between two experiments."""

    a: Side
    b: Side
    same_plan: bool
    settings: tuple[Change, ...]  # between the resolved specs, defaults included
    parts: tuple[Part, ...]  # between the plans; empty if they are the same
    facts: tuple[Change, ...]  # between their descriptions
    runs: RunDifference | None  # None unless both are runs


@dataclass(frozen=True)
class _Opened:
    side: Side
    plan: Plan
    result: Result | None


def difference(a: str | Path, b: str | Path, data: Path | None = None) -> Difference:
    """Compare two experiments; specs are compiled, with `data` as compile takes it.

    Raises InputError if one is neither a spec nor a folder of a plan or run.
    """
    ours, theirs = _open(Path(a), data), _open(Path(b), data)
    same = ours.side.plan_digest == theirs.side.plan_digest
    return Difference(
        a=ours.side,
        b=theirs.side,
        same_plan=same,
        settings=_changes(ours.plan.spec, theirs.plan.spec),
        parts=() if same else tuple(_parts(ours.plan, theirs.plan)),
        facts=() if same else _changes(_facts(ours.plan), _facts(theirs.plan)),
        runs=_runs(Path(a), Path(b), ours.result, theirs.result),
    )


def _open(path: Path, data: Path | None) -> _Opened:
    opened = _read(path, data)
    if opened.side.kind != "spec":
        check_trusted_plan(opened.plan, path if (path / "plan.json").is_file() else path / "plan")
    return opened


def _read(path: Path, data: Path | None) -> _Opened:
    if not path.is_dir():
        from flspec.compiler.compile import compile

        return _opened(path, "spec", compile(path, data))
    if (path / "plan.json").is_file():
        return _opened(path, "plan", Plan.load(path))
    if (path / "result.json").is_file():
        plan, result = Plan.load(path / "plan"), load_result(path)
        if result.plan_digest != plan.digest:
            raise InputError(f"{path} is damaged: its result belongs to another plan than the one beside it")
        return _opened(path, "run", plan, result)
    if (path / "plan" / "plan.json").is_file():  # the run has not ended
        return _opened(path, "plan", Plan.load(path / "plan"))
    raise InputError(f"{path} has neither result.json nor plan.json; name a spec, or the folder of a plan or run")


def _opened(path: Path, kind: Literal["spec", "plan", "run"], plan: Plan, result: Result | None = None) -> _Opened:
    side = Side(path=str(path), kind=kind, name=str(plan.spec["name"]), plan_digest=plan.digest)
    return _Opened(side, plan, result)


# ----------------------------------------------------------------------------------------------------------- by path


def _changes(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> tuple[Change, ...]:
    """Return where two documents differ; an absent key counts as a key without a value."""
    return tuple(change for change in _pairs(ours, theirs) if change.a != change.b)


def _pairs(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[Change]:
    flat, other = dict(_flatten(ours)), dict(_flatten(theirs))
    paths = list(dict.fromkeys([*flat, *other]))
    sections = list(dict.fromkeys(map(_section_of, paths)))  # keeps a section together, whichever side has the setting
    for path in sorted(paths, key=lambda path: sections.index(_section_of(path))):
        yield Change(path=path, a=flat.get(path), b=other.get(path))


def _flatten(document: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, JsonValue]]:
    for key, value in document.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _section_of(path: str) -> str:
    return path.partition(".")[0]


def _facts(plan: Plan) -> dict[str, JsonValue]:
    description: Description = describe_plan(plan)
    flat = _flatten(description.model_dump(mode="json"))
    return {path: value for path, value in flat if not path.startswith(_NOT_FACTS)}


# ------------------------------------------------------------------------------------------------------------- plans


def _parts(ours: Plan, theirs: Plan) -> Iterator[Part]:
    """Yield the parts of the plans that differ, in the order in which compile decides them."""
    settings = {key for key in {*ours.document, *theirs.document} if ours.document.get(key) != theirs.document.get(key)}
    yield from _settings_part("data", settings)
    yield from _array_parts(ours, theirs)
    known = [key for key in _SECTIONS if key != "data"]
    for key in [*known, *sorted(settings - {*known, *_TOLD_BY_ARRAYS})]:
        yield from _settings_part(key, settings, _differing_texts(ours, theirs) if key == "parts" else "")


def _differing_texts(ours: Plan, theirs: Plan) -> str:
    """Return the part files that are in one plan alone, or have another text."""
    a, b = (dict(plan.settings.parts.sources) if plan.settings.parts else {} for plan in (ours, theirs))
    return join_some([path for path in sorted({*a, *b}) if a.get(path) != b.get(path)], 10)


def _settings_part(key: str, differing: set[str], what: str = "") -> Iterator[Part]:
    if key in differing:
        yield Part(name=_SECTIONS.get(key, key), what=what)


def _array_parts(ours: Plan, theirs: Plan) -> Iterator[Part]:
    if what := _differing_holdings(ours, theirs):
        yield Part(name="partition", what=what)
    if what := _differing_weights(ours, theirs):
        yield Part(name="initial weights", what=what)
    if what := _differing_rates(ours, theirs):
        yield Part(name="learning rates", what=what)
    if ours.num_rounds != theirs.num_rounds:
        yield Part(name="rounds", what=f"{ours.num_rounds:,} and {theirs.num_rounds:,}")
    cohorts, batches, shares, common = 0, 0, 0, 0
    rounds = min(ours.num_rounds, theirs.num_rounds)
    for number in range(1, rounds + 1):
        left, right = ({(one.client, one.repeat): one for one in plan.cohort(number)} for plan in (ours, theirs))
        cohorts += left.keys() != right.keys()
        both = left.keys() & right.keys()
        common += len(both)
        shares += sum(left[task].weight != right[task].weight for task in both)
        batches += sum(not _same_arrays(left[task].batches, right[task].batches) for task in both)
    if cohorts:
        yield Part(name="cohorts", what=f"{cohorts:,} of {rounds:,} rounds")
    if batches:
        yield Part(name="batches", what=f"{batches:,} of the {common:,} tasks that both have")
    if shares:
        yield Part(name="clients' shares of the mean", what=f"{shares:,} of the {common:,} tasks that both have")


def _differing_holdings(ours: Plan, theirs: Plan) -> str:
    """Return which clients have different examples."""
    if ours.num_clients != theirs.num_clients:
        return f"{ours.num_clients:,} and {theirs.num_clients:,} clients"
    clients = range(ours.num_clients)
    other = sum(not np.array_equal(ours.client_examples(client), theirs.client_examples(client)) for client in clients)
    return f"{other:,} of {len(clients):,} clients" if other else ""


def _differing_weights(ours: Plan, theirs: Plan) -> str:
    left, right = (plan.weights | plan.constants | plan.local for plan in (ours, theirs))
    names = list(dict.fromkeys([*left, *right]))
    sides = [(left.get(name), right.get(name)) for name in names]
    other = sum(a is None or b is None or not np.array_equal(a, b) for a, b in sides)
    if other:
        return f"{other} of {len(names)} tensors"
    return "" if list(left) == list(right) else "in another order"


def _differing_rates(ours: Plan, theirs: Plan) -> str:
    """Return in how many common rounds a schedule gives a different factor."""
    rounds = range(1, min(ours.num_rounds, theirs.num_rounds) + 1)
    sides = [[(plan.client_rate(number), plan.server_rate(number)) for number in rounds] for plan in (ours, theirs)]
    other = sum(a != b for a, b in zip(*sides, strict=True))
    return f"{other:,} of {len(rounds):,} rounds" if other else ""


def _same_arrays(ours: Sequence[Any], theirs: Sequence[Any]) -> bool:
    return len(ours) == len(theirs) and all(map(np.array_equal, ours, theirs))


# -------------------------------------------------------------------------------------------------------------- runs


def _runs(a: Path, b: Path, ours: Result | None, theirs: Result | None) -> RunDifference | None:
    if not ours or not theirs:
        return None
    comparison = compare([a, b])
    beside = comparison.runs[1]
    return RunDifference(
        metrics=tuple(_metrics(ours, theirs)),
        same_weights=beside.same_weights,
        weights_diff=beside.weights_diff,
        engines=_changes(*({"backend": result.backend.name} | _software(result) for result in (ours, theirs))),
        note=SECRET_NOISE if len(comparison.plan_digests) == 1 and comparison.has_secret_noise else None,
    )


def _metrics(ours: Result, theirs: Result) -> Iterator[MetricChange]:
    for change in _pairs(*(result.final.evaluation if result.final else {} for result in (ours, theirs))):
        a, b = change.a, change.b
        same_features = ours.features == theirs.features  # values by different ones do not compare
        moved = b - a if same_features and isinstance(a, float) and isinstance(b, float) else None
        yield MetricChange(path=change.path, a=a, b=b, difference=moved)


def _software(result: Result) -> dict[str, Any]:
    return {"status": result.status, "versions": result.backend.versions, "environment": result.environment}
