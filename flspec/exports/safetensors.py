"""A run's model as its weights by name."""

from __future__ import annotations

from safetensors.numpy import save

from flspec.api.models import Model
from flspec.exports.base import ModelExport

__all__ = ["Safetensors"]


class Safetensors(ModelExport):
    """A file of safetensors: each tensor by its name in the plan, LAYER.SUFFIX, those that are not learned, too."""

    def content(self, model: Model) -> bytes:
        return bytes(save(dict(model.weights), {"plan": model.plan.digest}))
