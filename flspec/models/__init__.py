"""Models by kind. Each is a recipe for a graph of `flspec.layers`."""

from flspec.core.components import load_family
from flspec.models.base import Model, TextModel

load_family(__name__, __path__)

__all__ = ["Model", "TextModel"]
