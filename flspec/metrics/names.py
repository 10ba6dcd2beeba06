"""The type of a metric's name in a spec: any name that is registered."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

import flspec.metrics

__all__ = ["MetricName"]


class _OneOfMetrics:
    """A validator that accepts the names of the registered metrics."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        known = flspec.metrics.METRICS
        metadata = {
            "family": "metrics",
            "own": [name for name, metric in known.items() if metric.is_own],
            "markdownEnumDescriptions": [metric.summary for metric in known.values()],
            "packages": {name: metric.package for name, metric in known.items()},
            "docs": {name: metric.docs for name, metric in known.items()},
        }
        return core_schema.literal_schema(list(known), metadata=metadata)


MetricName = Annotated[str, _OneOfMetrics()]
