"""A spec file as one experiment or, with a `matrix`, as many."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import JsonValue, ValidationError

from flspec.core.text import short_names
from flspec.errors import InputError, Problem, SpecError, choose
from flspec.spec.loading import in_order, mistakes_in_small, mistakes_of, validate_draft
from flspec.spec.matrix import Combination, Matrix, combinations, count, mistakes
from flspec.spec.overlays import (
    Draft,
    Origin,
    Override,
    apply_overrides,
    compose,
    draft_of_text,
    parse_overrides,
    variant_of,
)
from flspec.spec.spec import Spec
from flspec.spec.yaml_reader import KeyPath

__all__ = [
    "Cell",
    "Study",
    "check_backends",
    "load_study",
    "load_variants",
    "parse_study",
    "study_of_draft",
]

_MOST_RUNS = 10_000
_LONGEST_LABEL = 120


@dataclass(frozen=True)
class Cell:
    """One experiment of a study."""

    label: str  # "alpha=0.1,seed=0", unique in its study, safe as part of a file's name; empty without a matrix
    values: Mapping[str, JsonValue]  # the values that identify it, by path: {"partition.alpha": 0.1, "seed": 0}
    spec: Spec
    text: str  # the whole spec as YAML, as its run folder stores it
    draft: Draft | None = None  # with the origin of each value


@dataclass(frozen=True)
class Study:
    """The experiments that a spec file asks for."""

    name: str
    backend: str  # where to run it by default
    cells: tuple[Cell, ...]  # at least one, in the order of the axes, seeds varying fastest
    is_matrix: bool

    def cell(self, label: str | None) -> Cell:
        """Return the cell of that label, which may be None if there is only one cell; raises InputError."""
        labels = [cell.label for cell in self.cells]
        if label is None and self.is_matrix:
            raise InputError(f"{self.name} is a matrix of {len(labels)}; choose one with --cell, e.g. {labels[0]}")
        if label is not None and not self.is_matrix:
            raise InputError(f"--cell: {self.name} has no matrix")
        if label is not None and label not in labels:
            raise InputError(f"--cell: {choose(label, labels[:20])}{' …' if len(labels) > 20 else ''}")
        return self.cells[labels.index(label or "")]


def load_study(
    path: str | os.PathLike[str],
    settings: Iterable[str] = (),
    max_runs: int = _MOST_RUNS,
    small: bool = False,
    is_run_here: bool = False,
) -> Study:
    """Read and validate a spec file and every experiment that it, or its small variant, asks for.

    `settings` are laid over it, each as `a.b=value`. Raises SpecError with every problem found, with `is_run_here` also
    that the backend is not installed; InputError if the file cannot be read.
    """
    given = parse_overrides(settings)
    return _study(apply_overrides(variant_of(compose(Path(path)), small), given), given, max_runs, is_run_here)


def load_variants(
    path: str | os.PathLike[str], settings: Iterable[str] = (), max_runs: int = _MOST_RUNS
) -> tuple[Study, Study | None]:
    """Return a spec file's study, and that of its small variant if it has one; raises as `load_study`, for both at
    once.
    """
    given = parse_overrides(settings)
    draft = compose(Path(path))
    studies: list[Study] = []
    problems: list[Problem] = []
    for variant in filter(None, (draft, draft.small)):
        try:
            studies.append(_study(apply_overrides(variant, given), given, max_runs, is_run_here=True))
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(in_order(problems))
    return studies[0], studies[1] if draft.small else None


def parse_study(content: bytes | str, file: str = "spec", max_runs: int = _MOST_RUNS) -> Study:
    """Validate the text of a spec and every experiment that it asks for; `file` names it in messages."""
    return _study(draft_of_text(content.encode() if isinstance(content, str) else content, file), (), max_runs)


def study_of_draft(draft: Draft) -> Study:
    """Validate a draft and every experiment that it asks for."""
    return _study(draft, (), _MOST_RUNS)


def _study(draft: Draft, given: Sequence[Override], max_runs: int, is_run_here: bool = False) -> Study:
    """Return a draft's study. Of a draft with problems, the backend's is one, if it is to be run here."""
    try:
        return _study_of(draft, given, max_runs)
    except SpecError as error:
        backend = draft.value.get("backend")
        found = _why_no_backend(draft, backend) if is_run_here and isinstance(backend, str) else None
        if found is None or any(problem.path == "backend" for problem in error.problems):
            raise
        raise SpecError(in_order([*error.problems, found])) from None


def _study_of(draft: Draft, given: Sequence[Override], max_runs: int) -> Study:
    if draft.value.get("matrix") is None:  # absent, or set to null by an extending file or a setting
        draft = draft.without("matrix")
        spec = validate_draft(draft)
        return Study(spec.name, spec.backend, (Cell("", {}, spec, draft.text, draft),), is_matrix=False)
    matrix = _matrix(draft, given, max_runs)
    cells = _cells(draft.without("matrix"), draft, matrix)
    return Study(cells[0].spec.name, cells[0].spec.backend, tuple(cells), is_matrix=True)


def check_backends(study: Study) -> None:
    """Raise SpecError if a spec names a backend that is not installed here; another machine may well have it."""
    problems: list[Problem] = []
    for name, cell in {cell.spec.backend: cell for cell in study.cells}.items():
        assert cell.draft
        if found := _why_no_backend(cell.draft, name):
            problems.append(found)
    if problems:
        raise SpecError(in_order(problems))


def _why_no_backend(draft: Draft, name: str) -> Problem | None:
    from flspec.protocol.registry import why_no_backend

    why = why_no_backend(name)
    return draft.problem(("backend",), why.removeprefix("backend: ")) if why else None


def _matrix(draft: Draft, given: Sequence[Override], max_runs: int) -> Matrix:
    """Return the draft's matrix; raises SpecError if it is invalid, or probably not what its author meant."""
    try:
        matrix = Matrix.model_validate_json(json.dumps(draft.value["matrix"]))
    except ValidationError as error:
        from flspec.spec.diagnosis import diagnose

        problems = diagnose(draft, error, Matrix, ("matrix",))
        raise SpecError(in_order([*problems, *mistakes_of(draft.without("matrix"))])) from None
    found = [draft.problem(("matrix", *path), message) for path, message in mistakes(matrix)]
    found += [_is_an_axis(axis, s) for s in given for axis in _varied(matrix) if _is_within(axis, s.path)]
    if (runs := count(matrix)) > max_runs:
        found.append(draft.problem(("matrix",), f"expands to {runs:,} runs; the limit is {max_runs:,} (--max-runs)"))
    if found:
        raise SpecError(in_order([*found, *mistakes_of(draft.without("matrix"))]))
    return matrix


