"""The sections of a spec, read off its own classes, with their content as `flspec list` shows it.

A section is any top-level key. Below the top level it is a key that holds a mapping, a family of components, or a name
from a list with descriptions, such as a metric's. The other entries of a mapping are its keys.
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
    """One section, and the values that it takes."""

    section: str  # its path: "client.optimizer"
    name: str  # the family's, "client_optimizers", which is its folder and entry point group; else the path's end
    also: tuple[str, ...]  # other sections that take the same
    summary: str
    type: str  # in a user's words: "integer"
    range: str
    kinds: Mapping[str, Kind]  # the kinds of a family, or the names that a name can be
    keys: tuple[SpecKey, ...]  # the keys of a mapping


def sections(document: type[BaseModel] = SpecFile) -> dict[str, Section]:
    """Return every section by its path, in the order of the spec."""
    found: dict[str, Section] = {}
    for section in _below(document, (), (document,)):
        same = next((one for one in found.values() if _is_same(one, section)), None)
        if same is None:
            # Kinds may have different things under one key: the family, or else the first, is found by it.
            found.setdefault(section.section, section)
        elif section.section not in (same.section, *same.also):
            found[same.section] = replace(same, also=(*same.also, section.section))
    return found


def find_section(name: str) -> Section:
    """Return the section of that path, name or last key; raises InputError with a suggestion."""
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
    """Return whether both take the same kinds or keys."""
    what = (one.kinds, one.keys)
    return any(what) and what == (other.kinds, other.keys)


def _below(cls: type[BaseModel], path: tuple[str, ...], above: tuple[type[BaseModel], ...]) -> Iterator[Section]:
    """Yield the sections in `cls`, which stands at `path` in the documents `above`."""
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
    """Return the section of a key with nothing below it; `names` is the schema of its names, if it takes names."""
    summaries = names.get("markdownEnumDescriptions") or [""] * len(names.get("enum", ()))
    docs, packages = names.get("docs", {}), names.get("packages", {})
    kinds = {
        name: Kind(name, summary, (), docs.get(name, summary), packages.get(name, "flspec"))
        for name, summary in zip(names.get("enum", ()), summaries, strict=True)
    }
    name = names.get("family", path[-1])
    return Section(".".join(path), name, (), key.description, key.type, key.range, kinds, ())


def _names(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the part of a key's schema that lists names with descriptions; empty if the key takes no such names."""
    if "markdownEnumDescriptions" in schema and "enum" in schema:
        return schema
    inner = [*schema.get("anyOf", ()), *([schema["items"]] if isinstance(schema.get("items"), Mapping) else [])]
    return next((found for one in inner if (found := _names(one))), {})
