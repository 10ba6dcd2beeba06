"""The encodings of one column: from a spec and back, and what can follow what."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from flspec.core.components import family_member, family_members, parse_component
from flspec.core.text import in_flow
from flspec.encodings.base import Encoding, Given, Gives, Takes
from flspec.errors import choose, shorten

__all__ = ["MOST_STEPS", "Steps", "line_for", "parse_steps", "takes_of", "with_imputing", "write_steps"]

Steps = tuple[Encoding, ...]  # of one column, in order
MOST_STEPS = 8


def parse_steps(given: Any) -> Steps:
    """Return the encodings that a spec gives a column. Raises ValueError with what is wrong and a way out."""
    listed = given if isinstance(given, list | tuple) else [given]
    if not 0 < len(listed) <= MOST_STEPS:
        raise ValueError(f"{len(listed)} encodings; give one to {MOST_STEPS}")
    steps = tuple(one if isinstance(one, Encoding) else _parsed(one) for one in listed)
    takes_of(steps)
    return steps


def takes_of(steps: Sequence[Encoding]) -> Given:
    """Return what the first of some encodings is given. Raises ValueError if one cannot follow those before it."""
    first: Takes = "either"
    given: Takes | Gives = "either"
    for step in steps:
        if given == "tokens" or (step.takes != "either" and given not in ("either", step.takes)):
            kinds = " after ".join(one.kind for one in (step, steps[0]))  # type: ignore[attr-defined]
            takes = "numbers" if step.takes == "either" else step.takes
            got = "token numbers, which measure nothing" if given == "tokens" else "numbers"
            raise ValueError(f"{kinds}: it takes {takes} and gets {got}; change their order, or remove one")
        first = step.takes if first == "either" else first
        given = given if step.takes == "either" else step.gives
    return "numbers" if first == "either" else first


def write_steps(steps: Steps) -> Any:
    """Return encodings as JSON that `parse_steps` reads, as briefly as a spec would have them."""
    written = [_written(step) for step in steps]
    return written[0] if len(written) == 1 else written


def line_for(column: str, written: Any) -> str:
    """Return what a spec says to have a column encoded so: `features: {bmi: {impute: median}}`."""
    return f"features: {in_flow({column: written})}"


def with_imputing(steps: Steps) -> list[Any]:
    """Return encodings as a spec has them, with one before them that fills missing values."""
    fill: Any = {"impute": "median"} if takes_of(steps) == "numbers" else {"impute": "constant", "value": "unknown"}
    written = write_steps(steps)
    return [fill, *(one for one in (written if isinstance(written, list) else [written]) if one != "as_is")]


def _written(step: Encoding) -> Any:
    parameters = step.model_dump(mode="json", exclude={"kind"}, exclude_defaults=True)
    kind = step.kind  # type: ignore[attr-defined]  # every member has one
    if not parameters:
        return kind
    if step.main in parameters:
        return {kind: parameters.pop(step.main)} | parameters
    return {"kind": kind} | parameters


def _parsed(given: Any) -> Encoding:
    document = _with_kind(given)
    member = family_member(Encoding, kind) if isinstance(kind := document["kind"], str) else None
    if member is None:
        raise ValueError(choose(kind, family_members(Encoding)))
    try:
        return parse_component(Encoding, document)
    except ValidationError as error:
        raise ValueError(_first_of(error, kind, member)) from None


def _with_kind(given: Any) -> Mapping[str, Any]:
    if isinstance(given, str):
        return {"kind": given}
    if isinstance(given, Mapping) and "kind" in given:
        return given
    members = family_members(Encoding)
    if not isinstance(given, Mapping) or not given:
        raise ValueError(
            f"expected an encoding, as standardise or {{impute: median}}; choose one of {', '.join(members)}"
        )
    kinds = [key for key in given if key in members]
    if len(kinds) > 1:
        raise ValueError(
            f"{' and '.join(kinds)} in one mapping; make it a list, in the order in which they are applied"
        )
    if not kinds:
        raise ValueError(choose(next(iter(given)), members))
    if not (main := members[kinds[0]].main):
        raise ValueError(f"{kinds[0]} has no main parameter; write {kinds[0]} alone, or {{kind: {kinds[0]}, …}}")
    if main in given:
        raise ValueError(f"{main} is given twice, as the value of {kinds[0]} too; remove one")
    return {"kind": kinds[0], main: given[kinds[0]]} | {key: value for key, value in given.items() if key != kinds[0]}


def _first_of(error: ValidationError, kind: str, member: type[Encoding]) -> str:
    """Return the first of pydantic's errors in words."""
    first = error.errors(include_url=False)[0]
    where = [str(part) for part in first["loc"] if part in member.model_fields]
    if first["type"] == "missing":
        example = (member.model_fields[where[-1]].examples or ["…"])[0]
        return f"{kind} needs {where[-1]}, e.g. {{{kind}: {shorten(str(example), 60)}}}".replace("'", "")
    if first["type"] == "extra_forbidden":
        return f"{kind}: {choose(str(first['loc'][-1]), [name for name in member.model_fields if name != 'kind'])}"
    if first["type"] == "literal_error":
        choices = re.findall("'([^']*)'", first["ctx"]["expected"])
        return f"{kind}: {choose(first['input'], choices)}"
    why = (
        first["ctx"]["error"]
        if first["type"] == "value_error"
        else f"{first['msg']}, got {shorten(repr(first['input']), 40)}"
    )
    return f"{kind}{'.' if where else ''}{'.'.join(where)}: {why}"
