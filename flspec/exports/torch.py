"""A run's model as a program of torch, which runs without flspec."""

from __future__ import annotations

from flspec.api.models import Model
from flspec.exports.base import ModelExport

__all__ = ["Torch"]


class Torch(ModelExport):
    """A file of `torch.export`: layers and weights, in evaluation mode, for batches of any size."""

    def content(self, model: Model) -> bytes:
        return model.torch_program()
