"""The families of components that a spec can name, read off the spec's own classes.

Nothing is listed by hand. A field of type `OneOf[...]` anywhere below `Spec` is a family. Its members are the classes
in its folder and those of installed packages.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from types import UnionType
from typing import Annotated, Any, TypeGuard, Union, get_args, get_origin

from pydantic import BaseModel, JsonValue
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from flspec.core.components import Component, comes_with_flspec, family_members, origin_of
from flspec.core.part_files import PartFiles, part_files_in_use
from flspec.errors import InputError, choose
from flspec.spec.spec import Spec
from flspec.spec.suggestions import model_below

__all__ = [
    "Family",
    "Kind",
    "SpecKey",
    "families",
    "family_folder",
    "find_family",
    "find_kind",
    "first_line",
    "is_family",
    "kind_of",
    "parameters",
    "plain_schema",
    "section_below",
    "spec_key",
]


@dataclass(frozen=True)
class SpecKey:
    """One key of a section."""

    name: str
    type: str  # in a user's words: "list of integers"
    range: str  # "above 0, at most 1000000"; empty if any value of its type will do
    required: bool
    default: JsonValue  # None where required
    examples: tuple[JsonValue, ...]
    description: str


@dataclass(frozen=True)
class Kind:
    """One member of a family."""

    kind: str
    summary: str
    parameters: tuple[SpecKey, ...]
    description: str  # the whole docstring
    package: str  # "flspec", or the package that brought it


@dataclass(frozen=True)
class Family:
    """The components that can stand in one section of a spec, by kind."""

    name: str  # the folder, and the end of the entry point group: "partitioners"
    section: str  # "partition"
    also: tuple[str, ...]  # other sections that take this family
    is_list: bool  # whether the section is a list of them
    summary: str
    kinds: Mapping[str, Kind]


def families(spec: type[BaseModel] = Spec) -> dict[str, Family]:
    """Return every family that `spec` can name, by its folder's name, in the order of the spec."""
    found: dict[str, Family] = {}
    _collect(spec, (), found)
    return found


def find_family(name: str) -> Family:
    """Return the family of that name or section; raises InputError with a suggestion."""
    known = families()
    for family in known.values():
        if name in (family.name, family.section, *family.also):
            return family
    raise InputError(f"family: {choose(name, [family.section for family in known.values()])}")


def find_kind(family: Family, kind: str) -> Kind:
    """Return the member of that kind; raises InputError with a suggestion."""
    if kind not in family.kinds:
        raise InputError(f"{family.section}: {choose(kind, list(family.kinds))}")
    return family.kinds[kind]


def parameters(cls: type[BaseModel]) -> tuple[SpecKey, ...]:
    """Return the keys of a section without `kind`, required keys first."""
    keys = [spec_key(cls, name) for name in cls.model_fields if name != "kind"]
    return tuple(sorted(keys, key=lambda key: not key.required))


def spec_key(cls: type[BaseModel], name: str) -> SpecKey:
    """Return one key of a section."""
    schema = plain_schema(cls)
    return _parameter(name, schema["properties"][name], name in schema.get("required", ()))


