"""A new spec to start from: required keys are written, optional keys are comments to uncomment.

A value is the one asked for, or else the example of its section or its field. A field that has a default and is in no
example is written as a comment.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from flspec.core.components import family_members
from flspec.errors import InputError, choose
from flspec.spec.catalogue import SpecKey, first_line, is_family, parameters, section_below
from flspec.spec.loading import parse_spec
from flspec.spec.schema import write_schema
from flspec.spec.spec import Spec
from flspec.spec.suggestions import model_below
from flspec.spec.yaml_writer import write_value

__all__ = ["SCHEMA_FILE", "check_is_new", "default_kind", "name_for", "new_spec", "write_new_spec"]

SCHEMA_FILE = "flspec.schema.json"
_WIDTH = 110


def new_spec(asked: Mapping[str, Any] | None = None) -> str:
    """Return the text of a spec with the values in `asked`, a tree like a spec's: {"partition": {"kind": "iid"}}.

    Raises InputError if a kind is unknown, SpecError if `asked` makes no valid spec.
    """
    heading = [f"# yaml-language-server: $schema={SCHEMA_FILE}", "# Commented keys show their defaults."]
    text = "\n".join([*heading, *_keys(Spec, _with_company(asked or {}), {}, ())]) + "\n"
    parse_spec(text, "new spec")
    return text


def _with_company(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is asked for, with what the kinds asked for go with in other sections."""
    together = dict(asked)
    for goes_with in _company(Spec, asked):
        for section, values in goes_with.items():
            if isinstance(said := together.get(section, {}), Mapping):
                together[section] = values | said
    return together


def _company(cls: type[BaseModel], asked: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what each kind asked for goes with, also of those within sections that are of no kind."""
    for name, given in asked.items():
        below = model_below(cls, name) if name in cls.model_fields else None
        if below is None or not isinstance(given, Mapping):
            continue
        if not is_family(below):
            yield from _company(below, given)
            continue
        members = family_members(below)
        if member := members.get(str(given.get("kind", next(iter(members), None)))):
            yield member.goes_with
            yield from _company(member, given)


def name_for(file: Path) -> str | None:
    """Return a valid spec name made from a file's name, or None."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", file.stem).strip("._-")[:100] or None


def default_kind(section: str) -> str:
    """Return the kind that a new spec has in a section at its top level."""
    parameter = next(parameter for parameter in parameters(Spec) if parameter.name == section)
    return _example(parameter, {})["kind"]  # type: ignore[no-any-return]


def check_is_new(file: Path) -> None:
    """Raise InputError unless `file` can be created."""
    if file.exists():
        raise InputError(f"{file} exists; name another file, or remove it")
    if not file.parent.is_dir():
        raise InputError(f"{file.parent} is not a folder; make it first")


def write_new_spec(file: Path, text: str) -> bool:
    """Write a spec to a new file, and the schema that it names beside it; returns whether the schema is new."""
    check_is_new(file)
    schema = file.parent / SCHEMA_FILE
    is_new = not schema.exists()
    try:
        if is_new:
            write_schema(schema)
        with file.open("x", encoding="utf-8") as new:
            new.write(text)
    except OSError as error:
        raise InputError(f"{file} cannot be written: {error}") from None
    return is_new


# ------------------------------------------------------------------------------------------------------------- its text


def _keys(
    cls: type[BaseModel], asked: Mapping[str, Any], example: Mapping[str, Any], path: tuple[str, ...]
) -> Iterator[str]:
    """Yield the lines of one mapping."""
    known = parameters(cls)
    for parameter in known:
        section, given = section_below(cls, parameter.name), asked.get(parameter.name, {})
        is_said = parameter.name in asked or parameter.name in example
        has_default = parameter.default is not None and not isinstance(
            parameter.default, str
        )  # a name is said in a key
        if section and isinstance(given, Mapping) and (is_said or parameter.required or has_default):
            yield from _section(section, parameter, given, _example(parameter, example), path)
        else:
            yield from _key(
                parameter, asked, example, _kinds(model_below(cls, parameter.name), (*path, parameter.name)), len(path)
            )
    for name in asked:
        if name not in {"kind", *(parameter.name for parameter in known)}:  # the error comes when the text is parsed
            yield _indent(f"{name}: {write_value(asked[name])}", len(path))


def _key(
    parameter: SpecKey, asked: Mapping[str, Any], example: Mapping[str, Any], kinds: str, depth: int
) -> Sequence[str]:
    name, comment = parameter.name, (parameter.description + kinds).removeprefix("; ")
    of_its_own = {name: parameter.examples[0]} if parameter.required and parameter.examples else {}
    said = of_its_own | {**example} | {**asked}
    if name in said:
        return _commented(f"{name}: {write_value(said[name])}", comment, depth)
    if parameter.required:
        return []  # no example: parsing the text reports it as missing
    return _commented(f"# {name}: {write_value(parameter.default)}", comment, depth)


def _kinds(cls: type[BaseModel] | None, path: tuple[str, ...]) -> str:
    """Return the kinds to choose from at a path, in words; nothing if no component stands there."""
    if cls is None or not is_family(cls):
        return ""
    return f"; kinds: {', '.join(family_members(cls))} (flspec list {'.'.join(path)})"


def _section(
    cls: type[BaseModel],
    parameter: SpecKey,
    asked: Mapping[str, Any],
    example: Mapping[str, Any],
    path: tuple[str, ...],
) -> Iterator[str]:
    """Yield the lines of a mapping below a key; all are comments if no value is given."""
    path, kind_lines = (*path, parameter.name), []
    comment = (parameter.description + _kinds(cls, path)).removeprefix("; ")
    if is_family(cls):
        members = family_members(cls)
        kind = asked.get("kind", example.get("kind", next(iter(members), None)))
        if not isinstance(kind, str) or kind not in members:
            raise InputError(f"{'.'.join(path)}: {choose(kind, list(members))}")
        example = example if kind == example.get("kind") else {}
        cls = members[kind]
        kind_lines = list(_commented(f"kind: {kind}", first_line(cls), len(path)))
    lines = [*kind_lines, *_keys(cls, asked, example, path)]
    says_something = any(not line.lstrip().startswith("#") for line in lines)
    if len(path) == 1:
        yield ""
    yield from _above(_sentence(comment), len(path) - 1)
    yield _indent(f"{'' if says_something else '# '}{parameter.name}:", len(path) - 1)
    yield from lines


def _example(parameter: SpecKey, example: Mapping[str, Any]) -> dict[str, Any]:
    """Return a section's example: from the section around it, its own, or its default kind."""
    if parameter.name in example:
        return dict(example[parameter.name])
    if parameter.examples:
        return dict(parameter.examples[0])  # type: ignore[arg-type]
    default = parameter.default if isinstance(parameter.default, dict) else {}
    return {"kind": default["kind"]} if "kind" in default else {}


def _commented(line: str, comment: str, depth: int) -> Sequence[str]:
    whole = _indent(f"{line}  # {comment}" if comment else line, depth)
    return [whole] if len(whole) <= _WIDTH else [*_above(_sentence(comment), depth), _indent(line, depth)]


def _sentence(comment: str) -> str:
    """Return the comment with a capital letter, which tells a line of prose from a key."""
    return comment[:1].upper() + comment[1:]


def _above(comment: str, depth: int) -> list[str]:
    return [_indent(f"# {line}", depth) for line in textwrap.wrap(comment, _WIDTH - 2 * depth - 2)]


def _indent(line: str, depth: int) -> str:
    return "  " * depth + line
