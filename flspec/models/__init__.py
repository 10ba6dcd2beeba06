"""Models by kind. Each is a recipe for a graph of `flspec.layers`."""

from flspec.core.families import register_family
from flspec.models.base import Model, TextModel

register_family(__name__, __path__)

__all__ = ["Model", "TextModel"]
