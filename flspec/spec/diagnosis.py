"""From pydantic's errors in a draft to problems with their place, in the words of a spec's author."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from flspec.core.components import Component, family_member, family_members
from flspec.core.text import and_more
from flspec.errors import Problem, choose
from flspec.spec.defined_beside import defined_beside
from flspec.spec.overlays import Draft
from flspec.spec.renamed import renamed_value
from flspec.spec.suggestions import meant_key, model_below, place_of_kind, suggest_key
from flspec.spec.yaml_reader import KeyPath, is_number

__all__ = ["diagnose"]

_MOST_PROBLEMS = 100  # reported for one spec


def diagnose(draft: Draft, error: ValidationError, model: type[BaseModel], at: KeyPath = ()) -> list[Problem]:
    """Return every problem that validating `draft`, or its part at `at`, as `model` found."""
    found = error.errors(include_url=False)
    value = _at(draft.value, at)
    misspelt = set(_misspelt(found[:_MOST_PROBLEMS], value, model))
    reported = [
        details
        for details in found[:_MOST_PROBLEMS]
        if not _follows_from_another(details, found)
        and not (details["type"] == "missing" and (details["loc"] in misspelt or ("extends",) in misspelt))
    ]
    problems = [_explain(draft, details, value, model, at) for details in reported]
    if omitted := and_more(len(found) - _MOST_PROBLEMS, "problems"):
        problems.append(Problem(omitted, file=draft.file))
    return problems


def _explain(draft: Draft, details: ErrorDetails, value: Any, model: type[BaseModel], at: KeyPath) -> Problem:
    inner, owner = _resolve(value, details["loc"], model)
    path = (*at, *inner)
    kind, context = details["type"], details.get("ctx", {})
    match kind:
        case "extra_forbidden":
            section = _at(value, inner[:-1])
            present = section if isinstance(section, Mapping) else ()
            return draft.problem(path, suggest_key(str(path[-1]), owner, path[:-1], present))
        case "missing":
            return draft.problem(path, "missing; add it" + _example(owner, path[-1]))
        case "union_tag_invalid":
            choices = [choice.strip().strip("'") for choice in context["expected_tags"].split(",")]
            elsewhere = place_of_kind(context["tag"], path, choices)
            return draft.problem((*path, "kind"), _unknown(draft, context["tag"], choices, elsewhere))
        case "union_tag_not_found":
            known = ", ".join(_kinds(owner, path))
            return draft.problem(path, f"missing 'kind'; choose one of {known}" if known else "missing 'kind'")
        case "literal_error" if name := renamed_value(details["input"], path[-1], owner):
            return draft.problem(path, f"{details['input']} is now called {name}; rename it")
        case "literal_error":
            choices = [choice.strip("'") for choice in context["expected"].replace(" or ", ", ").split(", ")]
            return draft.problem(path, _unknown(draft, details["input"], choices))
        case "value_error":
            return draft.problem(path, str(context["error"]))
        case "string_pattern_mismatch":
            return draft.problem(path, f"expected {_form(owner, path, context)}, got {_show(details['input'])}")
        case "model_type" | "model_attributes_type" | "dict_type" if details["input"] in _kinds(owner, path):
            given = details["input"]
            return draft.problem(path, f"expected a mapping of keys, got {_show(given)}; write {{kind: {given}}}")
    return draft.problem(path, _expected(kind, context, details))


def _unknown(draft: Draft, given: Any, choices: Sequence[str], elsewhere: str = "") -> str:
    """Return the message that nothing is called `given`, with what to do about it."""
    where = defined_beside(given, draft) or elsewhere
    return f"unknown {given!r}; {where}" if where else choose(given, choices)


def _misspelt(found: Sequence[ErrorDetails], value: Any, model: type[BaseModel]) -> Iterator[tuple[str | int, ...]]:
    """Yield the keys that unknown keys are taken to mean, so that they are not reported as missing, too."""
    for details in found:
        if details["type"] == "extra_forbidden":
            *section, key = details["loc"]
            yield (*section, meant_key(str(key), _resolve(value, details["loc"], model)[1]) or "")


def _at(value: Any, path: KeyPath) -> Any:
    """Return the value at a path, as far as the path exists."""
    for key in path:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _follows_from_another(details: ErrorDetails, found: Sequence[ErrorDetails]) -> bool:
    """Return whether a list counts as too short only because its items are wrong, which is reported for each item."""
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
        "greater_than": f"a number above {_limit(context.get('gt'))}",
        "greater_than_equal": f"at least {_limit(context.get('ge'))}",
        "less_than": f"a number below {_limit(context.get('lt'))}",
        "less_than_equal": f"at most {_limit(context.get('le'))}",
        "too_short": f"at least {context.get('min_length')} of them",
    }.get(kind)
    if wanted is None:
        return f"{details['msg']}; got {_show(given)}"
    hint = "; remove the quotes" if kind in ("int_type", "float_type") and is_number(given) else ""
    hint += "; write it in brackets: [{...}]" if kind == "tuple_type" and isinstance(given, Mapping) else ""
    return f"expected {wanted}, got {_show(given)}{hint}"


def _resolve(
    value: Any, location: tuple[str | int, ...], model: type[BaseModel]
) -> tuple[KeyPath, type[BaseModel] | None]:
    """Return an error's path in the document, without pydantic's union tags, and the class that owns its last key."""
    path: list[str | int] = []
    cls: type[BaseModel] | None = model
    owner = cls
    for position, step in enumerate(location):
        last = position == len(location) - 1
        if isinstance(value, Mapping) and step == value.get("kind") and not (last and step in value):
            cls = family_member(cls, str(step)) if cls and issubclass(cls, Component) else cls
            owner = cls
            continue
        path.append(step)
        owner = cls
        cls = model_below(cls, step)
        if isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
    return tuple(path), owner


def _kinds(owner: type[BaseModel] | None, path: KeyPath) -> list[str]:
    family = model_below(owner, path[-1]) if path else None
    return list(family_members(family)) if family and issubclass(family, Component) else []


def _example(owner: type[BaseModel] | None, key: str | int) -> str:
    """Return an example of a missing value, if its field gives one."""
    field = owner.model_fields.get(str(key)) if owner else None
    return f", e.g. {key}: {json.dumps(field.examples[0])}" if field and field.examples else ""


def _form(owner: type[BaseModel] | None, path: KeyPath, context: Mapping[str, Any]) -> str:
    """Return the form of text that a field takes, in its own words if it has any."""
    field = owner.model_fields.get(str(path[-1])) if owner else None
    extra = field.json_schema_extra if field else None
    said = extra.get("patternErrorMessage") if isinstance(extra, dict) else None
    return str(said or f"text of the form {context.get('pattern')}")


def _limit(value: Any) -> str:
    """Return a bound in readable digits: 1,000,000."""
    return f"{value:,}" if isinstance(value, int) else re.sub(r"\.0$", "", f"{value:,}") if value is not None else ""


def _show(value: Any) -> str:
    match value:
        case bool() | None:
            return json.dumps(value)
        case str():
            return f"text {json.dumps(value if len(value) < 60 else value[:57] + '...')}"
        case list():
            return "a list" if value else "an empty list"
        case dict():
            return "a mapping"
    return str(value)
