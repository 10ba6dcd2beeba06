"""The type of a tracker's name in a spec: any that is registered, or that a part file in use brings."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticKnownError, core_schema

import flspec.trackers

__all__ = ["TrackerName"]


class _OneOfTrackers:
    """A validator that accepts the names that can be chosen."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(_known_now)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(_names())


def _names() -> CoreSchema:
    """Return the schema of the names that are known now."""
    own, known = flspec.trackers.own_trackers(), flspec.trackers.tracker_summaries()
    metadata = {"family": "trackers", "own": list(own), "markdownEnumDescriptions": list(known.values())}
    return core_schema.literal_schema(list(known), metadata=metadata)


def _known_now(given: Any) -> str:
    """Validate a name, by the trackers of part files in use, too."""
    known = flspec.trackers.tracker_names()
    if isinstance(given, str) and given in known:
        return given
    raise PydanticKnownError("literal_error", {"expected": ", ".join(map(repr, known))})


TrackerName = Annotated[str, _OneOfTrackers()]
