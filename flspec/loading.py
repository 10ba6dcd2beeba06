"""From a file to a Spec, or to every problem it has, each with its place and a way out."""

from __future__ import annotations

import difflib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from flspec.components import Component, family_members
from flspec.errors import InputError, Problem, SpecError, shorten
from flspec.spec import Spec
from flspec.yaml_reader import LocatedDocument, Path, is_number, read_yaml

__all__ = ["load_spec", "parse_spec"]

_MOST_PROBLEMS = 100  # told of one spec


def load_spec(path: str | os.PathLike[str]) -> Spec:
    """Read and validate a spec file; raises SpecError with every problem found, InputError if it cannot be read."""
    return parse_spec(_read_file(FilePath(path)), str(path))


def parse_spec(content: bytes | str, file: str = "spec") -> Spec:
    """Validate the text of a spec; `file` names it in messages."""
    document = read_yaml(content.encode() if isinstance(content, str) else content, file)
    try:
        spec = Spec.model_validate_json(json.dumps(document.value))
    except ValidationError as error:
        found = error.errors(include_url=False)
        told = [details for details in found[:_MOST_PROBLEMS] if not _follows_from_another(details, found)]
        problems = sorted((_explain(document, d) for d in told), key=lambda p: (p.line or 0, p.column or 0))
        if len(found) > _MOST_PROBLEMS:
            problems.append(Problem(f"and {len(found) - _MOST_PROBLEMS:,} more problems", file=file))
        raise SpecError(problems) from None
    if contradictions := spec.contradictions():
        raise SpecError([document.problem(path, message) for path, message in contradictions])
    return spec


def _read_file(path: FilePath) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe or a device could keep us reading for ever
            raise InputError(f"{path}: not a file; name a spec")
        with path.open("rb") as file:
            return file.read(2**20 + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"{path}: cannot be read: {reason}") from None


def _explain(document: LocatedDocument, details: ErrorDetails) -> Problem:
    """What pydantic found, in the words and at the place of the file."""
    path, owner = _resolve(document.value, details["loc"])
    kind, context = details["type"], details.get("ctx", {})
    match kind:
        case "extra_forbidden":
            return document.problem(path, _unknown_key(str(path[-1]), owner))
        case "missing":
            return document.problem(path, "missing; add it")
        case "union_tag_invalid":
            choices = [choice.strip().strip("'") for choice in context["expected_tags"].split(",")]
            return document.problem((*path, "kind"), _unknown_choice(context["tag"], choices))
        case "union_tag_not_found":
            known = ", ".join(_kinds(owner, path))
            return document.problem(path, f"missing 'kind'; choose one of {known}" if known else "missing 'kind'")
        case "literal_error":
            choices = [choice.strip("'") for choice in context["expected"].replace(" or ", ", ").split(", ")]
            return document.problem(path, _unknown_choice(details["input"], choices))
        case "value_error":
            return document.problem(path, str(context["error"]))
    return document.problem(path, _expected(kind, context, details))


def _follows_from_another(details: ErrorDetails, found: list[ErrorDetails]) -> bool:
    """Whether a list is only called too short because its items are wrong, which is told of each."""
    location = details["loc"]
    return details["type"] == "too_short" and any(
        other["loc"][: len(location)] == location and other is not details for other in found
    )


def _expected(kind: str, context: Mapping[str, Any], details: ErrorDetails) -> str:
    given = details["input"]
    wanted = {
        "int_type": "an integer",
        "int_from_float": "an integer",
        "float_type": "a number",
        "bool_type": "true or false",
        "string_type": "text",
        "tuple_type": "a list",
        "model_type": "a mapping of keys",
        "model_attributes_type": "a mapping of keys",
        "dict_type": "a mapping of keys",
        "greater_than": f"a number above {context.get('gt')}",
        "greater_than_equal": f"at least {context.get('ge')}",
        "less_than": f"a number below {context.get('lt')}",
        "less_than_equal": f"at most {context.get('le')}",
        "too_short": f"at least {context.get('min_length')} of them",
        "string_pattern_mismatch": f"text of the form {context.get('pattern')}",
    }.get(kind)
    if wanted is None:
        return f"{details['msg']}; got {_show(given)}"
    hint = "; remove the quotes" if kind in ("int_type", "float_type") and is_number(given) else ""
    return f"expected {wanted}, got {_show(given)}{hint}"


def _resolve(value: Any, location: tuple[str | int, ...]) -> tuple[Path, type[BaseModel] | None]:
    """The path of an error in the document, without pydantic's union tags, and the class that owns its last key."""
    path: list[str | int] = []
    cls: type[BaseModel] | None = Spec
    owner = cls
    for position, step in enumerate(location):
        last = position == len(location) - 1
        if isinstance(value, Mapping) and step == value.get("kind") and not (last and step in value):
            cls = family_members(cls).get(str(step)) if cls and issubclass(cls, Component) else cls
            owner = cls
            continue
        path.append(step)
        owner = cls
        cls = _class_below(cls, step)
        if isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
    return tuple(path), owner


def _class_below(cls: type[BaseModel] | None, key: str | int) -> type[BaseModel] | None:
    if cls is None or key not in cls.model_fields:
        return None
    return next(_models_in(cls.model_fields[str(key)].annotation), None)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _kinds(owner: type[BaseModel] | None, path: Path) -> list[str]:
    family = _class_below(owner, path[-1]) if path else None
    return list(family_members(family)) if family and issubclass(family, Component) else []


def _unknown_key(key: str, owner: type[BaseModel] | None) -> str:
    known = [name for name in owner.model_fields if name != "kind"] if owner else []
    shown = repr(shorten(key))
    if close := difflib.get_close_matches(key[:100], known, n=1):
        return f"unknown key {shown}; did you mean {close[0]!r}?"
    return f"unknown key {shown}; known here: {', '.join(known) or 'none'}"


def _unknown_choice(given: Any, choices: list[str]) -> str:
    shown = shorten(given) if isinstance(given, str) else given
    close = difflib.get_close_matches(str(given)[:100], choices, n=1)
    meant = f"did you mean {close[0]!r}? " if close and close[0] != str(given) else ""
    return f"unknown {shown!r}; {meant}choose one of {', '.join(choices)}"


def _show(value: Any) -> str:
    match value:
        case bool() | None:
            return json.dumps(value)
        case str():
            return f"text {json.dumps(value if len(value) < 60 else value[:57] + '...')}"
        case list():
            return "a list"
        case dict():
            return "a mapping"
    return str(value)
