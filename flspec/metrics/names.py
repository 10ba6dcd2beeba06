"""How a spec names a metric: by any name that is registered."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

import flspec.metrics

__all__ = ["MetricName"]


class _OneOfMetrics:
    """Validates the name of a metric as one of the literal names there are."""

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
