"""The provenance of every value of a spec: where it was written, what it replaced, or that it is a default."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import JsonValue

from flspec.core.components import Document
from flspec.spec.overlays import Draft
from flspec.spec.spec import Spec
from flspec.spec.yaml_reader import KeyPath, dotted

__all__ = ["Provenance", "Replaced", "provenance", "provenance_of"]


class Replaced(Document):
    """An earlier value, now replaced."""

    value: JsonValue
    origin: str


class Provenance(Document):
    """One value in effect."""

    path: str
    value: JsonValue
    origin: str  # "base.yaml:12", "--set" or "default"
    replaced: tuple[Replaced, ...]  # the latest first


def provenance(spec: Spec, draft: Draft) -> tuple[Provenance, ...]:
    """Return the provenance of every value of `spec`, in the order of its sections, by `draft`; absent values are left
    out.
    """
    return provenance_of(spec.model_dump(mode="json"), draft)


def provenance_of(values: Mapping[str, Any], draft: Draft) -> tuple[Provenance, ...]:
    """Return the same of a spec that was validated before, as a run's result has it."""
    return tuple(
        _of_value(path, value, draft) for path, value in _leaves(values, ()) if value is not None or path in draft.said
    )


def _of_value(path: KeyPath, value: JsonValue, draft: Draft) -> Provenance:
    said = draft.said.get(path, ())
    *before, last = said or (None,)
    replaced = tuple(Replaced(value=one.value, origin=str(one.origin)) for one in reversed(before) if one)
    return Provenance(path=dotted(path), value=value, origin=str(last.origin) if last else "default", replaced=replaced)


def _leaves(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    if not isinstance(value, dict):
        yield path, value
        return
    for key, child in value.items():
        yield from _leaves(child, (*path, key))
