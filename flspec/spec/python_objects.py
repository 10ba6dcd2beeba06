"""Python's own objects in a spec: what a file would say in their place, and which definitions they need."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import FunctionType
from typing import Any

from flspec.core.components import Component, Document
from flspec.core.part_files import is_from_part_file
from flspec.metrics.base import Metric
from flspec.spec.given_parts import EXTRACT, module_name

__all__ = ["definitions_in", "is_object", "said", "why_no_part"]

_DECORATE = "is a function and no metric; decorate it with flspec.metrics.metric(better=..., description=...)"


def is_object(value: Any) -> bool:
    """Return whether a spec can have this object: a component, its class, a metric, or a class of torch modules."""
    return isinstance(value, Component | Metric) or (
        isinstance(value, type) and bool(_kind(value) or _is_module(value))
    )


def why_no_part(value: Any) -> str | None:
    """Return why an object cannot be a part, if it is one that might be thought to be."""
    if isinstance(value, FunctionType):
        return f"{value.__qualname__} {_DECORATE}"
    if not isinstance(value, type) and _is_module(type(value)):
        name = type(value).__name__
        given = f'{{"kind": "torch", "module": {name}, "arguments": {{...}}}}'
        return f"a {name} that is made already has weights that no plan drew; give its class: {given}"
    if isinstance(value, type) and issubclass(value, Component) and not _kind(value):
        return f'{value.__qualname__} has no kind; write kind: Literal["name"] = "name" in it'
    return None


def said(value: Any, key: str = "") -> Any:
    """Return what a file would say in an object's place; `key` is the one that it stands at."""
    if isinstance(value, Metric):
        return value.name
    if not isinstance(value, type):
        dumped = value.model_dump(mode="json")
        return dumped if isinstance(dumped, Mapping) else {"kind": dumped}  # a loss, by its name alone
    if issubclass(value, Component):
        return {"kind": _kind(value)}
    reference = f"{_module_of(value)}:{value.__qualname__}"
    return {"kind": "torch", "module": reference} if key.rpartition(".")[2] == "model" else reference


def definitions_in(value: Any) -> Iterator[Callable[..., Any]]:
    """Yield the classes and functions that an object needs, without those that come with flspec."""
    if isinstance(value, Document):
        for _, inner in value:
            yield from definitions_in(inner)
    elif isinstance(value, tuple | list):
        for inner in value:
            yield from definitions_in(inner)
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from definitions_in(inner)
    if isinstance(value, Component | Metric) or (isinstance(value, type) and is_object(value)):
        definition = value.of if isinstance(value, Metric) else value if isinstance(value, type) else type(value)
        if definition.__module__.partition(".")[0] != "flspec":
            yield definition


def _kind(cls: type[Any]) -> str:
    """Return the kind of a component's class; empty if it has none."""
    field = cls.model_fields.get("kind") if issubclass(cls, Component) else None
    return field.default if field is not None and isinstance(field.default, str) else ""


def _is_module(cls: type[Any]) -> bool:
    return any(one.__name__ == "Module" and one.__module__.startswith("torch.nn") for one in cls.__mro__)


def _module_of(cls: type[Any]) -> str:
    if is_from_part_file(cls.__module__):
        return cls.__module__.partition(".")[2]
    return module_name(EXTRACT) if cls.__module__ == "__main__" else cls.__module__
