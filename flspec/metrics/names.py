"""The type of a metric's name in a spec: any name that is registered, or that a part file in use brings."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidatorFunctionWrapHandler
from pydantic_core import CoreSchema, PydanticKnownError, core_schema

import flspec.metrics
from flspec.core.part_files import part_files_in_use, using

__all__ = ["MetricName"]


class _OneOfMetrics:
    """A validator that accepts the names of the registered metrics."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        with using(None):
            return core_schema.no_info_wrap_validator_function(_known_now, _names())

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(_names())  # those of part files in use, too


def _names() -> CoreSchema:
    """Return the schema of the names that are known now."""
    known = flspec.metrics.METRICS
    metadata = {
        "family": "metrics",
        "own": [name for name, metric in known.items() if metric.is_own],
        "markdownEnumDescriptions": [metric.summary for metric in known.values()],
        "packages": {name: metric.package for name, metric in known.items()},
        "docs": {name: metric.docs for name, metric in known.items()},
    }
    return core_schema.literal_schema(list(known), metadata=metadata)


def _known_now(given: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """Validate a name: with those of part files, which the literal does not have."""
    if not isinstance(given, str) or part_files_in_use() is None:
        return handler(given)
    if given in (now := flspec.metrics.METRICS):
        return given
    raise PydanticKnownError("literal_error", {"expected": ", ".join(repr(name) for name in now)})


MetricName = Annotated[str, _OneOfMetrics()]
