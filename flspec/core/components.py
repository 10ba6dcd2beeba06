"""Components: the interchangeable parts that a spec names by `kind`.

A component is a frozen pydantic class whose fields are its parameters (the YAML keys) and whose methods are its
behaviour. The folder it lives in is its registry: dropping `partitioners/stripes.py` beside its siblings makes
`kind: stripes` valid, typed, in the JSON Schema and in "did you mean". Installed packages add their own through
an entry point in the group `flspec.<folder>`, for example

    [project.entry-points."flspec.partitioners"]
    stripes = "my_package:Stripes"
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    model_serializer,
)
from pydantic_core import CoreSchema, core_schema

from flspec.errors import InputError

__all__ = [
    "Component",
    "Document",
    "OmitDefaults",
    "OneOf",
    "OneOfOthers",
    "Part",
    "comes_with_flspec",
    "family_members",
    "load_family",
    "parse_component",
    "source_digests",
]


class Document(BaseModel):
    """Base of everything that is written down: immutable, and an unknown key is an error, not a shrug."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


class Component(Document):
    """Base of everything a spec can name by `kind`; equal parameters mean equal components."""


class OmitDefaults(Document):
    """A document that does not tell the fields of `omitted` at the value at which they add nothing.

    So a field that came later leaves what is written, and the digest of it, as they were for whoever does not use it.
    """

    omitted: ClassVar[dict[str, Any]] = {}

    @model_serializer(mode="wrap")
    def _tell(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        told: dict[str, Any] = handler(self)
        return {key: value for key, value in told.items() if key not in self.omitted or value != self.omitted[key]}


class OneOfOthers:
    """Validates a family's base class as the union of its concrete members, told apart by `kind`.

    A member that holds one of its own family leaves itself out by its kind, so that it cannot hold itself for ever.
    """

    def __init__(self, *but: str) -> None:
        self._but = but

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        # Not pydantic's own Union, which is no union for a family of one: its `kind` could then be left out, and
        # specs without it would break as soon as a second member is installed.
        members = {kind: member for kind, member in family_members(source).items() if kind not in self._but}
        choices = {kind: handler.generate_schema(member) for kind, member in members.items()}
        return core_schema.tagged_union_schema(choices, discriminator="kind", metadata={"family": source})


Part = Component | Callable[..., Any]  # a component, its class, or a function
C = TypeVar("C", bound=Component)
OneOf = Annotated[C, OneOfOthers()]


def load_family(package: str, path: Iterable[str]) -> list[tuple[str, Any]]:
    """Define every part of a family: the modules of its folder, then what installed packages offer.

    Returns what they offer, with the name of the entry point.
    """
    offered = []
    for module in pkgutil.iter_modules(path):
        importlib.import_module(f"{package}.{module.name}")
    for entry_point in entry_points(group=package):
        try:
            offered.append((entry_point.name, entry_point.load()))
        except Exception as error:
            offered_by = entry_point.dist.name if entry_point.dist else "an installed package"
            raise InputError(
                f"{package}: kind {entry_point.name!r}, offered by {offered_by}, cannot be imported: {error!r}; "
                f"mend or uninstall {offered_by}"
            ) from error
    return offered


def family_members(base: type[C]) -> dict[str, type[C]]:
    """The concrete components of a family by kind, in alphabetical order.

    Raises InputError if two classes claim one kind, since which of them ran could then not be told.
    """
    members: dict[str, type[C]] = {}
    for cls in _descendants(base):
        if inspect.isabstract(cls) or "kind" not in cls.model_fields:
            continue
        kind = cls.model_fields["kind"].default
        if kind in members:
            ours, theirs = (f"{c.__module__}.{c.__qualname__}" for c in (members[kind], cls))
            raise InputError(f"kind {kind!r} is defined by both {ours} and {theirs}; uninstall or rename one")
        members[kind] = cls
    return dict(sorted(members.items()))


def parse_component(base: type[C], document: Mapping[str, Any]) -> C:
    """The component that a plan's `document` describes, for a process that has only the plan."""
    adapter: TypeAdapter[C] = TypeAdapter(Annotated[base, OneOfOthers()])  # type: ignore[arg-type]
    # Through JSON, because strict validation of Python objects would refuse a list where a tuple is due.
    return adapter.validate_json(json.dumps(document))


def source_digests(parts: Mapping[str, Part]) -> dict[str, str]:
    """SHA-256 of the module that defines each part which does not come with flspec, by the name it is given."""
    return {
        name: hashlib.sha256(Path(inspect.getfile(_definition(part))).read_bytes()).hexdigest()
        for name, part in parts.items()
        if not comes_with_flspec(part)
    }


def comes_with_flspec(part: Part) -> bool:
    """Whether every copy of this version of flspec has this part."""
    return _definition(part).__module__.partition(".")[0] == "flspec"


def _definition(part: Part) -> Callable[..., Any]:
    """The class of a component, or a function itself."""
    return type(part) if isinstance(part, Component) else inspect.unwrap(part)


def _descendants(cls: type[C]) -> list[type[C]]:
    every = [c for sub in cls.__subclasses__() for c in (sub, *_descendants(sub))]
    return list(dict.fromkeys(every))  # one that is reached on two ways is still one