def plain_schema(cls: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON Schema of a section, in which only the kinds of components appear."""
    return _plain_schema(cls, part_files_in_use())


@cache
def _plain_schema(cls: type[BaseModel], files: PartFiles | None) -> dict[str, Any]:
    """Return the same, with the kinds and names of these part files, which are in use."""
    schema = cls.model_json_schema(schema_generator=_Plain)
    if "$ref" in schema:  # a section that can contain itself
        return dict(schema["$defs"][schema["$ref"].rpartition("/")[2]])
    return schema


def is_family(cls: type[BaseModel]) -> TypeGuard[type[Component]]:
    """Return whether a spec chooses a member of `cls` by its kind."""
    return issubclass(cls, Component) and "kind" not in cls.model_fields


def section_below(cls: type[BaseModel], key: str) -> type[BaseModel] | None:
    """Return the class of the mapping directly at a key, rather than in a list there; for a family, its base class."""
    annotation = cls.model_fields[key].annotation
    options = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    plain = [get_args(option)[0] if get_origin(option) is Annotated else option for option in options]
    return next((option for option in plain if inspect.isclass(option) and issubclass(option, BaseModel)), None)


def first_line(cls: type[BaseModel]) -> str:
    """Return the first line of a class's docstring."""
    # The class's own docstring, because an inherited one does not describe it.
    return inspect.cleandoc(cls.__doc__ or "").partition("\n")[0]


def _collect(cls: type[BaseModel], path: tuple[str, ...], found: dict[str, Family]) -> None:
    """Add the families below `cls`."""
    for name in cls.model_fields:
        child, section = model_below(cls, name), ".".join((*path, name))
        if child is None:
            continue
        if not is_family(child):
            _collect(child, (*path, name), found)
        elif (family := family_folder(child)) in found:
            found[family] = replace(found[family], also=(*found[family].also, section))
        else:
            members = family_members(child)
            kinds = {kind: kind_of(kind, member) for kind, member in members.items()}
            found[family] = Family(family, section, (), section_below(cls, name) is None, first_line(child), kinds)
            for member in members.values():
                _collect(member, (*path, name), found)


def family_folder(base: type[BaseModel]) -> str:
    """Return the name of a family: its folder's."""
    return base.__module__.removesuffix(".base").rpartition(".")[2]


def kind_of(kind: str, member: type[Component]) -> Kind:
    """Return the facts of a member."""
    return Kind(kind, first_line(member), parameters(member), inspect.cleandoc(member.__doc__ or ""), _package(member))


def _package(member: type[Component]) -> str:
    return "flspec" if comes_with_flspec(member) else origin_of(member)


# ------------------------------------------------------------------------------------------------- a field, in words


class _Plain(GenerateJsonSchema):
    """A schema that says only "component" or "section" of a field that holds one, and not its contents."""

    def function_plain_schema(self, schema: core_schema.PlainValidatorFunctionSchema) -> JsonSchemaValue:
        if "family" not in (family := schema.get("metadata", {})):
            return super().function_plain_schema(schema)
        kinds = [kind for kind in family_members(family["family"]) if kind not in family["but"]]
        return {"type": "component", "enum": kinds}

    def literal_schema(self, schema: core_schema.LiteralSchema) -> JsonSchemaValue:
        """Return a family's names with all facts about them, or any other literal."""
        return super().literal_schema(schema) | schema.get("metadata", {})


def _parameter(name: str, schema: Mapping[str, Any], required: bool) -> SpecKey:
    return SpecKey(
        name,
        _type(schema),
        _range(schema),
        required,
        schema.get("default"),
        tuple(schema.get("examples", ())),
        schema.get("description", ""),
    )


_NAMES = {  # one, and many
    "integer": ("integer", "integers"),
    "number": ("number", "numbers"),
    "string": ("text", "texts"),
    "boolean": ("true or false", "true or false"),
    "object": ("mapping", "mappings"),
    "null": ("null", "null"),
}


def _type(schema: Mapping[str, Any], many: bool = False) -> str:
    if "anyOf" in schema:
        return " or ".join(_type(option, many) for option in _without_names(schema["anyOf"]))
    if "const" in schema or "enum" in schema:
        values = ", ".join(map(str, schema.get("enum", [schema.get("const")])))
        return f"kind: {values}" if schema.get("type") == "component" else f"one of {values}"
    if "prefixItems" in schema:
        return f"list of {len(schema['prefixItems'])} {_type(schema['prefixItems'][0], many=True)}"
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}), many=True)}"
    name = "object" if "$ref" in schema else schema.get("type", "")
    return _NAMES.get(name, ("any value", "any values"))[many]


def _without_names(options: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the options without the names of components that stand for the components themselves."""
    kinds = {kind for option in options if option.get("type") == "component" for kind in option["enum"]}
    return [
        one for one in options if one.get("type") == "component" or not kinds or not kinds >= {*one.get("enum", "?")}
    ]


def _range(schema: Mapping[str, Any]) -> str:
    limits = {key: value for key, value in schema.items() if "prefixItems" not in schema or "Items" not in key}
    if schema.get("type") == "integer" and "exclusiveMinimum" in limits:
        limits["minimum"] = limits.pop("exclusiveMinimum") + 1
    words = [
        word.format(format(limits[key], "g" if limits[key] % 1 else ",.0f"))
        for key, word in (
            ("minimum", "at least {}"),
            ("exclusiveMinimum", "above {}"),
            ("maximum", "at most {}"),
            ("exclusiveMaximum", "below {}"),
            ("minItems", "at least {} of them"),
            ("maxItems", "at most {} of them"),
        )
        if key in limits
    ]
    item = next(iter(schema.get("prefixItems", ())), schema.get("items"))
    words += [f"each {inner}"] if item and (inner := _range(item)) else []
    words += [inner for option in schema.get("anyOf", ()) if (inner := _range(option))]
    words += [schema["patternErrorMessage"]] if "patternErrorMessage" in schema else []
    return ", ".join(words)
