"""A run's model in ONNX, for other runtimes."""

from __future__ import annotations

from flspec.api.models import Model
from flspec.exports.base import ModelExport

__all__ = ["Onnx"]


class Onnx(ModelExport):
    """A file of ONNX by torch's exporter: layers and weights, in evaluation mode, for batches of any size."""

    def content(self, model: Model) -> bytes:
        return model.onnx_model()