def _cells(base: Draft, draft: Draft, matrix: Matrix) -> list[Cell]:
    drafts: list[tuple[Combination, Draft]] = []
    for combination, places in combinations(matrix):
        settings = [_setting(draft, name, combination[name], ("matrix", *places[name])) for name in combination]
        drafts.append((combination, replace(apply_overrides(base, settings), small=None)))
    if not drafts:
        raise SpecError([draft.problem(("matrix", "exclude"), "excludes every experiment; remove some of it")])
    labels = _labels([combination for combination, _ in drafts])
    cells: list[Cell] = []
    problems = [*mistakes_of(base), *mistakes_in_small(base)]  # also problems of values that every cell replaces
    for label, (combination, one) in zip(labels, drafts, strict=True):
        try:
            cells.append(Cell(label, combination, validate_draft(one), one.text, one))
        except SpecError as error:
            problems += error.problems
    if alike := _alike(cells):
        problems.append(draft.problem(("matrix",), f"asks for the same experiment more than once: {alike}; remove one"))
    if problems:
        distinct = {(problem.path, problem.message): problem for problem in reversed(problems)}  # once for all cells
        raise SpecError(in_order(distinct.values()))
    return cells


def _alike(cells: Sequence[Cell]) -> str:
    """Return the labels of the first cells that are the same experiment, however their values are written."""
    specs = [cell.spec.model_dump_json() for cell in cells]
    repeated = next((spec for spec, times in Counter(specs).items() if times > 1), None)
    return ", ".join(cell.label for cell, spec in zip(cells, specs, strict=True) if spec == repeated)


def _setting(draft: Draft, name: str, value: JsonValue, place: KeyPath) -> Override:
    """Return a value of the matrix as a setting that knows where it was written."""
    origin = draft.origin(place)
    assert origin is not None, place
    return Override(tuple(name.split(".")), value, origin, _origins_in(draft, value, place))


def _origins_in(draft: Draft, value: JsonValue, place: KeyPath) -> dict[KeyPath, Origin]:
    """Return the origins inside a value, by path from its root."""
    if not isinstance(value, dict | list):
        return {}
    depth = len(place)
    return {path[depth:]: at for path, at in draft.origins.items() if len(path) > depth and path[:depth] == place}


def _varied(matrix: Matrix) -> list[str]:
    return [*matrix.axes, *(["seed"] if matrix.seeds else [])]


def _is_within(axis: str, path: KeyPath) -> bool:
    parts = tuple(axis.split("."))
    return parts == path[: len(parts)]


def _is_an_axis(axis: str, setting: Override) -> Problem:
    where = "matrix.seeds" if axis == "seed" else "matrix.axes"
    message = f"{axis} varies in the matrix, which would replace it; set {where} instead"
    return Problem(message, axis, setting.origin.source)


def _labels(combinations: Sequence[Combination]) -> list[str]:
    """Return a short label for each combination, no two the same."""
    names = short_names(name for combination in combinations for name in combination)
    every = {name: [c[name] for c in combinations if name in c] for name in names}
    labels = [
        ",".join(f"{names[name]}={_tell(value, every[name])}" for name, value in combination.items())
        for combination in combinations
    ]
    times = Counter(labels)
    is_fine = {label: times[label] == 1 and len(label) <= _LONGEST_LABEL for label in labels}
    return [
        label if is_fine[label] else f"{label[:_LONGEST_LABEL]}~{_mark(combination)}"
        for label, combination in zip(labels, combinations, strict=True)
    ]


def _tell(value: JsonValue, among: Sequence[JsonValue]) -> str:
    """Return a value in few characters that are safe in a file's name; a component by its kind, if that is enough."""
    match value:
        case dict() if "kind" in value:
            alike = [v for v in among if isinstance(v, dict) and v.get("kind") == value["kind"]]
            telling = [k for k in value if k != "kind" and any(other.get(k) != value[k] for other in alike)]
            text = "_".join([str(value["kind"]), *(f"{k}={_tell(value[k], [])}" for k in telling)])
        case dict():
            text = "_".join(f"{k}={_tell(v, [])}" for k, v in value.items())
        case list():
            text = "-".join(_tell(item, []) for item in value)
        case bool() | None:
            text = json.dumps(value)
        case _:
            text = str(value)
    return re.sub(r"[^A-Za-z0-9.=+_-]", "-", text)


def _mark(combination: Combination) -> str:
    return hashlib.sha256(json.dumps(combination, sort_keys=True).encode()).hexdigest()[:6]
