"""Losses by kind. A client minimises the mean of its loss over each batch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticKnownError, core_schema

from flspec.core.components import (
    OneOfOthers,
    comes_with_flspec,
    family_member,
    family_members,
    parse_component,
)
from flspec.core.families import register_family
from flspec.core.part_files import PartFiles, part_files_in_use
from flspec.losses.base import Loss, ScoredExamples

register_family(__name__, __path__)

__all__ = ["Loss", "LossDocument", "LossOrName", "ScoredExamples", "parse_loss"]

LossDocument = str | Mapping[str, Any]  # in plans and specs: a name alone, or a mapping with parameters


def parse_loss(document: LossDocument) -> Loss:
    """Return the loss that a plan names."""
    whole = {"kind": document} if isinstance(document, str) else dict(document)
    return _parsed(json.dumps(whole, sort_keys=True), part_files_in_use())


@lru_cache(maxsize=256)
def _parsed(document: str, files: PartFiles | None) -> Loss:
    return parse_component(Loss, json.loads(document))


class _OrItsName:
    """Annotation that validates a loss, given as a mapping, or by its name alone if it needs no parameters."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        self._mapping = OneOfOthers().__get_pydantic_core_schema__(source, handler)
        return core_schema.no_info_before_validator_function(_by_name, self._mapping)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        members = {kind: member for kind, member in family_members(Loss).items() if not _required(member)}
        metadata = {
            "own": [kind for kind, member in members.items() if comes_with_flspec(member)],
            "markdownEnumDescriptions": [(member.__doc__ or "").partition("\n")[0] for member in members.values()],
        }
        names = core_schema.literal_schema(list(members), metadata=metadata)
        return {"anyOf": [handler(names), handler(self._mapping)]}


LossOrName = Annotated[Loss, _OrItsName()]


def _by_name(given: Any) -> Any:
    """Convert a name to a mapping."""
    if not isinstance(given, str):
        return given
    if (member := family_member(Loss, given)) is None:
        quoted = [f"'{kind}'" for kind in family_members(Loss)]
        raise PydanticKnownError("literal_error", {"expected": " or ".join([", ".join(quoted[:-1]), quoted[-1]])})
    if needed := _required(member):
        raise ValueError(f"{given} needs {', '.join(needed)}; write {{kind: {given}, {needed[0]}: …}}")
    return {"kind": given}


def _required(member: type[Loss]) -> list[str]:
    return [name for name, field in member.model_fields.items() if field.is_required()]
