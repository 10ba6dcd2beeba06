"""The type of a metric's name in a spec: any name that is registered, or that a part file in use brings."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticKnownError, core_schema

import flspec.metrics

__all__ = ["MetricName"]


class _OneOfMetrics:
    """A validator that accepts the names of the registered metrics."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(_known_now)

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


def _known_now(given: Any) -> str:
    """Validate a name, by the metrics of part files in use, too."""
    if isinstance(given, str) and given in flspec.metrics.METRICS:
        return given
    raise PydanticKnownError("literal_error", {"expected": ", ".join(map(repr, flspec.metrics.METRICS))})


MetricName = Annotated[str, _OneOfMetrics()]
