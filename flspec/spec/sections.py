"""The sections of a spec, read off its own classes: what can stand in each, as `flspec list` tells it.

A section is a key of the file itself, or below one a mapping, a family of components, or a name out of several that
say what they are, as metrics do. What else stands in a mapping are its keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel

from flspec.core.components import family_members
from flspec.errors import InputError, choose
from flspec.spec.catalogue import Kind, SpecKey, family_folder, first_line, is_family, kind_of, plain_schema, spec_key
from flspec.spec.document import NOT_IN_SMALL, Experiment, SpecFile
from flspec.spec.suggestions import model_below

__all__ = ["Section", "find_section", "sections"]


@dataclass(frozen=True)
class Section:
    """What can stand in one place of a spec."""

    section: str  # its path: "client.optimizer"
    name: str  # the family's, "client_optimizers", which is its folder and entry point group; else the path's end
    also: tuple[str, ...]  # further places that take the same
    summary: str
    type: str  # as a user says it: "integer"
    range: str
    kinds: Mapping[str, Kind]  # of what has kinds, or of a name the names there are
    keys: tuple[SpecKey, ...]  # of a mapping


def sections(document: type[BaseModel] = SpecFile) -> dict[str, Section]:
    """Every section by its path, in the order of the spec."""
    found: dict[str, Section] = {}
    for section in _below(document, (), (document,)):
        same = next((one for one in found.values() if _is_same(one, section)), None)
        if same is None:
            found[section.section] = section
        elif section.section not in (same.section, *same.also):
            found[same.section] = replace(same, also=(*same.also, section.section))
    return found


def find_section(name: str) -> Section:
    """The section at that path, or of that name or last key; raises InputError with what was meant."""
    known = sections().values()
    for is_it in (
        lambda one: name == one.section,
        lambda one: name in one.also,
        lambda one: name == one.name,
        lambda one: name == one.section.rpartition(".")[2],
    ):
        if found := next(filter(is_it, known), None):
            return found
    raise InputError(f"section: {choose(name, [one.section for one in known])}")


def _is_same(one: Section, other: Section) -> bool:
    """Whether both take the same kinds or keys."""
    what = (one.kinds, one.keys)
    return any(what) and what == (other.kinds, other.keys)


def _below(cls: type[BaseModel], path: tuple[str, ...], above: tuple[type[BaseModel], ...]) -> Iterator[Section]:
    """The sections in `cls`, which stands at `path` in the documents `above`."""
    schema = plain_schema(cls)
    for name in cls.model_fields:
        key, child = spec_key(cls, name), model_below(cls, name)
        at = (*path, name)
        if child is not None and is_family(child):
            yield _family(key, child, at)
            for member in family_members(child).values():
                if member not in above:
                    yield from _below(member, at, (*above, member))
        elif child is Experiment:
            keys = [replace(one, required=False) for one in _keys(child) if one.name not in NOT_IN_SMALL]
            yield _mapping(key, keys, at)
        elif child is not None:
            yield _mapping(key, _keys(child), at)
            if child not in above:
                yield from _below(child, at, (*above, child))
        elif (names := _names(schema["properties"][name])) or not path:
            yield _plain(key, names, at)


def _family(key: SpecKey, base: Any, path: tuple[str, ...]) -> Section:
    kinds = {kind: kind_of(kind, member) for kind, member in family_members(base).items()}
    return Section(".".join(path), family_folder(base), (), first_line(base), key.type, key.range, kinds, ())


def _mapping(key: SpecKey, keys: Sequence[SpecKey], path: tuple[str, ...]) -> Section:
    return Section(".".join(path), path[-1], (), key.description, key.type, key.range, {}, tuple(keys))


def _keys(cls: type[BaseModel]) -> list[SpecKey]:
    return [spec_key(cls, name) for name in cls.model_fields if name != "kind"]


def _plain(key: SpecKey, names: Mapping[str, Any], path: tuple[str, ...]) -> Section:
    """A key without anything below it; `names` is the schema of the names that it takes, if it takes any."""
    told = names.get("markdownEnumDescriptions") or [""] * len(names.get("enum", ()))
    docs, packages = names.get("docs", {}), names.get("packages", {})
    kinds = {
        name: Kind(name, summary, (), docs.get(name, summary), packages.get(name, "flspec"))
        for name, summary in zip(names.get("enum", ()), told, strict=True)
    }
    name = names.get("family", path[-1])
    return Section(".".join(path), name, (), key.description, key.type, key.range, kinds, ())


def _names(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a key's schema that names what it takes, each with what it is; empty if it takes anything else."""
    if "markdownEnumDescriptions" in schema and "enum" in schema:
        return schema
    inner = [*schema.get("anyOf", ()), *([schema["items"]] if isinstance(schema.get("items"), Mapping) else [])]
    return next((found for one in inner if (found := _names(one))), {})
