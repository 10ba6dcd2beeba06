"""`matrix:`, a spec's way to ask for many experiments.

    matrix:
      axes:
        client.optimizer.learning_rate: [0.01, 0.1]
        partition: [{kind: iid, clients: 10}, {kind: dirichlet, clients: 10, alpha: 0.1}]
      seeds: [0, 1, 2]
      exclude: [{client.optimizer.learning_rate: 0.1, seed: 2}]
      include: [{client.optimizer.learning_rate: 1, partition.alpha: 0.5}]

Axes are named, so that a setting whose value is a list is never taken for an axis.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated

from pydantic import Field, JsonValue

from flspec.core.components import Document
from flspec.core.text import join_some
from flspec.errors import choose, shorten
from flspec.spec.yaml_reader import KeyPath

__all__ = ["Combination", "Matrix", "combinations", "count", "mistakes"]

_MOST_VALUES = 1_000_000  # of a list; --max-runs bounds the experiments
_Name = Annotated[str, Field(max_length=256)]
Override = Annotated[dict[_Name, JsonValue], Field(min_length=1, max_length=100)]
Combination = Mapping[str, JsonValue]  # the value of each path that a cell sets


class Matrix(Document):
    """Every combination of the axes' values, without `exclude`, plus `include`, each with every seed."""

    axes: Annotated[
        dict[_Name, Annotated[tuple[JsonValue, ...], Field(min_length=1, max_length=_MOST_VALUES)]],
        Field(
            max_length=100,
            description="the values that a setting takes, by its path, as client.optimizer.learning_rate: [0.01, 0.1]",
            examples=[{"client.optimizer.learning_rate": [0.01, 0.1]}],
        ),
    ] = {}  # noqa: RUF012 (pydantic copies it)
    seeds: Annotated[
        tuple[Annotated[int, Field(ge=0, lt=2**63)], ...],
        Field(
            max_length=_MOST_VALUES,
            description="each combination is run with each of these seeds",
            examples=[[0, 1, 2]],
        ),
    ] = ()
    exclude: Annotated[
        tuple[Override, ...],
        Field(max_length=_MOST_VALUES, description="combinations to leave out: all that have every value named"),
    ] = ()
    include: Annotated[
        tuple[Override, ...],
        Field(max_length=_MOST_VALUES, description="combinations to add: settings by path, over the spec as it is"),
    ] = ()


def count(matrix: Matrix) -> int:
    """Return the number of experiments before any is excluded."""
    grid = math.prod(map(len, matrix.axes.values())) if _has_grid(matrix) else 0
    return (grid + len(matrix.include)) * max(1, len(matrix.seeds))


def combinations(matrix: Matrix) -> Iterator[tuple[Combination, Mapping[str, KeyPath]]]:
    """Yield each combination of values, with the place of each value in the matrix; axes in
    their order, seeds fastest.
    """
    left_out = _exclusions(matrix)
    for combination, places in _grid(matrix):
        for seeded, seeded_places in _with_seeds(matrix, combination, places):
            if not _is_excluded(seeded, left_out):
                yield seeded, seeded_places
    for number, combination in enumerate(matrix.include):
        yield from _with_seeds(matrix, combination, {name: ("include", number, name) for name in combination})


def mistakes(matrix: Matrix) -> Iterator[tuple[KeyPath, str]]:
    """Yield each place where a matrix probably does not mean what its author meant, and what is wrong there."""
    if not matrix.axes and not matrix.seeds and not matrix.include:
        yield (), "asks for nothing; add axes, seeds or include"
    for axis, values in matrix.axes.items():
        yield from _name_mistakes(axis, matrix.axes, ("axes", axis))
        yield from _repetitions(values, ("axes", axis))
    yield from _repetitions(matrix.seeds, ("seeds",))
    for number, combination in enumerate(matrix.include):
        for name in combination:
            yield from _name_mistakes(name, combination, ("include", number, name), seed=True)
    axes: dict[str, Iterable[JsonValue]] = {**matrix.axes, **({"seed": matrix.seeds} if matrix.seeds else {})}
    known = {name: list(map(_key, values)) for name, values in axes.items()}
    keys = {name: frozenset(values) for name, values in known.items()}
    for number, left_out in enumerate(matrix.exclude):
        for name, value in left_out.items():
            if name not in known:
                yield ("exclude", number, name), choose(name, known).replace("choose one of", "the axes are")
            elif _key(value) not in keys[name]:
                yield ("exclude", number, name), _no_value(_key(value), known[name])


def _has_grid(matrix: Matrix) -> bool:
    """Return whether axes or seeds make combinations; without either, only the included ones are run."""
    return bool(matrix.axes or matrix.seeds)


def _grid(matrix: Matrix) -> Iterator[tuple[dict[str, JsonValue], dict[str, KeyPath]]]:
    if not _has_grid(matrix):
        return
    for numbers in itertools.product(*(range(len(values)) for values in matrix.axes.values())):
        chosen = dict(zip(matrix.axes, numbers, strict=True))
        yield (
            {axis: matrix.axes[axis][number] for axis, number in chosen.items()},
            {axis: ("axes", axis, number) for axis, number in chosen.items()},
        )


def _with_seeds(
    matrix: Matrix, combination: Combination, places: Mapping[str, KeyPath]
) -> Iterator[tuple[Combination, Mapping[str, KeyPath]]]:
    if not matrix.seeds or "seed" in combination:
        yield combination, places
        return
    for number, seed in enumerate(matrix.seeds):
        yield {**combination, "seed": seed}, {**places, "seed": ("seeds", number)}


def _exclusions(matrix: Matrix) -> dict[tuple[str, ...], set[tuple[str, ...]]]:
    """Return the values of all exclusions by the names that they give values to, so that looking one up is quick."""
    found: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for values in matrix.exclude:
        names = tuple(sorted(values))
        found.setdefault(names, set()).add(tuple(_key(values[name]) for name in names))
    return found


def _is_excluded(combination: Combination, left_out: Mapping[tuple[str, ...], set[tuple[str, ...]]]) -> bool:
    return any(
        all(name in combination for name in names) and tuple(_key(combination[name]) for name in names) in values
        for names, values in left_out.items()
    )


def _key(value: JsonValue) -> str:
    """Return equal keys for equal values, as 1 and 1.0; unlike Python, true and 1 have different keys."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, sort_keys=True)


def _name_mistakes(
    name: str, others: Iterable[str], place: KeyPath, seed: bool = False
) -> Iterator[tuple[KeyPath, str]]:
    parts = name.split(".")
    if not all(parts):
        yield place, "expected a path, as client.optimizer.learning_rate"
    elif parts[0] == "backend":
        yield place, "a matrix runs on one backend; compare backends with flspec certify"
    elif parts[0] in ("flspec", "name", "extends", "matrix", "small"):
        yield place, f"{parts[0]} cannot differ within a matrix"
    elif name == "seed" and not seed:
        yield place, "write seeds: beside axes instead"
    for other in others:
        if name != other and name.startswith(f"{other}."):
            yield place, f"lies inside {shorten(other)}, which is set too; remove one"


def _repetitions(values: Iterable[JsonValue], place: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    seen: set[str] = set()
    for number, value in enumerate(values):
        if (key := _key(value)) in seen:
            yield (*place, number), f"{shorten(key)} is given twice; remove one"
        seen.add(key)


def _no_value(key: str, known: Sequence[str]) -> str:
    """Say of an exclusion that it excludes nothing, which would be a misspelling that nobody notices."""
    return f"{shorten(key)} is not a value of this axis, which has {join_some(known, 10)}"
